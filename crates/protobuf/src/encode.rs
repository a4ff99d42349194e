//! Rows to bytes.

use std::sync::{Arc, Mutex, PoisonError};

use aqueduct_api::schema::Schema;
use aqueduct_api::{Typed, Value};

use crate::logical;
use crate::resolve::{Plan, Put, Write, resolve};
use crate::shape::{Label, Scalar, Shape, UnknownFields};
use crate::wire::{DEPTH_MAX, Wire, deeper, put_bytes, put_counted, put_tag, put_varint, zigzag};
use aqueduct_api::Fault;

/// Writes rows as messages of one shape. The fields of a row go where their names say.
#[derive(Debug)]
pub struct Encoder {
    shape: Arc<Shape>,
    unknown: UnknownFields,
    /// How rows of the schema met last are written: a stream of records seldom changes its schema.
    plan: Mutex<Option<(Arc<Schema>, Arc<Plan>)>>,
}

impl Encoder {
    /// Messages go out as this shape says.
    pub fn new(shape: Arc<Shape>, unknown: UnknownFields) -> Self {
        Self { shape, unknown, plan: Mutex::new(None) }
    }

    /// The schema of what goes out.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.shape.schema
    }

    /// Appends a value to `out`.
    ///
    /// # Errors
    /// When the value does not fit the message; `out` is then as it was.
    pub fn encode(&self, typed: &Typed, out: &mut Vec<u8>) -> Result<(), Fault> {
        let from = out.len();
        let plan = self.plan(typed.schema())?;
        let writing =
            Writing { plan: &plan, shape: &self.shape, payload: typed.payload(), unknown: self.unknown };
        let written = match &plan.root {
            Put::Row(row) => writing.row(*row, typed.value(), out, DEPTH_MAX),
            put => writing.inside(put, typed.value(), out, DEPTH_MAX),
        };
        written.inspect_err(|_| out.truncate(from))
    }

    fn plan(&self, schema: &Arc<Schema>) -> Result<Arc<Plan>, Fault> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        match &*plan {
            Some((known, plan)) if Arc::ptr_eq(known, schema) => Ok(Arc::clone(plan)),
            _ => {
                let new = Arc::new(resolve(schema, &self.shape, self.unknown)?);
                *plan = Some((Arc::clone(schema), Arc::clone(&new)));
                Ok(new)
            }
        }
    }
}

pub(crate) struct Writing<'a> {
    plan: &'a Plan,
    pub(crate) shape: &'a Shape,
    pub(crate) payload: &'a [u8],
    pub(crate) unknown: UnknownFields,
}

