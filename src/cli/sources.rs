//! Where options come from: the command line, and the files that it names. Those of `fd3 run` are read anew
//! each time a [`Plan`] is made.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use super::options::Table;
use super::typed::{self, Given, Typed, c_string};
use super::{meant, options};
use crate::error::{Errno, Error, Kind};
use crate::event_loop::Anew;
use crate::plan::{LogFormat, Plan};
use crate::protocol::env_file::Environment;
use crate::sys::file::{self, Again, Patience};

/// A file of options, or of variables, is not longer than this, in bytes.
const FILE_MAX: usize = 1 << 20;

pub(super) struct Sources {
    typed: Typed,
    /// How many of `typed` were typed; what follows is the file's.
    first_of_file: usize,
    files: Files,
}

/// The files that options name.
pub(super) struct Files {
    /// Pipes and the like, by the names that they had: they bring what they bring once.
    kept: Vec<(CString, Vec<u8>)>,
    patience: Patience,
}

impl Sources {
    pub(super) fn new(typed: Typed) -> Sources {
        let first_of_file = typed.given.len();
        Sources { typed, first_of_file, files: Files::new() }
    }

    /// With what a former self read that cannot be read once more.
    #[cfg(feature = "upgrade")]
    pub(super) fn take_over(&mut self, kept: Vec<(CString, Vec<u8>)>) {
        self.files = Files { kept, patience: Patience::None };
    }

    /// What all of them together mean, as they are now, and in which form errors are to be told.
    #[inline(never)]
    pub(super) fn plan(&mut self) -> (LogFormat, Result<Plan, Error>) {
        let plan = self.read();
        // From now on there are workers to be looked after.
        self.files.patience = Patience::None;
        (meant::log_format_of(&self.typed), plan)
    }

    #[inline(never)]
    fn read(&mut self) -> Result<Plan, Error> {
        self.typed.given.truncate(self.first_of_file);
        self.files.add_options(&mut self.typed, options::RUN)?;
        let mut plan = meant::run(&self.typed)?;
        self.files.read_variables(&self.typed, &mut plan.launch.settings.environment)?;
        Ok(plan)
    }
}

impl Anew for Sources {
    fn plan(&mut self) -> Result<Plan, Error> {
        Sources::plan(self).1
    }

    #[cfg(feature = "upgrade")]
    fn kept(&self) -> Vec<(CString, Vec<u8>)> {
        self.files.kept.clone()
    }
}

impl Files {
    pub(super) fn new() -> Files {
        Files { kept: Vec::new(), patience: Patience::Some }
    }

    /// Those of the file of `--config`, as it is now.
    pub(super) fn add_options(&mut self, typed: &mut Typed, table: Table) -> Result<(), Error> {
        if let Some(given) = typed.get("config") {
            let file = typed::file(&given.value, table, &self.read(given)?)?;
            typed.add_weaker(file);
        }
        Ok(())
    }

    /// Those of the files first: what is typed wins.
    #[inline(never)]
    pub(super) fn read_variables(
        &mut self,
        typed: &Typed,
        all: &mut Environment,
    ) -> Result<(), Error> {
        for given in typed.all("env-file") {
            let bad = |line| format!("{}, line {line}", given.told());
            let added = all.add(&self.read(given)?);
            added.map_err(|wrong| Error::usage(bad(wrong.line), wrong.wrong))?;
        }
        for given in typed.all("env") {
            all.set(given.value.as_bytes()).map_err(|wrong| given.wrong(wrong))?;
        }
        Ok(())
    }

    #[inline(never)]
    fn read(&mut self, given: &Given) -> Result<Vec<u8>, Error> {
        let path = c_string(&given.value)?;
        if let Some((_, bytes)) = self.kept.iter().find(|(kept, _)| *kept == path) {
            return Ok(bytes.clone());
        }
        let (bytes, again) = file::read_first(&path, FILE_MAX, self.patience)
            .map_err(|errno| self.cannot_read(given, errno).of_kind(Kind::Usage))?;
        if again == Again::No {
            self.kept.push((path, bytes.clone()));
        }
        Ok(bytes)
    }

