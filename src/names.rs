//! Numbers of the kernel's by name. Pure.
#![forbid(unsafe_code)]

/// Numbers, and a line for each of them in the same order. A table of pairs would be four times as large.
#[derive(Debug)]
pub struct Names {
    pub numbers: &'static [i32],
    pub lines: &'static str,
}

/// `Names` of constants of libc's. One that not every machine has is the last.
macro_rules! names {
    ($($(#[$only:meta])? $number:ident $name:literal)*) => {
        $crate::names::Names {
            numbers: &[$($(#[$only])? libc::$number),*],
            lines: concat!($($name, "\n"),*),
        }
    };
}

pub(crate) use names;

impl Names {
    #[inline(never)]
    pub fn name(&self, number: i32) -> Option<&'static str> {
        for (known, name) in self.numbers.iter().zip(self.lines.split('\n')) {
            if *known == number {
                return Some(name);
            }
        }
        None
    }

    pub fn number(&self, name: &str) -> Option<i32> {
        for (number, known) in self.numbers.iter().zip(self.lines.split('\n')) {
            if known == name {
                return Some(*number);
            }
        }
        None
    }
}
