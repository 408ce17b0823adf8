//! What a generation of workers is started from, read anew at each reload, and the part of it that a
//! reload cannot change: what fd3 itself, and not a worker, was started with.

use super::EventLoop;
use crate::error::Error;
use crate::plan::{Control, LogPlan, Plan, Rules, Workers};
use crate::protocol::activation::FIRST_FD;
use crate::protocol::address::Listen;
use crate::supervisor::Event;
use crate::units::Generation;

/// Makes the plan anew, from all that it was made from at the start, as that is now.
pub(crate) type Anew = Box<dyn FnMut() -> Result<Plan, Error>>;

pub(super) struct Loader {
    pub(super) anew: Anew,
    pub(super) fixed: Fixed,
}

/// What a reload leaves as it is.
pub(super) struct Fixed {
    pub(super) listen: Vec<Listen>,
    pub(super) workers: Workers,
    pub(super) control: Control,
    pub(super) log: LogPlan,
}

impl EventLoop {
    /// Reads anew what `generation` is to be started from. Nothing is changed by what cannot be.
    #[inline(never)]
    pub(super) fn load(&mut self, generation: Generation) -> Event {
        match self.load_or_not(generation) {
            Ok(rules) => Event::Loaded { rules: Box::new(rules) },
            Err(error) => Event::LoadFailed { error },
        }
    }

    fn load_or_not(&mut self, generation: Generation) -> Result<Rules, Error> {
        let plan = (self.loader.anew)()?;
        let Plan { listen, workers, control, log, rules, launch } = plan;
        self.loader.fixed.check(&Fixed { listen, workers, control, log })?;
        self.launcher.load(generation, launch)?;
        Ok(rules)
    }
}

impl Fixed {
    /// Whether all of it is as it was.
    #[inline(never)]
    fn check(&self, new: &Fixed) -> Result<(), Error> {
        self.check_listeners(&new.listen)?;
        let other = |what, fixed| Err(Error::refused("reload with another", what, fixed));
        if new.workers != self.workers {
            return other("--workers", "a reload keeps their number; TTIN and TTOU change it");
        }
        if new.control != self.control {
            return other("--control", "to change it, restart fd3");
        }
        if new.log != self.log {
            return other("--log, --quiet or --verbose", "to change the log, restart fd3");
        }
        Ok(())
    }

    /// Workers know a listener by its descriptor, so the order counts as well.
    fn check_listeners(&self, new: &[Listen]) -> Result<(), Error> {
        let same = self.listen.iter().zip(new).take_while(|(old, new)| is_same(old, new)).count();
        let (doing, listen) = match (self.listen.get(same), new.get(same)) {
            (None, None) => return Ok(()),
            (Some(old), None) => ("reload without", old),
            (_, Some(new)) => ("reload with", new),
        };
        let what = format_args!("--listen \"{}\" on fd {}", listen.text, FIRST_FD as usize + same);
        let fixed = "a reload keeps the listeners as they are; to change them, restart fd3";
        Err(Error::refused(doing, what, fixed))
    }
}

/// However it is spelled.
fn is_same(one: &Listen, other: &Listen) -> bool {
    one.address == other.address && one.options == other.options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Level, LogFormat};
    use crate::protocol::address::parse;

    const LOG: LogPlan = LogPlan { format: LogFormat::Text, level: Level::Notice };

    fn fixed(listen: &[&str], workers: Workers, log: LogPlan) -> Fixed {
        let listen = listen.iter().map(|text| parse(text.as_bytes()).expect("an address"));
        Fixed { listen: listen.collect(), workers, control: Control::Automatic, log }
    }

    fn listening(listen: &[&str]) -> Fixed {
        fixed(listen, Workers::Auto, LOG)
    }

    /// What is said of another plan; nothing if it can be carried out.
    fn said(old: &Fixed, new: &Fixed) -> String {
        old.check(new).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn other_listeners_are_refused_by_the_first_that_differs() {
        let two = [":80", "unix:/a,mode=600"];
        let table: &[(&[&str], &str)] = &[
            (&two, ""),
            (&["tcp://:80", "unix:///a,mode=0600"], ""),
            (&[":81", two[1]], "with --listen \":81\" on fd 3"),
            (&[":80,name=web", two[1]], "with --listen \":80,name=web\" on fd 3"),
            (&[":80", "unix:/a"], "with --listen \"unix:/a\" on fd 4"),
            (&[two[1], two[0]], "with --listen \"unix:/a,mode=600\" on fd 3"),
            (&[two[0], two[1], ":0"], "with --listen \":0\" on fd 5"),
            (&[two[0], two[0], two[1]], "with --listen \":80\" on fd 4"),
            (&[":80"], "without --listen \"unix:/a,mode=600\" on fd 4"),
            (&[], "without --listen \":80\" on fd 3"),
        ];
        for (new, what) in table {
            let why = "a reload keeps the listeners as they are; to change them, restart fd3";
            let whole = format!("cannot reload {what}: {why}");
            let expected = if what.is_empty() { "" } else { &whole };
            assert_eq!(said(&listening(&two), &listening(new)), expected, "{new:?}");
        }
        assert_eq!(said(&listening(&[]), &listening(&[])), "");
    }

    #[test]
    fn what_else_is_fd3s_own_is_refused() {
        let old = fixed(&[], Workers::Count(2), LOG);
        for workers in [Workers::Count(1), Workers::Auto] {
            let why = "a reload keeps their number; TTIN and TTOU change it";
            let expected = format!("cannot reload with another --workers: {why}");
            assert_eq!(said(&old, &fixed(&[], workers, LOG)), expected);
        }
        let (json, info) = (LogFormat::Json, Level::Info);
        for log in [LogPlan { format: json, ..LOG }, LogPlan { level: info, ..LOG }] {
            let expected = "cannot reload with another --log, --quiet or --verbose: \
                            to change the log, restart fd3";
            assert_eq!(said(&old, &fixed(&[], Workers::Count(2), log)), expected);
        }
        let nowhere = Fixed { control: Control::Nowhere, ..fixed(&[], Workers::Count(2), LOG) };
        let expected = "cannot reload with another --control: to change it, restart fd3";
        assert_eq!(said(&old, &nowhere), expected);
        assert_eq!(said(&old, &fixed(&[], Workers::Count(2), LOG)), "");
    }
}
