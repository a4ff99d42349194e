//! The JSON Schema of a pipeline file for editors, made from the types that read it, so that it cannot drift.

use std::collections::BTreeMap;

use aqueduct_api::Catalog;
use aqueduct_api::catalog::Entry;
use serde_json::{Map, Value, json};

use crate::ends::{SINK, SOURCE};
use crate::head::Head;
use crate::shape::{self, Shape, shapes};

/// JSON Schema (2020-12) of one document of a pipeline file, with everything that the catalog knows.
///
/// It takes what the reader takes, and a little more: a value that is filled in from the environment may stand where a
/// number or a duration does, and what depends on two options at once is left to `aqueduct check`.
pub fn json_schema(catalog: &Catalog) -> Value {
    let mut root: Value = schemars::schema_for!(Head).into();
    soften(&mut root);
    let mut definitions = root["$defs"].take();
    let formats = one_of(&catalog.formats, "format", &mut definitions, &[]);
    let registry = registry(catalog, &mut definitions);
    let beside = [("key", &formats), ("value", &formats), ("headers", &formats), ("registry", &registry)];
    let source = one_of(&catalog.sources, "source", &mut definitions, &beside);
    let sink = one_of(&catalog.sinks, "sink", &mut definitions, &beside);
    let transform = one_of(&catalog.transforms, "transform", &mut definitions, &[]);
    let store = one_of(&catalog.offset_stores, "offset_store", &mut definitions, &[]);
    for (key, made) in [("source", source), ("sink", sink), ("registry", registry), ("offset_store", store)] {
        fill(&mut root["properties"][key], made);
    }
    fill(&mut root["properties"]["transforms"]["items"], transform);
    if catalog.sources.contains_key("generate") {
        let generate = json!({ "anyOf": [{ "type": "string" }, { "$ref": pointer("source", "generate") }] });
        fill(&mut definitions["DevHead"]["properties"]["generate"], generate);
    }
    root["$defs"] = definitions;
    root["title"] = "Aqueduct pipeline".into();
    root["description"] = format!(
        "One pipeline: a source ({}), a sink ({}), and what is promised between them.",
        known(&catalog.sources, SOURCE.many),
        known(&catalog.sinks, SINK.many),
    )
    .into();
    root
}

fn known<T: ?Sized>(entries: &BTreeMap<&'static str, Entry<T>>, none: &str) -> String {
    let names: Vec<&str> = entries.keys().copied().collect();
    if names.is_empty() { format!("no {none}") } else { names.join(", ") }
}

/// What `registry:` takes.
fn registry(catalog: &Catalog, definitions: &mut Value) -> Value {
    let Some(entry) = &catalog.registry else { return Value::Bool(false) };
    let mut schema = entry.schema().to_value();
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
        map.insert("description".into(), entry.about.into());
    }
    soften(&mut schema);
    rebase(&mut schema, "#/$defs/registry");
    definitions["registry"] = schema;
    json!({ "$ref": "#/$defs/registry" })
}

/// Puts a schema in a place and keeps the description that stands there.
fn fill(place: &mut Value, made: Value) {
    let description = place.get("description").cloned();
    *place = made;
    if let (Some(description), Value::Object(map)) = (description, place) {
        map.insert("description".into(), description);
    }
}

/// A name alone, or a map with exactly one of the names; some keys may stand beside it.
fn one_of<T: ?Sized>(
    entries: &BTreeMap<&'static str, Entry<T>>,
    list: &str,
    definitions: &mut Value,
    beside: &[(&str, &Value)],
) -> Value {
    let mut properties = Map::new();
    let mut alone = Vec::new();
    for entry in entries.values() {
        let mut schema = entry.schema().to_value();
        if shape::needs_nothing(&schema, &schema) {
            alone.push(entry.name);
        }
        if let Some(map) = schema.as_object_mut() {
            map.remove("$schema");
            map.insert("description".into(), entry.about.into());
        }
        soften(&mut schema);
        rebase(&mut schema, &pointer(list, entry.name));
        if let Some(connection) = schema.pointer_mut("/properties/connection") {
            let written_out = connection.take();
            let name =
                json!({ "type": "string", "description": "The name of a connection in aqueduct.yaml." });
            *connection = json!({ "anyOf": [name, written_out] });
        }
        // An omitted block is an empty one.
        let mut body = json!({ "$ref": pointer(list, entry.name) });
        if alone.contains(&entry.name) {
            body = json!({ "anyOf": [body, { "type": "null" }] });
        }
        properties.insert(entry.name.into(), body);
        definitions[definition(list, entry.name)] = schema;
    }
    let one = entries.keys().map(|name| json!({ "required": [name] })).collect::<Vec<_>>();
    for (key, schema) in beside {
        properties.insert((*key).into(), (*schema).clone());
    }
    let map =
        json!({ "type": "object", "properties": properties, "additionalProperties": false, "oneOf": one });
    if alone.is_empty() { map } else { json!({ "anyOf": [{ "enum": alone }, map] }) }
}

fn definition(list: &str, name: &str) -> String {
    format!("{list}.{name}")
}

fn pointer(list: &str, name: &str) -> String {
    format!("#/$defs/{}", definition(list, name))
}

/// References into a schema's own definitions hold where it now stands.
fn rebase(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get_mut("$ref")
                && let Some(rest) = reference.strip_prefix('#')
            {
                *reference = format!("{prefix}{rest}");
            }
            map.values_mut().for_each(|value| rebase(value, prefix));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rebase(value, prefix)),
        _ => {}
    }
}

/// Takes what the reader takes beyond the plain schema: a value from outside for anything that is not text, and the
/// name alone for a choice whose options may all be left out.
fn soften(schema: &mut Value) {
    let root = schema.clone();
    soften_in(schema, &root);
}

fn soften_in(schema: &mut Value, root: &Value) {
    let Value::Object(map) = schema else {
        if let Value::Array(list) = schema {
            list.iter_mut().for_each(|value| soften_in(value, root));
        }
        return;
    };
    let alone: Vec<Value> = shapes(&Value::Object(map.clone()), root)
        .iter()
        .filter_map(|shape| match shape {
            Shape::Variant { name, body, .. } if shape::needs_nothing(body, root) => {
                Some(json!({ "const": name }))
            }
            _ => None,
        })
        .collect();
    if let Some(Value::Array(choices)) = map.get_mut("oneOf") {
        choices.extend(alone);
    }
    map.iter_mut().filter(|(key, _)| *key != "default").for_each(|(_, value)| soften_in(value, root));
    let kinds = match &map.get("type") {
        Some(Value::String(kind)) => vec![kind.clone()],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return,
    };
    let scalar = kinds.iter().any(|kind| matches!(kind.as_str(), "integer" | "number" | "boolean"));
    if let Some(Value::String(pattern)) = map.get_mut("pattern") {
        *pattern = format!("{pattern}|\\$\\{{(env|file):");
    } else if scalar && !kinds.iter().any(|kind| kind == "string") {
        let kinds: Vec<String> = kinds.into_iter().chain(["string".to_owned()]).collect();
        map.insert("type".into(), kinds.into());
        map.insert("pattern".into(), "\\$\\{(env|file):".into());
    }
}
