//! A JSON Schema to a schema of ours, as far as our types can say it; the rest is left to a validator.
//! <https://json-schema.org/draft/2020-12/json-schema-validation>

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aqueduct_api::schema::{
    Enumeration, Field, Kind, Logical, Name, RecordType, Schema, SchemaBuilder, Type, TypeId, Unit,
};
use serde_json::{Map, Value as Json};

use super::wanted::NOT_NULL;

/// A schema, and whether the JSON Schema says more than its types do.
pub(crate) struct Converted {
    pub(crate) schema: Arc<Schema>,
    pub(crate) says_more: bool,
}

/// The schema of the rows that this JSON Schema allows.
pub(crate) fn convert(document: &Json) -> Converted {
    let mut converting =
        Converting { document, schema: SchemaBuilder::default(), named: HashMap::new(), says_more: false };
    let (root, nullable) = converting.reference("#");
    let root = if nullable { converting.optional(root, false) } else { root };
    Converted { schema: converting.schema.finish(root), says_more: converting.says_more }
}

/// Keywords that the types say, or that say nothing of values.
const KNOWN: [&str; 24] = [
    "type",
    "title",
    "description",
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "default",
    "examples",
    "readOnly",
    "writeOnly",
    "deprecated",
    "format",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "nullable",
    "oneOf",
    "anyOf",
    "contentEncoding",
    "$anchor",
];

struct Converting<'a> {
    document: &'a Json,
    schema: SchemaBuilder,
    /// Types by what refers to them, so that one may contain itself, and whether each may be null.
    named: HashMap<&'a str, (TypeId, bool)>,
    says_more: bool,
}

