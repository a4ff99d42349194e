//! Avro schemas from their JSON. Names are taken as other languages write them, dashes and all; a logical type that
//! is unknown or does not fit is left aside, as the specification asks.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use aqueduct_api::schema::{
    Enumeration, Field, Kind, Logical, Name, RecordType, Schema, SchemaBuilder, Type, TypeId, Unit,
};
use serde_json::{Map, Value as Json};

/// A schema has fewer types than this; the JSON of a larger one would not fit into a registry either.
const TYPES_MAX: usize = 100_000;
/// Deeper nesting is refused: serde_json stops at 128 already.
const DEPTH_MAX: usize = 100;

/// Why some text is not an Avro schema: a sentence with the place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError(String);

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SchemaError {}

type Result<T> = std::result::Result<T, SchemaError>;

/// Reads a schema. `references` are schemas whose named types it may use, each only those before it.
///
/// # Errors
/// When one of them is not a schema.
pub fn parse(text: &str, references: &[&str]) -> Result<Arc<Schema>> {
    let mut reading = Reading::default();
    for reference in references {
        reading.document(reference)?;
    }
    let root = reading.document(text)?;
    Ok(reading.schema.finish(root))
}

#[derive(Default)]
struct Reading {
    schema: SchemaBuilder,
    named: HashMap<Arc<str>, TypeId>,
    types: usize,
}

/// Where we are: the namespace that names without one are in, and the path for messages.
#[derive(Clone, Copy)]
struct At<'a> {
    namespace: &'a str,
    path: &'a str,
    depth: usize,
}

fn wrong<T>(at: At<'_>, says: impl fmt::Display) -> Result<T> {
    let place = if at.path.is_empty() { String::new() } else { format!("{}: ", at.path) };
    Err(SchemaError(format!("{place}{says}")))
}

impl Reading {
    fn document(&mut self, text: &str) -> Result<TypeId> {
        let at = At { namespace: "", path: "", depth: 0 };
        // The name of a primitive type stands there without quotes in some registries.
        match serde_json::from_str(text) {
            Ok(json) => self.of(&json, at),
            Err(_) if primitive(text.trim()).is_some() => self.of(&Json::from(text.trim()), at),
            Err(error) => wrong(at, format!("the schema is not JSON: {error}")),
        }
    }

    fn of(&mut self, json: &Json, at: At<'_>) -> Result<TypeId> {
        self.types += 1;
        if self.types > TYPES_MAX || at.depth > DEPTH_MAX {
            return wrong(at, "the schema has more types, or deeper ones, than anybody needs");
        }
        let at = At { depth: at.depth + 1, ..at };
        match json {
            Json::String(name) => match primitive(name) {
                Some(kind) => Ok(self.schema.add(kind)),
                None => self.by_name(name, at),
            },
            Json::Array(branches) => self.union(branches, at),
            Json::Object(map) => self.object(map, at),
            _ => wrong(at, "a type is a name, an object or a list"),
        }
    }

    fn by_name(&mut self, name: &str, at: At<'_>) -> Result<TypeId> {
        let known = self.named.get(&*full_name(name, at.namespace)).or_else(|| self.named.get(name));
        known.copied().map_or_else(|| wrong(at, format!("there is no type `{name}`")), Ok)
    }

    fn union(&mut self, branches: &[Json], at: At<'_>) -> Result<TypeId> {
        let mut ids: Vec<TypeId> = Vec::with_capacity(branches.len());
        let mut names: Vec<String> = Vec::new();
        for branch in branches {
            if branch.is_array() {
                return wrong(at, "a union stands directly inside a union");
            }
            let id = self.of(branch, at)?;
            // A type that contains itself is still a promise, and has a name of its own.
            let name = match self.schema.get(id) {
                Some(of) => of.kind.name().to_owned(),
                None => format!("#{}", id.index()),
            };
            if names.contains(&name) {
                return wrong(at, format!("the union has `{name}` twice"));
            }
            names.push(name);
            ids.push(id);
        }
        Ok(self.schema.add(Kind::Union(ids.into())))
    }

