//! The tokens of a JSON text (RFC 8259) that is known to be UTF-8. Whoever walks through a text does it with this.

use std::ops::Range;

use aqueduct_api::value::Text;

use super::fault::Fault;
use super::number::{Number, span};

/// Deeper values are refused: each level costs stack.
pub(crate) const DEPTH_MAX: u32 = 200;
/// A record of more values is refused: each takes memory, and as little as two bytes in the payload.
pub(crate) const VALUES_MAX: usize = 1 << 22;

type Result<T> = std::result::Result<T, Fault>;

/// A place in a text.
pub(crate) struct Scan<'a> {
    pub(crate) text: &'a str,
    pub(crate) at: usize,
    values_left: usize,
}

/// A string: where it stands between its quotes, or what its escapes make of it.
pub(crate) enum Chars {
    Plain(Range<usize>),
    Unescaped(String),
}

impl Chars {
    pub(crate) fn get<'a>(&'a self, text: &'a str) -> &'a str {
        match self {
            Chars::Plain(range) => text.get(range.clone()).unwrap_or_default(),
            Chars::Unescaped(text) => text,
        }
    }
}

pub(crate) fn deeper(depth: u32) -> Result<u32> {
    depth.checked_sub(1).ok_or_else(|| Fault::new(format!("the value is nested more than {DEPTH_MAX} deep")))
}

