//! JSON to rows of a declared schema, in one pass: each value is read as what its type says, and what is something else
//! is refused with its path.

use std::mem::take;

use aqueduct_api::Value;
use aqueduct_api::schema::{TypeId, Unit};
use aqueduct_api::value::{Blob, Text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::decimal;
use super::fault::Fault;
use super::number::Number;
use super::read::Reader;
use super::scan::{DEPTH_MAX, Scan, deeper};
use super::time;
use super::wanted::{Fields, Missing, Want, Wanted};

type Result<T> = std::result::Result<T, Fault>;

/// Up to so many values stay set aside between two records.
const KEPT_VALUES_MAX: usize = 4096;

/// What is read how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Members that the schema does not know are left behind, rather than refused.
    pub(crate) drop_unknown: bool,
    /// What the text of bytes is.
    pub(crate) bytes: TextBytes,
    /// What the text of decimals is.
    pub(crate) decimals: TextBytes,
    /// A null where a field has a default is the default.
    pub(crate) null_is_default: bool,
    /// A field that is not there is null.
    pub(crate) missing_is_null: bool,
}

/// What a text says, where JSON has no form for a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextBytes {
    /// Bytes in base64.
    Base64,
    /// Bytes as two digits each.
    Hex,
    /// The code points 0 to 255 are the bytes 0 to 255.
    CodePoints,
    /// The digits of a decimal.
    Digits,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            drop_unknown: false,
            bytes: TextBytes::Base64,
            decimals: TextBytes::Digits,
            null_is_default: false,
            missing_is_null: false,
        }
    }
}

/// Reads texts of one schema after the other; see [`Reader`] on what it keeps.
#[derive(Default)]
pub(crate) struct DeclaredReader {
    entries: Vec<(Text, Value)>,
    values: Vec<Value>,
    any: Reader,
}

impl DeclaredReader {
    /// The value of a whole text, of this type.
    pub(crate) fn whole(&mut self, wanted: &Wanted, rules: Rules, text: &str, of: TypeId) -> Result<Value> {
        let mut scan = Scan::new(text);
        let value = self.value(wanted, rules, &mut scan, of)?;
        scan.end()?;
        Ok(value)
    }

    /// The value that begins at this place.
    pub(crate) fn value(
        &mut self,
        wanted: &Wanted,
        rules: Rules,
        scan: &mut Scan<'_>,
        of: TypeId,
    ) -> Result<Value> {
        let (entries, values) = (take(&mut self.entries), take(&mut self.values));
        let mut reading = Reading { wanted, rules, scan, entries, values, any: &mut self.any };
        let value = reading.value(of, DEPTH_MAX);
        let Reading { mut entries, mut values, .. } = reading;
        if entries.capacity() + values.capacity() <= KEPT_VALUES_MAX {
            entries.clear();
            values.clear();
            (self.entries, self.values) = (entries, values);
        }
        value
    }
}

struct Reading<'a, 'b> {
    wanted: &'a Wanted,
    rules: Rules,
    scan: &'a mut Scan<'b>,
    entries: Vec<(Text, Value)>,
    values: Vec<Value>,
    any: &'a mut Reader,
}

impl Reading<'_, '_> {
    fn value(&mut self, of: TypeId, depth: u32) -> Result<Value> {
        self.scan.spend()?;
        let token = self.scan.token();
        let wanted = self.wanted;
        Ok(match wanted.want(of) {
            Want::Optional(_) if token == b'n' => self.scan.literal("null").map(|()| Value::Null)?,
            Want::Optional(of) => self.value(*of, depth)?,
            Want::Text if token == b'"' => Value::Text(self.scan.text()?),
            Want::Record(fields) => Value::Record(self.record(fields, deeper(depth)?)?),
            Want::Pair(key, value) => Value::Record(self.pair([*key, *value], deeper(depth)?)?),
            Want::List(items) => Value::List(self.list(*items, deeper(depth)?)?),
            Want::Entries(key, value) => Value::List(self.entries_of_object(*key, *value, deeper(depth)?)?),
            Want::Map(of) => self.map(*of, deeper(depth)?)?,
            Want::Union(branches) => self.union(branches, deeper(depth)?)?,
            Want::Any => self.any.value(self.scan, depth)?,
            want => {
                let at = self.scan.at;
                self.scalar(want, token).map_err(|fault| fault.at(at))?
            }
        })
    }

