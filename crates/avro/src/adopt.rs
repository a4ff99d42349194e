//! Values without a schema, as JSON has them, taken into an Avro schema: fields by name, numbers with their ranges,
//! texts for what JSON has no notation of. Bytes and fixed are texts as in the specification's JSON encoding; decimals,
//! dates, times and timestamps may be numbers as Avro holds them, or texts as people write them.

use aqueduct_api::Value;
use aqueduct_api::schema::{Enumeration, Kind, Logical, RecordType, Schema, Type, TypeId};
use aqueduct_api::value::{Blob, Text};

use crate::default;
use crate::digits::Digits;
use crate::moment;
use crate::plan::UnknownFields;
use crate::resolve::place;
use aqueduct_api::Fault;

/// Branches that did not fit, at most: unions inside unions are tried branch by branch, and that multiplies.
const MISFITS_MAX: usize = 1 << 20;

/// A value of this type from one of `Kind::Any`.
pub(crate) fn adopt(
    schema: &Schema,
    of: TypeId,
    unknown: UnknownFields,
    value: &Value,
    payload: &[u8],
) -> Result<Value, Fault> {
    Adopting { schema, unknown, payload, misfits_left: MISFITS_MAX }.value(of, value)
}

struct Adopting<'a> {
    schema: &'a Schema,
    unknown: UnknownFields,
    payload: &'a [u8],
    misfits_left: usize,
}

