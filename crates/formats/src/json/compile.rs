//! Compiles a declared schema into what the reader needs, and reads the defaults of its fields.

use std::sync::Arc;

use aqueduct_api::Value;
use aqueduct_api::schema::{Field, Kind, Logical, RecordType, Schema, TypeId, Unit};
use aqueduct_api::value::{Blob, Text};
use serde_json::Value as Json;

use super::declared::{DeclaredReader, Rules, TextBytes};
use super::fault::InText;
use super::wanted::{Fields, Missing, NOT_NULL, Slot, Want, Wanted, entries, pair};

impl Wanted {
    /// Compiles a schema; an error names a field whose default is none of its type.
    pub(crate) fn of(schema: &Arc<Schema>) -> Result<Self, String> {
        let wants = schema.types().map(|(id, _)| want(schema, id)).collect();
        let mut wanted = Self { wants, schema: Arc::clone(schema), root_default: None };
        wanted.defaults()?;
        let root = schema.optional(schema.root()).map_or(schema.root(), |(_, of)| of);
        if let Some(default) = schema.get(root).attributes.get("connect.default") {
            wanted.root_default = Some(wanted.default_of(default, root)?);
        }
        Ok(wanted)
    }

    /// Defaults may leave out fields that have defaults themselves, so they are tried until no more of them can be read.
    fn defaults(&mut self) -> Result<(), String> {
        let schema = Arc::clone(&self.schema);
        let mut open: Vec<(TypeId, usize, &Field)> = Vec::new();
        for (id, of) in schema.types() {
            if let Kind::Record(record) = &of.kind {
                let with_default =
                    record.fields.iter().enumerate().filter(|(_, field)| field.default.is_some());
                open.extend(with_default.map(|(index, field)| (id, index, field)));
            }
        }
        loop {
            let before = open.len();
            let mut failed = None;
            let mut left = Vec::new();
            for (id, index, field) in open {
                let default = field.default.as_ref().unwrap_or(&Json::Null);
                match self.default_of(default, field.of) {
                    Ok(value) => {
                        if let Want::Record(fields) = &mut self.wants[id.index()] {
                            fields.list[index].missing = Missing::Default(value);
                        }
                    }
                    Err(says) => {
                        failed =
                            Some(format!("the default of the field `{}` does not fit: {says}", field.name));
                        left.push((id, index, field));
                    }
                }
            }
            match failed {
                Some(says) if left.len() == before => return Err(says),
                Some(_) => open = left,
                None => return Ok(()),
            }
        }
    }

    /// A default, of which the specification writes the bytes as code points.
    pub(crate) fn default_of(&self, default: &Json, of: TypeId) -> Result<Value, String> {
        let rules =
            Rules { bytes: TextBytes::CodePoints, decimals: TextBytes::CodePoints, ..Rules::default() };
        let text = default.to_string();
        match DeclaredReader::default().whole(self, rules, &text, of) {
            Ok(value) => Ok(owned(value, text.as_bytes())),
            Err(fault) => Err(fault.into_error(text.as_bytes()).says().to_owned()),
        }
    }
}

/// A value that stands on its own, whatever payload it came from.
pub(crate) fn owned(value: Value, payload: &[u8]) -> Value {
    let text = |text: Text| Text::Own(text.get(payload).into());
    let all = |values: Box<[Value]>| values.into_iter().map(|value| owned(value, payload)).collect();
    match value {
        Value::Text(of) => Value::Text(text(of)),
        Value::Number(of) => Value::Number(text(of)),
        Value::Bytes(bytes) => Value::Bytes(Blob::Own(bytes.get(payload).into())),
        Value::Record(values) => Value::Record(all(values)),
        Value::List(values) => Value::List(all(values)),
        Value::Map(entries) => {
            Value::Map(entries.into_iter().map(|(name, value)| (text(name), owned(value, payload))).collect())
        }
        Value::Union(branch) => Value::Union(Box::new((branch.0, owned(branch.1, payload)))),
        value => value,
    }
}

fn want(schema: &Schema, id: TypeId) -> Want {
    let of = schema.get(id);
    let fixed = match of.kind {
        Kind::Fixed { bytes, .. } => Some(bytes),
        _ => None,
    };
    match (of.logical, &of.kind) {
        (Some(Logical::Decimal { precision, scale }), _) => Want::Decimal { precision, scale, fixed },
        (Some(Logical::Date), _) => Want::Date,
        (Some(Logical::TimeMillis), _) => Want::Time(Unit::Millis),
        (Some(Logical::TimeMicros), _) => Want::Time(Unit::Micros),
        (Some(Logical::Timestamp { unit, local }), _) => Want::Timestamp(unit, local),
        (Some(Logical::Uuid), Kind::Fixed { .. }) => Want::Uuid,
        (Some(Logical::Duration), _) => Want::Duration,
        (_, Kind::Any) => Want::Any,
        (_, Kind::Null) => Want::Null,
        (_, Kind::Boolean) => Want::Boolean,
        (_, Kind::Int) => match of.attributes.get("connect.type").and_then(|of| of.as_str()) {
            Some("int8") => Want::Int(i8::MIN.into(), i8::MAX.into()),
            Some("int16") => Want::Int(i16::MIN.into(), i16::MAX.into()),
            _ => Want::Int(i32::MIN, i32::MAX),
        },
        (_, Kind::Long) => Want::Long,
        (_, Kind::Float) => Want::Float,
        (_, Kind::Double) => Want::Double,
        (_, Kind::Text) => Want::Text,
        (_, Kind::Bytes) => Want::Bytes,
        (_, Kind::Fixed { bytes, .. }) => Want::Fixed(*bytes),
        (_, Kind::Enum(of)) => {
            Want::Enum { symbols: of.symbols.iter().cloned().zip(0..).collect(), default: of.default }
        }
        (_, Kind::Record(record)) => match pair(schema, id) {
            Some((key, value)) => Want::Pair(key, value),
            None => Want::Record(fields(record)),
        },
        (_, Kind::List(items)) => match entries(schema, *items) {
            Some((key, value)) => Want::Entries(key, value),
            None => Want::List(*items),
        },
        (_, Kind::Map(of)) => Want::Map(*of),
        (_, Kind::Union(branches)) => match schema.optional(id) {
            Some((_, of)) => Want::Optional(of),
            None => Want::Union(branches.clone()),
        },
    }
}

fn fields(record: &RecordType) -> Fields {
    let slot = |field: &Field| Slot {
        name: Arc::clone(&field.name),
        of: field.of,
        missing: Missing::Error,
        not_null: field.attributes.contains_key(NOT_NULL),
    };
    let names = record.fields.iter().map(|field| Arc::clone(&field.name));
    Fields { list: record.fields.iter().map(slot).collect(), positions: names.zip(0..).collect() }
}