impl<'a> Scan<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0, values_left: VALUES_MAX }
    }

    /// The byte here; 0, which no token begins with, behind the end.
    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    /// The first byte of the next token.
    #[inline]
    pub(crate) fn token(&mut self) -> u8 {
        loop {
            let byte = self.peek();
            // Most texts have no whitespace, and nothing else is that small.
            if byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return byte;
            }
            self.at += 1;
        }
    }

    /// Goes past this token, or says what should stand here.
    #[inline]
    pub(crate) fn take(&mut self, token: u8, wanted: &str) -> Result<()> {
        if self.token() != token {
            return Err(self.expected(wanted));
        }
        self.at += 1;
        Ok(())
    }

    /// The name of a member, and past its colon.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<Chars> {
        self.quote()?;
        let name = self.string()?;
        self.colon()?;
        Ok(name)
    }

    /// The name of a member as a row has it, and past its colon.
    #[inline(always)]
    pub(crate) fn name_text(&mut self) -> Result<Text> {
        self.quote()?;
        let name = self.text()?;
        self.colon()?;
        Ok(name)
    }

    #[inline]
    fn quote(&mut self) -> Result<()> {
        if self.token() == b'"' { Ok(()) } else { Err(self.expected("a name in quotes")) }
    }

    #[inline]
    fn colon(&mut self) -> Result<()> {
        self.take(b':', "`:`")
    }

    /// Whether another member or item follows; `first` before the first, where none need be.
    #[inline]
    pub(crate) fn more(&mut self, close: u8, first: bool) -> Result<bool> {
        let token = self.token();
        if token == close {
            self.at += 1;
            return Ok(false);
        }
        if first {
            return Ok(true);
        }
        if token != b',' {
            return Err(self.expected(if close == b'}' { "`,` or `}`" } else { "`,` or `]`" }));
        }
        self.at += 1;
        if self.token() == close {
            return Err(self.expected(if close == b'}' { "a name in quotes" } else { "a value" }));
        }
        Ok(true)
    }

    /// Nothing may follow the value.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.token();
        if self.at < self.text.len() { Err(self.fault("something follows the value")) } else { Ok(()) }
    }

    /// Counts a value.
    #[inline]
    pub(crate) fn spend(&mut self) -> Result<()> {
        match self.values_left.checked_sub(1) {
            Some(left) => {
                self.values_left = left;
                Ok(())
            }
            None => Err(self.fault(&format!("the record has more than {VALUES_MAX} values"))),
        }
    }

    /// Where something was tried in vain, that it may be tried again.
    pub(crate) fn has_values_left(&self) -> Result<()> {
        if self.values_left > 0 {
            Ok(())
        } else {
            Err(self.fault(&format!("the record has more than {VALUES_MAX} values")))
        }
    }

    #[cold]
    pub(crate) fn fault(&self, says: &str) -> Fault {
        Fault::new(says).at(self.at)
    }

    #[cold]
    pub(crate) fn expected(&self, wanted: &str) -> Fault {
        match self.text[self.at..].chars().next() {
            None => self.fault(&format!("the text ends where {wanted} is expected")),
            Some(found) => self.fault(&format!("{found:?} where {wanted} is expected")),
        }
    }

    /// `true`, `false` or `null`.
    #[inline]
    pub(crate) fn literal(&mut self, word: &'static str) -> Result<()> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// A string that begins here.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Chars> {
        let start = self.at + 1;
        let end = plain_end(self.text.as_bytes(), start);
        self.at = end;
        if self.peek() == b'"' {
            self.at += 1;
            return Ok(Chars::Plain(start..end));
        }
        self.unescaped(start).map(Chars::Unescaped)
    }

    /// A string that begins here, as a row has it.
    #[inline(always)]
    pub(crate) fn text(&mut self) -> Result<Text> {
        let start = self.at + 1;
        let end = plain_end(self.text.as_bytes(), start);
        if self.text.as_bytes().get(end) == Some(&b'"') {
            self.at = end + 1;
            return span(start..end).map(Text::Span);
        }
        self.at = end;
        self.unescaped(start).map(|text| Text::Own(text.into()))
    }

    /// The rest of a string of which the first stretch without escapes is behind us.
    #[cold]
    fn unescaped(&mut self, start: usize) -> Result<String> {
        let mut chars = self.text[start..self.at].to_owned();
        loop {
            match self.peek() {
                b'"' => {
                    self.at += 1;
                    return Ok(chars);
                }
                b'\\' => chars.push(self.escape()?),
                _ if self.at >= self.text.len() => return Err(self.fault("the text ends inside a string")),
                byte => {
                    let says = format!("the control character {byte:#04x} stands in a string as it is");
                    return Err(self.fault(&says));
                }
            }
            let from = self.at;
            self.at = plain_end(self.text.as_bytes(), from);
            chars.push_str(&self.text[from..self.at]);
        }
    }

    fn escape(&mut self) -> Result<char> {
        let from = self.at;
        self.at += 2;
        Ok(match self.text.as_bytes().get(from + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let first = self.four_digits(from)?;
                let code = match first {
                    0xd800..0xdc00 if self.text.as_bytes()[self.at..].starts_with(b"\\u") => {
                        self.at += 2;
                        match self.four_digits(self.at - 2)? {
                            second @ 0xdc00..0xe000 => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                            _ => first,
                        }
                    }
                    _ => first,
                };
                char::from_u32(code).ok_or_else(|| {
                    self.at = from;
                    self.fault(&format!(
                        "`\\u{first:04x}` is half of a surrogate pair, and the other half is missing"
                    ))
                })?
            }
            _ => {
                self.at = from;
                return Err(self.fault("an escape that JSON does not know"));
            }
        })
    }

    fn four_digits(&mut self, from: usize) -> Result<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else {
            self.at = from;
            return Err(self.fault("`\\u` without four hexadecimal digits"));
        };
        self.at += 4;
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default();
        Ok(digits.iter().fold(0, |code, byte| code << 4 | digit(*byte)))
    }

    /// A number that begins here.
    #[inline]
    pub(crate) fn number(&mut self) -> Result<Number> {
        let bytes = self.text.as_bytes();
        let start = self.at;
        let mut number = Number { negative: bytes.get(start) == Some(&b'-'), ..Number::default() };
        self.at += usize::from(number.negative);
        let whole = self.at;
        self.at = number.digits(bytes, whole);
        if self.at == whole || bytes[whole] == b'0' && self.at > whole + 1 {
            // Nothing, or a zero and more.
            self.at = whole + usize::from(self.at > whole);
            return Err(self.expected(if self.at == whole { "a digit" } else { "the end of the number" }));
        }
        number.whole = true;
        if self.peek() == b'.' {
            let point = self.at + 1;
            self.at = number.digits(bytes, point);
            if self.at == point {
                return Err(self.expected("a digit"));
            }
            number.whole = false;
            number.exponent = -i32::try_from(self.at - point).unwrap_or(i32::MAX);
        }
        if self.peek() | 0x20 == b'e' {
            self.exponent(&mut number)?;
        }
        number.range = start..self.at;
        Ok(number)
    }

    #[cold]
    fn exponent(&mut self, number: &mut Number) -> Result<()> {
        self.at += 1;
        let minus = self.peek() == b'-';
        self.at += usize::from(matches!(self.peek(), b'-' | b'+'));
        let from = self.at;
        let mut exponent = 0_i32;
        while let digit @ b'0'..=b'9' = self.peek() {
            exponent = exponent.saturating_mul(10).saturating_add(i32::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == from {
            return Err(self.expected("a digit"));
        }
        number.whole = false;
        number.exponent = number.exponent.saturating_add(if minus { -exponent } else { exponent });
        Ok(())
    }

    /// Goes past a value, which has to be one. Recursion costs less than a list of what is open.
    pub(crate) fn skip(&mut self, depth: u32) -> Result<()> {
        self.spend()?;
        match self.token() {
            b'"' => self.string().map(drop),
            b'{' => {
                let depth = deeper(depth)?;
                self.at += 1;
                let mut first = true;
                while self.more(b'}', first)? {
                    first = false;
                    let name = self.name()?;
                    if let Err(fault) = self.skip(depth) {
                        return Err(fault.in_field(name.get(self.text)));
                    }
                }
                Ok(())
            }
            b'[' => {
                let depth = deeper(depth)?;
                self.at += 1;
                let mut index = 0;
                while self.more(b']', index == 0)? {
                    self.skip(depth).map_err(|fault| fault.in_item(index))?;
                    index += 1;
                }
                Ok(())
            }
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => Err(self.expected("a value")),
        }
    }
}

/// Where the stretch from `at` ends that holds no quote, no backslash and no control character.
#[inline]
pub(crate) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        let found = special(u64::from_le_bytes(*eight));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\') {
        at += 1;
    }
    at
}

/// The high bit of each of eight bytes that has to be looked at; those above the lowest one may be wrong.
#[inline]
fn special(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let is_zero = |bytes: u64| bytes.wrapping_sub(ONES) & !bytes;
    let quote = is_zero(eight ^ (ONES * b'"' as u64));
    let backslash = is_zero(eight ^ (ONES * b'\\' as u64));
    let control = eight.wrapping_sub(ONES * b' ' as u64) & !eight;
    (quote | backslash | control) & (ONES << 7)
}