impl Writing<'_> {
    fn row(&self, row: u32, value: &Value, out: &mut Vec<u8>, depth: u32) -> Result<(), Fault> {
        let row = &self.plan.rows[row as usize];
        let Value::Record(values) = value else { return Err(unfit(value)) };
        if values.len() != row.values {
            return Err(Fault::new(format!("a row of {} values where {} belong", values.len(), row.values)));
        }
        let mut set: Vec<(u32, &str)> = Vec::new();
        for write in &row.writes {
            let value = &values[write.from];
            if let (Some(oneof), false) = (write.oneof, is_nothing(value)) {
                only(&mut set, oneof, &write.name)?;
            }
            self.field(write, value, out, depth).map_err(|fault| fault.in_field(&write.name))?;
        }
        Ok(())
    }

    fn field(&self, write: &Write, value: &Value, out: &mut Vec<u8>, depth: u32) -> Result<(), Fault> {
        let put = |value: &Value, out: &mut Vec<u8>| self.put(&write.put, value, out, depth);
        field(write.number, write.label, self.wire(&write.put), self.payload, value, out, &put)
    }

    /// The bytes of a value, with their length where it has one.
    fn put(&self, put: &Put, value: &Value, out: &mut Vec<u8>, depth: u32) -> Result<(), Fault> {
        match (put, value) {
            (Put::Scalar(scalar), value) => put_scalar(*scalar, value, self.payload, out),
            (Put::Digits(scalar), Value::Bytes(bytes)) => {
                put_number(*scalar, logical::signed(bytes.get(self.payload)).unwrap_or(i128::MAX), out)
            }
            (Put::Symbol(numbers), Value::Enum(at)) => match numbers.get(*at as usize) {
                Some(number) => put_number(Scalar::Int32, (*number).into(), out),
                None => Err(Fault::new(format!("symbol {at} of an enum that has {}", numbers.len()))),
            },
            (Put::Named(of), Value::Text(name)) => {
                let number = self.shape.enums[*of as usize].number(name.get(self.payload))?;
                put_number(Scalar::Int32, number.into(), out)
            }
            (Put::Name(names), Value::Enum(at)) => match names.get(*at as usize) {
                Some(name) => {
                    put_bytes(out, name.as_bytes());
                    Ok(())
                }
                None => Err(Fault::new(format!("symbol {at} of an enum that has {}", names.len()))),
            },
            (Put::Any(item), value) => self.any(*item, value, out, depth),
            (Put::Row(row), value) => {
                let depth = deeper(depth)?;
                put_counted(out, |out| self.row(*row, value, out, depth))
            }
            (put, value) => put_counted(out, |out| self.inside(put, value, out, depth)),
        }
    }

    /// A message that is one value in a row, without its length.
    fn inside(&self, put: &Put, value: &Value, out: &mut Vec<u8>, depth: u32) -> Result<(), Fault> {
        match (put, value) {
            (Put::Branches(branches), Value::Union(branch)) if (branch.0 as usize) < branches.len() => {
                let write = &branches[branch.0 as usize];
                let depth = deeper(depth)?;
                self.field(write, &branch.1, out, depth).map_err(|fault| fault.in_field(&write.name))
            }
            (Put::Timestamp { per_second }, Value::Long(time)) => {
                let (seconds, nanos) = logical::seconds(*time, *per_second);
                put_parts(out, &[seconds, nanos]);
                Ok(())
            }
            (Put::Date, Value::Int(days)) => logical::date(*days).map(|parts| put_parts(out, &parts)),
            (Put::TimeOfDay { micros }, Value::Int(_) | Value::Long(_)) => {
                let time = whole(value).and_then(|time| i64::try_from(time).ok());
                let time = time.and_then(|time| time.checked_mul(*micros)).unwrap_or(-1);
                logical::time_of_day(time).map(|parts| put_parts(out, &parts))
            }
            (Put::Decimal { from, to }, Value::Bytes(bytes)) => {
                put_decimal(bytes.get(self.payload), *from, *to, out)
            }
            (Put::Wrapper(inner), value) => {
                let (wire, put) =
                    (self.wire(inner), |value: &Value, out: &mut Vec<u8>| self.put(inner, value, out, depth));
                field(1, Label::Implicit, wire, self.payload, value, out, &put)
            }
            (Put::Any(item), value) => self.any_inside(*item, value, out, depth),
            (_, value) => Err(unfit(value)),
        }
    }

    fn wire(&self, put: &Put) -> Wire {
        match put {
            Put::Scalar(scalar) | Put::Digits(scalar) => scalar.wire(),
            Put::Symbol(_) | Put::Named(_) => Wire::Varint,
            Put::Any(item) => item.wire(),
            _ => Wire::Counted,
        }
    }
}

/// Appends one value.
type PutOne<'a> = &'a dyn Fn(&Value, &mut Vec<u8>) -> Result<(), Fault>;