    fn record(&mut self, fields: &Fields, depth: u32) -> Result<Box<[Value]>> {
        self.scan.take(b'{', "an object")?;
        let begin = self.values.len();
        self.values.resize(begin + fields.list.len(), Value::Absent);
        // Most writers keep to one order, mostly that of the schema.
        let (mut next, mut first) = (0, true);
        while self.scan.more(b'}', first)? {
            first = false;
            let name = self.scan.name()?;
            let name = name.get(self.scan.text);
            let place = match fields.list.get(next) {
                Some(slot) if *slot.name == *name => Some(next),
                _ => fields.positions.get(name).copied(),
            };
            if let Some(place) = place {
                let slot = &fields.list[place];
                let is_null = self.scan.token() == b'n';
                if is_null && slot.not_null {
                    return Err(self.scan.fault("null stands where the schema has none").in_field(name));
                }
                if is_null && self.rules.null_is_default && matches!(slot.missing, Missing::Default(_)) {
                    self.scan.literal("null").map_err(|fault| fault.in_field(name))?;
                    continue;
                }
                let value = self.value(slot.of, depth);
                self.values[begin + place] = value.map_err(|fault| fault.in_field(name))?;
                next = place + 1;
            } else if self.rules.drop_unknown {
                self.scan.skip(depth)?;
            } else {
                let says = "the schema has no such field; `unknown_fields: drop` leaves it behind";
                return Err(self.scan.fault(says).in_field(name));
            }
        }
        for (value, slot) in self.values[begin..].iter_mut().zip(&fields.list) {
            if *value == Value::Absent {
                *value = missing(self.wanted, slot.of, &slot.missing, self.rules)
                    .map_err(|fault| fault.at(self.scan.at).in_field(&*slot.name))?;
            }
        }
        Ok(self.values.drain(begin..).collect())
    }

    fn list(&mut self, items: TypeId, depth: u32) -> Result<Box<[Value]>> {
        self.scan.take(b'[', "an array")?;
        let begin = self.values.len();
        while self.scan.more(b']', self.values.len() == begin)? {
            let index = self.values.len() - begin;
            let value = self.value(items, depth).map_err(|fault| fault.in_item(index))?;
            self.values.push(value);
        }
        Ok(self.values.drain(begin..).collect())
    }

    fn map(&mut self, of: TypeId, depth: u32) -> Result<Value> {
        self.scan.take(b'{', "an object")?;
        let begin = self.entries.len();
        while self.scan.more(b'}', self.entries.len() == begin)? {
            let name = self.scan.name_text()?;
            let value = match self.value(of, depth) {
                Ok(value) => value,
                Err(fault) => return Err(fault.in_field(name.get(self.scan.text.as_bytes()))),
            };
            self.entries.push((name, value));
        }
        super::read::last_wins(&mut self.entries, begin, self.scan.text.as_bytes());
        Ok(Value::Map(self.entries.drain(begin..).collect()))
    }

    /// `[key, value]`
    fn pair(&mut self, of: [TypeId; 2], depth: u32) -> Result<Box<[Value]>> {
        self.scan.take(b'[', "a key and a value in an array")?;
        let key = self.value(of[0], depth).map_err(|fault| fault.in_item(0))?;
        self.scan.take(b',', "`,` and the value of the entry")?;
        let value = self.value(of[1], depth).map_err(|fault| fault.in_item(1))?;
        self.scan.take(b']', "the end of the entry")?;
        Ok([key, value].into())
    }

    /// `{"key": value}` as records of a key and a value.
    fn entries_of_object(&mut self, key: TypeId, value: TypeId, depth: u32) -> Result<Box<[Value]>> {
        self.scan.take(b'{', "an object")?;
        let begin = self.values.len();
        while self.scan.more(b'}', self.values.len() == begin)? {
            let name = self.scan.name_text()?;
            let index = self.values.len() - begin;
            let value = self.value(value, depth).map_err(|fault| fault.in_item(index))?;
            self.values.push(Value::Record([Value::Text(name), value].into()));
        }
        debug_assert!(matches!(self.wanted.want(key), Want::Text | Want::Optional(_)));
        Ok(self.values.drain(begin..).collect())
    }