impl<'a> Converting<'a> {
    /// The type, and whether null is allowed beside it. `name` is what a record or enum is called that has no title.
    fn of(&mut self, json: &'a Json, name: &str) -> (TypeId, bool) {
        let Json::Object(map) = json else {
            self.says_more |= *json == Json::Bool(false);
            return (self.any(), false);
        };
        if let Some(reference) = map.get("$ref").and_then(Json::as_str) {
            self.says_more |= map.len() > 1;
            return self.reference(reference);
        }
        self.says_more |=
            map.keys().any(|keyword| !KNOWN.contains(&&**keyword) && !keyword.starts_with("connect."));
        if let Some(branches) = map.get("oneOf").or(map.get("anyOf")).and_then(Json::as_array) {
            self.says_more |= map.contains_key("type") || map.contains_key("properties");
            return self.one_of(branches, name);
        }
        let mut nullable = map.get("nullable") == Some(&Json::Bool(true));
        let kinds: Vec<&str> = match map.get("type") {
            Some(Json::String(kind)) => vec![kind],
            Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).collect(),
            _ if map.contains_key("properties") => vec!["object"],
            _ if map.contains_key("enum") => vec!["string"],
            _ => vec![],
        };
        nullable |= kinds.contains(&"null") && kinds.len() > 1;
        let kinds: Vec<&str> =
            kinds.iter().copied().filter(|kind| *kind != "null" || kinds.len() == 1).collect();
        let id = match kinds[..] {
            [kind] => self.single(kind, map, name),
            [] => self.any(),
            _ => {
                let branches: Box<[TypeId]> = kinds.iter().map(|kind| self.single(kind, map, name)).collect();
                self.schema.add(Kind::Union(branches))
            }
        };
        (id, nullable)
    }

    fn single(&mut self, kind: &str, map: &'a Map<String, Json>, name: &str) -> TypeId {
        let kind = match kind {
            "null" => Kind::Null,
            "boolean" => Kind::Boolean,
            "integer" => Kind::Long,
            "number" => Kind::Double,
            "string" => return self.string(map, name),
            "array" => {
                let items = match map.get("items") {
                    Some(items) => self.nullable(items, name),
                    None => self.any(),
                };
                Kind::List(items)
            }
            "object" => return self.object(map, name),
            _ => Kind::Any,
        };
        self.says_more |= map.contains_key("enum");
        self.schema.add(kind)
    }

    fn any(&mut self) -> TypeId {
        self.schema.add(Kind::Any)
    }

    fn nullable(&mut self, json: &'a Json, name: &str) -> TypeId {
        match self.of(json, name) {
            (id, true) => self.optional(id, false),
            (id, false) => id,
        }
    }

    /// Null, or a value of this type; the one that the default is of stands first.
    fn optional(&mut self, of: TypeId, default_is_value: bool) -> TypeId {
        let null = self.schema.add(Kind::Null);
        // Anything may be null as it is, and a union does not stand in a union.
        match self.schema.get(of).map(|of| of.kind.clone()) {
            Some(Kind::Any | Kind::Null) => of,
            Some(Kind::Union(branches)) => {
                let all: Vec<TypeId> = branches.iter().copied().chain([null]).collect();
                self.schema.add(Kind::Union(all.into()))
            }
            _ if default_is_value => self.schema.add(Kind::Union([of, null].into())),
            _ => self.schema.add(Kind::Union([null, of].into())),
        }
    }

    fn reference(&mut self, reference: &'a str) -> (TypeId, bool) {
        if let Some(known) = self.named.get(reference) {
            return *known;
        }
        let Some(json) = reference.strip_prefix('#').and_then(|pointer| self.document.pointer(pointer))
        else {
            self.says_more = true;
            return (self.any(), false);
        };
        let name =
            reference.rsplit('/').next().filter(|name| !name.is_empty() && *name != "#").unwrap_or("value");
        let promised = self.schema.promise();
        self.named.insert(reference, (promised, false));
        let (id, nullable) = self.of(json, name);
        // What stands for it is the same type under the number that was promised.
        let of = self.schema.get(id).cloned().unwrap_or_else(|| Kind::Any.into());
        self.schema.give(promised, of);
        self.named.insert(reference, (promised, nullable));
        (promised, nullable)
    }

    /// Null and one type is that type, or null; types that can be told apart are a union; all else is anything.
    fn one_of(&mut self, branches: &'a [Json], name: &str) -> (TypeId, bool) {
        let is_null = |branch: &&Json| branch.get("type").and_then(Json::as_str) == Some("null");
        let nullable = branches.iter().any(|branch| is_null(&branch));
        let others: Vec<&Json> = branches.iter().filter(|branch| !is_null(branch)).collect();
        if let [one] = others[..] {
            let (id, also) = self.of(one, name);
            return (id, nullable || also);
        }
        self.says_more = true;
        let ids: Vec<TypeId> = others.into_iter().map(|branch| self.of(branch, name).0).collect();
        let kinds: Option<Vec<_>> =
            ids.iter().map(|id| Some(std::mem::discriminant(&self.schema.get(*id)?.kind))).collect();
        let told_apart = kinds
            .is_some_and(|kinds| (1..kinds.len()).all(|at| !kinds[..at].contains(&kinds[at])))
            && ids.iter().all(|id| {
                self.schema.get(*id).is_some_and(|of| !matches!(of.kind, Kind::Any | Kind::Union(_)))
            });
        if told_apart { (self.schema.add(Kind::Union(ids.into())), nullable) } else { (self.any(), nullable) }
    }

    fn string(&mut self, map: &Map<String, Json>, name: &str) -> TypeId {
        if let Some(listed) = map.get("enum").and_then(Json::as_array) {
            let symbols: Option<Vec<Arc<str>>> = listed
                .iter()
                .filter(|symbol| !symbol.is_null())
                .map(|symbol| symbol.as_str().map(Into::into))
                .collect();
            // What Avro could not call a symbol stays text, and is compared.
            if let Some(symbols) = symbols.filter(|symbols| symbols.iter().all(|symbol| is_name(symbol))) {
                self.says_more |= map.contains_key("pattern");
                let name = Name::new(title(map, name));
                return self.schema.add(Kind::Enum(Enumeration {
                    name,
                    symbols: symbols.into(),
                    default: None,
                }));
            }
            self.says_more = true;
        }
        let (kind, logical) = match map.get("format").and_then(Json::as_str) {
            Some("date-time") => (Kind::Long, Some(Logical::Timestamp { unit: Unit::Micros, local: false })),
            Some("date") => (Kind::Int, Some(Logical::Date)),
            Some("uuid") => (Kind::Text, Some(Logical::Uuid)),
            // A time of JSON Schema has a zone, for which no type of ours has a place.
            _ if map.get("contentEncoding").and_then(Json::as_str) == Some("base64") => (Kind::Bytes, None),
            _ => (Kind::Text, None),
        };
        self.schema.add(Type { kind, logical, attributes: BTreeMap::new() })
    }

    fn object(&mut self, map: &'a Map<String, Json>, name: &str) -> TypeId {
        let Some(properties) = map.get("properties").and_then(Json::as_object) else {
            let values = match map.get("additionalProperties") {
                Some(values @ Json::Object(_)) => self.nullable(values, name),
                _ => self.any(),
            };
            self.says_more |=
                map.contains_key("required") || map.get("additionalProperties") == Some(&Json::Bool(false));
            return self.schema.add(Kind::Map(values));
        };
        let required: Vec<&str> = map
            .get("required")
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        self.says_more |= required.iter().any(|name| !properties.contains_key(*name));
        let fields: Vec<Field> = properties
            .iter()
            .map(|(name, json)| self.field(name, json, required.contains(&&**name)))
            .collect();
        let name = Name { doc: text(map, "description"), ..Name::new(title(map, name)) };
        self.schema.add(Kind::Record(RecordType::new(name, fields)))
    }

    fn field(&mut self, name: &str, json: &'a Json, required: bool) -> Field {
        let (of, nullable) = self.of(json, name);
        // What is required is not made up.
        let default = json.get("default").filter(|_| !required).cloned();
        let mut field = Field {
            name: name.into(),
            aliases: Box::default(),
            doc: json.as_object().and_then(|map| text(map, "description")),
            of,
            default,
            attributes: BTreeMap::new(),
        };
        if nullable || !required {
            field.of = self.optional(of, field.default.as_ref().is_some_and(|default| !default.is_null()));
        }
        if !required {
            field.default.get_or_insert(Json::Null);
            if !nullable && !self.schema.get(of).is_some_and(|of| matches!(of.kind, Kind::Any | Kind::Null)) {
                field.attributes.insert(NOT_NULL.to_owned(), Json::Bool(true));
            }
        }
        field
    }
}

fn text(map: &Map<String, Json>, name: &str) -> Option<Arc<str>> {
    map.get(name).and_then(Json::as_str).map(Into::into)
}

/// What a record is called: its title, where that is a name.
fn title<'a>(map: &'a Map<String, Json>, name: &'a str) -> &'a str {
    map.get("title").and_then(Json::as_str).filter(|title| title.split('.').all(is_name)).unwrap_or(name)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
