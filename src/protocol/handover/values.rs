//! Values that are carried as they are: numbers, words, lists, and those that may be missing.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::ffi::CString;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;

use super::{Carrier, Carry, Wrong};
use crate::units::{Asker, CommandId, Generation, Millis, Pid, Signal, SlotId};

/// Little-endian, without the zeros at its end: 0 is empty.
impl Carry for u64 {
    fn blank() -> u64 {
        0
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let all = self.to_le_bytes();
        let length = all.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let mut bytes = all.get(..length).unwrap_or_default().to_vec();
        by.bytes(&mut bytes);
        let mut all = [0; 8];
        let Some(place) = all.get_mut(..bytes.len()) else { return Err(Wrong::odd()) };
        place.copy_from_slice(&bytes);
        *self = u64::from_le_bytes(all);
        Ok(())
    }
}

macro_rules! number {
    ($($name:ty),*) => {
        $(impl Carry for $name {
            fn blank() -> $name {
                0
            }

            fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
                let mut wide = *self as u64;
                wide.carry(by)?;
                *self = <$name>::try_from(wide).map_err(|_| Wrong::odd())?;
                Ok(())
            }
        })*
    };
}
number!(u16, u32, usize);

/// As the unsigned number of the same bits.
impl Carry for i32 {
    fn blank() -> i32 {
        0
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut bits = *self as u32;
        bits.carry(by)?;
        *self = bits as i32;
        Ok(())
    }
}

impl Carry for bool {
    fn blank() -> bool {
        false
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut number = u32::from(*self);
        number.carry(by)?;
        *self = match number {
            0 => false,
            1 => true,
            _ => return Err(Wrong::odd()),
        };
        Ok(())
    }
}

/// A number with a meaning.
macro_rules! wrapped {
    ($($name:ident($inner:ty)),*) => {
        $(impl Carry for $name {
            fn blank() -> $name {
                $name(<$inner>::blank())
            }

            fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
                self.0.carry(by)
            }
        })*
    };
}
wrapped!(Millis(u64), Pid(i32), Signal(i32), SlotId(u32), Generation(u32), Asker(u64));
wrapped!(CommandId(u64));

/// As they are: a byte alone is not carried.
impl Carry for Vec<u8> {
    fn blank() -> Vec<u8> {
        Vec::new()
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        by.bytes(self);
        Ok(())
    }
}

impl Carry for String {
    fn blank() -> String {
        String::new()
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut bytes = core::mem::take(self).into_bytes();
        by.bytes(&mut bytes);
        *self = String::from_utf8(bytes).map_err(|_| Wrong::odd())?;
        Ok(())
    }
}

impl Carry for CString {
    fn blank() -> CString {
        CString::default()
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut bytes = core::mem::take(self).into_bytes();
        by.bytes(&mut bytes);
        *self = CString::new(bytes).map_err(|_| Wrong::odd())?;
        Ok(())
    }
}

impl Carry for Rc<CStr> {
    fn blank() -> Rc<CStr> {
        Rc::from(c"")
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut text = (**self).to_owned();
        text.carry(by)?;
        if *text != **self {
            *self = Rc::from(text);
        }
        Ok(())
    }
}

/// None is empty; one that is there begins with a 1.
impl<T: Carry> Carry for Option<T> {
    fn blank() -> Option<T> {
        None
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        match by {
            Carrier::Out(out) => match self {
                Some(value) => {
                    out.push(1);
                    value.carry(by)
                }
                None => Ok(()),
            },
            Carrier::In { bytes, .. } => match bytes.split_first() {
                None => {
                    *self = None;
                    Ok(())
                }
                Some((1, rest)) => {
                    *bytes = rest;
                    let mut value = T::blank();
                    value.carry(by)?;
                    *self = Some(value);
                    Ok(())
                }
                Some(_) => Err(Wrong::odd()),
            },
        }
    }
}

impl<T: Carry> Carry for Box<T> {
    fn blank() -> Box<T> {
        Box::new(T::blank())
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        (**self).carry(by)
    }
}

impl<T: Carry> Carry for Vec<T> {
    fn blank() -> Vec<T> {
        Vec::new()
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        by.items(self, &T::blank, &mut T::carry)
    }
}

impl<T: Carry> Carry for VecDeque<T> {
    fn blank() -> VecDeque<T> {
        VecDeque::new()
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        let mut list = Vec::from(core::mem::take(self));
        let done = list.carry(by);
        *self = list.into();
        done
    }
}

impl<T: Carry, const N: usize> Carry for [T; N] {
    fn blank() -> [T; N] {
        core::array::from_fn(|_| T::blank())
    }

    /// A version may know fewer of them, or more.
    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        for (tag, item) in (1..).zip(self) {
            by.extra(tag, item)?;
        }
        Ok(())
    }
}

impl<A: Carry, B: Carry> Carry for (A, B) {
    fn blank() -> (A, B) {
        (A::blank(), B::blank())
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        by.extra(1, &mut self.0)?;
        by.extra(2, &mut self.1)
    }
}

impl<A: Carry, B: Carry, C: Carry> Carry for (A, B, C) {
    fn blank() -> (A, B, C) {
        (A::blank(), B::blank(), C::blank())
    }

    fn carry(&mut self, by: &mut Carrier<'_>) -> Result<(), Wrong> {
        by.extra(1, &mut self.0)?;
        by.extra(2, &mut self.1)?;
        by.extra(3, &mut self.2)
    }
}
