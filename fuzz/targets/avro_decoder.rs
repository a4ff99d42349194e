//! Bytes as values of a schema that comes from the input too. Whatever they are, they are an error or a value; a value
//! stays within bounds, and is read again from what is written of it.
#![no_main]

use std::sync::{Arc, LazyLock};

use aqueduct_api::Schema;
use aqueduct_api::schema::Kind;
use aqueduct_avro::{Decoder, Encoder, UnknownFields, parse};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value as Json, json};

/// A row is at most so many times as large as its payload, beside what items without bytes may take.
const GROWTH_MAX: usize = 2_000;
const MEMORY_BYTES_SPARE: usize = 16 << 20;

/// What has been worth a second look: records in themselves, unions of all kinds, items without bytes, meanings.
static FIXED: LazyLock<Vec<Arc<Schema>>> = LazyLock::new(|| {
    let node = json!({ "type": "record", "name": "Node", "fields": [
        { "name": "value", "type": ["null", "long", "string"] }, { "name": "next", "type": ["Node", "null"] },
        { "name": "all", "type": { "type": "array", "items": "Node" } },
        { "name": "by", "type": { "type": "map", "values": "Node" } } ] });
    let order = json!({ "type": "record", "name": "Order", "fields": [
        { "name": "id", "type": "int" }, { "name": "total", "type": { "type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2 } },
        { "name": "state", "type": { "type": "enum", "name": "State", "symbols": ["A", "B"] } },
        { "name": "uuid", "type": { "type": "fixed", "name": "Uuid", "size": 16, "logicalType": "uuid" } },
        { "name": "paid", "type": ["null", "boolean"] }, { "name": "weight", "type": "double" }, { "name": "part", "type": "float" },
        { "name": "tags", "type": { "type": "array", "items": "string" } } ] });
    let empty = json!({ "type": "array", "items": { "type": "record", "name": "Empty", "fields": [
        { "name": "nothing", "type": "null" }, { "name": "none", "type": { "type": "fixed", "name": "None", "size": 0 } } ] } });
    let deep = json!({ "type": "array", "items": { "type": "map", "values": { "type": "array", "items": ["null", "bytes"] } } });
    [node, order, empty, deep].iter().map(|json| parse(&json.to_string(), &[]).expect("a schema")).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((pick, rest)) = data.split_first() else { return };
    let (schema, payload) = match FIXED.get(*pick as usize) {
        Some(schema) => (Arc::clone(schema), rest),
        None => {
            let (choices, payload) = rest.split_at(usize::from(pick / 8).min(rest.len()));
            (drawn(choices), payload)
        }
    };
    let payload = Bytes::copy_from_slice(payload);
    let decoder = Decoder::new(&schema);
    if let Ok(typed) = decoder.decode(&payload, 0) {
        let bound = MEMORY_BYTES_SPARE + GROWTH_MAX * payload.len();
        assert!(typed.memory_bytes() < bound, "{} bytes from {}", typed.memory_bytes(), payload.len());
        let mut out = Vec::new();
        Encoder::new(&schema, UnknownFields::Error)
            .encode(&typed, &mut out)
            .expect("a value of its own schema");
        let again = decoder.decode(&Bytes::from(out), 0).expect("what was written");
        assert_eq!(again, typed);
        let over = decoder.decode_over(&payload, 0, again.used()).expect("what was read before");
        assert_eq!(over, typed);
    }
    // The same with an eye for some fields only: what is refused is refused either way, and nothing else comes out.
    let fields: Vec<Arc<str>> = match &schema.get(schema.root()).kind {
        Kind::Record(record) => record.fields.iter().step_by(2).map(|field| Arc::clone(&field.name)).collect(),
        _ => Vec::new(),
    };
    let (whole, looking) = (decoder.decode(&payload, 0), Decoder::looking_at(&schema, &fields).decode(&payload, 0));
    assert_eq!(whole.is_ok(), looking.is_ok());
    if let (Ok(whole), Ok(looking)) = (whole, looking) {
        let mut out = Vec::new();
        let encoder = Encoder::new(&schema, UnknownFields::Error);
        encoder.encode(&looking, &mut out).expect("a value of its own schema");
        assert_eq!(decoder.decode(&Bytes::from(out), 0).expect("what was written"), whole);
    }
    // The same bytes, read as something else where the two fit together.
    let reader = match FIXED.get(payload.len() % 8) {
        Some(reader) => Arc::clone(reader),
        None => drawn(&payload[payload.len() / 2..]),
    };
    if let Ok(decoder) = Decoder::resolving(&schema, &reader) {
        drop(decoder.decode(&payload, 0));
    }
});

/// A schema of these choices; when they run out, it is all strings.
fn drawn(choices: &[u8]) -> Arc<Schema> {
    let mut drawing = Drawing { choices: choices.iter(), names: 0, open: Vec::new() };
    let json = drawing.of(5).to_string();
    parse(&json, &[]).unwrap_or_else(|error| panic!("{error}: {json}"))
}

struct Drawing<'a> {
    choices: std::slice::Iter<'a, u8>,
    names: usize,
    open: Vec<String>,
}

impl Drawing<'_> {
    fn next(&mut self) -> usize {
        self.choices.next().copied().unwrap_or_default().into()
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("N{}", self.names)
    }

    fn of(&mut self, depth: usize) -> Json {
        let simple = ["string", "null", "boolean", "int", "long", "float", "double", "bytes"];
        match (self.next() % 16, depth) {
            (at @ 0..8, _) => json!(simple[at]),
            (8, _) => json!({ "type": "fixed", "name": self.name(), "size": self.next() }),
            (9, _) => {
                let symbols: Vec<String> = (0..self.next() % 5).map(|at| format!("S{at}")).collect();
                json!({ "type": "enum", "name": self.name(), "symbols": symbols })
            }
            (10, 1..) => json!({ "type": "array", "items": self.of(depth - 1) }),
            (11, 1..) => json!({ "type": "map", "values": self.of(depth - 1) }),
            (12, _) if !self.open.is_empty() => {
                let at = self.next() % self.open.len();
                json!(self.open[at])
            }
            (13, 1..) => {
                // Branches of the same name are left out: no union has them.
                let mut branches: Vec<Json> = Vec::new();
                for _ in 0..self.next() % 5 {
                    let of = self.of(depth - 1);
                    let kind = |of: &Json| of.get("name").or(of.get("type")).unwrap_or(of).clone();
                    if !of.is_array() && branches.iter().all(|other| kind(other) != kind(&of)) {
                        branches.push(of);
                    }
                }
                Json::Array(branches)
            }
            (14.., 1..) => {
                let name = self.name();
                self.open.push(name.clone());
                let fields: Vec<Json> = (0..self.next() % 6)
                    .map(|at| json!({ "name": format!("f{at}"), "type": self.of(depth - 1) }))
                    .collect();
                self.open.pop();
                json!({ "type": "record", "name": name, "fields": fields })
            }
            _ => json!("long"),
        }
    }
}
