//! Dates as HTTP and access logs write them. Pure: seconds since 1970 in.

/// A point in time, taken apart (UTC).
struct Civil {
    year: u64,
    /// From 0.
    month: usize,
    day: u64,
    weekday: usize,
    hour: u64,
    minute: u64,
    second: u64,
}

const DAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
/// The last second of the year 9999: later ones have no four digits.
const LAST: u64 = 253_402_300_799;

/// The proleptic calendar, in eras of 400 years that begin with March.
#[allow(clippy::arithmetic_side_effects)] // No divisor is 0, and all numbers are far below the limits: `LAST`.
fn civil(seconds: u64) -> Civil {
    let seconds = seconds.min(LAST);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let since = days + 719_468;
    let (era, day_of_era) = (since / 146_097, since % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    // From March to January.
    let (month, later) = if month < 10 { (month + 2, 0) } else { (month - 10, 1) };
    Civil {
        year: year_of_era + era * 400 + later,
        month: usize::try_from(month).unwrap_or_default(),
        day,
        // 1970 began with a Thursday.
        weekday: usize::try_from((days + 4) % 7).unwrap_or_default(),
        hour: rest / 3_600,
        minute: rest / 60 % 60,
        second: rest % 60,
    }
}

/// Writes pieces one behind the other; what has no room is left out.
struct Row<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Row<N> {
    fn text(&mut self, text: &[u8]) -> &mut Row<N> {
        let end = self.len.saturating_add(text.len());
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(text);
            self.len = end;
        }
        self
    }

    /// The last `digits` of it.
    fn number(&mut self, number: u64, digits: u32) -> &mut Row<N> {
        for place in (0..digits).rev() {
            let scale = 10_u64.checked_pow(place).unwrap_or(u64::MAX);
            let digit = number.checked_div(scale).unwrap_or_default() % 10;
            self.text(&[b'0'.saturating_add(u8::try_from(digit).unwrap_or_default())]);
        }
        self
    }
}

fn name(names: &[&'static [u8; 3]], at: usize) -> &'static [u8] {
    names.get(at).map_or(b"---", |name| name.as_slice())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7).
pub fn imf(seconds: u64) -> [u8; 29] {
    let at = civil(seconds);
    let mut row = Row { bytes: [b' '; 29], len: 0 };
    row.text(name(&DAYS, at.weekday)).text(b", ").number(at.day, 2).text(b" ");
    row.text(name(&MONTHS, at.month)).text(b" ").number(at.year, 4).text(b" ");
    row.number(at.hour, 2).text(b":").number(at.minute, 2).text(b":").number(at.second, 2);
    row.text(b" GMT");
    row.bytes
}

/// `06/Nov/1994:08:49:37 +0000`, as in the Common Log Format.
pub fn common_log(seconds: u64) -> [u8; 26] {
    let at = civil(seconds);
    let mut row = Row { bytes: [b' '; 26], len: 0 };
    row.number(at.day, 2).text(b"/").text(name(&MONTHS, at.month)).text(b"/").number(at.year, 4);
    row.text(b":").number(at.hour, 2).text(b":").number(at.minute, 2).text(b":");
    row.number(at.second, 2).text(b" +0000");
    row.bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `date -u -d @N '+%a, %d %b %Y %H:%M:%S GMT'`.
    #[test]
    fn dates_are_those_of_date() {
        for (seconds, wanted) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(str::from_utf8(&imf(seconds)), Ok(wanted));
        }
        assert_eq!(&common_log(784_111_777), b"06/Nov/1994:08:49:37 +0000");
    }
}
