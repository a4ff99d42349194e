//! Our bytes against those of fastavro, confluent-kafka and Java's Avro library, for every type and logical type:
//! crates/formats/tests/golden/make.sh wrote them, and says what a line holds.
#![allow(missing_docs, clippy::unwrap_used)]

mod dice;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use aqueduct_api::schema::{Kind, Schema, TypeId};
use aqueduct_api::value::{Blob, Text};
use aqueduct_api::{Typed, Value};
use aqueduct_avro::{Decoder, Encoder, UnknownFields, parse};
use bytes::Bytes;
use dice::{Dice, Names};
use serde_json::{Map, Value as Json, json};

fn lines() -> Vec<Json> {
    let path =
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../formats/tests/golden/avro.jsonl");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.len() > 100, "only {} lines", lines.len());
    lines
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The name of a branch of a union.
fn name(schema: &Schema, of: TypeId) -> String {
    let word = match &schema.get(of).kind {
        Kind::Null => "null",
        Kind::Boolean => "boolean",
        Kind::Int => "int",
        Kind::Long => "long",
        Kind::Float => "float",
        Kind::Double => "double",
        Kind::Bytes => "bytes",
        Kind::Text => "string",
        Kind::List(_) => "array",
        Kind::Map(_) => "map",
        Kind::Fixed { name, .. } => &name.full,
        Kind::Enum(of) => &of.name.full,
        Kind::Record(of) => &of.name.full,
        other => panic!("no branch of a union: {other:?}"),
    };
    word.to_owned()
}

fn shown(schema: &Schema, of: TypeId, payload: &[u8], value: &Value) -> Json {
    let float = |number: f64, short: String| match number {
        number if number.is_nan() => json!("NaN"),
        number if number.is_infinite() => json!(if number > 0.0 { "Infinity" } else { "-Infinity" }),
        _ => short.parse::<f64>().unwrap().into(),
    };
    match (&schema.get(of).kind, value) {
        (_, Value::Null) => Json::Null,
        (Kind::Boolean, Value::Boolean(value)) => json!(value),
        (Kind::Int, Value::Int(value)) => json!(value),
        (Kind::Long, Value::Long(value)) => json!(value),
        (Kind::Float, Value::Float(value)) => float(f64::from(*value), f64::from(*value).to_string()),
        (Kind::Double, Value::Double(value)) => float(*value, value.to_string()),
        (Kind::Bytes | Kind::Fixed { .. }, Value::Bytes(value)) => json!(hex(value.get(payload))),
        (Kind::Text, Value::Text(value)) => json!(value.get(payload)),
        (Kind::Enum(of), Value::Enum(at)) => json!(of.symbols[*at as usize]),
        (Kind::List(of), Value::List(values)) => {
            values.iter().map(|value| shown(schema, *of, payload, value)).collect()
        }
        (Kind::Map(of), Value::Map(entries)) => {
            let entry = |(name, value): &(Text, Value)| {
                (name.get(payload).to_owned(), shown(schema, *of, payload, value))
            };
            Json::Object(entries.iter().map(entry).collect())
        }
        (Kind::Record(record), Value::Record(values)) => {
            let field = |(field, value): (&aqueduct_api::schema::Field, &Value)| {
                (field.name.to_string(), shown(schema, field.of, payload, value))
            };
            Json::Object(record.fields.iter().zip(values.iter()).map(field).collect())
        }
        (Kind::Union(branches), value) => {
            let (of, value) = match (value, schema.optional(of)) {
                (Value::Union(branch), _) => (branches[branch.0 as usize], &branch.1),
                (value, Some((_, of))) => (of, value),
                (value, None) => (branches[0], value),
            };
            if *value == Value::Null {
                return Json::Null;
            }
            Json::Object(Map::from_iter([(name(schema, of), shown(schema, of, payload, value))]))
        }
        (kind, value) => panic!("{value:?} is no {kind:?}"),
    }
}

fn built(schema: &Schema, of: TypeId, json: &Json) -> Value {
    let number = |json: &Json| json.as_f64().unwrap_or_else(|| json.as_str().unwrap().parse().unwrap());
    match &schema.get(of).kind {
        Kind::Null => Value::Null,
        Kind::Boolean => Value::Boolean(json.as_bool().unwrap()),
        Kind::Int => Value::Int(json.as_i64().unwrap() as i32),
        Kind::Long => Value::Long(json.as_i64().unwrap()),
        Kind::Float => Value::Float(number(json) as f32),
        Kind::Double => Value::Double(number(json)),
        Kind::Bytes | Kind::Fixed { .. } => Value::Bytes(Blob::Own(unhex(json.as_str().unwrap()).into())),
        Kind::Text => Value::Text(Text::Own(json.as_str().unwrap().into())),
        Kind::Enum(of) => Value::Enum(
            of.symbols.iter().position(|symbol| **symbol == *json.as_str().unwrap()).unwrap() as u32,
        ),
        Kind::List(of) => {
            Value::List(json.as_array().unwrap().iter().map(|item| built(schema, *of, item)).collect())
        }
        Kind::Map(of) => {
            let entry = |(name, value): (&String, &Json)| {
                (Text::Own(name.as_str().into()), built(schema, *of, value))
            };
            Value::Map(json.as_object().unwrap().iter().map(entry).collect())
        }
        Kind::Record(record) => {
            let field = |field: &aqueduct_api::schema::Field| built(schema, field.of, &json[&*field.name]);
            Value::Record(record.fields.iter().map(field).collect())
        }
        Kind::Union(branches) => {
            let tagged = json.as_object().and_then(|tagged| tagged.iter().next());
            let (tag, inner) = tagged.map_or(("null", json), |(tag, inner)| (tag.as_str(), inner));
            let at = branches.iter().position(|of| name(schema, *of) == tag).unwrap();
            let value = built(schema, branches[at], inner);
            if schema.optional(of).is_some() { value } else { Value::Union(Box::new((at as u32, value))) }
        }
        Kind::Any => panic!("Avro has no such type"),
    }
}

fn encode(typed: &Typed) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new(typed.schema(), UnknownFields::Error).encode(typed, &mut out).unwrap();
    out
}

