//! One event, one line: `fd3: worker exited slot=2 pid=813 status=SIGSEGV uptime=4.2s`, or the same as a
//! JSON object. Pure: makes the bytes, does not write them.

use alloc::string::String;
use core::fmt::{Display, Write};

use crate::plan::{Level, LogFormat};
use crate::units::Millis;

/// A line in the making.
#[derive(Debug)]
pub struct LogLine {
    format: LogFormat,
    text: String,
}

impl LogLine {
    /// `at_ms` is the time since 1970; only JSON tells it, whoever collects text stamps it.
    pub fn new(format: LogFormat, level: Level, at_ms: u64, message: &str) -> LogLine {
        let mut line = LogLine { format, text: String::with_capacity(128) };
        match format {
            LogFormat::Text => line.add(format_args!("fd3: {}", OneLine(message))),
            LogFormat::Json => {
                let level = match level {
                    Level::Error => "error",
                    Level::Warn => "warn",
                    Level::Notice => "notice",
                    Level::Info => "info",
                };
                let (seconds, ms) = (at_ms / 1000, at_ms % 1000);
                line.add(format_args!("{{\"time\":{seconds}.{ms:03},\"level\":\"{level}\""));
                line.add(format_args!(",\"message\":\"{}\"", Escaped(message)));
            }
        }
        line
    }

    pub fn number(self, name: &str, number: impl Display) -> LogLine {
        self.any_number(name, &number)
    }

    /// One function for every type, as there are many.
    #[inline(never)]
    fn any_number(mut self, name: &str, number: &dyn Display) -> LogLine {
        match self.format {
            LogFormat::Text => self.add(format_args!(" {name}={number}")),
            LogFormat::Json => self.add(format_args!(",\"{}\":{number}", Underscored(name))),
        }
        self
    }

    pub fn span(mut self, name: &str, span: Millis) -> LogLine {
        match self.format {
            LogFormat::Text => self.add(format_args!(" {name}={span}")),
            LogFormat::Json => self.add(format_args!(",\"{}_ms\":{}", Underscored(name), span.0)),
        }
        self
    }

    pub fn text(mut self, name: &str, value: &str) -> LogLine {
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
        match self.format {
            LogFormat::Text if !value.is_empty() && value.bytes().all(plain) => {
                self.add(format_args!(" {name}={value}"));
            }
            LogFormat::Text => self.add(format_args!(" {name}=\"{}\"", Escaped(value))),
            LogFormat::Json => {
                self.add(format_args!(",\"{}\":\"{}\"", Underscored(name), Escaped(value)));
            }
        }
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

    fn add(&mut self, arguments: core::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.text.write_fmt(arguments);
    }
}

/// Text that stays on its line.
struct OneLine<'a>(&'a str);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let plain = |c: char| if c.is_control() { '?' } else { c };
        self.0.chars().try_for_each(|character| f.write_char(plain(character)))
    }
}

/// Text that stays on its line and within its quotes, in both formats (RFC 8259, section 7).
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                '\n' => f.write_str("\\n")?,
                control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
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
        LogLine::new(format, Level::Warn, 1_700_000_000_007, "worker exited")
            .number("slot", 2)
            .text("status", "SIGSEGV")
            .text("error", "cannot execute \"/a b\"\n")
            .text("none", "")
            .span("restart-in", Millis(4_260))
            .finish()
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
}
