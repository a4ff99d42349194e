//! JSON Schema text to the schema of rows, as Confluent's converters read it: `connect.type`, `connect.index` and the
//! titles of Connect's logical types say what JSON's types leave open.
//!
//! What a type cannot express (`pattern`, `minimum`, `if`, ...) is the validator's. Where the forms a value may have
//! cannot be told apart by their JSON type, or nothing is said of it, it is a value of any type: it passes as it is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use aqueduct_api::schema::{
    Enumeration, Field, Kind, Logical, Name, RecordType, Schema, SchemaBuilder, Type, TypeId, Unit,
};
use aqueduct_api::{Error, Result, SchemaText};
use serde_json::{Map, Value as Json, json};

use super::names::{camel, is_name, last, marked};
use super::rules::{Texts, has_null, says_more, symbols};
use crate::json::wanted::NOT_NULL;

/// Deeper nesting and longer chains of references are refused.
const DEPTH_MAX: usize = 100;
/// A schema has fewer types than this.
const TYPES_MAX: usize = 100_000;
/// What a record without a title is called.
const NAMELESS: &str = "Record";

/// Connect's names of logical types, and those of Debezium for what Connect has no name for.
pub(super) const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
pub(super) const DATE: &str = "org.apache.kafka.connect.data.Date";
pub(super) const TIME: &str = "org.apache.kafka.connect.data.Time";
pub(super) const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";
pub(super) const MICRO_TIME: &str = "io.debezium.time.MicroTime";
pub(super) const MICRO_TIMESTAMP: &str = "io.debezium.time.MicroTimestamp";
pub(super) const NANO_TIMESTAMP: &str = "io.debezium.time.NanoTimestamp";
/// The parameter of a timestamp on nobody's clock.
pub(super) const LOCAL: &str = "local";

/// A schema that was read.
pub(super) struct Read {
    /// The type of its values.
    pub(super) schema: Arc<Schema>,
    /// Whether it says more than the type does.
    pub(super) says_more: bool,
    /// Its own JSON, and that of all it refers to, by the names they are referred to.
    pub(super) documents: Vec<(String, Json)>,
}

/// # Errors
/// `BadRecord` when it is no schema, or refers to what is not there.
pub(super) fn read(text: &SchemaText, texts: Texts) -> Result<Read> {
    let mut documents = Vec::new();
    collect("", text, &mut documents)?;
    let mut reading = Reading {
        documents: &documents,
        texts,
        says_more: false,
        schema: SchemaBuilder::default(),
        known: HashMap::new(),
        open: HashMap::new(),
        nullable: HashSet::new(),
        names: HashSet::new(),
        titled: HashMap::new(),
        types: 0,
    };
    let at = At { document: 0, json: &documents[0].1, name: NAMELESS, depth: 0 };
    let root = reading.of(at)?;
    let (schema, says_more) = (reading.schema.finish(root).written_as(text.clone()), reading.says_more);
    Ok(Read { schema, says_more, documents })
}

/// The schema and all that it refers to, by the names they are referred to.
fn collect(name: &str, text: &SchemaText, into: &mut Vec<(String, Json)>) -> Result<()> {
    if into.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let json = serde_json::from_str(&text.text)
        .map_err(|error| Error::bad_record(format!("the schema is not JSON: {error}")))?;
    into.push((name.to_owned(), json));
    text.references.iter().try_for_each(|reference| collect(&reference.name, &reference.schema, into))
}

/// What a schema says, and the type it is.
type Titled<'a> = (&'a Map<String, Json>, TypeId);

struct Reading<'a> {
    documents: &'a [(String, Json)],
    texts: Texts,
    says_more: bool,
    schema: SchemaBuilder,
    /// By the place of their JSON in memory: schemas may contain themselves.
    known: HashMap<*const Json, TypeId>,
    /// What is being read, with the promise where it was met again inside.
    open: HashMap<*const Json, Option<TypeId>>,
    /// Promises that will be kept with a type that may be null.
    nullable: HashSet<TypeId>,
    /// Full names that are taken.
    names: HashSet<String>,
    /// Records and enums by their title: one that is written out in many places is one type.
    titled: HashMap<&'a str, Vec<Titled<'a>>>,
    types: usize,
}

