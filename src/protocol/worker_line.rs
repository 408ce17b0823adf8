//! A line of a worker's, as fd3 passes it on: `worker slot=2 pid=813: its words`, or the same as a JSON object. Pure:
//! cuts bytes into lines and makes other bytes of them, reads and writes none.
//!
//! None is longer than what a pipe takes whole ([`LINE_MAX`]), so that no other writer's line can get in between: a
//! longer one is cut into pieces, each of which is told whose it is.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::log_line::{LINE_MAX, escaped};
use crate::plan::LogFormat;
use crate::units::{Pid, SlotId};

/// The most bytes of a worker's in one line; the rest is room for whose they are.
pub const PIECE_MAX: usize = LINE_MAX - 128;

/// Where a worker wrote it, and where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    Stdout,
    Stderr,
}

pub const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

pub fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

/// What stands around the words of one worker.
#[derive(Debug)]
pub struct Frame {
    format: LogFormat,
    before: String,
    after: String,
}

impl Frame {
    /// `at_ms` is the time since 1970; only JSON tells it, and the stream, as in the log.
    pub fn new(format: LogFormat, slot: SlotId, pid: Pid, stream: Stream, at_ms: u64) -> Frame {
        let (before, after) = match format {
            LogFormat::Text => (format!("worker slot={slot} pid={pid}: "), String::new()),
            LogFormat::Json => {
                let (seconds, ms, stream) = (at_ms / 1000, at_ms % 1000, stream_name(stream));
                let before =
                    format!("{{\"time\":{seconds}.{ms:03},\"level\":\"info\",\"message\":\"");
                (before, format!("\",\"slot\":{slot},\"pid\":{pid},\"stream\":\"{stream}\""))
            }
        };
        Frame { format, before, after }
    }

    /// Adds to `out` the first line of what a worker wrote, or as much of it as goes into one: of how many bytes of
    /// `held` it is made. 0: no line is whole yet. `at_end`: nothing follows, and what there is is a line.
    pub fn add(&self, held: &[u8], at_end: bool, out: &mut Vec<u8>) -> usize {
        let end = held.iter().take(PIECE_MAX + 1).position(|byte| *byte == b'\n');
        let words = match end {
            Some(end) => held.get(..end).unwrap_or_default(),
            None if held.len() > PIECE_MAX => {
                whole_characters(held.get(..PIECE_MAX).unwrap_or(held))
            }
            None if at_end && !held.is_empty() => held,
            None => return 0,
        };
        out.extend_from_slice(self.before.as_bytes());
        let used = match self.format {
            LogFormat::Text => {
                out.extend_from_slice(words);
                words.len()
            }
            LogFormat::Json => add_escaped(words, out),
        };
        out.extend_from_slice(self.after.as_bytes());
        let ends = held.get(used) == Some(&b'\n');
        if self.format == LogFormat::Json {
            let whole = ends || at_end && used == held.len();
            out.extend_from_slice(if whole { b"}" } else { b",\"partial\":true}" });
        }
        out.push(b'\n');
        used + usize::from(ends)
    }
}

/// Without the beginning of a character that is cut; what is no UTF-8 is cut anywhere.
fn whole_characters(words: &[u8]) -> &[u8] {
    for back in 1..=4 {
        let Some(at) = words.len().checked_sub(back) else { break };
        match words.get(at..) {
            Some([0b1000_0000..=0b1011_1111, ..]) => {}
            Some([first @ 0b1100_0000..=0xff, ..]) if back < length_of_character(*first) => {
                return words.get(..at).unwrap_or(words);
            }
            _ => break,
        }
    }
    words
}

fn length_of_character(first: u8) -> usize {
    first.leading_ones() as usize
}