/// Writes a field, if there is anything to write; `put` writes one value of it.
pub(crate) fn field(
    number: u32,
    label: Label,
    wire: Wire,
    payload: &[u8],
    value: &Value,
    out: &mut Vec<u8>,
    put: PutOne<'_>,
) -> Result<(), Fault> {
    match (label, value) {
        // A field that is not there at all takes what its readers take for it.
        (Label::Required, value) if is_nothing(value) => Err(Fault::new("a required field is not there")),
        (_, Value::Absent) => Ok(()),
        (Label::Optional | Label::Declared, Value::Null) => Ok(()),
        (Label::Implicit, Value::Null) => {
            Err(Fault::new("null does not belong here: the field is not `optional` in the schema"))
        }
        (Label::List { packed: true, .. }, Value::List(items)) if wire != Wire::Counted => {
            if items.is_empty() {
                return Ok(());
            }
            put_tag(out, number, Wire::Counted);
            put_counted(out, |out| {
                let mut items = items.iter().enumerate();
                items.try_for_each(|(at, item)| put(item, out).map_err(|fault| fault.in_item(at)))
            })
        }
        (Label::List { .. }, Value::List(items)) => items.iter().enumerate().try_for_each(|(index, item)| {
            put_tag(out, number, wire);
            put(item, out).map_err(|fault| fault.in_item(index))
        }),
        (Label::Map { key, .. }, Value::Map(entries)) => entries.iter().try_for_each(|(name, value)| {
            let name = name.get(payload);
            put_tag(out, number, Wire::Counted);
            let written = put_counted(out, |out| {
                put_tag(out, 1, key.wire());
                put_key(key, name, out)?;
                put_tag(out, 2, wire);
                put(value, out)
            });
            written.map_err(|fault| fault.in_entry(name))
        }),
        // Protobuf has no null in place of a list: it is empty to every reader.
        (Label::List { .. } | Label::Map { .. }, Value::Null) => Ok(()),
        (Label::List { .. } | Label::Map { .. }, value) => Err(unfit(value)),
        (label, value) => {
            let start = out.len();
            put_tag(out, number, wire);
            let content = out.len();
            put(value, out)?;
            // Every scalar's zero is written in nothing but zeros, and nothing else is.
            if label == Label::Implicit && out[content..].iter().all(|byte| *byte == 0) {
                out.truncate(start);
            }
            Ok(())
        }
    }
}

