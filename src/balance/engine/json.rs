//! One text out of a JSON object (RFC 8259), if all of it is JSON. Pure.

/// How deep objects and arrays may lie in each other.
const DEPTH_MAX: u32 = 64;

/// The value of the last field of this name of the outermost object, where it is a text without escapes.
pub(super) fn text_of(json: &[u8], name: &str) -> Option<String> {
    let mut reader = Reader { rest: json, depth: 0 };
    let mut found = None;
    reader.blanks();
    reader.object(|reader, key| {
        let before = reader.rest;
        reader.value()?;
        if key.eq_ignore_ascii_case(name.as_bytes()) {
            let text = Reader { rest: before, depth: 0 }.text();
            found = text.and_then(|text| String::from_utf8(text.to_vec()).ok());
        }
        Some(())
    })?;
    reader.blanks();
    found.filter(|_| reader.rest.is_empty())
}

struct Reader<'a> {
    rest: &'a [u8],
    depth: u32,
}

impl<'a> Reader<'a> {
    fn blanks(&mut self) {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn skip(&mut self, what: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(what)?;
        Some(())
    }

    fn value(&mut self) -> Option<()> {
        match self.rest.first()? {
            b'{' => self.object(|reader, _| reader.value()),
            b'[' => self.array(),
            b'"' => self.text().map(drop),
            b't' => self.skip(b"true"),
            b'f' => self.skip(b"false"),
            b'n' => self.skip(b"null"),
            _ => self.number(),
        }
    }

    fn object(&mut self, mut each: impl FnMut(&mut Self, &'a [u8]) -> Option<()>) -> Option<()> {
        self.list(b"{", b"}", |reader| {
            let key = reader.text()?;
            reader.blanks();
            reader.skip(b":")?;
            reader.blanks();
            each(reader, key)
        })
    }

    fn array(&mut self) -> Option<()> {
        self.list(b"[", b"]", Reader::value)
    }

    fn list(
        &mut self,
        open: &[u8],
        close: &[u8],
        mut each: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.skip(open)?;
        self.depth = self.depth.checked_add(1).filter(|depth| *depth <= DEPTH_MAX)?;
        self.blanks();
        if self.skip(close).is_none() {
            loop {
                self.blanks();
                each(self)?;
                self.blanks();
                if self.skip(b",").is_none() {
                    self.skip(close)?;
                    break;
                }
            }
        }
        self.depth = self.depth.saturating_sub(1);
        Some(())
    }

    /// What is between its quotes.
    fn text(&mut self) -> Option<&'a [u8]> {
        self.skip(b"\"")?;
        let all = self.rest;
        let mut len = 0;
        loop {
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return all.get(..len);
                }
                [b'\\', _, rest @ ..] => (self.rest, len) = (rest, len + 2),
                [0..=0x1f, ..] | [b'\\'] | [] => return None,
                [_, rest @ ..] => (self.rest, len) = (rest, len + 1),
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let len = self.rest.iter().take_while(|byte| is_part(byte)).count();
        let (number, rest) = self.rest.split_at_checked(len)?;
        core::str::from_utf8(number).ok()?.parse::<f64>().ok()?;
        self.rest = rest;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(json: &str) -> Option<String> {
        text_of(json.as_bytes(), "state")
    }

    #[test]
    fn the_outermost_state_is_found_in_json_alone() {
        let is = |text: &str| Some(text.to_string());
        for (json, expected) in [
            (r#"{"state":"healthy"}"#, is("healthy")),
            (" { \"a\" : [1, -2.5e3, true, null, {}] , \"State\" : \"x\" } \n", is("x")),
            (r#"{"state":"a","state":"b"}"#, is("b")),
            (r#"{"in":{"state":"x"}}"#, None),
            (r#"{"a":"\"state\":\"x\"","state":"\\"}"#, is("\\\\")),
            (r#"{"state":true}"#, None),
            (r#"{"state":"x"} x"#, None),
            (r#"{"state":"x""#, None),
            (r#"{"state":"x",}"#, None),
            (r#"{"state" "x"}"#, None),
            (r#"["state"]"#, None),
            ("", None),
            ("{}", None),
        ] {
            assert_eq!(state(json), expected, "{json}");
        }
        let deep = format!("{{\"a\":{}{},\"state\":\"x\"}}", "[".repeat(64), "]".repeat(64));
        assert_eq!(state(&deep), None);
        let fine = format!("{{\"a\":{}{},\"state\":\"x\"}}", "[".repeat(63), "]".repeat(63));
        assert_eq!(state(&fine), is("x"));
    }
}