/// As many as there is room for: of how many bytes. JSON is UTF-8: what is none becomes U+FFFD.
fn add_escaped(words: &[u8], out: &mut Vec<u8>) -> usize {
    let (mut used, mut text, mut added) = (0, String::new(), 0);
    for chunk in words.utf8_chunks() {
        let invalid = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        for (character, length) in (chunk.valid().chars().map(|one| (one, one.len_utf8())))
            .chain(invalid.map(|one| (one, chunk.invalid().len())))
        {
            text.clear();
            escaped(character, &mut text);
            if added + text.len() > PIECE_MAX {
                return used;
            }
            out.extend_from_slice(text.as_bytes());
            (used, added) = (used + length, added + text.len());
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn frame(format: LogFormat, stream: Stream) -> Frame {
        Frame::new(format, SlotId(2), Pid(813), stream, 1_700_000_000_007)
    }

    /// All lines that are made of this, and what is left.
    fn lines(frame: &Frame, mut held: &[u8], at_end: bool) -> (Vec<Vec<u8>>, usize) {
        let mut all = vec![];
        loop {
            let mut line = vec![];
            match frame.add(held, at_end, &mut line) {
                0 => return (all, held.len()),
                used => held = &held[used..],
            }
            assert!(line.len() <= LINE_MAX, "{}", line.len());
            assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            assert_eq!(line.pop(), Some(b'\n'));
            all.push(line);
        }
    }

    fn text(held: &[u8], at_end: bool) -> (Vec<Vec<u8>>, usize) {
        let (mut all, left) = lines(&frame(LogFormat::Text, Stream::Stdout), held, at_end);
        for line in &mut all {
            assert!(line.starts_with(b"worker slot=2 pid=813: "), "{}", line.escape_ascii());
            line.drain(..b"worker slot=2 pid=813: ".len());
        }
        (all, left)
    }

    #[test]
    fn each_line_is_told_whose_it_is_and_half_of_one_waits() {
        assert_eq!(text(b"", false), (vec![], 0));
        assert_eq!(text(b"", true), (vec![], 0));
        assert_eq!(text(b"a", false), (vec![], 1));
        assert_eq!(text(b"a", true), (vec![b"a".to_vec()], 0));
        assert_eq!(text(b"\n\na\nb", false), (vec![vec![], vec![], b"a".to_vec()], 1));
        // Bytes stay what they are.
        assert_eq!(text(b"\0\xff\x1b[1m\r\n", false).0, [b"\0\xff\x1b[1m\r"]);
    }

    #[test]
    fn a_long_line_is_cut_and_nothing_of_it_is_lost() {
        for length in [PIECE_MAX - 1, PIECE_MAX, PIECE_MAX + 1, 3 * PIECE_MAX + 7] {
            let mut held = vec![b'x'; length];
            assert_eq!(text(&held, false).0.len(), (length - 1) / PIECE_MAX, "{length}");
            held.push(b'\n');
            let (all, left) = text(&held, false);
            assert_eq!((all.len(), left), (length.div_ceil(PIECE_MAX), 0), "{length}");
            assert_eq!(all.concat(), vec![b'x'; length]);
        }
    }

    #[test]
    fn no_character_is_cut_and_what_is_none_may_be() {
        for character in ["é", "€", "🦀"] {
            for offset in 0..4 {
                let held = ["x".repeat(offset), character.repeat(PIECE_MAX)].concat();
                let (all, left) = text(held.as_bytes(), true);
                assert_eq!(left, 0);
                assert!(
                    all.iter().all(|line| str::from_utf8(line).is_ok()),
                    "{character} {offset}"
                );
                assert_eq!(all.concat(), held.as_bytes());
            }
        }
        for byte in [0x80, 0xbf, 0xc3, 0xf0, 0xff] {
            let held = vec![byte; 2 * PIECE_MAX + 1];
            assert_eq!(text(&held, true).0.concat(), held, "{byte}");
        }
    }

    #[test]
    fn json_is_json_whatever_a_worker_writes() {
        let stderr = frame(LogFormat::Json, Stream::Stderr);
        let (all, left) = lines(&stderr, b"it's \"so\"\t\\ \xff\n", false);
        let expected = "{\"time\":1700000000.007,\"level\":\"info\",\"message\":\"it's \\\"so\\\"\\u0009\
                        \\\\ \u{fffd}\",\"slot\":2,\"pid\":813,\"stream\":\"stderr\"}";
        assert_eq!((all, left), (vec![expected.as_bytes().to_vec()], 0));
        for byte in [b'x', b'"', 0, 0xff, 0xc3] {
            let mut held = vec![byte; PIECE_MAX + 1];
            held.push(b'\n');
            let (all, left) = lines(&frame(LogFormat::Json, Stream::Stdout), &held, false);
            assert_eq!(left, 0);
            let partial =
                |line: &&Vec<u8>| line.ends_with(b",\"stream\":\"stdout\",\"partial\":true}");
            assert!(all.len() > 1);
            assert_eq!(all.iter().filter(partial).count(), all.len() - 1, "{byte}");
            assert!(all.last().is_some_and(|line| line.ends_with(b"\"stdout\"}")), "{byte}");
        }
    }
}
