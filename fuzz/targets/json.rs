//! Bytes as JSON: taken is what serde_json takes, with the same value, and what is written of it is read as the same again.
//! Then as values of a schema that has every type: an error, or a value that goes out and comes back.
#![no_main]

use std::sync::{Arc, LazyLock};

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::{Decoder, FormatContext, Headers, Part, Piece, Typed};
use aqueduct_formats::Json;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// A row is at most so many times as large as its payload, beside what a few values may take.
const GROWTH_MAX: usize = 200;
const MEMORY_BYTES_SPARE: usize = 1 << 16;

static CONTEXT: LazyLock<FormatContext> =
    LazyLock::new(|| FormatContext { pipeline: "fuzz".into(), part: Part::Value, registry: None });

/// Everything that a schema can want of a text. Times are written as numbers: a text ends with the year 9999.
static DECLARED: LazyLock<Arc<Json>> = LazyLock::new(|| {
    let of = |base: &str, logical: &str| json!({ "type": base, "logicalType": logical });
    let decimal = json!({ "type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3 });
    let state = json!({ "type": "enum", "name": "State", "symbols": ["A", "B", "NO"], "default": "NO" });
    let mut fields = Vec::new();
    let types = [
        json!("int"), json!("long"), json!("float"), json!("double"), json!("boolean"), json!("string"), json!("bytes"),
        decimal, state, json!({ "type": "fixed", "name": "Two", "size": 2 }), of("int", "date"), of("int", "time-millis"),
        of("long", "time-micros"), of("long", "timestamp-millis"), of("long", "timestamp-micros"), of("long", "timestamp-nanos"),
        of("long", "local-timestamp-micros"), of("string", "uuid"), json!(["long", "boolean", "string", "R"]),
        json!({ "type": "array", "items": "R" }), json!({ "type": "map", "values": ["null", "double"] }),
    ];
    for (name, of) in ('a'..).zip(types) {
        let optional = match of {
            Value::Array(mut branches) => {
                branches.insert(0, json!("null"));
                Value::Array(branches)
            }
            of => json!(["null", of]),
        };
        fields.push(json!({ "name": name.to_string(), "type": optional, "default": null }));
    }
    let schema = json!({ "type": "record", "name": "R", "fields": fields }).to_string();
    let options = json!({ "schema": schema, "time": "number", "on_not_a_number": "text" });
    Arc::new(serde_json::from_value(options).expect("options"))
});

fn decode(decoder: &mut dyn Decoder, bytes: &Bytes) -> Option<Typed> {
    decoder.decode(Piece { topic: &"t".into(), headers: &Headers::default(), bytes }).ok()
}

fn encode(options: &Arc<Json>, typed: &Typed) -> Bytes {
    let mut out = Vec::new();
    let mut encoder = Json::encoder(options, &CONTEXT).expect("an encoder");
    encoder.encode(&"t".into(), typed, &mut out).expect("what was read");
    out.into()
}

/// Nothing where serde_json has bounds of its own: no number beyond every double, fewer levels.
fn theirs(bytes: &[u8]) -> Option<Option<Value>> {
    match serde_json::from_slice::<Value>(bytes) {
        Err(error) if error.to_string().contains("out of range") || error.to_string().contains("recursion") => None,
        read => Some(read.ok()),
    }
}

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let mut decoder = Json::decoder(&Arc::default(), &CONTEXT).expect("a decoder");
    let ours = decode(&mut *decoder, &bytes);
    let checked = decoder.check(Piece { topic: &"t".into(), headers: &Headers::default(), bytes: &bytes });
    assert_eq!(checked.is_ok(), ours.is_some(), "whether it is looked at or read");
    if let Some(typed) = &ours {
        let bound = MEMORY_BYTES_SPARE + GROWTH_MAX * data.len();
        assert!(typed.memory_bytes() < bound, "{} bytes from {}", typed.memory_bytes(), data.len());
        let written = encode(&Arc::default(), typed);
        assert_eq!(decode(&mut *decoder, &written).as_ref(), Some(typed), "what was written");
        assert!(serde_json::from_slice::<&RawValue>(data).is_ok(), "the grammar");
        if let Some(theirs) = theirs(data) {
            let again: Value = serde_json::from_slice(&written).expect("JSON");
            assert_eq!(Some(again.to_string()), theirs.map(|value| value.to_string()));
        }
    } else {
        assert!(theirs(data).is_none_or(|theirs| theirs.is_none()), "refused, and taken by serde_json");
    }

    let mut decoder = Json::decoder(&DECLARED, &CONTEXT).expect("a decoder");
    if let Some(typed) = decode(&mut *decoder, &bytes) {
        assert!(ours.is_some(), "of a schema, and no JSON");
        let written = encode(&DECLARED, &typed);
        // Compared as they are written: what is no number is not even equal to itself.
        let again = decode(&mut *decoder, &written).expect("what was written");
        assert_eq!(encode(&DECLARED, &again), written);
    }
});
