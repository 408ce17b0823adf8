//! Memory that a sleeping fd3 can do without: the pages of its own file.

use rustix::mm::{Advice, madvise};

unsafe extern "C" {
    /// By the linker: the program's first byte, and the end of its constants and code.
    static __ehdr_start: u8;
    static etext: u8;
}

/// Unmaps what is only read of the program. It stays in the page cache, and what is touched next is
/// mapped again: some microseconds. Static programs alone are so small that this matters.
pub(super) fn give_back() {
    let (start, length) = read_only();
    if cfg!(target_feature = "crt-static") {
        // SAFETY: nobody ever writes there, so that the file has all of it. A failure costs nothing.
        let _ = unsafe { madvise(start.cast_mut().cast(), length, Advice::LinuxDontNeed) };
    }
}

fn read_only() -> (*const u8, usize) {
    let start = &raw const __ehdr_start;
    (start, (&raw const etext).addr() - start.addr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_never_written_to() {
        let (start, length) = read_only();
        let maps = crate::sys::file::read(b"/proc/self/maps", 1 << 20).expect("/proc is there");
        let maps = String::from_utf8(maps).expect("it is text");
        let mut parts = 0;
        for line in maps.lines() {
            let (from, rest) = line.split_once('-').expect("a range");
            let (to, rest) = rest.split_once(' ').expect("its rights");
            let [from, to] = [from, to].map(|n| usize::from_str_radix(n, 16).expect("a number"));
            if from < start.addr() + length && start.addr() < to {
                assert_eq!(rest.as_bytes()[1], b'-', "{line}");
                parts += 1;
            }
        }
        assert!(parts > 0, "{start:?}\n{maps}");
    }
}
