//! `--env` and `--env-file`: `NAME=VALUE`, one or a line each, taken as `docker run --env-file` takes them. A value is what
//! stands behind the first `=`, to the end of the line: no quotes, no escapes, nothing is expanded.
#![forbid(unsafe_code)]

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Variables in all files together.
pub const VARIABLES_MAX: usize = 4096;
/// Some editors begin a file with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Variables as `NAME=VALUE`, sorted by name, each once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<CString>);

/// A line that cannot be taken. Never shows what it says: it may be a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// Counts from 1.
    pub line: usize,
    pub wrong: String,
}

impl Environment {
    /// Adds what a file says. A variable that is known already gets its new value.
    #[inline(never)]
    pub fn add(&mut self, file: &[u8]) -> Result<(), Wrong> {
        let file = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
        for (line, text) in (1..).zip(file.split(|byte| *byte == b'\n')) {
            let text = text.strip_suffix(b"\r").unwrap_or(text).trim_ascii_start();
            if !text.is_empty() && !text.starts_with(b"#") {
                self.set(text).map_err(|wrong| Wrong { line, wrong })?;
            }
        }
        Ok(())
    }

    /// Adds one `NAME=VALUE`.
    pub fn set(&mut self, text: &[u8]) -> Result<(), String> {
        let name = name(text);
        if name.len() == text.len() {
            return Err("has no \"=\"; accepted: NAME=VALUE".into());
        }
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            let wrong = "what stands before \"=\" is no name; accepted: visible ASCII, no blanks";
            return Err(wrong.into());
        }
        let place = self.place(name);
        let variable = CString::new(text).map_err(|_| String::from("holds a NUL byte"))?;
        match place {
            Ok(place) => self.0[place] = variable,
            Err(_) if self.0.len() == VARIABLES_MAX => {
                return Err(format!("one too many; accepted: {VARIABLES_MAX} variables"));
            }
            Err(place) => self.0.insert(place, variable),
        }
        Ok(())
    }

    /// The value of a variable.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        let variable = self.0.get(self.place(name).ok()?)?;
        variable.to_bytes().get(name.len() + 1..)
    }

    /// All variables.
    pub fn into_strings(self) -> Vec<CString> {
        self.0
    }

    fn place(&self, wanted: &[u8]) -> Result<usize, usize> {
        self.0.binary_search_by(|variable| name(variable.to_bytes()).cmp(wanted))
    }
}

/// What stands before the first `=`; all, if there is none.
pub fn name(variable: &[u8]) -> &[u8] {
    variable.split(|byte| *byte == b'=').next().unwrap_or(variable)
}

/// Names alone: values may be secrets.
impl core::fmt::Debug for Environment {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let names =
            self.0.iter().map(|variable| String::from_utf8_lossy(name(variable.to_bytes())));
        f.debug_set().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the files say, one after the other.
    fn read(files: &[&[u8]]) -> Result<Vec<Vec<u8>>, (usize, String)> {
        let mut all = Environment::default();
        for file in files {
            all.add(file).map_err(|wrong| (wrong.line, wrong.wrong))?;
        }
        Ok(all.into_strings().into_iter().map(CString::into_bytes).collect())
    }

    fn variables(all: &[&[u8]]) -> Result<Vec<Vec<u8>>, (usize, String)> {
        Ok(all.iter().map(|variable| variable.to_vec()).collect())
    }

    #[test]
    fn a_value_is_taken_as_it_stands() {
        let table: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b"\n\n \t\r\n", &[]),
            (b"# A=1\n \t# B=2\n#\n", &[]),
            (b"A=1", &[b"A=1"]),
            (b"A=1\nB=2\n", &[b"A=1", b"B=2"]),
            (b"A=1\r\nB=2\r\n", &[b"A=1", b"B=2"]),
            (b" \t A=1", &[b"A=1"]),
            (b"A=", &[b"A="]),
            (b"A= 1 # no comment \t", &[b"A= 1 # no comment \t"]),
            (b"A=b=c==", &[b"A=b=c=="]),
            (b"A=\"x y\"\nB='z'", &[b"A=\"x y\"", b"B='z'"]),
            (b"A=\\n$HOME`id`\\", &[b"A=\\n$HOME`id`\\"]),
            (b"A=\xff\xfe\x1b\r\r\n", &[b"A=\xff\xfe\x1b\r"]),
            (b"spring.main.banner-mode=off\n_1=x", &[b"_1=x", b"spring.main.banner-mode=off"]),
            (b"\xef\xbb\xbfA=1", &[b"A=1"]),
        ];
        for (file, expected) in table {
            assert_eq!(read(&[file]), variables(expected), "{}", file.escape_ascii());
        }
    }

    #[test]
    fn the_later_one_wins_in_a_file_and_between_files() {
        let expected = variables(&[b"A=3", b"AB=1", b"B=4"]);
        assert_eq!(read(&[b"B=1\nA=1\nAB=1\nA=2\n", b"B=4\nA=3"]), expected);
        let mut all = Environment::default();
        all.add(b"B=1\nA=\nB=2=3").expect("all is well");
        assert_eq!(all.get(b"A"), Some(&b""[..]));
        assert_eq!(all.get(b"B"), Some(&b"2=3"[..]));
        assert_eq!((all.get(b"C"), all.get(b"")), (None, None));
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_alone() {
        let (no, name) = ("has no \"=\"", "what stands before \"=\" is no name");
        let table: &[(&[u8], usize, &str)] = &[
            (b"secret", 1, no),
            (b"A=1\n\n# \nsecret\nB", 4, no),
            (b"A=-----BEGIN KEY-----\r\nsecret\r\n", 2, no),
            (b"=secret", 1, name),
            (b" =secret", 1, name),
            (b"export A=secret", 1, name),
            (b"A =secret", 1, name),
            (b"secr\xe9t=1", 1, name),
            (b"A=1\n\xef\xbb\xbfB=1", 2, name),
            (b"A\0=secret", 1, name),
            (b"A=1\nB=sec\0ret", 2, "holds a NUL byte"),
        ];
        for (file, line, wrong) in table {
            let (at, told) = read(&[file]).expect_err("it is bad");
            assert_eq!(at, *line, "{}: {told}", file.escape_ascii());
            assert!(told.starts_with(wrong) && !told.contains("secr"), "{told}");
        }
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let mut file = Vec::new();
        for number in 0..VARIABLES_MAX {
            file.extend_from_slice(format!("N{number}=x\n").as_bytes());
        }
        assert_eq!(read(&[&file]).map(|all| all.len()), Ok(VARIABLES_MAX));
        // One that is known already needs no room.
        assert_eq!(read(&[&file, b"N7=y"]).map(|all| all.len()), Ok(VARIABLES_MAX));
        let (line, wrong) = read(&[&file, b"N7=y\nNEW=secret"]).expect_err("one too many");
        assert_eq!((line, wrong.as_str()), (2, "one too many; accepted: 4096 variables"));
    }

    #[test]
    fn values_are_not_shown() {
        let mut all = Environment::default();
        all.add(b"A=secret").expect("all is well");
        assert_eq!(format!("{all:?}"), "{\"A\"}");
    }
}