    fn object(&mut self, map: &Map<String, Json>, at: At<'_>) -> Result<TypeId> {
        let of = match map.get("type") {
            Some(Json::String(of)) => of.as_str(),
            // `{"type": {"type": "string"}}`
            Some(inner @ (Json::Object(_) | Json::Array(_))) => return self.of(inner, at),
            _ => return wrong(at, "the object has no `type`"),
        };
        let kind = match of {
            "record" | "error" => return self.record(map, at),
            "enum" => {
                let of = enumeration(map, at)?;
                let name = Arc::clone(&of.name.full);
                return self.add_named(name, Kind::Enum(of), map, at);
            }
            "fixed" => {
                let name = name_of(map, at)?;
                let bytes =
                    map.get("size").and_then(Json::as_u64).and_then(|size| usize::try_from(size).ok());
                let Some(bytes) = bytes else { return wrong(at, "fixed has no `size`") };
                return self.add_named(Arc::clone(&name.full), Kind::Fixed { name, bytes }, map, at);
            }
            "array" => match map.get("items") {
                Some(items) => Kind::List(self.of(items, at)?),
                None => return wrong(at, "the array has no `items`"),
            },
            "map" => match map.get("values") {
                Some(values) => Kind::Map(self.of(values, at)?),
                None => return wrong(at, "the map has no `values`"),
            },
            name => match primitive(name) {
                Some(kind) => kind,
                None => return self.by_name(name, at),
            },
        };
        Ok(self.schema.add(with_attributes(kind, map)))
    }

    fn add_named(
        &mut self,
        name: Arc<str>,
        kind: Kind,
        map: &Map<String, Json>,
        at: At<'_>,
    ) -> Result<TypeId> {
        let id = self.schema.add(with_attributes(kind, map));
        self.define(name, id, at)?;
        Ok(id)
    }

    fn define(&mut self, name: Arc<str>, id: TypeId, at: At<'_>) -> Result<()> {
        match self.named.insert(Arc::clone(&name), id) {
            Some(_) => wrong(at, format!("`{name}` is defined twice")),
            None => Ok(()),
        }
    }

    fn record(&mut self, map: &Map<String, Json>, at: At<'_>) -> Result<TypeId> {
        let name = name_of(map, at)?;
        let id = self.schema.promise();
        self.define(Arc::clone(&name.full), id, at)?;
        let Some(Json::Array(list)) = map.get("fields") else {
            return wrong(at, "the record has no `fields`");
        };
        let namespace = name.full.rsplit_once('.').map_or("", |(namespace, _)| namespace);
        let mut fields: Vec<Field> = Vec::with_capacity(list.len());
        for json in list {
            let field = self.field(json, At { namespace, ..at })?;
            if fields.iter().any(|other| other.name == field.name) {
                return wrong(at, format!("`{}` has the field `{}` twice", name.full, field.name));
            }
            fields.push(field);
        }
        self.schema.give(id, with_attributes(Kind::Record(RecordType::new(name, fields)), map));
        Ok(id)
    }

    fn field(&mut self, json: &Json, at: At<'_>) -> Result<Field> {
        let Json::Object(map) = json else { return wrong(at, "a field is an object") };
        let Some(name) = map.get("name").and_then(Json::as_str) else {
            return wrong(at, "a field has no `name`");
        };
        let path = if at.path.is_empty() { name.to_owned() } else { format!("{}.{name}", at.path) };
        let at = At { path: &path, ..at };
        let Some(of) = map.get("type") else { return wrong(at, "the field has no `type`") };
        let of = match of {
            // What describes the type stands beside its name, one level too high, in many schemas: the
            // specification gives it no meaning there.
            Json::String(_) | Json::Object(_) | Json::Array(_) => self.of(of, at)?,
            _ => return wrong(at, "the `type` of the field is no type"),
        };
        Ok(Field {
            name: name.into(),
            aliases: texts(map.get("aliases")).map(Into::into).collect(),
            doc: map.get("doc").and_then(Json::as_str).map(Into::into),
            of,
            default: map.get("default").cloned(),
            attributes: others(map, &["name", "type", "doc", "default", "aliases"]),
        })
    }
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::Text,
        _ => return None,
    })
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn name_of(map: &Map<String, Json>, at: At<'_>) -> Result<Name> {
    let Some(name) = map.get("name").and_then(Json::as_str).filter(|name| !name.is_empty()) else {
        return wrong(at, "a record, enum or fixed has no `name`");
    };
    if primitive(name).is_some() {
        return wrong(at, format!("`{name}` is the name of a primitive type"));
    }
    let namespace = map.get("namespace").and_then(Json::as_str).unwrap_or(at.namespace);
    let full = full_name(name, namespace);
    let own = full.rsplit_once('.').map_or("", |(namespace, _)| namespace);
    Ok(Name {
        aliases: texts(map.get("aliases")).map(|alias| full_name(alias, own).into()).collect(),
        doc: map.get("doc").and_then(Json::as_str).map(Into::into),
        full: full.into(),
    })
}