#[derive(Clone, Copy)]
struct At<'a> {
    document: usize,
    json: &'a Json,
    /// What a type without a title is called.
    name: &'a str,
    depth: usize,
}

fn wrong<T>(says: impl Into<String>) -> Result<T> {
    Err(Error::bad_record(format!("the schema cannot be read: {}", says.into())))
}

impl<'a> Reading<'a> {
    fn of(&mut self, at: At<'a>) -> Result<TypeId> {
        let place = std::ptr::from_ref(at.json);
        if let Some(known) = self.known.get(&place) {
            return Ok(*known);
        }
        if let Some(promised) = self.open.get_mut(&place) {
            let id = *promised.get_or_insert_with(|| self.schema.promise());
            if has_null(at.json, self.texts) {
                self.nullable.insert(id);
            }
            return Ok(id);
        }
        self.open.insert(place, None);
        let mut id = self.unread(at)?;
        let kind = self.schema.get(id).map(|of| &of.kind);
        self.says_more |= says_more(at.json, kind, |id| self.schema.get(id), self.texts);
        if self.texts.are_null(at.json) {
            id = self.union(vec![id], true);
        }
        if let Some(Some(promised)) = self.open.remove(&place) {
            let of = self.schema.get(id).cloned().unwrap_or(Kind::Any.into());
            self.schema.give(promised, of);
        }
        self.known.insert(place, id);
        Ok(id)
    }

    fn unread(&mut self, at: At<'a>) -> Result<TypeId> {
        self.types += 1;
        if at.depth > DEPTH_MAX || self.types > TYPES_MAX {
            return wrong("it has more types, or deeper ones, than anybody needs");
        }
        let at = At { depth: at.depth + 1, ..at };
        let map = match at.json {
            Json::Object(map) => map,
            Json::Bool(_) => return Ok(self.schema.add(Kind::Any)),
            _ => return wrong("a schema is an object, true or false"),
        };
        if let Some(reference) = map.get("$ref").and_then(Json::as_str) {
            let target = self.referred(reference, at)?;
            return self.of(target);
        }
        let forms = map.get("oneOf").or_else(|| map.get("anyOf")).and_then(Json::as_array);
        if let Some(forms) = forms.filter(|_| !map.contains_key("properties")) {
            let forms = forms.iter().map(|json| At { json, ..at });
            return self.either(forms.collect());
        }
        if let Some([form]) = map.get("allOf").and_then(Json::as_array).map(Vec::as_slice)
            && !map.contains_key("type")
        {
            return self.of(At { json: form, ..at });
        }
        match map.get("type") {
            Some(Json::String(of)) => self.typed(of, map, at, false),
            Some(Json::Array(list)) => self.listed(list, map, at),
            Some(_) => wrong("a `type` is a name or a list of names"),
            None if map.contains_key("properties") => self.typed("object", map, at, false),
            None if map.contains_key("enum") => self.typed("string", map, at, false),
            None if map.contains_key("const") && map["const"].is_string() => Ok(self.schema.add(Kind::Text)),
            None => Ok(self.schema.add(Kind::Any)),
        }
    }

    /// `#`, `#/definitions/Item`, `item.json`, `item.json#/...`, and the `$id` of a part of a document.
    fn referred(&self, reference: &'a str, at: At<'a>) -> Result<At<'a>> {
        let (file, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let own = |(name, json): &(String, Json)| {
            let id = json.get("$id").or_else(|| json.get("id")).and_then(Json::as_str);
            let id = id.map(|id| id.trim_end_matches('#'));
            name == file || id == Some(file) || last(name) == last(file) && !last(file).is_empty()
        };
        let document = match file {
            "" => Some(at.document),
            _ => self.documents.iter().position(own),
        };
        let Some(document) = document else {
            // A part of this document may have an `$id` of its own.
            return match marked(&self.documents[at.document].1, "$id", reference, 0) {
                Some(json) => Ok(At { json, name: last(reference), ..at }),
                None => wrong(format!("it refers to `{reference}`, which is not there")),
            };
        };
        let root = &self.documents[document].1;
        let found = match fragment {
            "" => Some(root),
            pointer if pointer.starts_with('/') => root.pointer(pointer),
            anchor => marked(root, "$anchor", anchor, 0)
                .or_else(|| marked(root, "$id", &reference[file.len()..], 0)),
        };
        match found {
            Some(json) => {
                let name = if reference.len() > 1 { last(reference) } else { NAMELESS };
                Ok(At { document, json, name, ..at })
            }
            None => wrong(format!("it refers to `{reference}`, which is not there")),
        }
    }

