//! Memory that a sleeping fd3 can do without: the pages of its own file.

use core::ptr::slice_from_raw_parts;

#[cfg(target_pointer_width = "32")]
use libc::{Elf32_Ehdr as Header, Elf32_Phdr as Segment};
#[cfg(target_pointer_width = "64")]
use libc::{Elf64_Ehdr as Header, Elf64_Phdr as Segment};
use rustix::mm::{Advice, madvise};

unsafe extern "C" {
    /// By the linker: the program's first byte, where its ELF header is.
    static __ehdr_start: u8;
}

/// Unmaps what is only read of the program. It stays in the page cache, and what is touched next is
/// mapped again: some microseconds. Static programs alone are so small that this matters.
pub fn give_back() {
    if cfg!(target_feature = "crt-static") {
        for_each_read_only(|start, length| {
            // SAFETY: one segment that nobody may write to, so that the file has all of it. A failure
            // costs nothing.
            let _ = unsafe { madvise(start as *mut _, length, Advice::LinuxDontNeed) };
        });
    }
}

/// Each segment for itself: what lies between two of them may be somebody else's memory.
fn for_each_read_only(mut visit: impl FnMut(usize, usize)) {
    let first = &raw const __ehdr_start;
    // SAFETY: an ELF file begins with its header, and this part of it is always loaded.
    let header = unsafe { first.cast::<Header>().read_unaligned() };
    let at = first.wrapping_add(header.e_phoff as usize).cast::<Segment>();
    let segments = slice_from_raw_parts(at, header.e_phnum.into());
    // SAFETY: the program headers lie in the same page, and are never written to.
    let segments = unsafe { &*segments };
    let page = page_size();
    let loaded = || segments.iter().filter(|segment| segment.p_type == libc::PT_LOAD);
    let (Some(lowest), true) = (loaded().next(), page.is_power_of_two()) else { return };
    let lowest = (lowest.p_vaddr - lowest.p_offset) as usize;
    for segment in loaded().filter(|segment| segment.p_flags & libc::PF_W == 0) {
        let from = segment.p_vaddr as usize - lowest + first.addr();
        let start = from & !(page - 1);
        visit(start, from + segment.p_memsz as usize - start);
    }
}

pub(super) fn page_size() -> usize {
    // SAFETY: no memory is passed.
    let size = unsafe { libc::getauxval(libc::AT_PAGESZ) };
    size as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is mapped where: from, to, its rights and the rest of the line.
    fn maps() -> Vec<(usize, usize, String)> {
        let maps = crate::sys::file::read(b"/proc/self/maps", 1 << 20).expect("/proc is there");
        let maps = String::from_utf8(maps).expect("it is text");
        let range = |line: &str| {
            let (from, rest) = line.split_once('-').expect("a range");
            let (to, rest) = rest.split_once(' ').expect("its rights");
            let [from, to] = [from, to].map(|n| usize::from_str_radix(n, 16).expect("a number"));
            (from, to, rest.to_string())
        };
        maps.lines().map(range).collect()
    }

    #[test]
    fn what_is_given_back_is_of_our_file_and_never_written_to() {
        let maps = maps();
        let own = std::env::current_exe().expect("/proc is there");
        let mut parts = 0;
        for_each_read_only(|start, length| {
            assert!(length > 0);
            let inside = maps.iter().filter(|(from, to, _)| *from < start + length && start < *to);
            for (.., rest) in inside {
                assert_eq!(rest.as_bytes()[1], b'-', "{rest}");
                assert!(rest.ends_with(own.to_str().expect("its name is text")), "{rest}");
                parts += 1;
            }
        });
        assert!(parts > 1, "{maps:?}");
    }
}