pub(crate) fn put_scalar(
    scalar: Scalar,
    value: &Value,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    match (scalar, value) {
        (Scalar::Text | Scalar::Bytes, Value::Text(text)) => put_bytes(out, text.bytes(payload)),
        (Scalar::Bytes, Value::Bytes(bytes)) => put_bytes(out, bytes.get(payload)),
        (Scalar::Bool, Value::Boolean(flag)) => out.push(u8::from(*flag)),
        (Scalar::Float, Value::Float(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (Scalar::Float, Value::Int(_) | Value::Long(_)) => {
            let number = whole(value).unwrap_or_default();
            out.extend_from_slice(&(number as f32).to_le_bytes());
        }
        (Scalar::Double, Value::Double(number)) => out.extend_from_slice(&number.to_le_bytes()),
        (Scalar::Double, Value::Float(number)) => out.extend_from_slice(&f64::from(*number).to_le_bytes()),
        (Scalar::Double, Value::Int(_) | Value::Long(_)) => {
            let number = whole(value).unwrap_or_default();
            out.extend_from_slice(&(number as f64).to_le_bytes());
        }
        (Scalar::Float | Scalar::Double | Scalar::Bool | Scalar::Text | Scalar::Bytes, value) => {
            return Err(unfit(value));
        }
        (scalar, value) => {
            let number = whole(value).ok_or_else(|| unfit(value))?;
            return put_number(scalar, number, out);
        }
    }
    Ok(())
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some((*number).into()),
        Value::Long(number) => Some((*number).into()),
        _ => None,
    }
}

pub(crate) fn put_number(scalar: Scalar, number: i128, out: &mut Vec<u8>) -> Result<(), Fault> {
    let too_large = || Fault::new(format!("{number} does not fit into {}", scalar.name()));
    let int = || i32::try_from(number).map_err(|_| too_large());
    let long = || i64::try_from(number).map_err(|_| too_large());
    let unsigned_int = || u32::try_from(number).map_err(|_| too_large());
    let unsigned_long = || u64::try_from(number).map_err(|_| too_large());
    match scalar {
        // A negative number takes ten bytes, as if it were a long.
        Scalar::Int32 => put_varint(out, i64::from(int()?) as u64),
        Scalar::Int64 => put_varint(out, long()? as u64),
        Scalar::Uint32 => put_varint(out, unsigned_int()?.into()),
        Scalar::Uint64 => put_varint(out, unsigned_long()?),
        Scalar::Sint32 => put_varint(out, zigzag(int()?.into())),
        Scalar::Sint64 => put_varint(out, zigzag(long()?)),
        Scalar::Fixed32 => out.extend_from_slice(&unsigned_int()?.to_le_bytes()),
        Scalar::Fixed64 => out.extend_from_slice(&unsigned_long()?.to_le_bytes()),
        Scalar::Sfixed32 => out.extend_from_slice(&int()?.to_le_bytes()),
        Scalar::Sfixed64 => out.extend_from_slice(&long()?.to_le_bytes()),
        _ => return Err(too_large()),
    }
    Ok(())
}

fn put_key(key: Scalar, name: &str, out: &mut Vec<u8>) -> Result<(), Fault> {
    match (key, name) {
        (Scalar::Text, name) => put_bytes(out, name.as_bytes()),
        (Scalar::Bool, "false") => out.push(0),
        (Scalar::Bool, "true") => out.push(1),
        (Scalar::Bool, _) => return Err(Fault::new("a key of this map is `true` or `false`")),
        (key, name) => match name.parse() {
            Ok(number) => return put_number(key, number, out),
            Err(_) => return Err(Fault::new("a key of this map is a whole number")),
        },
    }
    Ok(())
}

/// The fields 1, 2 and so on of a message of numbers.
pub(crate) fn put_parts(out: &mut Vec<u8>, parts: &[i64]) {
    for (number, part) in (1..).zip(parts).filter(|(_, part)| **part != 0) {
        put_tag(out, number, Wire::Varint);
        put_varint(out, *part as u64);
    }
}

pub(crate) fn put_decimal(digits: &[u8], from: u32, to: u32, out: &mut Vec<u8>) -> Result<(), Fault> {
    let moved;
    let digits = if from == to && !digits.is_empty() {
        digits
    } else {
        moved = logical::rescaled(digits, from.into(), to.into())?;
        &moved
    };
    put_tag(out, 1, Wire::Counted);
    put_bytes(out, digits);
    // How many decimal digits this number has; one beyond 128 bits leaves it open.
    if let Some(number) = logical::signed(digits) {
        put_tag(out, 2, Wire::Varint);
        put_varint(out, u64::from(number.unsigned_abs().checked_ilog10().unwrap_or_default() + 1));
    }
    if to != 0 {
        put_tag(out, 3, Wire::Varint);
        put_varint(out, to.into());
    }
    Ok(())
}

/// Notes that a member of a `oneof` is set, and that no other may be.
pub(crate) fn only<'a>(set: &mut Vec<(u32, &'a str)>, oneof: u32, name: &'a str) -> Result<(), Fault> {
    if let Some((_, other)) = set.iter().find(|(other, _)| *other == oneof) {
        return Err(Fault::new(format!("`{other}` and `{name}` are of one `oneof`, and both are set")));
    }
    set.push((oneof, name));
    Ok(())
}

pub(crate) fn is_nothing(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Absent)
}

#[cold]
pub(crate) fn unfit(value: &Value) -> Fault {
    Fault::new(format!(
        "{} does not belong here",
        match value {
            Value::Absent => "a value that is absent",
            Value::Null => "null",
            Value::Boolean(_) => "a boolean",
            Value::Int(_) => "an int",
            Value::Long(_) => "a long",
            Value::Float(_) => "a float",
            Value::Double(_) => "a double",
            Value::Number(_) => "a number beyond a long and a double",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Enum(_) => "a symbol",
            Value::Record(_) => "a record",
            Value::List(_) => "an array",
            Value::Map(_) => "a map",
            Value::Union(_) => "a branch of a union",
            Value::Opaque(_) => "a field that was not read",
        }
    ))
}
