//! Spans of time as people write them: `100ms`, `30s`, `5m`, `2h`, `1d`.

use super::whole;
use crate::units::Millis;

/// What [`parse`] takes, for messages.
pub const ACCEPTED: &str = "a number with ms, s, m, h or d (100ms, 30s, 5m), at most 366d";
/// Nothing here is to last longer.
const MOST: Millis = Millis::seconds(366 * 86_400);

/// A whole number with its unit; a bare number is seconds. `None` for anything else.
pub fn parse(text: &str) -> Option<Millis> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let span = Millis(whole(number.as_bytes(), 10)?.checked_mul(factor)?);
    (span <= MOST).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_unit() {
        let table = [
            ("0ms", Some(0)),
            ("100ms", Some(100)),
            ("8", Some(8_000)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("2h", Some(7_200_000)),
            ("1d", Some(86_400_000)),
            ("", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("+1s", None),
            ("1 s", None),
            ("1S", None),
            ("1sec", None),
            ("400d", None),
            ("99999999999999999999s", None),
            ("18446744073709551615d", None),
            ("1é", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected.map(Millis), "{text}");
        }
    }
}
