//! The schema of an envelope to a schema of ours, named and marked as Confluent's Avro converter names and marks it, so
//! that what leaves as Avro is what Kafka Connect would have written.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use aqueduct_api::schema::{
    Field, Kind, Logical, Name, RecordType, Schema, SchemaBuilder, Type, TypeId, Unit,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json};

use super::names::*;
use crate::json::decimal;
use crate::json::wanted::{ENTRY_NAME, INTERNAL_TYPE, PAIR};

type Result<T> = std::result::Result<T, String>;

/// The schema of the payload.
pub(super) fn convert(json: &Json) -> Result<Arc<Schema>> {
    let mut converting = Converting::default();
    let root = converting.of(json)?;
    Ok(converting.schema.finish(root))
}

#[derive(Default)]
struct Converting<'a> {
    schema: SchemaBuilder,
    /// Structs by their names, and how they were described: one that is met again is the same type.
    structs: HashMap<String, (&'a Json, TypeId)>,
    nameless: usize,
    entries: usize,
}

fn text<'a>(map: &'a Map<String, Json>, name: &str) -> Option<&'a str> {
    map.get(name).and_then(Json::as_str)
}

fn is_optional(map: &Map<String, Json>) -> bool {
    map.get("optional") == Some(&Json::Bool(true))
}

fn default(map: &Map<String, Json>) -> Option<&Json> {
    map.get("default").filter(|default| !default.is_null())
}

impl<'a> Converting<'a> {
    fn of(&mut self, json: &'a Json) -> Result<TypeId> {
        let map = json.as_object().ok_or("a schema is an object")?;
        let kind = text(map, "type").ok_or("a schema has no `type`")?;
        let id = match kind {
            "struct" => self.structure(json, map)?,
            "array" => {
                let items = self.of(map.get("items").ok_or("an array has no `items`")?)?;
                self.add(Kind::List(items), map)?
            }
            "map" => self.map(map)?,
            kind => {
                let kind = primitive(kind).ok_or_else(|| format!("there is no type `{kind}`"))?;
                self.add(kind, map)?
            }
        };
        if !is_optional(map) {
            return Ok(id);
        }
        let null = self.schema.add(Kind::Null);
        // The branch of the default stands first.
        let branches = if default(map).is_some() { [id, null] } else { [null, id] };
        Ok(self.schema.add(Kind::Union(branches.into())))
    }

    fn add(&mut self, kind: Kind, map: &Map<String, Json>) -> Result<TypeId> {
        let of = described(kind, map)?;
        Ok(self.schema.add(of))
    }

    fn map(&mut self, map: &'a Map<String, Json>) -> Result<TypeId> {
        let keys = map.get("keys").ok_or("a map has no `keys`")?;
        let values = map.get("values").ok_or("a map has no `values`")?;
        let of_keys = keys.as_object().ok_or("the `keys` of a map are a schema")?;
        if text(of_keys, "type") == Some("string") && !is_optional(of_keys) {
            let values = self.of(values)?;
            return self.add(Kind::Map(values), map);
        }
        let fields = [("key", self.of(keys)?), ("value", self.of(values)?)];
        let fields = fields.map(|(name, of)| field(name, of));
        self.entries += 1;
        let name = match (text(map, "name"), self.entries) {
            (Some(name), _) => name.to_owned(),
            (None, 1) => ENTRY_NAME.to_owned(),
            (None, count) => format!("{ENTRY_NAME}{count}"),
        };
        let record = RecordType::new(Name::new(name), fields);
        let attributes = BTreeMap::from([(INTERNAL_TYPE.to_owned(), Json::from(PAIR))]);
        let entry = self.schema.add(Type { kind: Kind::Record(record), logical: None, attributes });
        self.add(Kind::List(entry), map)
    }

    fn structure(&mut self, json: &'a Json, map: &'a Map<String, Json>) -> Result<TypeId> {
        let name = match text(map, "name") {
            Some(name) => name.to_owned(),
            None => {
                self.nameless += 1;
                if self.nameless > 1 { format!("{NAMELESS}{}", self.nameless) } else { NAMELESS.to_owned() }
            }
        };
        if let Some((known, id)) = self.structs.get(&name) {
            let same = ["fields", "version", "doc", "parameters"]
                .iter()
                .all(|part| known.get(part) == json.get(part));
            return if same { Ok(*id) } else { Err(format!("two structs that differ are called `{name}`")) };
        }
        let list = map.get("fields").and_then(Json::as_array).ok_or("a struct has no `fields`")?;
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        let mut names = HashSet::with_capacity(list.len());
        for json in list {
            let name = json.get("field").and_then(Json::as_str).ok_or("a field has no name in `field`")?;
            if !names.insert(name) {
                return Err(format!("a struct has the field `{name}` twice"));
            }
            let of = self.of(json).map_err(|says| format!("`{name}`: {says}"))?;
            let map = json.as_object().ok_or("a field is an object")?;
            let default = match default(map) {
                Some(default) => Some(as_avro(map, default)?),
                None => is_optional(map).then_some(Json::Null),
            };
            fields.push(Field { default, doc: text(map, "doc").map(Into::into), ..field(name, of) });
        }
        let record =
            RecordType::new(Name { doc: text(map, "doc").map(Into::into), ..Name::new(&*name) }, fields);
        let id = self.add(Kind::Record(record), map)?;
        self.structs.insert(name, (json, id));
        Ok(id)
    }
}

