//! A schema of ours to the schema of an envelope, in the order in which Kafka's converter writes its parts.

use std::sync::Arc;

use aqueduct_api::schema::{Field, Kind, Logical, Schema, TypeId, Unit};
use serde_json::{Map, Value as Json, json};

use super::names::*;
use crate::json::config::Style;
use crate::json::fault::Fault;
use crate::json::plan::{Plan, branch_name};
use crate::json::wanted::{Wanted, entries, pair};
use crate::json::write;

type Result<T> = std::result::Result<T, Fault>;

/// Deeper schemas are refused, and larger ones: Connect writes a type out wherever it is used.
const DEPTH_MAX: usize = 100;
const TYPES_MAX: usize = 100_000;

/// The schema of an envelope as text; `null` for values of any kind.
pub(super) fn convert(schema: &Arc<Schema>, style: Style) -> Result<Vec<u8>> {
    if schema.get(schema.root()).kind == Kind::Any {
        return Ok(b"null".to_vec());
    }
    let wanted = Wanted::of(schema).map_err(Fault::new)?;
    let mut converting =
        Converting { schema, plan: Plan::for_connect(schema), wanted, style, open: Vec::new(), types: 0 };
    let json = converting.of(schema.root(), None)?;
    serde_json::to_vec(&json).map_err(|error| Fault::new(error.to_string()))
}

struct Converting<'a> {
    schema: &'a Arc<Schema>,
    plan: Plan,
    wanted: Wanted,
    style: Style,
    /// The types that we are inside of.
    open: Vec<TypeId>,
    types: usize,
}