impl Adopting<'_> {
    fn value(&mut self, id: TypeId, value: &Value) -> Result<Value, Fault> {
        let schema = self.schema;
        let of = schema.get(id);
        Ok(match (&of.kind, value) {
            (Kind::Any, value) => value.clone(),
            (Kind::Null, Value::Null) => Value::Null,
            (Kind::Boolean, Value::Boolean(flag)) => Value::Boolean(*flag),
            (Kind::Int, value) => {
                let number = self.whole(of, value)?;
                let int = i32::try_from(number)
                    .map_err(|_| Fault::new(format!("{number} is too large for an int")));
                Value::Int(int?)
            }
            (Kind::Long, value) => Value::Long(self.whole(of, value)?),
            (Kind::Float, value) => {
                let number = self.number(value)?;
                let float = number as f32;
                if float.is_infinite() && number.is_finite() {
                    return Err(Fault::new(format!("{number} is too large for a float")));
                }
                Value::Float(float)
            }
            (Kind::Double, value) => Value::Double(self.number(value)?),
            (Kind::Text, Value::Text(text)) => {
                if of.logical == Some(Logical::Uuid) && uuid(text.get(self.payload)).is_none() {
                    return Err(Fault::new("the text is not a uuid"));
                }
                value.clone()
            }
            (Kind::Bytes | Kind::Fixed { .. }, value) => Value::Bytes(self.bytes(of, value)?),
            (Kind::Enum(list), Value::Text(text)) => self.symbol(list, text)?,
            (Kind::Record(record), Value::Map(entries)) => Value::Record(self.record(record, entries)?),
            (Kind::List(of), Value::List(values)) => {
                let item = |(index, value)| self.value(*of, value).map_err(|fault| fault.in_item(index));
                Value::List(values.iter().enumerate().map(item).collect::<Result<_, _>>()?)
            }
            (Kind::Map(of), Value::Map(entries)) => {
                let payload = self.payload;
                let entry = |(name, value): &(Text, Value)| {
                    let value = self.value(*of, value).map_err(|fault| fault.in_entry(name.get(payload)));
                    Ok((name.clone(), value?))
                };
                Value::Map(entries.iter().map(entry).collect::<Result<_, Fault>>()?)
            }
            (Kind::Union(branches), value) => self.branch(id, branches, value)?,
            (kind, value) => return Err(no_place(kind, value)),
        })
    }

    /// Null if it is null, else the first branch that takes it.
    fn branch(&mut self, id: TypeId, branches: &[TypeId], value: &Value) -> Result<Value, Fault> {
        if let Some((_, other)) = self.schema.optional(id) {
            return if *value == Value::Null { Ok(Value::Null) } else { self.value(other, value) };
        }
        for (at, branch) in (0..).zip(branches) {
            match self.value(*branch, value) {
                Ok(value) => return Ok(Value::Union(Box::new((at, value)))),
                Err(_) if self.misfits_left == 0 => {
                    return Err(Fault::new(
                        "the value takes too many tries to find the branches of its unions",
                    ));
                }
                Err(_) => self.misfits_left -= 1,
            }
        }
        let names: Vec<&str> = branches.iter().map(|branch| self.schema.get(*branch).kind.name()).collect();
        Err(Fault::new(format!("{} fits none of {}", kind_of(value), names.join(", "))))
    }

    fn record(&mut self, record: &RecordType, entries: &[(Text, Value)]) -> Result<Box<[Value]>, Fault> {
        let mut values: Box<[Value]> = record.fields.iter().map(|_| Value::Absent).collect();
        for (name, value) in entries {
            let name = name.get(self.payload);
            match place(record, name) {
                Some(at) => {
                    values[at] = match value {
                        Value::Absent => continue,
                        value => {
                            self.value(record.fields[at].of, value).map_err(|fault| fault.in_field(name))?
                        }
                    };
                }
                None if self.unknown == UnknownFields::Drop => {}
                None => {
                    let says = format!("the schema `{}` has no such field", record.name.full);
                    return Err(Fault::new(says).in_field(name));
                }
            }
        }
        for (value, field) in values.iter_mut().zip(&record.fields) {
            if *value == Value::Absent {
                *value = match &field.default {
                    None => {
                        return Err(
                            Fault::new("the field is missing and has no default").in_field(&field.name)
                        );
                    }
                    Some(json) => default::value(self.schema, field.of, json).ok_or_else(|| {
                        let says = format!("the default {json} is not of the field's type");
                        Fault::new(says).in_field(&field.name)
                    })?,
                };
            }
        }
        Ok(values)
    }

    fn symbol(&self, list: &Enumeration, text: &Text) -> Result<Value, Fault> {
        let text = text.get(self.payload);
        match (0..).zip(&list.symbols).find(|(_, symbol)| ***symbol == *text) {
            Some((at, _)) => Ok(Value::Enum(at)),
            None => Err(Fault::new(format!("`{}` has no such symbol", list.name.full))),
        }
    }

    fn whole(&self, of: &Type, value: &Value) -> Result<i64, Fault> {
        match (value, of.logical) {
            (Value::Int(number), _) => Ok((*number).into()),
            (Value::Long(number), _) => Ok(*number),
            // The bounds are powers of two, and so exact.
            (Value::Double(number), _) if number.fract() == 0.0 && (-TWO_63..TWO_63).contains(number) => {
                Ok(*number as i64)
            }
            (Value::Double(number), _) => {
                Err(Fault::new(format!("{number} is not a whole number of 64 bits")))
            }
            (Value::Number(text), _) => {
                let number = Digits::parse(text.get(self.payload)).and_then(|digits| digits.whole());
                number.ok_or_else(|| Fault::new("the number is not a whole number of 64 bits"))
            }
            (Value::Text(text), Some(logical)) => moment::from_text(logical, text.get(self.payload)),
            (value, _) => Err(no_place(&of.kind, value)),
        }
    }

    fn number(&self, value: &Value) -> Result<f64, Fault> {
        match value {
            Value::Int(number) => Ok((*number).into()),
            Value::Long(number) => Ok(*number as f64),
            Value::Float(number) => Ok((*number).into()),
            Value::Double(number) => Ok(*number),
            Value::Number(text) => {
                let number = text.get(self.payload).parse::<f64>().ok().filter(|number| number.is_finite());
                number.ok_or_else(|| Fault::new("the number is too large for a double"))
            }
            // JSON has no notation for these, so they are written as texts.
            Value::Text(text) => match text.get(self.payload) {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                _ => Err(no_place(&Kind::Double, value)),
            },
            value => Err(no_place(&Kind::Double, value)),
        }
    }

    fn bytes(&self, of: &Type, value: &Value) -> Result<Blob, Fault> {
        let size = match of.kind {
            Kind::Fixed { bytes, .. } => Some(bytes),
            _ => None,
        };
        let bytes = match (of.logical, value) {
            (_, Value::Bytes(bytes)) => bytes.get(self.payload).to_vec(),
            (Some(Logical::Decimal { precision, scale }), value) => {
                return Ok(Blob::Own(self.digits(value)?.unscaled(precision, scale)?.bytes(size).into()));
            }
            (Some(Logical::Uuid), Value::Text(text)) => match uuid(text.get(self.payload)) {
                Some(bytes) => bytes.to_vec(),
                None => return Err(Fault::new("the text is not a uuid")),
            },
            (_, Value::Text(text)) => match default::bytes(text.get(self.payload)) {
                Some(bytes) => return self.sized(Blob::Own(bytes), size),
                None => return Err(Fault::new("the text has letters above U+00FF, which stand for no byte")),
            },
            (_, value) => return Err(no_place(&of.kind, value)),
        };
        self.sized(Blob::Own(bytes.into()), size)
    }

    fn sized(&self, bytes: Blob, size: Option<usize>) -> Result<Blob, Fault> {
        let there = bytes.get(self.payload).len();
        match size {
            Some(size) if size != there => Err(Fault::new(format!("{there} bytes where {size} belong"))),
            _ => Ok(bytes),
        }
    }

    fn digits(&self, value: &Value) -> Result<Digits, Fault> {
        let digits = match value {
            Value::Int(number) => Digits::parse(&number.to_string()),
            Value::Long(number) => Digits::parse(&number.to_string()),
            // The shortest digits that mean this double, which are those that somebody wrote.
            Value::Float(number) => Digits::parse(&number.to_string()),
            Value::Double(number) => Digits::parse(&number.to_string()),
            Value::Number(text) | Value::Text(text) => Digits::parse(text.get(self.payload)),
            value => return Err(Fault::new(format!("{} is no decimal", kind_of(value)))),
        };
        digits.ok_or_else(|| Fault::new("the value is not a decimal number"))
    }
}

