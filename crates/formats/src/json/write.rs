//! Rows to JSON, straight from the row: one pass, the names of fields prepared.

use std::fmt::LowerExp;

use aqueduct_api::schema::TypeId;
use aqueduct_api::value::Text;
use aqueduct_api::{Typed, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::config::{BytesAs, DecimalAs, NotANumber, Style, TimeAs};
use super::decimal;
use super::fault::Fault;
use super::plan::{Member, Plan, Step};
use super::quoted::quoted;
use super::time;

type Result<T> = std::result::Result<T, Fault>;

/// Appends a row of the plan's schema. What was appended before an error stays.
pub(crate) fn write(plan: &Plan, style: Style, typed: &Typed, out: &mut Vec<u8>) -> Result<()> {
    let writing = Writing { plan, style, payload: typed.payload() };
    if *typed.value() == Value::Absent {
        return Err(Fault::new("there is no value"));
    }
    writing.value(plan.schema.root(), typed.value(), out)
}

/// Appends a value of one of the plan's types; its spans stand in `payload`.
pub(crate) fn write_part(
    plan: &Plan,
    style: Style,
    payload: &[u8],
    of: TypeId,
    value: &Value,
    out: &mut Vec<u8>,
) -> Result<()> {
    Writing { plan, style, payload }.value(of, value, out)
}

struct Writing<'a> {
    plan: &'a Plan,
    style: Style,
    payload: &'a [u8],
}

