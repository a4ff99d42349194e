//! Schemas and values of every kind, from a seed.
#![allow(unreachable_pub, dead_code)]

pub mod blocks;

use std::sync::Arc;

use aqueduct_api::schema::{Kind, Logical, Schema, TypeId};
use aqueduct_api::value::{Blob, Text};
use aqueduct_api::{Typed, Value};
use bytes::Bytes;
use serde_json::{Value as Json, json};

/// SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// Large and small numbers alike, and the edges.
    pub fn long(&mut self) -> i64 {
        match self.below(8) {
            0 => i64::MIN,
            1 => i64::MAX,
            _ => (self.next() as i64) >> self.below(64),
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    fn text(&mut self) -> String {
        let letters = ["a", "B", "0", " ", "\"", "\\", "\n", "é", "日", "🦀", "\u{0}"];
        (0..self.below(24)).map(|_| letters[self.below(letters.len())]).collect()
    }
}

/// What names were given already; the record being made, for types that contain themselves.
#[derive(Default)]
pub struct Names {
    given: usize,
    open: Vec<String>,
}

impl Names {
    fn next(&mut self, kind: &str) -> String {
        self.given += 1;
        format!("{kind}{}", self.given)
    }
}

pub fn schema(dice: &mut Dice, names: &mut Names, depth: usize) -> Json {
    let leaves = if depth == 0 || dice.one_in(2) { 100 } else { 0 };
    match leaves + dice.below(20) {
        0..4 => json!({ "type": "array", "items": schema(dice, names, depth - 1) }),
        4..7 => json!({ "type": "map", "values": schema(dice, names, depth - 1) }),
        7..11 => optional(dice, names, depth),
        11..13 => {
            let record = record(dice, names, depth - 1);
            json!(["string", "long", record, "null", "boolean"])
        }
        13..16 if !names.open.is_empty() => {
            let own = names.open[dice.below(names.open.len())].clone();
            match dice.below(4) {
                0 => json!(["null", own]),
                1 => json!({ "type": "array", "items": own }),
                2 => json!({ "type": "map", "values": own }),
                _ => {
                    json!(["string", own, { "type": "array", "items": own }, { "type": "map", "values": own }])
                }
            }
        }
        0..100 => record(dice, names, depth - 1),
        _ if dice.one_in(2) => meaning(dice, names),
        _ => leaf(dice, names),
    }
}

fn leaf(dice: &mut Dice, names: &mut Names) -> Json {
    match dice.below(10) {
        0 => json!("null"),
        1 => json!("boolean"),
        2 => json!("int"),
        3 => json!("long"),
        4 => json!("float"),
        5 => json!("double"),
        6 => json!("bytes"),
        7 => json!({ "type": "fixed", "name": names.next("Fixed"), "size": dice.below(20) }),
        8 => {
            let symbols: Vec<String> = (0..=dice.below(5)).map(|at| format!("S{at}")).collect();
            json!({ "type": "enum", "name": names.next("Enum"), "symbols": symbols })
        }
        _ => json!("string"),
    }
}

/// All that have a meaning.
fn meaning(dice: &mut Dice, names: &mut Names) -> Json {
    let plain = [
        ("int", "date"),
        ("int", "time-millis"),
        ("long", "time-micros"),
        ("long", "timestamp-millis"),
        ("long", "timestamp-micros"),
        ("long", "timestamp-nanos"),
        ("long", "local-timestamp-millis"),
        ("long", "local-timestamp-micros"),
        ("long", "local-timestamp-nanos"),
        ("string", "uuid"),
        ("long", "nobody-knows-this"),
    ];
    match dice.below(plain.len() + 4) {
        0 => json!({ "type": "fixed", "name": names.next("Span"), "size": 12, "logicalType": "duration" }),
        1 => json!({ "type": "fixed", "name": names.next("Uuid"), "size": 16, "logicalType": "uuid" }),
        2 => {
            let precision = 1 + dice.below(80);
            json!({ "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": dice.below(precision + 1) })
        }
        3 => {
            // The digits that so many bytes hold.
            let size = 1 + dice.below(40);
            let precision = 1 + dice.below((size * 8 - 1) * 30_102 / 100_000).min(90);
            json!({ "type": "fixed", "name": names.next("Money"), "size": size, "logicalType": "decimal", "precision": precision, "scale": dice.below(precision + 1) })
        }
        at => json!({ "type": plain[at - 4].0, "logicalType": plain[at - 4].1 }),
    }
}

fn optional(dice: &mut Dice, names: &mut Names, depth: usize) -> Json {
    let of = loop {
        let of = schema(dice, names, depth - 1);
        if !of.is_array() && of != "null" {
            break of;
        }
    };
    if dice.one_in(3) { json!([of, "null"]) } else { json!(["null", of]) }
}

pub fn record(dice: &mut Dice, names: &mut Names, depth: usize) -> Json {
    let name = names.next("Record");
    names.open.push(name.clone());
    let fields: Vec<Json> = (0..dice.below(7))
        .map(|at| json!({ "name": format!("f{at}"), "type": schema(dice, names, depth) }))
        .collect();
    names.open.pop();
    json!({ "type": "record", "name": name, "fields": fields })
}

pub fn typed(dice: &mut Dice, schema: &Arc<Schema>) -> Typed {
    let value = value(dice, schema, schema.root(), 6);
    Typed::new(Arc::clone(schema), Bytes::new(), value)
}

fn value(dice: &mut Dice, schema: &Schema, of: TypeId, depth: usize) -> Value {
    let logical = schema.get(of).logical;
    match &schema.get(of).kind {
        Kind::Any | Kind::Null => Value::Null,
        Kind::Boolean => Value::Boolean(dice.one_in(2)),
        Kind::Int => Value::Int(dice.long() as i32),
        Kind::Long => Value::Long(dice.long()),
        Kind::Float => {
            const EDGES: [f32; 6] = [-0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MIN, 1.5e-3];
            Value::Float(if dice.one_in(2) {
                f32::from_bits(dice.next() as u32)
            } else {
                EDGES[dice.below(6)]
            })
        }
        Kind::Double => {
            const EDGES: [f64; 6] = [-0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, 1.5e-300];
            Value::Double(if dice.one_in(2) { f64::from_bits(dice.next()) } else { EDGES[dice.below(6)] })
        }
        Kind::Bytes if logical.is_some() => {
            let count = 1 + dice.below(34);
            Value::Bytes(Blob::Own(minimal(dice.bytes(count)).into()))
        }
        Kind::Bytes => {
            let count = dice.below(30);
            Value::Bytes(Blob::Own(dice.bytes(count).into()))
        }
        Kind::Text if logical == Some(Logical::Uuid) => {
            let hex: String = dice.bytes(16).iter().map(|byte| format!("{byte:02x}")).collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            Value::from(parts.join("-").as_str())
        }
        Kind::Text => Value::from(dice.text().as_str()),
        Kind::Fixed { bytes, .. } => Value::Bytes(Blob::Own(dice.bytes(*bytes).into())),
        Kind::Enum(of) => Value::Enum(dice.below(of.symbols.len()) as u32),
        Kind::Record(record) => Value::Record(
            record
                .fields
                .iter()
                .map(|field| value(dice, schema, field.of, depth.saturating_sub(1)))
                .collect(),
        ),
        Kind::List(of) => {
            let count = if depth == 0 { 0 } else { dice.below(5) };
            Value::List((0..count).map(|_| value(dice, schema, *of, depth.saturating_sub(1))).collect())
        }
        // The oracle keeps maps without an order.
        Kind::Map(of) => {
            let count = if depth == 0 { 0 } else { dice.below(2) };
            let entry =
                |_| (Text::Own(dice.text().into()), value(dice, schema, *of, depth.saturating_sub(1)));
            Value::Map((0..count).map(entry).collect())
        }
        Kind::Union(branches) => match schema.optional(of) {
            Some((_, of)) if depth > 0 && !dice.one_in(3) => value(dice, schema, of, depth.saturating_sub(1)),
            Some(_) => Value::Null,
            None => {
                // The first branch has an end.
                let branch = if depth == 0 { 0 } else { dice.below(branches.len()) };
                Value::Union(Box::new((
                    branch as u32,
                    value(dice, schema, branches[branch], depth.saturating_sub(1)),
                )))
            }
        },
    }
}

/// As Java writes a BigInteger: no byte more than needed.
pub fn minimal(mut bytes: Vec<u8>) -> Vec<u8> {
    while let [first, second, ..] = bytes[..]
        && (first == 0 && second < 0x80 || first == 0xff && second >= 0x80)
    {
        bytes.remove(0);
    }
    bytes
}
