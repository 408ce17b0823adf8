//! Takes the command line apart as Perl's Getopt::Long does with its defaults, which is what Server::Starter
//! has: `--port=80`, `--port 80`, `-port 80`, `+port 80`, in any case, shortened as far as it is clear, and
//! among the words of the command, up to `--`.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What an option takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Text,
    Number,
}

/// Sorted: so they are listed where a short form is not clear.
const OPTIONS: [(&str, Takes); 19] = [
    ("auto-restart-interval", Takes::Number),
    ("backlog", Takes::Number),
    ("daemonize", Takes::Nothing),
    ("dir", Takes::Text),
    ("enable-auto-restart", Takes::Nothing),
    ("envdir", Takes::Text),
    ("help", Takes::Nothing),
    ("interval", Takes::Number),
    ("kill-old-delay", Takes::Number),
    ("log-file", Takes::Text),
    ("path", Takes::Text),
    ("pid-file", Takes::Text),
    ("port", Takes::Text),
    ("restart", Takes::Nothing),
    ("signal-on-hup", Takes::Text),
    ("signal-on-term", Takes::Text),
    ("status-file", Takes::Text),
    ("stop", Takes::Nothing),
    ("version", Takes::Nothing),
];

#[derive(Debug, Default)]
pub(super) struct Words {
    options: Vec<(&'static str, Vec<u8>)>,
    pub(super) command: Vec<OsString>,
    /// What cannot be taken, a line each.
    pub(super) wrong: Vec<String>,
}

impl Words {
    pub(super) fn read(words: Vec<OsString>) -> Words {
        let mut read = Words::default();
        let mut rest = words.into_iter();
        while let Some(word) = rest.next() {
            let bytes = word.as_bytes();
            if bytes == b"--" {
                read.command.extend(rest);
                break;
            }
            let option = match bytes {
                [b'-', b'-', option @ ..] | [b'-' | b'+', option @ ..] if bytes != b"-" => option,
                _ => {
                    read.command.push(word);
                    continue;
                }
            };
            if let Err(wrong) = read.option(option, &mut rest) {
                read.wrong.push(wrong);
            }
        }
        read
    }

    fn option(
        &mut self,
        option: &[u8],
        rest: &mut std::vec::IntoIter<OsString>,
    ) -> Result<(), String> {
        // A name has at least one byte, even if that is a `=`.
        let equals = option.iter().skip(1).position(|byte| *byte == b'=').map(|at| at + 1);
        let (name, value) = match equals.and_then(|at| option.split_at_checked(at)) {
            Some((name, value)) => (name, value.get(1..).map(<[u8]>::to_vec)),
            None => (option, None),
        };
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let (name, takes) = find(&name)?;
        if takes == Takes::Nothing {
            if value.is_some() {
                return Err(format!("Option {name} does not take an argument"));
            }
            self.options.push((name, Vec::new()));
            return Ok(());
        }
        let value = match (value, rest.as_slice().first()) {
            (Some(value), _) => Some(value).filter(|value| !value.is_empty()),
            // It stays what it is: a word of the command, or an option.
            (None, Some(next)) if takes == Takes::Number && !is_number(next.as_bytes()) => {
                return Err(not_a_number(&next.to_string_lossy(), name));
            }
            (None, _) => rest.next().map(OsString::into_vec),
        };
        let Some(value) = value else { return Err(format!("Option {name} requires an argument")) };
        if takes == Takes::Number && !is_number(&value) {
            return Err(not_a_number(&String::from_utf8_lossy(&value), name));
        }
        self.options.push((name, value));
        Ok(())
    }

    /// The last one counts.
    pub(super) fn last(&self, name: &str) -> Option<&[u8]> {
        let mut all = self.options.iter().rev();
        all.find(|(known, _)| *known == name).map(|(_, value)| value.as_slice())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.last(name).is_some()
    }

    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        let same = self.options.iter().filter(move |(known, _)| *known == name);
        same.map(|(_, value)| value.as_slice())
    }

    /// The last one as a number; what is less than nothing is nothing.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let mut number = 0_u64;
        let text = self.last(name)?;
        for digit in text.iter().filter(|byte| byte.is_ascii_digit()) {
            number = number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        }
        Some(if text.starts_with(b"-") { 0 } else { number })
    }
}

fn find(name: &str) -> Result<(&'static str, Takes), String> {
    let mut like = Vec::new();
    for (known, takes) in OPTIONS {
        if known == name {
            return Ok((known, takes));
        }
        if known.starts_with(name) && !name.is_empty() {
            like.push((known, takes));
        }
    }
    match like.as_slice() {
        [one] => Ok(*one),
        [] if name.is_empty() => Err("Missing option after -".into()),
        [] => Err(format!("Unknown option: {name}")),
        several => {
            let names: Vec<&str> = several.iter().map(|(known, _)| *known).collect();
            Err(format!("Option {name} is ambiguous ({})", names.join(", ")))
        }
    }
}

fn is_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    let known = digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'_');
    known && digits.iter().any(u8::is_ascii_digit)
}

fn not_a_number(value: &str, name: &str) -> String {
    format!("Value \"{value}\" invalid for option {name} (number expected)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> (String, String, String) {
        let read = Words::read(words.iter().map(Into::into).collect());
        let mut options = Vec::new();
        for (name, value) in &read.options {
            options.push(format!("{name}={}", value.escape_ascii()));
        }
        let command: Vec<_> = read.command.iter().map(|word| word.to_string_lossy()).collect();
        (options.join(" "), command.join(" "), read.wrong.join("; "))
    }

    /// What is typed; the options; the command; what is wrong.
    type Case<'a> = (&'a [&'a str], &'a str, &'a str, &'a str);

    /// What Getopt::Long itself says of the wrong ones is asked in tests/it/starter.
    #[test]
    fn words_are_taken_as_getopt_long_takes_them() {
        let ambiguous = "Option s is ambiguous (signal-on-hup, signal-on-term, status-file, stop); \
                         Unknown option: workers";
        let arguments = "Option daemonize does not take an argument; \
                         Option port requires an argument";
        let numbers = "Value \"x\" invalid for option interval (number expected); \
                       Value \"app\" invalid for option backlog (number expected)";
        let cases: &[Case<'_>] = &[
            (
                &["--port=127.0.0.1:80", "--port", "443", "--path=/a", "--", "app", "--x"],
                "port=127.0.0.1:80 port=443 path=/a",
                "app --x",
                "",
            ),
            (&["app", "--port", "80", "x", "-daemonize"], "port=80 daemonize=", "app x", ""),
            (&["-PO=80", "+inter", "5", "--k=3"], "port=80 interval=5 kill-old-delay=3", "", ""),
            (&["--port", "--", "--", "-"], "port=--", "-", ""),
            (&["-", "--h", "--v"], "help= version=", "-", ""),
            (&["--s", "--workers", "2"], "", "2", ambiguous),
            (&["--port="], "", "", "Option port requires an argument"),
            (&["--daemonize=1", "--port"], "", "", arguments),
            (&["--interval=x", "--backlog", "app"], "", "app", numbers),
            (&["--interval", "-1", "--backlog=1_000"], "interval=-1 backlog=1_000", "", ""),
        ];
        for (words, options, command, wrong) in cases {
            let expected = ((*options).into(), (*command).into(), (*wrong).into());
            assert_eq!(read(words), expected, "{words:?}");
        }
        let read = Words::read(vec!["--backlog=1_000".into(), "--interval=-2".into()]);
        assert_eq!((read.number("backlog"), read.number("interval")), (Some(1000), Some(0)));
    }
}
