//! A quick look whether a value is JSON in one line, as nearly all values are. Where it is not sure it says no, and
//! serde_json is asked, which takes three times as long.

/// Deeper nesting is left to serde_json.
const DEPTH_MAX: u32 = 64;

/// Whether these bytes are surely one JSON value (RFC 8259) without a line break.
pub(crate) fn is_json_line(bytes: &[u8]) -> bool {
    let mut text = Text { bytes, at: 0 };
    text.value(DEPTH_MAX) && {
        text.space();
        text.at == bytes.len()
    }
}

/// What is looked at, and how far. Each method says whether it found what it is named after, and passes it.
struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Text<'_> {
    fn value(&mut self, depth: u32) -> bool {
        self.space();
        match self.next() {
            Some(b'"') => self.rest_of_string(),
            Some(b'{') => depth > 0 && self.rest_of_object(depth - 1),
            Some(b'[') => depth > 0 && self.rest_of_array(depth - 1),
            Some(b't') => self.word(b"rue"),
            Some(b'f') => self.word(b"alse"),
            Some(b'n') => self.word(b"ull"),
            Some(b'-') => self.next().is_some_and(|first| self.rest_of_number(first)),
            Some(first) => self.rest_of_number(first),
            None => false,
        }
    }

    fn rest_of_object(&mut self, depth: u32) -> bool {
        self.space();
        if self.passes(b'}') {
            return true;
        }
        loop {
            self.space();
            if !(self.passes(b'"') && self.rest_of_string()) {
                return false;
            }
            self.space();
            if !(self.passes(b':') && self.value(depth)) {
                return false;
            }
            self.space();
            match self.next() {
                Some(b',') => {}
                other => return other == Some(b'}'),
            }
        }
    }

    fn rest_of_array(&mut self, depth: u32) -> bool {
        self.space();
        if self.passes(b']') {
            return true;
        }
        loop {
            if !self.value(depth) {
                return false;
            }
            self.space();
            match self.next() {
                Some(b',') => {}
                other => return other == Some(b']'),
            }
        }
    }

    fn rest_of_string(&mut self) -> bool {
        loop {
            self.plain_text();
            match self.next() {
                Some(b'"') => return true,
                Some(b'\\') if self.next().is_some_and(|escape| b"\"\\/bfnrt".contains(&escape)) => {}
                _ => return false,
            }
        }
    }

    /// Passes bytes that mean nothing in a string, eight at a time.
    fn plain_text(&mut self) {
        while let Some(eight) = self.bytes.get(self.at..self.at + 8).and_then(|eight| eight.try_into().ok()) {
            let word = u64::from_le_bytes(eight);
            let marked = zero_bytes(word ^ repeated(b'"'))
                | zero_bytes(word ^ repeated(b'\\'))
                | zero_bytes(word & repeated(0xe0));
            // The lowest mark is right; one above it may be a carry.
            self.at += (marked.trailing_zeros() / 8) as usize;
            if marked != 0 {
                return;
            }
        }
        while self.bytes.get(self.at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
            self.at += 1;
        }
    }

    fn rest_of_number(&mut self, first: u8) -> bool {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return false,
        }
        if self.passes(b'.') && !self.some_digits() {
            return false;
        }
        if self.passes(b'e') || self.passes(b'E') {
            let _ = self.passes(b'+') || self.passes(b'-');
            return self.some_digits();
        }
        true
    }

    fn some_digits(&mut self) -> bool {
        let from = self.at;
        self.digits();
        self.at > from
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t')) {
            self.at += 1;
        }
    }

    fn word(&mut self, rest: &[u8]) -> bool {
        let found = self.bytes[self.at..].starts_with(rest);
        self.at += rest.len();
        found
    }

    fn passes(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte
    }
}

const fn repeated(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Marks the highest bit of the lowest byte that is zero.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeated(1)) & !word & repeated(0x80)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    fn is_json(bytes: &[u8]) -> bool {
        serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(|number| serde_json::json!(number)),
            "[ -~äß日\"\\\\\n]{0,30}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::hash_map("[a-z\"]{0,9}", inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn knows_json_and_what_is_nearly_json() {
        let right: [&str; 12] = [
            "{}",
            " [ ] ",
            r#"{"a" : [1, -0.5e+10, 0, true, false, null, "x\n\"\\"], "b":{"c":""}}"#,
            "0",
            "-1",
            "10.25E-3",
            "\"\"",
            "\"1234567\"",
            "\"12345678\"",
            "\"123456789\\t0123456789\"",
            "\"äöü\"",
            "null",
        ];
        let wrong: [&str; 26] = [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "-",
            "1e",
            "+1",
            "\"",
            "\"\\x\"",
            "\"a\tb\"",
            "\"12345678\n\"",
            "tru",
            "nulls",
            "1 2",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            "[\"a\"\"b\"]",
        ];
        for text in right {
            assert!(is_json_line(text.as_bytes()) && is_json(text.as_bytes()), "{text}");
        }
        for text in wrong {
            assert!(!is_json_line(text.as_bytes()) && !is_json(text.as_bytes()), "{text}");
        }
        assert!(!is_json_line(b"[1,\n2]") && !is_json_line("[".repeat(100_000).as_bytes()));
    }

    proptest! {
        #[test]
        fn says_yes_to_what_serde_writes(value in json()) {
            prop_assert!(is_json_line(value.to_string().as_bytes()));
        }

        #[test]
        fn says_yes_only_to_what_serde_reads(value in json(), at in any::<prop::sample::Index>(), byte in any::<u8>(), way in 0..3) {
            let mut bytes = value.to_string().into_bytes();
            let at = at.index(bytes.len());
            match way {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
            prop_assert!(!is_json_line(&bytes) || (is_json(&bytes) && !bytes.contains(&b'\n')), "{:?}", String::from_utf8_lossy(&bytes));
        }
    }
}
