//! The schema of rows to JSON Schema text, in the shape of Confluent's converters (draft 7).

use std::collections::{HashMap, HashSet};

use aqueduct_api::schema::{Kind, Logical, RecordType, Schema, Type, TypeId, Unit};
use aqueduct_api::{Error, Result};
use serde_json::{Map, Value as Json, json};

use super::read::{DATE, DECIMAL, LOCAL, MICRO_TIME, MICRO_TIMESTAMP, NANO_TIMESTAMP, TIME, TIMESTAMP};
use crate::json::wanted::NOT_NULL;

/// The text of a schema that JSON of these rows fits: times as numbers, decimals as numbers, bytes as base64.
///
/// # Errors
/// `BadRecord` when the schema is deeper than a JSON text may be.
pub(crate) fn write(schema: &Schema) -> Result<String> {
    let mut writing =
        Writing { schema, inside: HashSet::new(), again: HashMap::new(), definitions: Map::new() };
    let mut root = writing.of(schema.root(), 0)?;
    if !writing.definitions.is_empty() {
        root.insert("definitions".to_owned(), Json::Object(writing.definitions));
    }
    let mut text = Map::new();
    text.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    text.extend(root);
    Ok(Json::Object(text).to_string())
}

/// Deeper schemas are refused.
const DEPTH_MAX: usize = 60;

struct Writing<'a> {
    schema: &'a Schema,
    /// Records that are being written: one of them met again is referred to.
    inside: HashSet<TypeId>,
    /// Records that contain themselves, with what refers to them.
    again: HashMap<TypeId, String>,
    definitions: Map<String, Json>,
}

impl Writing<'_> {
    fn of(&mut self, id: TypeId, depth: usize) -> Result<Map<String, Json>> {
        if depth > DEPTH_MAX {
            return Err(Error::bad_record(format!("the value's schema is more than {DEPTH_MAX} deep")));
        }
        let of = self.schema.get(id);
        let mut map = scalar(of);
        match &of.kind {
            Kind::List(items) => {
                map.insert("items".to_owned(), self.of(*items, depth + 1)?.into());
            }
            Kind::Map(values) => {
                map.insert("connect.type".to_owned(), json!("map"));
                map.insert("additionalProperties".to_owned(), self.of(*values, depth + 1)?.into());
            }
            Kind::Record(record) => return self.record(id, record, depth),
            Kind::Union(branches) => {
                let forms = branches.iter().map(|branch| self.of(*branch, depth + 1).map(Json::Object));
                map.insert("oneOf".to_owned(), forms.collect::<Result<Vec<_>>>()?.into());
            }
            _ => {}
        }
        Ok(map)
    }

    fn record(&mut self, id: TypeId, record: &RecordType, depth: usize) -> Result<Map<String, Json>> {
        let refer = |to: &str| Map::from_iter([("$ref".to_owned(), json!(to))]);
        if let Some(reference) = self.again.get(&id) {
            return Ok(refer(reference));
        }
        if !self.inside.insert(id) {
            let reference = match id == self.schema.root() {
                true => "#".to_owned(),
                false => format!("#/definitions/{}", record.name.full),
            };
            self.again.insert(id, reference.clone());
            return Ok(refer(&reference));
        }
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for (index, field) in record.fields.iter().enumerate() {
            // What may be left out but not null has that from its absence among the required alone.
            let never_null = field.attributes.contains_key(NOT_NULL);
            let of = match self.schema.optional(field.of) {
                Some((_, of)) if never_null => of,
                _ => field.of,
            };
            let mut map = self.of(of, depth + 1)?;
            if !never_null && !self.may_be_null(field.of) {
                required.push(json!(&*field.name));
            }
            map.insert("connect.index".to_owned(), json!(index));
            if let Some(default) = field.default.as_ref().filter(|default| !default.is_null()) {
                map.insert("default".to_owned(), default.clone());
            }
            if let Some(doc) = &field.doc {
                map.insert("description".to_owned(), json!(&**doc));
            }
            // Beside a reference, draft 7 looks at nothing.
            if map.contains_key("$ref") {
                let index = map.remove("connect.index").unwrap_or_default();
                map = Map::from_iter([
                    ("connect.index".to_owned(), index),
                    ("allOf".to_owned(), json!([{ "$ref": map["$ref"] }])),
                ]);
            }
            properties.insert(field.name.to_string(), map.into());
        }
        self.inside.remove(&id);
        let mut map = Map::new();
        map.insert("type".to_owned(), json!("object"));
        map.insert("title".to_owned(), json!(&*record.name.full));
        if let Some(doc) = &record.name.doc {
            map.insert("description".to_owned(), json!(&**doc));
        }
        map.insert("properties".to_owned(), properties.into());
        if !required.is_empty() {
            map.insert("required".to_owned(), required.into());
        }
        match self.again.get(&id) {
            Some(reference) if reference != "#" => {
                let reference = refer(reference);
                self.definitions.insert(record.name.full.to_string(), map.into());
                Ok(reference)
            }
            _ => Ok(map),
        }
    }
}