    /// One of several forms; with null beside just one other it is optional.
    fn either(&mut self, forms: Vec<At<'a>>) -> Result<TypeId> {
        let is_null = |form: &At<'_>| form.json.get("type").and_then(Json::as_str) == Some("null");
        let others: Vec<At<'a>> = forms.iter().filter(|form| !is_null(form)).copied().collect();
        let ids = others.iter().map(|form| self.of(*form)).collect::<Result<Vec<_>>>()?;
        let null = others.len() < forms.len();
        Ok(self.union(ids, null))
    }

    /// A union where the JSON type says which of its types a value has, else anything.
    fn union(&mut self, ids: Vec<TypeId>, null: bool) -> TypeId {
        let mut branches = Vec::new();
        let mut looks = HashSet::new();
        for id in &ids {
            let look = self.schema.get(*id).and_then(|of| looks_like(&of.kind));
            match look {
                Some(look) if looks.insert(look) => branches.push(*id),
                // A type that contains itself, or a second one that looks the same.
                _ if ids.len() > 1 => return self.schema.add(Kind::Any),
                _ if look == Some("any") => return *id,
                _ => branches.push(*id),
            }
        }
        match (branches.as_slice(), null) {
            ([], _) => self.schema.add(Kind::Null),
            ([one], false) => *one,
            // Anything may be null already.
            (branches, _) if branches.iter().any(|id| self.is_any(*id)) => self.schema.add(Kind::Any),
            ([one], true) if self.inside(*one).is_some() => {
                // A union does not stand in a union.
                let inner = self.inside(*one).unwrap_or_default();
                if inner.iter().any(|id| self.schema.get(*id).is_some_and(|of| of.kind == Kind::Null)) {
                    return *one;
                }
                let null = self.schema.add(Kind::Null);
                self.schema.add(Kind::Union([null].into_iter().chain(inner).collect()))
            }
            (branches, null) => {
                let null = null.then(|| self.schema.add(Kind::Null));
                self.schema.add(Kind::Union(null.into_iter().chain(branches.iter().copied()).collect()))
            }
        }
    }

    /// The branches, where it is a union.
    fn inside(&self, id: TypeId) -> Option<Vec<TypeId>> {
        match &self.schema.get(id)?.kind {
            Kind::Union(branches) => Some(branches.to_vec()),
            _ => None,
        }
    }

    fn is_any(&self, id: TypeId) -> bool {
        self.schema.get(id).is_some_and(|of| of.kind == Kind::Any)
    }

    /// `["string", "null"]`
    fn listed(&mut self, list: &'a [Json], map: &'a Map<String, Json>, at: At<'a>) -> Result<TypeId> {
        let names: Vec<&str> = list.iter().filter_map(Json::as_str).collect();
        let null = names.contains(&"null");
        // A whole number is a number.
        let names = names
            .iter()
            .filter(|name| **name != "null" && !(**name == "integer" && names.contains(&"number")));
        let ids = names.map(|name| self.typed(name, map, at, true)).collect::<Result<Vec<_>>>()?;
        Ok(self.union(ids, null))
    }

    /// A schema with one type; `part` where it is one of a list.
    fn typed(&mut self, of: &str, map: &'a Map<String, Json>, at: At<'a>, part: bool) -> Result<TypeId> {
        let connect = map.get("connect.type").and_then(Json::as_str).unwrap_or_default();
        let kind = match of {
            "null" => Kind::Null,
            "boolean" => Kind::Boolean,
            "integer" | "number" if connect == "bytes" => Kind::Bytes,
            "integer" | "number" => match connect {
                "int8" | "int16" | "int32" => Kind::Int,
                "float32" => Kind::Float,
                "float64" => Kind::Double,
                "int64" => Kind::Long,
                _ if of == "integer" => Kind::Long,
                _ => Kind::Double,
            },
            "string" if connect == "bytes" => Kind::Bytes,
            "string" => match symbols(map) {
                Some(symbols) => return Ok(self.enumeration(symbols, map, at, part)),
                None => match self.texts.of(map) {
                    Some(of) => return Ok(self.schema.add(of)),
                    None => Kind::Text,
                },
            },
            "array" => {
                let items =
                    map.get("items").filter(|items| !items.is_array() && !map.contains_key("prefixItems"));
                match items {
                    Some(items) => Kind::List(self.of(At { json: items, ..at })?),
                    None => Kind::List(self.schema.add(Kind::Any)),
                }
            }
            "object" => return self.object(connect, map, at, part),
            other => return wrong(format!("there is no type `{other}`")),
        };
        Ok(self.schema.add(described(kind, map)))
    }