    /// The first branch that fits. Every try counts the values it meets, so that there is an end to trying.
    fn union(&mut self, branches: &[TypeId], depth: u32) -> Result<Value> {
        let (at, values, entries) = (self.scan.at, self.values.len(), self.entries.len());
        let mut faults = Vec::new();
        for (branch, of) in (0..).zip(branches) {
            match self.value(*of, depth) {
                Ok(value) => return Ok(Value::Union(Box::new((branch, value)))),
                Err(fault) => faults.push(fault),
            }
            self.scan.at = at;
            self.values.truncate(values);
            self.entries.truncate(entries);
            self.scan.has_values_left()?;
        }
        // One that failed inside the value, not at it, is the one that was meant.
        let inside = faults.into_iter().rev().find(|fault| !fault.path().is_empty());
        let none =
            || self.scan.fault(&format!("the value is of none of the {} types of the union", branches.len()));
        Err(inside.unwrap_or_else(none))
    }

    fn scalar(&mut self, want: &Want, token: u8) -> Result<Value> {
        match token {
            b'"' => {
                let chars = self.scan.string()?;
                from_text(want, chars.get(self.scan.text), self.rules)
            }
            b'-' | b'0'..=b'9' => {
                let number = self.scan.number()?;
                from_number(want, &number, self.scan.text)
            }
            b't' if matches!(want, Want::Boolean) => self.scan.literal("true").map(|()| Value::Boolean(true)),
            b'f' if matches!(want, Want::Boolean) => {
                self.scan.literal("false").map(|()| Value::Boolean(false))
            }
            b'n' if matches!(want, Want::Null) => self.scan.literal("null").map(|()| Value::Null),
            _ => Err(self.scan.expected(named(want))),
        }
    }
}

fn missing(wanted: &Wanted, of: TypeId, how: &Missing, rules: Rules) -> Result<Value> {
    match how {
        Missing::Default(value) => Ok(value.clone()),
        Missing::Error if rules.missing_is_null && matches!(wanted.want(of), Want::Optional(_)) => {
            Ok(Value::Null)
        }
        Missing::Error => Err(Fault::new("is missing and has no default")),
    }
}

/// How a message names what is wanted.
fn named(want: &Want) -> &'static str {
    match want {
        Want::Null => "null",
        Want::Boolean => "true or false",
        Want::Int(..) | Want::Long => "a whole number",
        Want::Float | Want::Double => "a number",
        Want::Text => "text",
        Want::Bytes | Want::Fixed(_) => "the text of bytes",
        Want::Enum { .. } => "a symbol",
        Want::Decimal { .. } => "a decimal number",
        Want::Date => "a date",
        Want::Time(_) => "a time",
        Want::Timestamp(..) => "a timestamp",
        Want::Uuid => "a uuid",
        Want::Duration => "a duration",
        _ => "a value",
    }
}

fn not(want: &Want, found: &str) -> Fault {
    Fault::new(format!("{found} where {} is expected", named(want)))
}

fn from_number(want: &Want, number: &Number, text: &str) -> Result<Value> {
    let digits = &text[number.range.clone()];
    let whole = |first: i64, last: i64| {
        let long =
            number.long().or_else(|| number.whole_double(text)).ok_or_else(|| not(want, "another number"))?;
        if (first..=last).contains(&long) {
            return Ok(long);
        }
        Err(Fault::new(format!("the number is not between {first} and {last}")))
    };
    Ok(match want {
        Want::Int(first, last) => Value::Int(whole((*first).into(), (*last).into())? as i32),
        Want::Long => Value::Long(whole(i64::MIN, i64::MAX)?),
        Want::Float => {
            let float = number.double(text) as f32;
            if !float.is_finite() {
                return Err(Fault::new("the number is beyond what a float holds"));
            }
            Value::Float(float)
        }
        Want::Double => {
            let double = number.double(text);
            if !double.is_finite() {
                return Err(Fault::new("the number is beyond what a double holds"));
            }
            Value::Double(double)
        }
        Want::Decimal { precision, scale, fixed } => {
            decimal_value(decimal::read(digits, *precision, *scale)?, *fixed)?
        }
        Want::Date => Value::Int(whole(i32::MIN.into(), i32::MAX.into())? as i32),
        Want::Time(unit) => {
            let at = whole(0, 86_400 * time::per_second(*unit) - 1)?;
            time_value(at, *unit)
        }
        Want::Timestamp(..) => Value::Long(whole(i64::MIN, i64::MAX)?),
        want => return Err(not(want, "a number")),
    })
}

