//! The environment that this process began with. Not by std, which takes a lock, and with it brings what
//! only threads need (2 KiB).

use core::ffi::{CStr, c_char};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// Every `NAME=VALUE`. What has no name is none.
pub fn variables() -> impl Iterator<Item = &'static CStr> {
    // SAFETY: the C library sets it before main, and nothing of ours changes it.
    let mut place = unsafe { environ };
    let all = core::iter::from_fn(move || {
        if place.is_null() {
            return None;
        }
        // SAFETY: the list goes on until its null, which is not passed.
        let variable = unsafe { place.read() };
        if variable.is_null() {
            return None;
        }
        place = place.wrapping_add(1);
        // SAFETY: each of them points to a string that ends with a NUL, and that nothing of ours changes.
        Some(unsafe { CStr::from_ptr(variable) })
    });
    all.filter(|variable| variable.to_bytes().iter().skip(1).any(|byte| *byte == b'='))
}

/// The value of the first one of this name.
pub fn variable(name: &str) -> Option<&'static [u8]> {
    variables()
        .find_map(|variable| variable.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    #[test]
    fn it_is_what_std_knows() {
        let std: Vec<Vec<u8>> = std::env::vars_os()
            .map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='))
            .collect();
        let ours: Vec<&[u8]> = variables().map(CStr::to_bytes).collect();
        assert_eq!(ours, std);
        let path = std::env::var_os("PATH").expect("tests have one");
        assert_eq!(variable("PATH"), Some(path.as_bytes()));
        assert_eq!(variable("PAT"), None);
    }
}
