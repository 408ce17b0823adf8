//! Who was started, as which number, and who of them serves: for the status file, and for those who tell of
//! it in other words than fd3's.

use core::fmt::Write;

#[cfg(feature = "upgrade")]
use crate::protocol::handover::group;
use crate::units::Pid;

#[derive(Clone, Debug, Default)]
pub(crate) struct Roll {
    /// In the order in which they were started.
    all: Vec<Entry>,
}

#[cfg(feature = "upgrade")]
group!(Roll, Roll::default(), { extra 1 all });
#[cfg(feature = "upgrade")]
group!(Entry, Entry { pid: Pid(0), number: 0, served: false, gone: false }, {
    needed 1 pid,
    extra 2 number,
    extra 3 served,
    extra 4 gone,
});

#[derive(Clone, Copy, Debug)]
struct Entry {
    pid: Pid,
    /// Its generation, or which start it was.
    number: u64,
    /// It serves, or did.
    served: bool,
    /// It has ended, and nobody serves in its place yet.
    gone: bool,
}

impl Roll {
    pub(super) fn started(&mut self, pid: Pid, number: u64) {
        self.all.push(Entry { pid, number, served: false, gone: false });
    }

    pub(super) fn ready(&mut self, pid: Pid) {
        for entry in self.all.iter_mut().filter(|entry| entry.pid == pid && !entry.gone) {
            entry.served = true;
        }
        self.all.retain(|entry| !entry.gone);
    }

    /// The last one that served stays until another one does: there always is somebody to tell of.
    pub(super) fn ended(&mut self, pid: Pid) {
        let others = self.all.iter().any(|entry| entry.served && entry.pid != pid);
        for entry in self.all.iter_mut().filter(|entry| entry.pid == pid) {
            entry.gone = true;
        }
        self.all.retain(|entry| !entry.gone || entry.served && !others);
    }

    #[cfg(feature = "starter")]
    pub(crate) fn served(&self, pid: Pid) -> bool {
        self.all.iter().any(|entry| entry.pid == pid && entry.served)
    }

    #[cfg(feature = "starter")]
    pub(crate) fn is_newest(&self, pid: Pid) -> bool {
        self.all.last().is_some_and(|entry| entry.pid == pid)
    }

    /// Those who live, joined by commas: all, or those who served and are not this one.
    #[cfg(feature = "starter")]
    pub(crate) fn others(&self, than: Option<Pid>) -> String {
        let mut list = String::new();
        for entry in self.all.iter().filter(|entry| !entry.gone) {
            if than.is_none() || entry.served && than != Some(entry.pid) {
                let comma = if list.is_empty() { "" } else { "," };
                // Writing to a String does not fail.
                let _ = write!(list, "{comma}{}", entry.pid);
            }
        }
        list
    }

    /// What the status file says; nothing before somebody serves.
    pub(super) fn lines(&self) -> Option<String> {
        let mut served: Vec<(u64, Pid)> = Vec::new();
        for entry in self.all.iter().filter(|entry| entry.served) {
            served.push((entry.number, entry.pid));
        }
        served.sort_unstable();
        let mut lines = String::new();
        for (number, pid) in &served {
            let _ = writeln!(lines, "{number}:{pid}");
        }
        Some(lines).filter(|lines| !lines.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_serve_are_told_of_and_the_last_one_until_another_does() {
        let (one, two, ten) = (Pid(7), Pid(8), Pid(5));
        let mut roll = Roll::default();
        roll.started(one, 1);
        assert_eq!(roll.lines(), None);
        roll.ready(one);
        roll.started(two, 2);
        assert_eq!(roll.lines().as_deref(), Some("1:7\n"));
        roll.ready(two);
        roll.started(ten, 10);
        roll.ready(ten);
        assert_eq!(roll.lines().as_deref(), Some("1:7\n2:8\n10:5\n"));
        roll.ended(one);
        roll.ended(ten);
        assert_eq!(roll.lines().as_deref(), Some("2:8\n"));
        roll.ended(two);
        assert_eq!(roll.lines().as_deref(), Some("2:8\n"));
        // Its PID may come again.
        roll.started(two, 11);
        roll.ready(two);
        assert_eq!(roll.lines().as_deref(), Some("11:8\n"));
    }
}
