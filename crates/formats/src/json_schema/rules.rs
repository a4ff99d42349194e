//! What a schema says beyond the type that it is read as, and what it says of texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_api::schema::{Kind, Logical, Type, TypeId, Unit};
use serde_json::{Map, Value as Json};

use super::names::is_name;

/// What a `format` makes of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Texts {
    /// Nothing: they stay texts, as Confluent's converters have it.
    Plain,
    /// Dates, timestamps, bytes; and `nullable` means what OpenAPI has it mean.
    Typed,
}

impl Texts {
    /// The type of texts of this schema, where it is not just text.
    pub(super) fn of(self, map: &Map<String, Json>) -> Option<Type> {
        let text = |name: &str| map.get(name).and_then(Json::as_str);
        let (kind, logical) = match (self, text("format")) {
            (Self::Plain, _) => return None,
            (Self::Typed, Some("date-time")) => {
                (Kind::Long, Some(Logical::Timestamp { unit: Unit::Micros, local: false }))
            }
            (Self::Typed, Some("date")) => (Kind::Int, Some(Logical::Date)),
            (Self::Typed, Some("uuid")) => (Kind::Text, Some(Logical::Uuid)),
            // A time of JSON Schema has a zone, for which no type of ours has a place.
            (Self::Typed, _) if text("contentEncoding") == Some("base64") => (Kind::Bytes, None),
            (Self::Typed, _) => return None,
        };
        Some(Type { kind, logical, attributes: BTreeMap::new() })
    }

    /// Whether values of this schema may be null though no type of it says so.
    pub(super) fn are_null(self, json: &Json) -> bool {
        self == Self::Typed && json.get("nullable") == Some(&Json::Bool(true))
    }
}

/// Keywords that ask for more than any type, wherever they stand.
const RULES: [&str; 30] = [
    "const",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "$dynamicRef",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "if",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "pattern",
    "patternProperties",
    "prefixItems",
    "propertyNames",
    "$recursiveRef",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
    "additionalItems",
];

/// Keywords that a type keeps to when it is made of them.
const SHAPE: [&str; 8] =
    ["type", "enum", "properties", "required", "additionalProperties", "items", "oneOf", "anyOf"];

/// Whether one schema, without those inside it, says more than the type that was made of it.
pub(super) fn says_more<'s>(
    json: &Json,
    kind: Option<&Kind>,
    get: impl Fn(TypeId) -> Option<&'s Type>,
    texts: Texts,
) -> bool {
    let Json::Object(map) = json else { return *json == Json::Bool(false) };
    let has = |names: &[&str]| names.iter().any(|name| map.contains_key(*name));
    if has(&RULES) || texts == Texts::Plain && has(&["format"]) {
        return true;
    }
    if has(&["$ref"]) {
        return has(&SHAPE) || has(&["allOf"]);
    }
    if let Some(all) = map.get("allOf").and_then(Json::as_array) {
        return all.len() != 1 || has(&SHAPE);
    }
    if let Some(forms) = map.get("oneOf").or(map.get("anyOf")).and_then(Json::as_array) {
        // Null beside one other form is what an optional type says.
        let is_null = |form: &&Json| form.get("type").and_then(Json::as_str) == Some("null");
        let shapes = SHAPE.iter().filter(|name| map.contains_key(**name)).count();
        return shapes > 1 || forms.iter().filter(|form| !is_null(form)).count() > 1;
    }
    let names = |name: &str| map.get(name).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    if let Some(Json::Array(listed)) = map.get("enum")
        && !keeps(kind, get, listed, map)
    {
        return true;
    }
    let properties = map.get("properties").and_then(Json::as_object);
    let named =
        |name: &Json| name.as_str().is_none_or(|name| properties.is_some_and(|all| all.contains_key(name)));
    match kind {
        Some(Kind::Any) => has(&SHAPE),
        _ => !names("required").iter().all(named) || map.get("items").is_some_and(Json::is_array),
    }
}

/// Whether the values are those that are listed: an enum, with null beside its symbols where null is listed too.
fn keeps<'s>(
    kind: Option<&Kind>,
    get: impl Fn(TypeId) -> Option<&'s Type>,
    listed: &[Json],
    map: &Map<String, Json>,
) -> bool {
    let null = Json::from("null");
    let typed =
        map.get("type").is_none_or(|of| *of == null || of.as_array().is_some_and(|all| all.contains(&null)));
    match kind {
        Some(Kind::Enum(_)) => true,
        Some(Kind::Union(branches)) => {
            let is_enum =
                |id: &TypeId| get(*id).is_some_and(|of| matches!(of.kind, Kind::Null | Kind::Enum(_)));
            branches.iter().all(is_enum) && listed.contains(&Json::Null) && typed
        }
        _ => false,
    }
}

/// Whether a schema of several forms, or several types, has null among them.
pub(super) fn has_null(json: &Json, texts: Texts) -> bool {
    let list = |name: &str| json.get(name).and_then(Json::as_array).into_iter().flatten();
    list("oneOf").chain(list("anyOf")).any(|form| form.get("type").and_then(Json::as_str) == Some("null"))
        || list("type").any(|name| name.as_str() == Some("null"))
        || texts.are_null(json)
}

/// The symbols of an enum of texts that are names; other texts are just text.
pub(super) fn symbols(map: &Map<String, Json>) -> Option<Box<[Arc<str>]>> {
    let list = map.get("enum")?.as_array()?;
    let texts = list.iter().filter(|symbol| !symbol.is_null());
    let symbols: Option<Box<[Arc<str>]>> = texts
        .map(|symbol| {
            symbol.as_str().filter(|symbol| is_name(symbol) && !symbol.contains('.')).map(Into::into)
        })
        .collect();
    symbols.filter(|symbols| !symbols.is_empty())
}
