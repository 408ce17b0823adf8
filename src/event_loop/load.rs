//! What a generation of workers is started from, read anew at each reload, and the part of it that a
//! reload cannot change: what fd3 itself, and not a worker, was started with.

use alloc::rc::Rc;

use super::EventLoop;
use crate::error::Error;
use crate::plan::{Control, Files, LogPlan, Plan, Rules, Spread, Workers};
use crate::protocol::activation::FIRST_FD;
use crate::protocol::address::Listen;
use crate::supervisor::{Event, Fact, Outcome};
use crate::units::{CommandId, Generation};
use std::ffi::CString;

/// Whether anybody can ask for another COMMAND.
const HERE: bool = cfg!(feature = "control");

/// Makes the plan anew, from all that it was made from at the start, as that is now.
pub(crate) type Anew = Box<dyn FnMut() -> Result<Plan, Error>>;

pub(super) struct Loader {
    pub(super) anew: Anew,
    pub(super) fixed: Fixed,
    /// What takes the place of the command line's COMMAND.
    pub(super) commands: Commands,
}

/// Another COMMAND is only the one that counts when the reload that brought it is done: until then, and after one
/// that came to nothing, reloads start the former one.
#[derive(Default)]
pub(super) struct Commands {
    /// Asked for, and not loaded yet.
    offered: Vec<(CommandId, Vec<CString>)>,
    /// Of the reload that runs.
    tried: Option<Vec<CString>>,
    current: Option<Vec<CString>>,
}

impl Commands {
    pub(super) fn offer(&mut self, id: CommandId, words: Vec<CString>) {
        self.offered.push((id, words));
    }

    /// The others were refused.
    pub(super) fn keep_only(&mut self, wanted: Option<CommandId>) {
        self.offered.retain(|(id, _)| Some(*id) == wanted);
    }

    /// What the next generation is started from, if it is not the command line's.
    fn next(&mut self, id: Option<CommandId>) -> Option<Vec<CString>> {
        let place = self.offered.iter().position(|(offered, _)| Some(*offered) == id);
        self.tried = place.map(|place| self.offered.remove(place).1);
        self.tried.clone().or_else(|| self.current.clone())
    }
}

impl Loader {
    pub(super) fn note(&mut self, fact: &Fact) {
        if let Fact::ReloadEnded { outcome, .. } = fact {
            let tried = self.commands.tried.take();
            if let (Outcome::Done { .. }, Some(words)) = (outcome, tried) {
                self.commands.current = Some(words);
            }
        }
    }
}

/// Descriptors of fd3's own, besides those for listeners and workers, with some to spare.
const OWN_DESCRIPTORS: u64 = 64;

/// What a reload leaves as it is.
pub(super) struct Fixed {
    pub(super) listen: Vec<Rc<Listen>>,
    pub(super) workers: Workers,
    pub(super) control: Control,
    pub(super) metrics: Option<Box<Listen>>,
    pub(super) fd_store: u32,
    pub(super) log: LogPlan,
    pub(super) files: Files,
    pub(super) spread: Spread,
}

impl EventLoop {
    /// Reads anew what `generation` is to be started from. Nothing is changed by what cannot be.
    #[inline(never)]
    pub(super) fn load(&mut self, generation: Generation, command: Option<CommandId>) -> Event {
        match self.load_or_not(generation, command) {
            Ok(rules) => Event::Loaded { rules: Box::new(rules) },
            Err(error) => Event::LoadFailed { error },
        }
    }

    fn load_or_not(
        &mut self,
        generation: Generation,
        command: Option<CommandId>,
    ) -> Result<Rules, Error> {
        let words = if HERE { self.loader.commands.next(command) } else { None };
        let mut plan = (self.loader.anew)()?;
        if let Some(words) = words {
            plan.launch.command = words;
        }
        let Plan { listen, workers, control, metrics, fd_store, log, files, spread, .. } = plan;
        let new = Fixed { listen, workers, control, metrics, fd_store, log, files, spread };
        self.loader.fixed.check(&new)?;
        let Plan { rules, launch, .. } = plan;
        self.launcher.load(generation, launch)?;
        Ok(rules)
    }
}

impl Fixed {
    /// Workers are given the numbers below; no descriptor of fd3's own may be among them.
    pub(super) fn reserved(&self) -> i32 {
        FIRST_FD + self.listen.len() as i32 + self.fd_store as i32
    }

    /// How many descriptors fd3 needs for so many workers: one each, of whom there are twice as many while a
    /// reload runs, what they store, and sockets of their slot's own.
    pub(super) fn descriptors(&self, workers: u32) -> u64 {
        let spread = self.listen.iter().filter(|listen| listen.address.is_spread());
        let sockets = match self.spread {
            Spread::Worker if cfg!(feature = "spread") => spread.count() as u64,
            Spread::Worker | Spread::Shared => 0,
        };
        let for_each = u64::from(self.fd_store) + 2 + sockets;
        OWN_DESCRIPTORS
            + self.reserved() as u64
            + self.listen.len() as u64
            + for_each * u64::from(workers)
    }

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
        if new.metrics != self.metrics {
            return other("--metrics", "to change it, restart fd3");
        }
        if new.fd_store != self.fd_store {
            return other("--fd-store", "to change it, restart fd3");
        }
        if cfg!(feature = "spread") && new.spread != self.spread {
            return other("--spread", "to change it, restart fd3");
        }
        if cfg!(feature = "records") && new.files != self.files {
            return other("--pid-file or --status-file", "to change them, restart fd3");
        }
        if new.log != self.log {
            return other("--log, --quiet or --verbose", "to change the log, restart fd3");
        }
        Ok(())
    }

    /// Workers know a listener by its descriptor, so the order counts as well.
    fn check_listeners(&self, new: &[Rc<Listen>]) -> Result<(), Error> {
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
        let listen = listen.iter().map(|text| Rc::new(parse(text.as_bytes()).expect("an address")));
        let (control, files) = (Control::Automatic, Files::default());
        let listen = listen.collect();
        Fixed {
            spread: Spread::Shared,
            listen,
            workers,
            control,
            metrics: None,
            fd_store: 0,
            log,
            files,
        }
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
        let storing = Fixed { fd_store: 1, ..fixed(&[], Workers::Count(2), LOG) };
        let expected = "cannot reload with another --fd-store: to change it, restart fd3";
        assert_eq!(said(&old, &storing), expected);
        let spread = Fixed { spread: Spread::Worker, ..fixed(&[], Workers::Count(2), LOG) };
        let expected = "cannot reload with another --spread: to change it, restart fd3";
        let there = cfg!(feature = "spread");
        assert_eq!(said(&old, &spread), if there { expected } else { "" });
        assert_eq!(said(&old, &fixed(&[], Workers::Count(2), LOG)), "");
    }
}
