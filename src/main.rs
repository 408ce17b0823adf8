//! The program: hands the command line over, returns the exit status.
#![no_main]

#[path = "sys/entry.rs"]
mod entry;
#[cfg(target_env = "musl")]
#[path = "sys/heap.rs"]
mod heap;
#[cfg(panic = "abort")]
#[path = "sys/no_unwind.rs"]
mod no_unwind;

#[cfg(target_env = "musl")]
#[global_allocator]
static HEAP: heap::Heap = heap::Heap::new();