    fn cannot_read(&self, given: &Given, errno: Errno) -> Error {
        match (errno, self.patience) {
            (Errno(libc::ETIMEDOUT), Patience::None) => {
                let why = "it is not complete, and a reload does not wait for who writes to a pipe";
                Error::refused("read", given.told(), why)
            }
            _ => Error::system("read", given.told(), errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Workers;
    use crate::sys::clock::monotonic_ms;
    use rustix::fd::{AsRawFd, OwnedFd};
    use std::fs;

    fn sources(words: &[&str]) -> Sources {
        let words = words.iter().map(Into::into).collect();
        Sources::new(typed::command_line("run", options::RUN, words).expect("they are options"))
    }

    /// The number of workers, and a variable.
    fn plan(sources: &mut Sources) -> Result<(Workers, Option<String>), String> {
        let plan = sources.plan().1.map_err(|error| error.to_string())?;
        let value = plan.launch.settings.environment.get(b"A");
        Ok((plan.workers, value.map(|value| value.escape_ascii().to_string())))
    }

    fn is(workers: u32, value: &str) -> Result<(Workers, Option<String>), String> {
        Ok((Workers::Count(workers), Some(value.into())))
    }

    /// A pipe with this in it, and its name.
    fn pipe(text: &str) -> (OwnedFd, String) {
        let (reader, writer) = crate::sys::fd::pipe().expect("there are pipes");
        rustix::io::write(writer, text.as_bytes()).expect("there is room");
        let name = format!("/dev/fd/{}", reader.as_raw_fd());
        (reader, name)
    }

    #[test]
    fn each_plan_is_made_of_the_files_as_they_are() {
        let path = |name| {
            let folder = std::env::temp_dir();
            let name = format!("fd3-sources-{}-{name}", std::process::id());
            folder.join(name).to_string_lossy().into_owned()
        };
        let (conf, one, two) = (path("conf"), path("one"), path("two"));
        let write = |path: &str, text: &str| fs::write(path, text).expect("it can be written to");
        write(&conf, &format!("workers 2\nrestart never\nenv-file {one}\n"));
        write(&one, "A=1\n");
        write(&two, "A=2\n");
        let mut free = sources(&["--config", &conf, "app"]);
        let mut bound = sources(&["-w", "7", "--config", &conf, "--env-file", &two, "app"]);
        assert_eq!((plan(&mut free), plan(&mut bound)), (is(2, "1"), is(7, "2")));
        write(&one, "A=new\n");
        write(&conf, &format!("workers 3\nenv-file {one}\n"));
        assert_eq!((plan(&mut free), plan(&mut bound)), (is(3, "new"), is(7, "2")));
        assert_eq!(free.plan().1.map(|plan| plan.rules.restart), Ok(crate::plan::Restart::Always));
        // What is broken says so each time, and what was mended counts again.
        write(&conf, "workers\n");
        let said = format!("--config {conf}, line 1: workers: needs a value: N|auto");
        assert_eq!((plan(&mut free), plan(&mut bound)), (Err(said.clone()), Err(said)));
        write(&conf, &format!("workers 4\nenv-file {one}\nenv-file {two}\n"));
        fs::remove_file(&two).expect("it is there");
        let said = |given: &str| Err(format!("cannot read {given}: no such file or directory"));
        let line = format!("--config {conf}, line 3: env-file \"{two}\"");
        let typed = format!("--env-file \"{two}\"");
        assert_eq!((plan(&mut free), plan(&mut bound)), (said(&line), said(&typed)));
        write(&two, "A=last\n");
        assert_eq!((plan(&mut free), plan(&mut bound)), (is(4, "last"), is(7, "last")));
        for path in [conf, one, two] {
            fs::remove_file(path).expect("it is there");
        }
    }

    #[test]
    fn what_a_pipe_brought_is_kept() {
        let (first, conf) = pipe("workers 2\n");
        let (second, variables) = pipe("A=1\n");
        let mut sources = sources(&["--config", &conf, "--env-file", &variables, "app"]);
        assert_eq!(plan(&mut sources), is(2, "1"));
        drop((first, second));
        assert_eq!(plan(&mut sources), is(2, "1"));
    }

    #[test]
    fn once_there_are_workers_nobody_waits_for_a_pipe() {
        let path = std::env::temp_dir().join(format!("fd3-sources-{}-silent", std::process::id()));
        let path = path.to_string_lossy().into_owned();
        let (silent, writer) = crate::sys::fd::pipe().expect("there are pipes");
        let mut sources = sources(&["--config", &path, "app"]);
        fs::write(&path, "workers 2\n").expect("it can be written to");
        assert_eq!(plan(&mut sources), Ok((Workers::Count(2), None)));
        let name = format!("/dev/fd/{}", silent.as_raw_fd());
        let why = "it is not complete, and a reload does not wait for who writes to a pipe";
        fs::write(&path, format!("env-file {name}\n")).expect("it can be written to");
        let said = format!("cannot read --config {path}, line 1: env-file \"{name}\": {why}");
        let begun = monotonic_ms();
        assert_eq!(plan(&mut sources), Err(said));
        assert!(monotonic_ms() - begun < 20_000, "it was waited for");
        drop(writer);
        fs::remove_file(&path).expect("it is there");
    }
}