impl Writing<'_> {
    fn value(&self, of: TypeId, value: &Value, out: &mut Vec<u8>) -> Result<()> {
        match (self.plan.step(of), value) {
            (Step::Text, Value::Text(text)) => string(text.bytes(self.payload), self.style, out),
            (Step::Scalar, value) => scalar(value, self.style, out)?,
            (Step::Optional(_), Value::Null) => out.extend_from_slice(b"null"),
            (Step::Optional(of), value) => self.value(*of, value, out)?,
            (Step::Record(fields), Value::Record(values)) if fields.len() == values.len() => {
                self.record(fields, values, out)?;
            }
            (Step::List(of), Value::List(values)) => {
                out.push(b'[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.value(*of, value, out).map_err(|fault| fault.in_item(index))?;
                }
                out.push(b']');
            }
            (Step::Map(of), Value::Map(entries)) => {
                members(entries, self.payload, out, |value, out| self.value(*of, value, out))?;
            }
            (Step::Union(branches), Value::Union(branch)) if (branch.0 as usize) < branches.len() => {
                self.value(branches[branch.0 as usize], &branch.1, out)?;
            }
            (Step::Branches(branches), Value::Union(branch)) if (branch.0 as usize) < branches.len() => {
                self.branches(branches, branch.0 as usize, &branch.1, out)?;
            }
            (Step::Branches(branches), Value::Null) => self.branches(branches, branches.len(), value, out)?,
            (Step::Enum(symbols), Value::Enum(symbol)) if (*symbol as usize) < symbols.len() => {
                out.extend_from_slice(&symbols[*symbol as usize]);
            }
            (Step::Any, value) => any(value, self.payload, self.style, out)?,
            (Step::Bytes, Value::Bytes(bytes)) => encoded(bytes.get(self.payload), self.style.bytes, out),
            (Step::Pair(key, of), Value::Record(values)) if values.len() == 2 => {
                out.push(b'[');
                self.value(*key, &values[0], out).map_err(|fault| fault.in_item(0))?;
                out.push(b',');
                self.value(*of, &values[1], out).map_err(|fault| fault.in_item(1))?;
                out.push(b']');
            }
            (Step::Entries(of), Value::List(values)) => self.entries(*of, values, out)?,
            (step, value) => self.logical(step, value, out)?,
        }
        Ok(())
    }

    /// One member for each branch, null for all but one.
    fn branches(&self, all: &[Member], one: usize, value: &Value, out: &mut Vec<u8>) -> Result<()> {
        let begin = out.len();
        for (index, branch) in all.iter().enumerate().filter(|(_, branch)| !branch.name.is_empty()) {
            out.extend_from_slice(&branch.name);
            if index == one { self.value(branch.of, value, out)? } else { out.extend_from_slice(b"null") }
        }
        match out.get_mut(begin) {
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
        Ok(())
    }

    /// Records of a key and a value as members of an object.
    fn entries(&self, of: TypeId, values: &[Value], out: &mut Vec<u8>) -> Result<()> {
        for (index, value) in values.iter().enumerate() {
            out.push(if index == 0 { b'{' } else { b',' });
            let Value::Record(entry) = value else {
                return Err(Fault::new(format!("{} does not belong here", kind_of(value))).in_item(index));
            };
            match &**entry {
                [Value::Text(key), _] => quoted(key.bytes(self.payload), out),
                // As Java writes the name of a member that is null.
                _ => quoted(b"null", out),
            }
            out.push(b':');
            self.value(of, entry.get(1).unwrap_or(&Value::Absent), out)
                .map_err(|fault| fault.in_item(index))?;
        }
        out.extend_from_slice(if values.is_empty() { b"{}" } else { b"}" });
        Ok(())
    }

    fn record(&self, fields: &[Member], values: &[Value], out: &mut Vec<u8>) -> Result<()> {
        let begin = out.len();
        for (field, value) in fields.iter().zip(values) {
            let is_absent = *value == Value::Absent;
            if is_absent && !self.style.connect || field.not_null && *value == Value::Null {
                continue;
            }
            out.extend_from_slice(&field.name);
            if is_absent {
                out.extend_from_slice(b"null");
                continue;
            }
            if let Err(fault) = self.value(field.of, value, out) {
                return Err(fault.in_field(String::from_utf8_lossy(&field.name[2..field.name.len() - 2])));
            }
        }
        // The comma before the first field is the brace of the record.
        match out.get_mut(begin) {
            Some(comma) => *comma = b'{',
            None => out.push(b'{'),
        }
        out.push(b'}');
        Ok(())
    }

    fn logical(&self, step: &Step, value: &Value, out: &mut Vec<u8>) -> Result<()> {
        let as_text = self.style.time == TimeAs::Text;
        match (step, value) {
            (Step::Decimal(scale), Value::Bytes(bytes)) => match self.style.decimal {
                DecimalAs::Number => decimal::write(bytes.get(self.payload), *scale, out)?,
                DecimalAs::Base64 => encoded(bytes.get(self.payload), BytesAs::Base64, out),
                DecimalAs::Text => {
                    in_quotes(out, |out| decimal::write(bytes.get(self.payload), *scale, out))?;
                }
            },
            (Step::Date, Value::Int(days)) if as_text => {
                in_quotes(out, |out| time::write_date((*days).into(), out))?;
            }
            (Step::Time(unit), Value::Int(at)) if as_text => {
                in_quotes(out, |out| time::write_time((*at).into(), *unit, out))?;
            }
            (Step::Time(unit), Value::Long(at)) if as_text => {
                in_quotes(out, |out| time::write_time(*at, *unit, out))?;
            }
            (Step::Timestamp(unit, local), Value::Long(at)) if as_text => {
                in_quotes(out, |out| time::write_timestamp(*at, *unit, *local, out))?;
            }
            (Step::Date | Step::Time(_) | Step::Timestamp(..), Value::Int(_) | Value::Long(_)) => {
                scalar(value, self.style, out)?;
            }
            (Step::Uuid, Value::Bytes(bytes)) => uuid(bytes.get(self.payload), out)?,
            (Step::Duration, Value::Bytes(bytes)) => {
                in_quotes(out, |out| time::write_duration(bytes.get(self.payload), out))?;
            }
            (_, value) => return Err(Fault::new(format!("{} does not belong here", kind_of(value)))),
        }
        Ok(())
    }
}

/// A value that stands for itself.
fn any(value: &Value, payload: &[u8], style: Style, out: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Text(text) => string(text.bytes(payload), style, out),
        Value::Map(entries) => {
            members(entries, payload, out, |value, out| any(value, payload, style, out))?;
        }
        Value::List(values) => {
            out.push(b'[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                any(value, payload, style, out).map_err(|fault| fault.in_item(index))?;
            }
            out.push(b']');
        }
        Value::Number(digits) => out.extend_from_slice(digits.bytes(payload)),
        Value::Bytes(bytes) => encoded(bytes.get(payload), style.bytes, out),
        value => scalar(value, style, out)?,
    }
    Ok(())
}

