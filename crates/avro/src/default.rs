//! Defaults of fields: JSON as the specification writes it, to values.

use std::sync::Arc;

use aqueduct_api::Value;
use aqueduct_api::schema::{Kind, Schema, TypeId};
use aqueduct_api::value::{Blob, Text};
use serde_json::Value as Json;

/// Deeper defaults are none: a record whose field is of its own kind, with `{}` for a default, would never end.
const DEPTH_MAX: u32 = 64;

/// The value of this type that `json` stands for; nothing where it stands for none.
pub(crate) fn value(schema: &Schema, of: TypeId, json: &Json) -> Option<Value> {
    within(schema, of, json, DEPTH_MAX)
}

fn within(schema: &Schema, of: TypeId, json: &Json, depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let value = |of: TypeId, json: &Json| within(schema, of, json, depth);
    Some(match (&schema.get(of).kind, json) {
        (Kind::Null, Json::Null) => Value::Null,
        (Kind::Boolean, Json::Bool(flag)) => Value::Boolean(*flag),
        (Kind::Int, json) => Value::Int(whole(json)?.try_into().ok()?),
        (Kind::Long, json) => Value::Long(whole(json)?),
        (Kind::Float, json) => Value::Float(number(json)? as f32),
        (Kind::Double, json) => Value::Double(number(json)?),
        (Kind::Text, Json::String(text)) => Value::Text(Text::Own(text.as_str().into())),
        (Kind::Bytes, Json::String(text)) => Value::Bytes(Blob::Own(bytes(text)?)),
        (Kind::Fixed { bytes: size, .. }, Json::String(text)) => {
            Value::Bytes(Blob::Own(bytes(text).filter(|bytes| bytes.len() == *size)?))
        }
        (Kind::Enum(of), Json::String(symbol)) => {
            let at = of.symbols.iter().position(|known| **known == **symbol)?;
            Value::Enum(u32::try_from(at).ok()?)
        }
        (Kind::Record(of), Json::Object(map)) => {
            let field = |field: &aqueduct_api::schema::Field| {
                value(field.of, map.get(&*field.name).or(field.default.as_ref())?)
            };
            Value::Record(of.fields.iter().map(field).collect::<Option<_>>()?)
        }
        (Kind::List(of), Json::Array(list)) => {
            Value::List(list.iter().map(|json| value(*of, json)).collect::<Option<_>>()?)
        }
        (Kind::Map(of), Json::Object(map)) => {
            let entry =
                |(name, json): (&String, &Json)| Some((Text::Own(name.as_str().into()), value(*of, json)?));
            Value::Map(map.iter().map(entry).collect::<Option<_>>()?)
        }
        // Of the first branch by older versions of the specification, of any by newer ones.
        (Kind::Union(branches), json) => {
            let found = (0..).zip(branches).find_map(|(at, of)| Some((at, value(*of, json)?)))?;
            match schema.optional(of) {
                Some(_) => found.1,
                None => Value::Union(Box::new(found)),
            }
        }
        _ => return None,
    })
}

fn whole(json: &Json) -> Option<i64> {
    // Java writes 0.0 for a long now and then. What a double holds exactly is enough for that.
    let exact = |number: &f64| number.fract() == 0.0 && number.abs() <= (1_i64 << 53) as f64;
    json.as_i64().or_else(|| json.as_f64().filter(exact).map(|number| number as i64))
}

fn number(json: &Json) -> Option<f64> {
    match json {
        Json::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" | "INF" => Some(f64::INFINITY),
            "-Infinity" | "-INF" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        json => json.as_f64(),
    }
}

/// The code points 0 to 255 are the bytes 0 to 255.
pub(crate) fn bytes(text: &str) -> Option<Arc<[u8]>> {
    text.chars().map(|code| u8::try_from(u32::from(code)).ok()).collect()
}