    fn enumeration(
        &mut self,
        symbols: Box<[Arc<str>]>,
        map: &'a Map<String, Json>,
        at: At<'a>,
        part: bool,
    ) -> TypeId {
        let id = match self.same(map) {
            Some(known) => known,
            None => {
                let name = self.name(map, at, "Enum");
                let kind = Kind::Enum(Enumeration { name, symbols, default: None });
                let id = self.schema.add(described(kind, map));
                self.note(map, id);
                id
            }
        };
        // An enum with null beside its symbols.
        let nullable =
            map.get("enum").and_then(Json::as_array).is_some_and(|list| list.contains(&Json::Null));
        if nullable && !part { self.union(vec![id], true) } else { id }
    }

    /// The type of the same title that says the same.
    fn same(&self, map: &Map<String, Json>) -> Option<TypeId> {
        let known = self.titled.get(map.get("title")?.as_str()?)?;
        let is_same = |other: &Map<String, Json>| {
            ["properties", "required", "enum"].iter().all(|part| map.get(*part) == other.get(*part))
        };
        known.iter().find(|(other, _)| is_same(other)).map(|(_, id)| *id)
    }

    fn note(&mut self, map: &'a Map<String, Json>, id: TypeId) {
        if let Some(title) = map.get("title").and_then(Json::as_str) {
            self.titled.entry(title).or_default().push((map, id));
        }
    }

    fn object(
        &mut self,
        connect: &str,
        map: &'a Map<String, Json>,
        at: At<'a>,
        part: bool,
    ) -> Result<TypeId> {
        let properties = map.get("properties").and_then(Json::as_object).filter(|list| !list.is_empty());
        let Some(properties) = properties.filter(|_| connect != "map") else {
            let values = match map.get("additionalProperties") {
                Some(json @ Json::Object(_)) => self.of(At { json, ..at })?,
                Some(Json::Bool(false)) if !map.contains_key("patternProperties") => {
                    let name = self.name(map, at, "");
                    return Ok(self.schema.add(Kind::Record(RecordType::new(name, []))));
                }
                _ => self.schema.add(Kind::Any),
            };
            return Ok(self.schema.add(Kind::Map(values)));
        };
        if let Some(known) = self.same(map) {
            return Ok(known);
        }
        let id = self.schema.promise();
        self.note(map, id);
        if !part && !self.texts.are_null(at.json) {
            self.known.insert(at.json, id);
        }
        let name = self.name(map, at, "");
        let required: HashSet<&str> = map
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        let mut fields: Vec<(u64, Field)> = Vec::with_capacity(properties.len());
        for (place, (property, json)) in (0..).zip(properties) {
            let index = json.get("connect.index").and_then(Json::as_u64).unwrap_or(place);
            let at = At { json, name: property, ..at };
            fields.push((index, self.field(property, at, required.contains(property.as_str()))?));
        }
        // Those without an index stand where the text has them.
        fields.sort_by_key(|(index, _)| *index);
        let fields: Vec<Field> = fields.into_iter().map(|(_, field)| field).collect();
        self.schema.give(id, described(Kind::Record(RecordType::new(name, fields)), map));
        Ok(id)
    }