fn members(
    entries: &[(Text, Value)],
    payload: &[u8],
    out: &mut Vec<u8>,
    mut write: impl FnMut(&Value, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    out.push(b'{');
    let begin = out.len();
    for (name, value) in entries {
        if *value == Value::Absent {
            continue;
        }
        if out.len() > begin {
            out.push(b',');
        }
        quoted(name.bytes(payload), out);
        out.push(b':');
        if let Err(fault) = write(value, out) {
            return Err(fault.in_field(name.get(payload)));
        }
    }
    out.push(b'}');
    Ok(())
}

#[inline]
fn scalar(value: &Value, style: Style, out: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Value::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Long(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Float(number) if number.is_finite() => finite(*number, style, out),
        Value::Double(number) if number.is_finite() => finite(*number, style, out),
        Value::Float(number) => not_a_number((*number).into(), style, out)?,
        Value::Double(number) => not_a_number(*number, style, out)?,
        value => return Err(Fault::new(format!("{} does not belong here", kind_of(value)))),
    }
    Ok(())
}

/// The fewest digits that read back the same.
#[inline]
fn finite<F: zmij::Float + Copy + LowerExp + Into<f64>>(number: F, style: Style, out: &mut Vec<u8>) {
    let magnitude = number.into().abs();
    if style.connect && magnitude != 0.0 && !(1e-3..1e7).contains(&magnitude) {
        return out.extend_from_slice(java_exponent(number).as_bytes());
    }
    out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
}

/// `1.0E21`, as Java writes numbers below a thousandth and from ten millions on: two digits at least, the nearest ones.
#[cold]
fn java_exponent<F: LowerExp>(number: F) -> String {
    let shortest = format!("{number:e}");
    let two = format!("{number:.1e}");
    let digits = if shortest.contains('.') { shortest } else { two };
    digits.replace('e', "E")
}

#[cold]
fn not_a_number(number: f64, style: Style, out: &mut Vec<u8>) -> Result<()> {
    let name: &[u8] = match number {
        f64::INFINITY => b"\"Infinity\"",
        f64::NEG_INFINITY => b"\"-Infinity\"",
        _ => b"\"NaN\"",
    };
    match style.on_not_a_number {
        NotANumber::Null => out.extend_from_slice(b"null"),
        NotANumber::Text => out.extend_from_slice(name),
        NotANumber::Error => {
            let name = String::from_utf8_lossy(&name[1..name.len() - 1]);
            let says =
                format!("JSON has no {name}; `on_not_a_number: text` or `\"null\"` says what to write");
            return Err(Fault::new(says));
        }
    }
    Ok(())
}

/// A text of a value.
#[inline]
fn string(bytes: &[u8], style: Style, out: &mut Vec<u8>) {
    if style.connect && bytes.iter().any(|byte| *byte >= 0xf0) {
        return with_surrogates(bytes, out);
    }
    quoted(bytes, out);
}

/// As Kafka's converter writes what is beyond the first 65,536 characters: `\uD83E\uDD80`.
#[cold]
fn with_surrogates(bytes: &[u8], out: &mut Vec<u8>) {
    let begin = out.len();
    quoted(bytes, out);
    let text = String::from_utf8_lossy(&out[begin..]).into_owned();
    out.truncate(begin);
    for char in text.chars() {
        let mut units = [0; 2];
        match char.encode_utf16(&mut units) {
            [high, low] => out.extend_from_slice(format!("\\u{high:04X}\\u{low:04X}").as_bytes()),
            _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn in_quotes(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    out.push(b'"');
    write(out)?;
    out.push(b'"');
    Ok(())
}

fn encoded(bytes: &[u8], how: BytesAs, out: &mut Vec<u8>) {
    out.push(b'"');
    match how {
        BytesAs::Base64 => out.extend_from_slice(BASE64.encode(bytes).as_bytes()),
        BytesAs::Hex => hex(bytes, out),
    }
    out.push(b'"');
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        let digit = |four: u8| char::from_digit(four.into(), 16).map_or(b'0', |digit| digit as u8);
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// RFC 9562: 8-4-4-4-12 digits.
fn uuid(bytes: &[u8], out: &mut Vec<u8>) -> Result<()> {
    if bytes.len() != 16 {
        return Err(Fault::new(format!("a uuid of {} bytes", bytes.len())));
    }
    in_quotes(out, |out| {
        for (index, range) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
            if index > 0 {
                out.push(b'-');
            }
            hex(&bytes[range], out);
        }
        Ok(())
    })
}

pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Absent => "a field that is absent",
        Value::Null => "null",
        Value::Boolean(_) => "a boolean",
        Value::Int(_) => "an int",
        Value::Long(_) => "a long",
        Value::Float(_) => "a float",
        Value::Double(_) => "a double",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
        Value::Enum(_) => "a symbol",
        Value::Record(_) => "a record",
        Value::List(_) => "an array",
        Value::Map(_) => "a map",
        Value::Union(_) => "a branch of a union",
        Value::Opaque(_) => "a field that was not read",
    }
}