#[test]
fn theirs_are_read_and_ours_are_theirs() {
    for line in lines() {
        let schema =
            parse(&line["schema"].to_string(), &[]).unwrap_or_else(|error| panic!("{error}: {line}"));
        let bytes = Bytes::from(unhex(line["bytes"].as_str().unwrap()));
        let read = Decoder::new(&schema).decode(&bytes, 0).unwrap_or_else(|fault| panic!("{fault}: {line}"));
        assert_eq!(shown(&schema, schema.root(), read.payload(), read.value()), line["value"], "{line}");
        assert_eq!(hex(&encode(&read)), line["bytes"], "read and written again: {line}");
        let own = built(&schema, schema.root(), &line["value"]);
        let own = Typed::new(Arc::clone(&schema), Bytes::new(), own);
        assert_eq!(hex(&encode(&own)), line["bytes"], "written: {line}");
        let logical = line["schema"].get("logicalType");
        assert_eq!(logical.is_some(), schema.get(schema.root()).logical.is_some(), "{line}");
    }
}

/// Behind a zero and the schema's id stands just that; but of a schema that is bytes alone, not even their length.
#[test]
fn confluents_payload_is_the_same() {
    let wired: Vec<Json> = lines().into_iter().filter(|line| line.get("wire").is_some()).collect();
    assert!(wired.len() > 80, "only {}", wired.len());
    for line in wired {
        let payload = if line["schema"] == "bytes" { &line["value"] } else { &line["bytes"] };
        assert_eq!(line["wire"], format!("0000000001{}", payload.as_str().unwrap()), "{line}");
        let schema = parse(&line["schema"].to_string(), &[]).unwrap();
        let wire = Bytes::from(unhex(line["wire"].as_str().unwrap()));
        if line["schema"] != "bytes" {
            let read =
                Decoder::new(&schema).decode(&wire, 5).unwrap_or_else(|fault| panic!("{fault}: {line}"));
            assert_eq!(shown(&schema, schema.root(), read.payload(), read.value()), line["value"], "{line}");
        }
    }
}

/// Values of schemas from seeds, as we write them; into the file that AQUEDUCT_GOLDEN names, for `make.sh verify`.
#[test]
fn written_for_others() {
    let mut text = String::new();
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let json = dice::schema(&mut dice, &mut Names::default(), 4);
        let schema = parse(&json.to_string(), &[]).unwrap();
        let typed = dice::typed(&mut dice, &schema);
        let bytes = encode(&typed);
        text += &format!("{}\n", json!({ "name": seed, "schema": json, "bytes": hex(&bytes) }));
        assert_eq!(Decoder::new(&schema).decode(&Bytes::from(bytes), 0).unwrap(), typed, "seed {seed}");
    }
    if let Ok(path) = std::env::var("AQUEDUCT_GOLDEN") {
        fs::write(path, text).unwrap();
    }
}
