//! A map by PID: a sorted list. Small in code and in memory, and quick for as many children as a
//! process can have. Pure.
#![forbid(unsafe_code)]

use alloc::vec::Vec;

use crate::units::Pid;

#[derive(Debug)]
pub struct PidMap<T>(Vec<(Pid, T)>);

impl<T> Default for PidMap<T> {
    fn default() -> PidMap<T> {
        PidMap(Vec::new())
    }
}

impl<T> PidMap<T> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, pid: Pid) -> Option<&T> {
        let place = self.place(pid).ok()?;
        self.0.get(place).map(|(_, value)| value)
    }

    pub fn get_mut(&mut self, pid: Pid) -> Option<&mut T> {
        let place = self.place(pid).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    /// Puts a value in; returns the one that it replaces.
    pub fn insert(&mut self, pid: Pid, value: T) -> Option<T> {
        let before = self.remove(pid);
        if let Err(place) = self.place(pid) {
            self.0.insert(place, (pid, value));
        }
        before
    }

    pub fn remove(&mut self, pid: Pid) -> Option<T> {
        let place = self.place(pid).ok()?;
        Some(self.0.remove(place).1)
    }

    pub fn pids(&self) -> Vec<Pid> {
        let mut pids = Vec::new();
        for (pid, _) in &self.0 {
            pids.push(*pid);
        }
        pids
    }

    pub fn iter(&self) -> impl Iterator<Item = (Pid, &T)> {
        self.0.iter().map(|(pid, value)| (*pid, value))
    }

    /// All of it, for who takes it over; sorted by PID, and to be left so.
    #[cfg(feature = "upgrade")]
    pub(crate) fn entries_mut(&mut self) -> &mut Vec<(Pid, T)> {
        &mut self.0
    }

    fn place(&self, pid: Pid) -> Result<usize, usize> {
        self.0.binary_search_by_key(&pid, |(key, _)| *key)
    }
}
