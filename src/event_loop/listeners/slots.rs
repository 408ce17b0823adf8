//! `--spread worker`: listeners of which each slot has its own, in a group that shares the address
//! (SO_REUSEPORT). They are opened for all slots at the start, and for one that has none when it gets a worker.

use super::{Listener, Listeners, UNNAMED};
use crate::error::Error;
use crate::event_loop::listen::{self, Fresh};
use crate::protocol::address::{Address, Listen, Options};
use crate::units::SlotId;
use alloc::rc::Rc;
use alloc::string::ToString;
use alloc::vec::Vec;

pub(super) const HERE: bool = cfg!(feature = "spread");

/// One for each slot, unless somebody else has the address.
#[inline(never)]
pub(super) fn open(
    plan: &Rc<Listen>,
    place: usize,
    count: u32,
    all: &mut Vec<Listener>,
) -> Result<(), Error> {
    let address = listen::reserve(&plan.address, &plan.options)?;
    let options = Options { reuseport: true, ..plan.options.clone() };
    let shared = Rc::new(Listen { options, ..Listen::clone(plan) });
    for slot in 0..count {
        all.push(one(&shared, &address, place, SlotId(slot))?);
    }
    Ok(())
}

fn one(
    listen: &Rc<Listen>,
    address: &Address,
    place: usize,
    slot: SlotId,
) -> Result<Listener, Error> {
    let Fresh { fd, address, path } = listen::open(address, &listen.options)?;
    let name = listen.options.name.clone().unwrap_or_else(|| UNNAMED.to_string());
    let listener = Listener::from_parts(fd, name, address, listen.clone(), path)?;
    Ok(Listener { place, slot: Some(slot), ..listener })
}

impl Listeners {
    /// What the slot's workers get, in this order.
    pub fn of_slot(&self, slot: SlotId) -> Vec<&Listener> {
        let mut some = Vec::new();
        for listener in &self.all {
            if listener.slot.is_none_or(|other| other == slot) {
                some.push(listener);
            }
        }
        some
    }

    /// The first of each place: what is told of one `--listen`.
    pub fn places(&self) -> impl Iterator<Item = &Listener> {
        let mut next = 0;
        self.all.iter().filter(move |listener| {
            let is_first = listener.place >= next;
            next = next.max(listener.place + 1);
            is_first
        })
    }

    /// Opens what the slot lacks: where it is in `all`, for whoever has to know of it.
    #[inline(never)]
    pub fn open_missing(&mut self, slot: SlotId) -> Result<Vec<usize>, Error> {
        let mut fresh = Vec::new();
        let mut index = 0;
        while let Some(first) = self.all.get(index) {
            let (place, spread) = (first.place, first.slot.is_some());
            let same = self.all[index..].iter().take_while(|one| one.place == place);
            let count = same.count();
            let end = index + count;
            let key = Some(slot);
            let found = self.all[index..end].binary_search_by_key(&key, |one| one.slot);
            index = end;
            if let (Err(nth), true) = (found, spread) {
                let at = end - count + nth;
                let like = &self.all[end - count];
                let made = one(&like.listen.clone(), &like.address.clone(), place, slot)?;
                self.all.insert(at, made);
                fresh.push(at);
                index += 1;
            }
        }
        Ok(fresh)
    }

    /// What the slot has of its own; but the last one of a group holds the address.
    #[inline(never)]
    pub fn take_out(&mut self, slot: SlotId, which: fn(&Listener) -> bool) -> Vec<Listener> {
        let mut out = Vec::new();
        let mut index = 0;
        while index < self.all.len() {
            let one = &self.all[index];
            let same = |other: Option<&Listener>| other.is_some_and(|it| it.place == one.place);
            let others = same(self.all.get(index + 1))
                || index.checked_sub(1).is_some_and(|before| same(self.all.get(before)));
            if one.slot == Some(slot) && which(one) && others {
                out.push(self.all.remove(index));
            } else {
                index += 1;
            }
        }
        out
    }
}
