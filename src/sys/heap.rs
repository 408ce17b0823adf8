//! The program's heap where the C library's is musl's: that one serves threads that fd3 has not, and costs
//! 8 KiB of code and 12 KiB of memory more. Part of the program, and of the library's tests.
//!
//! Blocks come in powers of two, cut from chunks; a freed one is kept for the next of its size. Large ones
//! are mappings of their own and go back to the kernel. When there is no more, the answer is null.
#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

/// The smallest block, and what every block is aligned to.
const BLOCK_MIN: usize = 16;
/// What is larger is a mapping of its own.
const BLOCK_MAX: usize = BLOCK_MIN << (SIZES - 1);
const SIZES: usize = 8;
/// Costs nothing but addresses until it is used.
const CHUNK: usize = 1 << 16;
/// A page is never smaller.
const PAGE_MIN: usize = 4096;

pub struct Heap(UnsafeCell<Blocks>);

struct Blocks {
    /// The freed ones, a list each size: where a block begins is the address of the next, or null.
    free: [*mut u8; SIZES],
    /// The newest chunk, of which this many bytes are not cut yet.
    chunk: *mut u8,
    left: usize,
}

// SAFETY: the program has one thread, and no handler of signals; a test has a heap of its own.
unsafe impl Sync for Heap {}

impl Heap {
    pub const fn new() -> Heap {
        Heap(UnsafeCell::new(Blocks { free: [null_mut(); SIZES], chunk: null_mut(), left: 0 }))
    }
}

// SAFETY: a block belongs to nobody else from its alloc to its dealloc, and holds what `size_of` says.
unsafe impl GlobalAlloc for Heap {
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(size) = block(layout) else { return map(layout) };
        // SAFETY: nobody else has it: there is one thread, and nothing that is called here comes back.
        unsafe { &mut *self.0.get() }.take(size)
    }

    #[inline(never)]
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some(size) = block(layout) {
            // SAFETY: as above.
            let blocks = unsafe { &mut *self.0.get() };
            // SAFETY: the block is nobody's any more, aligned, and has room for an address.
            unsafe { at.cast::<*mut u8>().write(blocks.free[size]) };
            blocks.free[size] = at;
        } else {
            // SAFETY: a mapping as long as this, and nobody's any more. It fails only where it would have
            // to be cut out of a larger one and there are too many: then it stays.
            let _ = unsafe { munmap(at.cast(), layout.size()) };
        }
    }

    #[inline(never)]
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that it is a valid one.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (block(layout), block(wanted)) {
            (None, None) => {
                // SAFETY: a mapping as long as this, and the caller forgets where it was.
                let moved = unsafe { mremap(at.cast(), layout.size(), size, MremapFlags::MAYMOVE) };
                return moved.map_or(null_mut(), <*mut _>::cast);
            }
            (old, new) if old == new => return at,
            _ => {}
        }
        // SAFETY: the caller promises that it is not empty.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            // SAFETY: both have room for the smaller of the two, and only one of them was anybody's.
            unsafe { new.copy_from_nonoverlapping(at, layout.size().min(size)) };
            // SAFETY: the caller promises that it is his.
            unsafe { self.dealloc(at, layout) };
        }
        new
    }
}

/// The size of block that fits, counted from the smallest; none where it is to be a mapping.
fn block(layout: Layout) -> Option<usize> {
    let (size, align) = (layout.size().max(BLOCK_MIN), layout.align());
    let fits = size <= BLOCK_MAX && align <= BLOCK_MIN;
    fits.then(|| (size.next_power_of_two() / BLOCK_MIN).trailing_zeros() as usize)
}

impl Blocks {
    fn take(&mut self, size: usize) -> *mut u8 {
        let first = self.free[size];
        if first.is_null() {
            return self.cut(BLOCK_MIN << size);
        }
        // SAFETY: a freed block begins with the address of the next.
        self.free[size] = unsafe { first.cast::<*mut u8>().read() };
        first
    }

    /// From the chunk's end to its beginning.
    fn cut(&mut self, bytes: usize) -> *mut u8 {
        if bytes > self.left {
            // SAFETY: it is not empty, and its alignment is a power of two.
            let chunk = map(unsafe { Layout::from_size_align_unchecked(CHUNK, BLOCK_MIN) });
            if chunk.is_null() {
                return chunk;
            }
            (self.chunk, self.left) = (chunk, CHUNK);
        }
        self.left -= bytes;
        self.chunk.wrapping_add(self.left)
    }
}

