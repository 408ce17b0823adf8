//! Fields that go on, each as `NAME: VALUE`. Where they stand so already and beside each other they are copied at once.

use alloc::vec::Vec;

use super::super::head::{Field, Name, elements};

/// Appends the fields that `goes_on`.
pub fn fields(fields: &[Field], bytes: &[u8], goes_on: impl Fn(&Field) -> bool, out: &mut Vec<u8>) {
    let mut run: Option<(u32, u32)> = None;
    for field in fields.iter().filter(|field| goes_on(field)) {
        let begins = field.name.start;
        let ends = field.value.end;
        run = match run {
            Some((start, end)) if is_plain(field, bytes) && end.checked_add(2) == Some(begins) => {
                Some((start, ends))
            }
            before => {
                flush(before, bytes, out);
                if is_plain(field, bytes) {
                    Some((begins, ends))
                } else {
                    line(field.name.of(bytes), &[field.value.of(bytes)], out);
                    None
                }
            }
        };
    }
    flush(run, bytes, out);
}

/// Whether it stands there as it is written here. What is behind the value is seen by where the next one begins.
fn is_plain(field: &Field, bytes: &[u8]) -> bool {
    field.name.end.checked_add(2) == Some(field.value.start)
        && bytes.get(field.name.end as usize..field.value.start as usize) == Some(b": ")
}

fn flush(run: Option<(u32, u32)>, bytes: &[u8], out: &mut Vec<u8>) {
    if let Some((start, end)) = run {
        out.extend_from_slice(bytes.get(start as usize..end as usize).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends one field; its value in pieces.
pub fn line(name: &[u8], value: &[&[u8]], out: &mut Vec<u8>) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    for piece in value {
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b"\r\n");
}

pub fn number_line(name: &[u8], number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    line(name, &[decimal(number, &mut digits)], out);
}

/// A number's digits.
pub fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    for (at, place) in digits.iter_mut().enumerate().rev() {
        // A digit fits.
        *place = b'0'.saturating_add(u8::try_from(number % 10).unwrap_or_default());
        number /= 10;
        start = at;
        if number == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

/// Whether Connection says that this field ends here. Only those may be said that nothing here goes by: nobody can
/// have Host or X-Forwarded-For taken away.
pub fn is_named(field: &Field, all: &[Field], bytes: &[u8]) -> bool {
    let name = field.name.of(bytes);
    field.known == Name::Other
        && all
            .iter()
            .filter(|field| field.known == Name::Connection)
            .flat_map(|field| elements(field.value.of(bytes)))
            .any(|option| option.eq_ignore_ascii_case(name))
}