fn enumeration(map: &Map<String, Json>, at: At<'_>) -> Result<Enumeration> {
    let name = name_of(map, at)?;
    let symbols: Box<[Arc<str>]> = texts(map.get("symbols")).map(Into::into).collect();
    if (1..symbols.len()).any(|at| symbols[..at].contains(&symbols[at])) {
        return wrong(at, format!("`{}` has a symbol twice", name.full));
    }
    let default = match map.get("default") {
        None => None,
        Some(default) => match symbols.iter().position(|symbol| Some(&**symbol) == default.as_str()) {
            Some(position) => u32::try_from(position).ok(),
            None => return wrong(at, format!("the default of `{}` is not one of its symbols", name.full)),
        },
    };
    Ok(Enumeration { name, symbols, default })
}

fn texts(list: Option<&Json>) -> impl Iterator<Item = &str> {
    list.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

fn others(map: &Map<String, Json>, known: &[&str]) -> BTreeMap<String, Json> {
    let other = map.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    other.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// What an object says beside its type: its meaning, and what this format does not know.
fn with_attributes(kind: Kind, map: &Map<String, Json>) -> Type {
    const KNOWN: [&str; 12] = [
        "type",
        "name",
        "namespace",
        "aliases",
        "doc",
        "fields",
        "symbols",
        "default",
        "size",
        "items",
        "values",
        "logicalType",
    ];
    let logical = logical(&kind, map);
    let mut attributes = others(map, &KNOWN);
    match (logical, map.get("logicalType")) {
        (Some(Logical::Decimal { .. }), _) => {
            attributes.remove("precision");
            attributes.remove("scale");
        }
        // One that is not known here may be known to others.
        (None, Some(unknown)) => drop(attributes.insert("logicalType".to_owned(), unknown.clone())),
        _ => {}
    }
    Type { kind, logical, attributes }
}

fn logical(kind: &Kind, map: &Map<String, Json>) -> Option<Logical> {
    let stamp = |unit, local| matches!(kind, Kind::Long).then_some(Logical::Timestamp { unit, local });
    match map.get("logicalType")?.as_str()? {
        "decimal" => {
            let number =
                |name| map.get(name).and_then(Json::as_u64).and_then(|number| u32::try_from(number).ok());
            let (precision, scale) =
                (number("precision")?, map.get("scale").map_or(Some(0), |_| number("scale"))?);
            let fits = match kind {
                Kind::Bytes => true,
                Kind::Fixed { bytes, .. } => precision <= digits_of(*bytes),
                _ => false,
            };
            (fits && precision > 0 && scale <= precision).then_some(Logical::Decimal { precision, scale })
        }
        "date" => matches!(kind, Kind::Int).then_some(Logical::Date),
        "time-millis" => matches!(kind, Kind::Int).then_some(Logical::TimeMillis),
        "time-micros" => matches!(kind, Kind::Long).then_some(Logical::TimeMicros),
        "timestamp-millis" => stamp(Unit::Millis, false),
        "timestamp-micros" => stamp(Unit::Micros, false),
        "timestamp-nanos" => stamp(Unit::Nanos, false),
        "local-timestamp-millis" => stamp(Unit::Millis, true),
        "local-timestamp-micros" => stamp(Unit::Micros, true),
        "local-timestamp-nanos" => stamp(Unit::Nanos, true),
        "uuid" => matches!(kind, Kind::Text | Kind::Fixed { bytes: 16, .. }).then_some(Logical::Uuid),
        "duration" => matches!(kind, Kind::Fixed { bytes: 12, .. }).then_some(Logical::Duration),
        _ => None,
    }
}

/// Decimal digits that any number of that many bytes has: the specification's bound for fixed decimals.
fn digits_of(bytes: usize) -> u32 {
    // floor(log10(2^(8n-1) - 1)), where the -1 changes nothing because no power of two is a power of ten.
    let bits = (8 * bytes.min(1 << 20)).saturating_sub(1);
    (bits as f64 * std::f64::consts::LOG10_2).floor() as u32
}
