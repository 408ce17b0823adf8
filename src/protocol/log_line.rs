//! One event, one line: `fd3: worker exited slot=2 pid=813 status=SIGSEGV uptime=4.2s`, or the same as a
//! JSON object. Pure: makes the bytes, does not write them.

use alloc::string::{String, ToString};
use core::fmt::{Display, Write};

use crate::plan::{Level, LogFormat};
use crate::units::Millis;

/// The most that a pipe takes whole (PIPE_BUF, pipe(7)): a longer line could be torn apart.
pub const LINE_MAX: usize = 4096;
/// Where words that others chose end at the latest; the rest is room for names, numbers and quotes.
const WORDS_END: usize = LINE_MAX - 512;

pub const LEVELS: [Level; 4] = [Level::Error, Level::Warn, Level::Notice, Level::Info];

pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Notice => "notice",
        Level::Info => "info",
    }
}

/// A line in the making.
#[derive(Debug)]
pub struct LogLine {
    format: LogFormat,
    text: String,
}

impl LogLine {
    /// Its message comes next. `at_ms` is the time since 1970; only JSON tells it, whoever collects text
    /// stamps it.
    pub fn new(format: LogFormat, level: Level, at_ms: u64) -> LogLine {
        let mut line = LogLine { format, text: String::with_capacity(128) };
        match format {
            LogFormat::Text => line.text.push_str("fd3: "),
            LogFormat::Json => {
                let level = level_name(level);
                let (seconds, ms) = (at_ms / 1000, at_ms % 1000);
                line.add(format_args!("{{\"time\":{seconds}.{ms:03},\"level\":\"{level}\""));
            }
        }
        line
    }

    #[inline(never)]
    pub fn message(&mut self, message: &str) -> &mut LogLine {
        match self.format {
            LogFormat::Text => self.words(message, one_line),
            LogFormat::Json => {
                self.text.push_str(",\"message\":\"");
                self.words(message, escaped);
                self.text.push('"');
            }
        }
        self
    }

    pub fn number(&mut self, name: &str, number: impl Display) -> &mut LogLine {
        self.any_number(name, &number)
    }

    /// One function for every type, as there are many.
    #[inline(never)]
    fn any_number(&mut self, name: &str, number: &dyn Display) -> &mut LogLine {
        match self.format {
            LogFormat::Text => self.add(format_args!(" {name}={number}")),
            LogFormat::Json => self.add(format_args!(",\"{}\":{number}", Underscored(name))),
        }
        self
    }

    #[inline(never)]
    pub fn span(&mut self, name: &str, span: Millis) -> &mut LogLine {
        match self.format {
            LogFormat::Text => self.add(format_args!(" {name}={span}")),
            LogFormat::Json => self.add(format_args!(",\"{}_ms\":{}", Underscored(name), span.0)),
        }
        self
    }

    pub fn text(&mut self, name: &str, value: impl Display) -> &mut LogLine {
        self.any_text(name, &value)
    }

    /// As above.
    #[inline(never)]
    fn any_text(&mut self, name: &str, value: &dyn Display) -> &mut LogLine {
        let value = &*value.to_string();
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        match self.format {
            LogFormat::Text if !value.is_empty() && value.bytes().all(plain) => {
                self.add(format_args!(" {name}="));
                self.words(value, one_line);
                return self;
            }
            LogFormat::Text => self.add(format_args!(" {name}=\"")),
            LogFormat::Json => self.add(format_args!(",\"{}\":\"", Underscored(name))),
        }
        self.words(value, escaped);
        self.text.push('"');
        self
    }

    /// The line with its end.
    pub fn finish(mut self) -> String {
        self.text.push_str(match self.format {
            LogFormat::Text => "\n",
            LogFormat::Json => "}\n",
        });
        self.text
    }

    /// As much of it as there is room for.
    fn words(&mut self, words: &str, one: fn(char, &mut String)) {
        for character in words.chars() {
            let end = self.text.len();
            one(character, &mut self.text);
            if self.text.len() > WORDS_END {
                return self.text.truncate(end);
            }
        }
    }

    fn add(&mut self, arguments: core::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.text.write_fmt(arguments);
    }
}

/// Text that stays on its line.
fn one_line(character: char, text: &mut String) {
    text.push(if character.is_control() { '?' } else { character });
}

/// Text that stays on its line and within its quotes, in both formats (RFC 8259, section 7).
pub fn escaped(character: char, text: &mut String) {
    match character {
        '"' | '\\' => {
            text.push('\\');
            text.push(character);
        }
        '\n' => text.push_str("\\n"),
        control if control.is_control() => {
            // Writing to a String does not fail.
            let _ = write!(text, "\\u{:04x}", u32::from(control));
        }
        other => text.push(other),
    }
}

/// `restart-in` as a JSON name: `restart_in`.
struct Underscored<'a>(&'a str);

impl Display for Underscored<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(if c == '-' { '_' } else { c }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(format: LogFormat) -> String {
        let mut line = LogLine::new(format, Level::Warn, 1_700_000_000_007);
        line.message("worker exited")
            .number("slot", 2)
            .text("status", "SIGSEGV")
            .text("error", "cannot execute \"/a b\"\n")
            .text("none", "")
            .span("restart-in", Millis(4_260));
        line.finish()
    }

    #[test]
    fn a_line_is_for_people_or_for_machines() {
        assert_eq!(
            line(LogFormat::Text),
            "fd3: worker exited slot=2 status=SIGSEGV error=\"cannot execute \\\"/a b\\\"\\n\" \
             none=\"\" restart-in=4.2s\n"
        );
        assert_eq!(
            line(LogFormat::Json),
            "{\"time\":1700000000.007,\"level\":\"warn\",\"message\":\"worker exited\",\"slot\":2,\
             \"status\":\"SIGSEGV\",\"error\":\"cannot execute \\\"/a b\\\"\\n\",\"none\":\"\",\
             \"restart_in_ms\":4260}\n"
        );
    }

    #[test]
    fn a_line_has_its_end_whatever_it_tells() {
        for words in ["é".repeat(5_000), "\u{1}".repeat(5_000), "\"".repeat(5_000)] {
            for (format, end) in
                [(LogFormat::Text, "\" slot=2\n"), (LogFormat::Json, "\"slot\":2}\n")]
            {
                let mut line = LogLine::new(format, Level::Warn, 0);
                line.message(&words).text("address", &words).number("slot", 2);
                let line = line.finish();
                assert!(line.len() <= LINE_MAX && line.ends_with(end), "{line}");
                assert_eq!(line.matches('\n').count(), 1);
            }
        }
    }
}