    fn field(&mut self, name: &str, at: At<'a>, required: bool) -> Result<Field> {
        let mut of = self.of(at)?;
        // What is required is not made up where it is missing.
        let default = at.json.get("default").filter(|_| !required).cloned();
        let mut attributes = BTreeMap::new();
        let null = |of: &TypeId| self.schema.get(*of).is_some_and(|of| of.kind == Kind::Null);
        let nullable = match self.schema.get(of).map(|of| &of.kind) {
            Some(Kind::Any | Kind::Null) => true,
            Some(Kind::Union(branches)) => branches.iter().any(null),
            Some(_) => false,
            None => self.nullable.contains(&of),
        };
        if !required && !nullable {
            attributes.insert(NOT_NULL.to_owned(), json!(true));
            let null = self.schema.add(Kind::Null);
            let branches = match self.schema.get(of).map(|of| &of.kind) {
                Some(Kind::Union(branches)) => branches.to_vec(),
                _ => vec![of],
            };
            // The type that the default is of stands first, as Avro wants it.
            let first = default.as_ref().is_none_or(Json::is_null);
            let branches = first.then_some(null).into_iter().chain(branches).chain((!first).then_some(null));
            of = self.schema.add(Kind::Union(branches.collect()));
        }
        let default = default.or((!required).then_some(Json::Null));
        let doc = at.json.get("description").and_then(Json::as_str).map(Into::into);
        Ok(Field { name: name.into(), aliases: Box::default(), doc, of, default, attributes })
    }

    /// The title, where it is a name; else what the type is found under. No two types have the same.
    fn name(&mut self, map: &Map<String, Json>, at: At<'_>, behind: &str) -> Name {
        let title = map.get("title").and_then(Json::as_str).filter(|title| is_name(title));
        let wanted = match title {
            Some(title) => title.to_owned(),
            None => format!("{}{behind}", camel(at.name)),
        };
        let more = (2..).map(|count| format!("{wanted}{count}"));
        let full = [wanted.clone()].into_iter().chain(more).find(|name| !self.names.contains(name));
        let full = full.unwrap_or_default();
        self.names.insert(full.clone());
        let doc = map.get("description").and_then(Json::as_str).map(Into::into);
        Name { doc, ..Name::new(full) }
    }
}

/// What the values of a kind look like in JSON; nothing for those that may look in many ways.
fn looks_like(kind: &Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Null => "null",
        Kind::Boolean => "boolean",
        Kind::Int | Kind::Long | Kind::Float | Kind::Double => "number",
        Kind::Text | Kind::Enum(_) => "string",
        Kind::List(_) => "array",
        Kind::Record(_) | Kind::Map(_) => "object",
        Kind::Any => "any",
        Kind::Bytes | Kind::Fixed { .. } | Kind::Union(_) => return None,
    })
}

/// A kind with its meaning, and what the schema says beside it.
fn described(kind: Kind, map: &Map<String, Json>) -> Type {
    let title = map.get("title").and_then(Json::as_str).unwrap_or_default();
    let parameter = |name: &str| {
        let value = map.get("connect.parameters")?.get(name)?;
        value.as_str().map_or_else(|| value.as_u64(), |text| text.parse().ok())
    };
    let number = |name: &str| parameter(name).and_then(|number| u32::try_from(number).ok());
    let stamp = |unit| Some(Logical::Timestamp { unit, local: parameter(LOCAL) == Some(1) });
    let logical = match (&kind, title) {
        (Kind::Bytes, DECIMAL) => {
            let scale = number("scale").unwrap_or(0);
            // Connect's decimals need no precision; 64 is what Confluent's Avro converter takes then.
            let precision = number("connect.decimal.precision").unwrap_or(64).max(scale).max(1);
            Some(Logical::Decimal { precision, scale })
        }
        (Kind::Int, DATE) => Some(Logical::Date),
        (Kind::Int, TIME) => Some(Logical::TimeMillis),
        (Kind::Long, TIMESTAMP) => stamp(Unit::Millis),
        (Kind::Long, MICRO_TIMESTAMP) => stamp(Unit::Micros),
        (Kind::Long, NANO_TIMESTAMP) => stamp(Unit::Nanos),
        (Kind::Long, MICRO_TIME) => Some(Logical::TimeMicros),
        (Kind::Text, _) if map.get("format").and_then(Json::as_str) == Some("uuid") => Some(Logical::Uuid),
        _ => None,
    };
    let mut attributes = BTreeMap::new();
    for name in ["title", "format"] {
        let named = matches!(kind, Kind::Record(_) | Kind::Enum(_)) && is_name(title);
        if let Some(value) = map.get(name).filter(|_| logical.is_none() && !named) {
            attributes.insert(format!("json.{name}"), value.clone());
        }
    }
    Type { kind, logical, attributes }
}