const TWO_63: f64 = 9_223_372_036_854_775_808.0;

#[cold]
fn no_place(kind: &Kind, value: &Value) -> Fault {
    Fault::new(format!("{} where `{kind}` belongs", kind_of(value)))
}

/// The sixteen bytes of `6ba7b810-9dad-11d1-80b4-00c04fd430c8`.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let places = [8, 13, 18, 23];
    let dashes = (0..).zip(text.bytes()).all(|(at, byte)| (byte == b'-') == places.contains(&at));
    if text.len() != 36 || !dashes {
        return None;
    }
    let mut bytes = [0; 16];
    let mut digits = text.chars().filter(|letter| *letter != '-').map(|letter| letter.to_digit(16));
    for byte in &mut bytes {
        *byte = (digits.next()?? * 16 + digits.next()??) as u8;
    }
    Some(bytes)
}

pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Absent => "a field that is absent and has no default",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_or_refused() {
        let bytes = uuid("6ba7b810-9DAD-11d1-80b4-00c04fd430c8").map(|bytes| (bytes[0], bytes[5], bytes[15]));
        assert_eq!(bytes, Some((0x6b, 0xad, 0xc8)));
        for wrong in ["", "6ba7b810-9dad-11d1-80b4-00c04fd430c", "6ba7b8109-dad-11d1-80b4-00c04fd430c8", "é"]
        {
            assert_eq!(uuid(wrong), None, "{wrong}");
        }
        assert_eq!(uuid("6ba7b810-9dad-11d1-80b4-00c04fd430cg"), None);
    }
}