impl Writing<'_> {
    /// What may be null may be left out as well.
    fn may_be_null(&self, id: TypeId) -> bool {
        match &self.schema.get(id).kind {
            Kind::Null | Kind::Any => true,
            Kind::Union(branches) => branches.iter().any(|branch| self.may_be_null(*branch)),
            _ => false,
        }
    }
}

/// Type, title and `connect.type` of what has no parts; the parts of others are put in later.
fn scalar(of: &Type) -> Map<String, Json> {
    let (kind, connect, title) = match (&of.kind, of.logical) {
        (_, Some(Logical::Decimal { precision, scale })) => {
            let (precision, scale) = (precision.to_string(), scale.to_string());
            let parameters = json!({ "scale": scale, "connect.decimal.precision": precision });
            let mut map = titled("number", "bytes", DECIMAL);
            map.insert("connect.parameters".to_owned(), parameters);
            return map;
        }
        (_, Some(Logical::Date)) => ("integer", "int32", DATE),
        (_, Some(Logical::TimeMillis)) => ("integer", "int32", TIME),
        (_, Some(Logical::TimeMicros)) => ("integer", "int64", MICRO_TIME),
        (_, Some(Logical::Timestamp { unit, local })) => {
            let title = match unit {
                Unit::Millis => TIMESTAMP,
                Unit::Micros => MICRO_TIMESTAMP,
                Unit::Nanos => NANO_TIMESTAMP,
            };
            let mut map = titled("integer", "int64", title);
            if local {
                map.insert("connect.parameters".to_owned(), json!({ LOCAL: "1" }));
            }
            return map;
        }
        (Kind::Any, _) => return Map::new(),
        (Kind::Union(_), _) => return Map::new(),
        (Kind::Null, _) => ("null", "", ""),
        (Kind::Boolean, _) => ("boolean", "", ""),
        (Kind::Int, _) => ("integer", "int32", ""),
        (Kind::Long, _) => ("integer", "int64", ""),
        (Kind::Float, _) => ("number", "float32", ""),
        (Kind::Double, _) => ("number", "float64", ""),
        // The JSON of both is one text, whatever the bytes are.
        (Kind::Fixed { .. }, Some(Logical::Uuid | Logical::Duration)) => ("string", "", ""),
        (Kind::Bytes | Kind::Fixed { .. }, _) => ("string", "bytes", ""),
        (Kind::Text | Kind::Enum(_), _) => ("string", "", ""),
        (Kind::List(_), _) => ("array", "", ""),
        (Kind::Map(_) | Kind::Record(_), _) => ("object", "", ""),
    };
    let mut map = titled(kind, connect, title);
    if of.logical == Some(Logical::Uuid) {
        map.insert("format".to_owned(), json!("uuid"));
    }
    if let Kind::Enum(symbols) = &of.kind {
        map.insert("title".to_owned(), json!(&*symbols.name.full));
        let symbols: Vec<&str> = symbols.symbols.iter().map(|symbol| &**symbol).collect();
        map.insert("enum".to_owned(), json!(symbols));
    }
    for name in ["title", "format"] {
        if let Some(value) = of.attributes.get(&format!("json.{name}")) {
            map.insert(name.to_owned(), value.clone());
        }
    }
    map
}

fn titled(kind: &str, connect: &str, title: &str) -> Map<String, Json> {
    let mut map = Map::from_iter([("type".to_owned(), json!(kind))]);
    if !title.is_empty() {
        map.insert("title".to_owned(), json!(title));
        map.insert("connect.version".to_owned(), json!(1));
    }
    if !connect.is_empty() {
        map.insert("connect.type".to_owned(), json!(connect));
    }
    map
}