/// Memory from the kernel, which aligns it to pages.
fn map(layout: Layout) -> *mut u8 {
    if layout.align() > PAGE_MIN {
        return null_mut();
    }
    let (rights, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: at an address that the kernel chooses, so that it is nobody's.
    let mapped = unsafe { mmap_anonymous(null_mut(), layout.size(), rights, flags) };
    mapped.map_or(null_mut(), <*mut _>::cast)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program would have: where, how it was asked for, and the byte that fills it.
    struct Owned(*mut u8, Layout, u8);

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("it is a valid one")
    }

    fn fill(owned: &Owned) {
        // SAFETY: the heap gave so many bytes.
        unsafe { owned.0.write_bytes(owned.2, owned.1.size()) };
    }

    fn bytes(owned: &Owned, count: usize) -> &[u8] {
        // SAFETY: the heap gave so many bytes, and they are written.
        unsafe { core::slice::from_raw_parts(owned.0, count) }
    }

    fn alloc(heap: &Heap, layout: Layout) -> *mut u8 {
        // SAFETY: it is not empty.
        unsafe { heap.alloc(layout) }
    }

    fn free(heap: &Heap, owned: &Owned) {
        // SAFETY: it comes from this heap, and the test forgets it.
        unsafe { heap.dealloc(owned.0, owned.1) };
    }

    fn realloc(heap: &Heap, owned: &mut Owned, size: usize) {
        // SAFETY: it comes from this heap, and where it was is forgotten.
        owned.0 = unsafe { heap.realloc(owned.0, owned.1, size) };
        owned.1 = layout(size, owned.1.align());
    }

    fn assert_whole(owned: &Owned, count: usize) {
        assert!(bytes(owned, count).iter().all(|byte| *byte == owned.2), "{:?}", owned.1);
    }

    #[test]
    fn nobody_is_given_what_another_has() {
        let heap = Heap::new();
        let mut all: Vec<Owned> = Vec::new();
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        for turn in 0..100_000 {
            // Small ones mostly, and a few that are mappings.
            let most = 1 << random(if turn % 64 == 0 { 18 } else { 12 });
            let size = 1 + random(most);
            match random(if all.len() < 200 { 5 } else { 3 }) {
                0 if !all.is_empty() => {
                    let owned = all.swap_remove(random(all.len()));
                    assert_whole(&owned, owned.1.size());
                    free(&heap, &owned);
                }
                1 if !all.is_empty() => {
                    let index = random(all.len());
                    let owned = &mut all[index];
                    let kept = owned.1.size().min(size);
                    realloc(&heap, owned, size);
                    assert_whole(owned, kept);
                    fill(owned);
                }
                _ => {
                    let layout = layout(size, 1 << random(13));
                    let owned = Owned(alloc(&heap, layout), layout, turn as u8);
                    fill(&owned);
                    all.push(owned);
                }
            }
            assert!(all.iter().all(|owned| !owned.0.is_null()));
            let aligned = |owned: &Owned| owned.0.addr().is_multiple_of(owned.1.align());
            assert!(all.iter().all(aligned));
        }
        for owned in all {
            assert_whole(&owned, owned.1.size());
            free(&heap, &owned);
        }
    }

    #[test]
    fn what_is_freed_is_given_again() {
        let heap = Heap::new();
        for size in [1, 16, 17, 100, BLOCK_MAX] {
            let owned = Owned(alloc(&heap, layout(size, 1)), layout(size, 1), 7);
            fill(&owned);
            free(&heap, &owned);
            assert_eq!(alloc(&heap, owned.1), owned.0, "{size}");
        }
    }

    #[test]
    fn what_still_fits_stays() {
        let heap = Heap::new();
        let mut owned = Owned(alloc(&heap, layout(33, 8)), layout(33, 8), 7);
        let at = owned.0;
        realloc(&heap, &mut owned, 64);
        assert_eq!(owned.0, at);
        fill(&owned);
        realloc(&heap, &mut owned, 65);
        assert_ne!(owned.0, at);
        assert_whole(&owned, 64);
    }

    #[test]
    fn too_much_is_null() {
        let heap = Heap::new();
        let huge = isize::MAX as usize - PAGE_MIN;
        assert!(alloc(&heap, layout(huge, 1)).is_null());
        assert!(alloc(&heap, layout(1, 2 * PAGE_MIN)).is_null());
        for size in [64, 4 * BLOCK_MAX] {
            let mut owned = Owned(alloc(&heap, layout(size, 1)), layout(size, 1), 7);
            fill(&owned);
            let at = owned.0;
            realloc(&heap, &mut owned, huge);
            assert!(owned.0.is_null());
            // What could not grow is still there.
            assert_whole(&Owned(at, layout(size, 1), 7), size);
        }
    }

    /// In a process of its own: the limit is for all of it.
    #[test]
    fn where_memory_ends_it_is_null_until_some_is_freed() {
        // SAFETY: the child asks the kernel for memory, and calls nothing that another thread could hold.
        let pid = unsafe { libc::fork() };
        assert_ne!(pid, -1);
        if pid == 0 {
            let status = i32::from(!ends_well());
            // SAFETY: ends the child without running anything of the tests'.
            unsafe { libc::_exit(status) };
        }
        let mut status = 0;
        // SAFETY: there is room for the status.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert_eq!(status, 0);
    }

    fn ends_well() -> bool {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        let heap = Heap::new();
        let size = layout(BLOCK_MAX, 1);
        let first = alloc(&heap, size);
        // SAFETY: the limit is read from where it says.
        let limited = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const none) } == 0;
        // The first chunk's rest, and then nothing.
        let count = (0..100).take_while(|_| !alloc(&heap, size).is_null()).count();
        let large = layout(2 * BLOCK_MAX, 1);
        let nothing = alloc(&heap, large).is_null() && alloc(&heap, size).is_null();
        free(&heap, &Owned(first, size, 0));
        let again = alloc(&heap, size) == first;
        limited && count == CHUNK / BLOCK_MAX - 1 && nothing && again
    }
}