impl Converting<'_> {
    /// A type, as that of a field where it is one.
    fn of(&mut self, id: TypeId, field: Option<&Field>) -> Result<Json> {
        self.types += 1;
        if self.open.contains(&id) {
            return Err(Fault::new("a type that contains itself has no schema in Kafka Connect"));
        }
        if self.open.len() > DEPTH_MAX || self.types > TYPES_MAX {
            return Err(Fault::new(
                "the schema is too large for Kafka Connect, which repeats types that are used again",
            ));
        }
        self.open.push(id);
        let (of, is_optional) = self.schema.optional(id).map_or((id, false), |(_, of)| (of, true));
        let mut map = self.structure(of)?;
        self.open.pop();
        let has_null = matches!(&self.schema.get(of).kind, Kind::Union(branches) if branches.iter().any(|id| self.schema.get(*id).kind == Kind::Null));
        map.insert("optional".to_owned(), (is_optional || has_null).into());
        self.describe(of, field, &mut map)?;
        if let Some(field) = field {
            map.insert("field".to_owned(), (*field.name).into());
        }
        Ok(Json::Object(map))
    }

    /// `type`, and the types inside it.
    fn structure(&mut self, id: TypeId) -> Result<Map<String, Json>> {
        let schema = self.schema;
        let members = match &schema.get(id).kind {
            Kind::List(items) => match entries(schema, *items).or_else(|| pair(schema, *items)) {
                Some((key, value)) => {
                    vec![
                        ("type", "map".into()),
                        ("keys", self.of(key, None)?),
                        ("values", self.of(value, None)?),
                    ]
                }
                None => vec![("type", "array".into()), ("items", self.of(*items, None)?)],
            },
            Kind::Map(values) => {
                let keys = json!({ "type": "string", "optional": false });
                vec![("type", "map".into()), ("keys", keys), ("values", self.of(*values, None)?)]
            }
            Kind::Record(record) => {
                let mut fields = Vec::with_capacity(record.fields.len());
                for field in &record.fields {
                    let of = self.of(field.of, Some(field));
                    fields.push(of.map_err(|fault| fault.in_field(&*field.name))?);
                }
                vec![("type", "struct".into()), ("fields", fields.into())]
            }
            Kind::Union(branches) => {
                let mut fields = Vec::with_capacity(branches.len());
                for branch in branches {
                    let kind = &schema.get(*branch).kind;
                    if *kind != Kind::Null {
                        let mut field = self.of(*branch, None)?;
                        field["optional"] = true.into();
                        field["field"] = branch_name(kind).into();
                        fields.push(field);
                    }
                }
                vec![("type", "struct".into()), ("fields", fields.into())]
            }
            kind => vec![("type", self.primitive(id, kind)?.into())],
        };
        Ok(members.into_iter().map(|(name, value): (&str, Json)| (name.to_owned(), value)).collect())
    }

    fn primitive(&self, id: TypeId, kind: &Kind) -> Result<&'static str> {
        let of = self.schema.get(id);
        let small = of.attributes.get(CONNECT_TYPE).and_then(Json::as_str);
        Ok(match kind {
            Kind::Boolean => "boolean",
            Kind::Int if small == Some("int8") => "int8",
            Kind::Int if small == Some("int16") => "int16",
            Kind::Int => "int32",
            Kind::Long => "int64",
            Kind::Float => "float",
            Kind::Double => "double",
            // They are written as text.
            Kind::Fixed { .. } if matches!(of.logical, Some(Logical::Uuid | Logical::Duration)) => "string",
            Kind::Bytes | Kind::Fixed { .. } => "bytes",
            Kind::Text | Kind::Enum(_) => "string",
            kind => return Err(Fault::new(format!("the type `{kind}` has no schema in Kafka Connect"))),
        })
    }

    /// `name`, `version`, `doc`, `parameters` and `default`.
    fn describe(&self, id: TypeId, field: Option<&Field>, map: &mut Map<String, Json>) -> Result<()> {
        let of = self.schema.get(id);
        // What came from Connect says all that Connect said.
        let (name, version, mut parameters) = match of.attributes.contains_key(CONNECT_NAME) {
            true => Default::default(),
            false => self.meaning(id),
        };
        let mut add = |name: &str, value: Option<Json>| {
            if let Some(value) = value {
                map.insert(name.to_owned(), value);
            }
        };
        add("name", of.attributes.get(CONNECT_NAME).cloned().or(name));
        add("version", of.attributes.get(CONNECT_VERSION).cloned().or(version));
        let doc = match &of.kind {
            Kind::Record(record) => record.name.doc.as_deref(),
            _ => None,
        };
        let doc = doc.or(field.and_then(|field| field.doc.as_deref())).map(Json::from);
        add("doc", of.attributes.get(CONNECT_DOC).cloned().or(doc));
        if let Some(said) = of.attributes.get(CONNECT_PARAMETERS).and_then(Json::as_object) {
            parameters = said.clone();
        }
        add("parameters", (!parameters.is_empty()).then_some(Json::Object(parameters)));
        let default = field.and_then(|field| field.default.as_ref()).filter(|default| !default.is_null());
        if let Some(default) = of.attributes.get(CONNECT_DEFAULT).or(default) {
            add("default", Some(self.default(id, default)?));
        }
        Ok(())
    }

    /// What the type alone says: its name, the version of that, and parameters.
    fn meaning(&self, id: TypeId) -> (Option<Json>, Option<Json>, Map<String, Json>) {
        let of = self.schema.get(id);
        let mut parameters = Map::new();
        let mut add = |name: String, value: Json| drop(parameters.insert(name, value));
        let named = match of.logical {
            Some(Logical::Decimal { precision, scale }) => {
                add(SCALE_PARAMETER.to_owned(), scale.to_string().into());
                if precision != PRECISION {
                    add(PRECISION_PARAMETER.to_owned(), precision.to_string().into());
                }
                Some(DECIMAL)
            }
            Some(Logical::Date) => Some(DATE),
            Some(Logical::TimeMillis) => Some(TIME),
            Some(Logical::TimeMicros) => Some(DEBEZIUM_MICRO_TIME),
            Some(Logical::Timestamp { unit, local }) => {
                if local {
                    add("local".to_owned(), "true".into());
                }
                Some(match unit {
                    Unit::Millis => TIMESTAMP,
                    Unit::Micros => DEBEZIUM_MICRO_TIMESTAMP,
                    Unit::Nanos => DEBEZIUM_NANO_TIMESTAMP,
                })
            }
            Some(Logical::Uuid | Logical::Duration) | None => None,
        };
        if let Some(name) = named {
            return (Some(name.into()), Some(1.into()), parameters);
        }
        let name = match &of.kind {
            Kind::Record(record) if is_nameless(&record.name.full) => None,
            Kind::Record(record) => Some(Json::from(&*record.name.full)),
            Kind::Union(_) => Some(UNION.into()),
            Kind::Enum(of) => {
                add(ENUM.to_owned(), (*of.name.full).into());
                of.symbols.iter().for_each(|symbol| add(format!("{ENUM}.{symbol}"), (**symbol).into()));
                None
            }
            Kind::Fixed { name, bytes } if of.logical.is_none() => {
                add("connect.fixed.size".to_owned(), bytes.to_string().into());
                Some(Json::from(&*name.full))
            }
            _ => None,
        };
        (name, None, parameters)
    }

    /// A default as values are written.
    fn default(&self, id: TypeId, default: &Json) -> Result<Json> {
        let value = self.wanted.default_of(default, id).map_err(Fault::new)?;
        let mut out = Vec::new();
        write::write_part(&self.plan, self.style, &[], id, &value, &mut out)?;
        serde_json::from_slice(&out).map_err(|error| Fault::new(error.to_string()))
    }
}

/// Whether it is the name of a struct that has none.
fn is_nameless(name: &str) -> bool {
    name.strip_prefix(NAMELESS).is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}