fn from_text(want: &Want, text: &str, rules: Rules) -> Result<Value> {
    Ok(match want {
        Want::Text => Value::from(text),
        Want::Enum { symbols, default } => match symbols.get(text).copied().or(*default) {
            Some(symbol) => Value::Enum(symbol),
            None => return Err(Fault::new("the schema does not know the symbol")),
        },
        Want::Date => Value::Int(time::read_date(text)?),
        Want::Time(unit) => time_value(time::read_time(text, *unit)?, *unit),
        Want::Timestamp(unit, local) => Value::Long(time::read_timestamp(text, *unit, *local)?),
        Want::Decimal { precision, scale, fixed } => {
            let bytes = match rules.decimals {
                TextBytes::Digits => decimal::read(text, *precision, *scale)?,
                how => match bytes_of(text, how)? {
                    bytes if bytes.is_empty() => return Err(Fault::new("a decimal of no bytes")),
                    bytes => decimal::shortest(&bytes).to_vec(),
                },
            };
            decimal_value(bytes, *fixed)?
        }
        Want::Bytes => Value::Bytes(Blob::Own(bytes_of(text, rules.bytes)?.into())),
        Want::Fixed(size) => {
            let bytes = bytes_of(text, rules.bytes)?;
            if bytes.len() != *size {
                return Err(Fault::new(format!("{} bytes where {size} belong", bytes.len())));
            }
            Value::Bytes(Blob::Own(bytes.into()))
        }
        Want::Uuid if rules.bytes == TextBytes::CodePoints => {
            Value::Bytes(Blob::Own(bytes_of(text, rules.bytes)?.into()))
        }
        Want::Uuid => Value::Bytes(Blob::Own(uuid(text)?.into())),
        Want::Duration if rules.bytes == TextBytes::CodePoints => {
            Value::Bytes(Blob::Own(bytes_of(text, rules.bytes)?.into()))
        }
        Want::Duration => Value::Bytes(Blob::Own(time::read_duration(text)?.into())),
        Want::Float => Value::Float(not_a_number(want, text)? as f32),
        Want::Double => Value::Double(not_a_number(want, text)?),
        want => return Err(not(want, "text")),
    })
}

fn time_value(at: i64, unit: Unit) -> Value {
    // It is below 86,400,000.
    if unit == Unit::Millis { Value::Int(at as i32) } else { Value::Long(at) }
}

fn decimal_value(bytes: Vec<u8>, fixed: Option<usize>) -> Result<Value> {
    let bytes = match fixed {
        None => bytes,
        Some(size) => decimal::widened(&bytes, size)
            .ok_or_else(|| Fault::new(format!("the decimal needs more than {size} bytes")))?,
    };
    Ok(Value::Bytes(Blob::Own(bytes.into())))
}

fn not_a_number(want: &Want, text: &str) -> Result<f64> {
    match text {
        "NaN" => Ok(f64::NAN),
        "Infinity" | "INF" => Ok(f64::INFINITY),
        "-Infinity" | "-INF" => Ok(f64::NEG_INFINITY),
        _ => Err(not(want, "text")),
    }
}

fn bytes_of(text: &str, how: TextBytes) -> Result<Vec<u8>> {
    let read = match how {
        TextBytes::Base64 | TextBytes::Digits => {
            return BASE64
                .decode(text)
                .map_err(|error| Fault::new(format!("the text is not base64: {error}")));
        }
        TextBytes::Hex => hex(text).ok_or("two hexadecimal digits a byte"),
        TextBytes::CodePoints => text
            .chars()
            .map(|char| u8::try_from(u32::from(char)).ok())
            .collect::<Option<_>>()
            .ok_or("a code point a byte"),
    };
    read.map_err(|wanted| Fault::new(format!("the text of bytes is not {wanted}")))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// RFC 9562.
fn uuid(text: &str) -> Result<Vec<u8>> {
    let dashes = text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| matches!(at, 8 | 13 | 18 | 23) == (byte == b'-'));
    let bytes = if dashes { hex(&text.replace('-', "")) } else { None };
    bytes.ok_or_else(|| not(&Want::Uuid, "other text"))
}
