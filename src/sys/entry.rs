//! The symbol that the C library calls. Not std's: its runtime aborts when 0 to 2 are closed and there is
//! no /dev/null, and ignores SIGPIPE. Part of the program, not of the library.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

/// With musl std::env::args() is empty without std's runtime: the words come from here.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    let count = usize::try_from(count).unwrap_or(0);
    // The first one is the name that fd3 was called by.
    let mut all: Vec<OsString> = Vec::new();
    for index in 0..count {
        // SAFETY: the C library passes `count` pointers.
        let word = unsafe { words.add(index) };
        // SAFETY: as above.
        let word = unsafe { *word };
        // SAFETY: each of them points to a string that ends with a NUL and is never freed.
        let word = unsafe { CStr::from_ptr(word) };
        all.push(OsStr::from_bytes(word.to_bytes()).to_owned());
    }
    c_int::from(fd3::cli::main(all))
}
