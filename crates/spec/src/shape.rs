//! A JSON Schema, as schemars derives it, seen as what a person may write in a place.

use serde_json::Value;

use crate::names;

const REFERENCES_MAX: usize = 32;

/// One thing that may stand in a place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape<'a> {
    Any,
    Null,
    Bool,
    Integer {
        min: Option<i128>,
        max: Option<i128>,
    },
    Number,
    /// Free text; the format says how it is read: `duration`, `size`, `template`, `secret`, `pem` or nothing.
    Text(&'a str),
    /// A name alone.
    Name(&'a str),
    /// A map with this one key.
    Variant {
        name: &'a str,
        body: &'a Value,
        about: Option<&'a str>,
    },
    List {
        items: Option<&'a Value>,
        items_min: u64,
    },
    Map(&'a Value),
}

/// All that may stand where `schema` describes it; `root` has the definitions.
pub(crate) fn shapes<'a>(schema: &'a Value, root: &'a Value) -> Vec<Shape<'a>> {
    let mut found = Vec::new();
    collect(schema, root, false, REFERENCES_MAX, &mut found);
    found
}

fn collect<'a>(schema: &'a Value, root: &'a Value, choice: bool, left: usize, found: &mut Vec<Shape<'a>>) {
    let schema = resolve(schema, root);
    for (word, choice) in [("oneOf", true), ("anyOf", false)] {
        if let Some(list) = schema[word].as_array().filter(|_| left > 0) {
            list.iter().for_each(|schema| collect(schema, root, choice, left - 1, found));
            return;
        }
    }
    if let Some(names) = schema["enum"].as_array() {
        found.extend(names.iter().filter_map(Value::as_str).map(Shape::Name));
        found.extend(names.iter().any(Value::is_null).then_some(Shape::Null));
        return;
    }
    if let Some(name) = schema["const"].as_str() {
        found.push(Shape::Name(name));
        return;
    }
    match &schema["type"] {
        Value::String(kind) => found.push(of_type(kind, schema, choice)),
        Value::Array(kinds) => {
            found.extend(kinds.iter().filter_map(Value::as_str).map(|kind| of_type(kind, schema, choice)));
        }
        _ if schema["properties"].is_object() => found.push(of_type("object", schema, choice)),
        _ => found.push(Shape::Any),
    }
}

fn of_type<'a>(kind: &str, schema: &'a Value, choice: bool) -> Shape<'a> {
    let format = schema["format"].as_str().unwrap_or("");
    match kind {
        "null" => Shape::Null,
        "boolean" => Shape::Bool,
        "integer" => {
            let (low, high) = match format {
                "int8" => (Some(i8::MIN.into()), Some(i8::MAX.into())),
                "int16" => (Some(i16::MIN.into()), Some(i16::MAX.into())),
                "int32" => (Some(i32::MIN.into()), Some(i32::MAX.into())),
                "uint8" => (Some(0), Some(u8::MAX.into())),
                "uint16" => (Some(0), Some(u16::MAX.into())),
                "uint32" => (Some(0), Some(u32::MAX.into())),
                _ => (None, None),
            };
            let bound = |word: &str| {
                let bound = &schema[word];
                bound.as_i64().map(i128::from).or(bound.as_f64().map(|bound| bound as i128))
            };
            Shape::Integer { min: bound("minimum").or(low), max: bound("maximum").or(high) }
        }
        "number" => Shape::Number,
        "string" => Shape::Text(format),
        "array" => {
            Shape::List { items: schema.get("items"), items_min: schema["minItems"].as_u64().unwrap_or(0) }
        }
        "object" => match variant(schema).filter(|_| choice) {
            Some((name, body)) => Shape::Variant { name, body, about: schema["description"].as_str() },
            None => Shape::Map(schema),
        },
        _ => Shape::Any,
    }
}

/// An enum's variant with a body: the only property, and required.
fn variant(schema: &Value) -> Option<(&str, &Value)> {
    let properties = schema["properties"].as_object().filter(|properties| properties.len() == 1)?;
    let (name, body) = properties.iter().next()?;
    let required = schema["required"].as_array()?;
    (required.len() == 1 && required[0] == name.as_str()).then_some((name.as_str(), body))
}

/// Follows `$ref` into the definitions of the root.
pub(crate) fn resolve<'a>(mut schema: &'a Value, root: &'a Value) -> &'a Value {
    for _ in 0..REFERENCES_MAX {
        let Some(pointer) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) else {
            break;
        };
        let Some(target) = root.pointer(pointer) else {
            break;
        };
        schema = target;
    }
    schema
}

/// Whether a map of that schema may be empty.
pub(crate) fn needs_nothing(schema: &Value, root: &Value) -> bool {
    shapes(schema, root).iter().any(|shape| match shape {
        Shape::Map(map) => map["required"].as_array().is_none_or(Vec::is_empty),
        Shape::Any | Shape::Null => true,
        _ => false,
    })
}

/// In words: `a list of text or a map with `pattern``.
pub(crate) fn describe(schema: &Value, root: &Value) -> String {
    let shapes = shapes(schema, root);
    let mut words: Vec<String> = Vec::new();
    for shape in &shapes {
        let word = match *shape {
            Shape::Any => "anything".to_owned(),
            Shape::Null => continue,
            Shape::Bool if shapes.iter().all(|shape| matches!(shape, Shape::Bool | Shape::Null)) => {
                "true or false".to_owned()
            }
            Shape::Bool => "true/false".to_owned(),
            Shape::Integer { .. } => "a whole number".to_owned(),
            Shape::Number => "a number".to_owned(),
            Shape::Text("duration") => "a duration".to_owned(),
            Shape::Text("size") => "a size".to_owned(),
            Shape::Text("template") => "a template".to_owned(),
            Shape::Text("secret") => "secret text".to_owned(),
            Shape::Text(_) => "text".to_owned(),
            Shape::Name(name) => format!("`{name}`"),
            Shape::Variant { name, .. } => format!("`{name}: ...`"),
            Shape::List { items: Some(items), .. } => match describe(items, root).as_str() {
                "anything" => "a list".to_owned(),
                items => format!("a list of {}", plural(items)),
            },
            Shape::List { items: None, .. } => "a list".to_owned(),
            Shape::Map(map) => match required(map) {
                needed if needed.is_empty() => "a map".to_owned(),
                needed => format!("a map with {}", names::quoted(needed, "and")),
            },
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    names::join(words, "or")
}

fn plural(word: &str) -> String {
    match word {
        "a whole number" => "whole numbers".to_owned(),
        "a duration" => "durations".to_owned(),
        "a map" => "maps".to_owned(),
        _ => word.strip_prefix("a map with ").map_or(word.to_owned(), |rest| format!("maps with {rest}")),
    }
}

/// The names of the fields that must be there.
pub(crate) fn required(map: &Value) -> Vec<&str> {
    map["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