fn field(name: &str, of: TypeId) -> Field {
    Field {
        name: name.into(),
        aliases: Box::default(),
        doc: None,
        of,
        default: None,
        attributes: BTreeMap::new(),
    }
}

fn primitive(kind: &str) -> Option<Kind> {
    Some(match kind {
        "boolean" => Kind::Boolean,
        "int8" | "int16" | "int32" => Kind::Int,
        "int64" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::Text,
        _ => return None,
    })
}

/// The type with all that is said of it.
fn described(kind: Kind, map: &Map<String, Json>) -> Result<Type> {
    let logical = logical(&kind, map);
    let mut attributes = BTreeMap::new();
    let mut add = |name: &str, value: Json| drop(attributes.insert(name.to_owned(), value));
    if let Some(small @ ("int8" | "int16")) = text(map, "type") {
        add(CONNECT_TYPE, small.into());
    }
    for (name, attribute) in [("name", CONNECT_NAME), ("doc", CONNECT_DOC)] {
        if let Some(said) = text(map, name) {
            add(attribute, said.into());
        }
    }
    if let Some(version) = map.get("version").filter(|version| version.is_i64()) {
        add(CONNECT_VERSION, version.clone());
    }
    if let Some(parameters) = map.get("parameters").and_then(Json::as_object) {
        if parameters.values().any(|value| !value.is_string()) {
            return Err("parameters are texts".to_owned());
        }
        add(CONNECT_PARAMETERS, parameters.clone().into());
    }
    if let Some(default) = default(map) {
        add(CONNECT_DEFAULT, as_avro(map, default)?);
    }
    Ok(Type { kind, logical, attributes })
}

fn logical(kind: &Kind, map: &Map<String, Json>) -> Option<Logical> {
    let stamp = |unit| Logical::Timestamp { unit, local: false };
    Some(match (text(map, "name")?, kind) {
        (DECIMAL, Kind::Bytes) => {
            let (precision, scale) = decimal_of(map)?;
            Logical::Decimal { precision, scale }
        }
        (DATE | DEBEZIUM_DATE, Kind::Int) => Logical::Date,
        (TIME | DEBEZIUM_TIME, Kind::Int) => Logical::TimeMillis,
        (DEBEZIUM_MICRO_TIME, Kind::Long) => Logical::TimeMicros,
        (TIMESTAMP | DEBEZIUM_TIMESTAMP, Kind::Long) => stamp(Unit::Millis),
        (DEBEZIUM_MICRO_TIMESTAMP, Kind::Long) => stamp(Unit::Micros),
        (DEBEZIUM_NANO_TIMESTAMP, Kind::Long) => stamp(Unit::Nanos),
        (DEBEZIUM_UUID, Kind::Text) => Logical::Uuid,
        _ => return None,
    })
}

/// Precision and scale. A scale below zero has no type of ours: such a decimal stays bytes.
fn decimal_of(map: &Map<String, Json>) -> Option<(u32, u32)> {
    let parameter = |name| map.get("parameters")?.get(name)?.as_str()?.parse::<u32>().ok();
    let scale = parameter(SCALE_PARAMETER)?;
    Some((parameter(PRECISION_PARAMETER).unwrap_or(PRECISION).max(scale).max(1), scale))
}

/// A default as Avro writes it: bytes as code points.
fn as_avro(map: &Map<String, Json>, default: &Json) -> Result<Json> {
    let wrong = || "a default is not of its type".to_owned();
    let part = |name| map.get(name).and_then(Json::as_object).ok_or_else(wrong);
    Ok(match (text(map, "type"), default) {
        (Some("bytes"), Json::String(text)) => {
            code_points(&BASE64.decode(text).map_err(|error| format!("a default is not base64: {error}"))?)
        }
        (Some("bytes"), Json::Number(number)) => {
            let (precision, scale) = decimal_of(map).ok_or_else(wrong)?;
            let bytes = decimal::read(&number.to_string(), precision, scale);
            code_points(&bytes.map_err(|fault| fault.to_string())?)
        }
        (Some("array"), Json::Array(items)) => {
            let of = part("items")?;
            items.iter().map(|item| as_avro(of, item)).collect::<Result<Vec<_>>>()?.into()
        }
        (Some("map"), Json::Object(entries)) => {
            let of = part("values")?;
            let entries = entries.iter().map(|(name, value)| Ok((name.clone(), as_avro(of, value)?)));
            Json::Object(entries.collect::<Result<_>>()?)
        }
        (Some("struct"), Json::Object(values)) => {
            let fields = map.get("fields").and_then(Json::as_array).ok_or_else(wrong)?;
            let mut made = Map::new();
            for field in fields {
                let field = field.as_object().ok_or_else(wrong)?;
                let name = text(field, "field").ok_or_else(wrong)?;
                if let Some(value) = values.get(name) {
                    made.insert(name.to_owned(), as_avro(field, value)?);
                }
            }
            Json::Object(made)
        }
        (_, other) => other.clone(),
    })
}

fn code_points(bytes: &[u8]) -> Json {
    Json::String(bytes.iter().copied().map(char::from).collect())
}
