//! A table of connections, each known by its place and by how often the place was given away: who asks for one that is
//! gone finds nobody.

use crate::balance::ConnId;

/// Generations begin anew after so many: they share a word of epoll's with what kind of connection it is.
pub(super) const GENERATIONS: u32 = 1 << 28;

#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab { entries: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> ConnId {
        if let Some(slot) = self.free.pop()
            && let Some(entry) = self.entries.get_mut(slot as usize)
        {
            entry.value = Some(value);
            return ConnId { slot, generation: entry.generation };
        }
        let slot = self.entries.len() as u32;
        self.entries.push(Entry { generation: 0, value: Some(value) });
        ConnId { slot, generation: 0 }
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&T> {
        let entry = self.entries.get(id.slot as usize)?;
        entry.value.as_ref().filter(|_| entry.generation == id.generation)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        let entry = self.entries.get_mut(id.slot as usize)?;
        entry.value.as_mut().filter(|_| entry.generation == id.generation)
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<T> {
        let entry = self.entries.get_mut(id.slot as usize)?;
        if entry.generation != id.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = (entry.generation + 1) % GENERATIONS;
        self.free.push(id.slot);
        Some(value)
    }

    pub(super) fn ids(&self) -> Vec<ConnId> {
        let all = (0..).zip(&self.entries).filter(|(_, entry)| entry.value.is_some());
        all.map(|(slot, entry)| ConnId { slot, generation: entry.generation }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_gone_is_not_mistaken_for_who_came_after() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(first.slot, second.slot);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!((slab.get(second), slab.len()), (Some(&"second"), 1));
        assert_eq!(slab.ids(), [second]);
    }
}
