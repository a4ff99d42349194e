//! Schemas and values of every kind, from a seed.
#![allow(unreachable_pub, dead_code)]

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
    const LEAVES: usize = 22;
    let kinds = if depth == 0 { LEAVES } else { LEAVES + 14 };
    match dice.below(kinds) {
        0 => json!("null"),
        1 => json!("boolean"),
        2 => json!("int"),
        3 => json!("long"),
        4 => json!("float"),
        5 => json!("double"),
        6 => json!("bytes"),
        7 | 8 => json!("string"),
        9 => json!({ "type": "fixed", "name": names.next("Fixed"), "size": dice.below(20) }),
        10 => {
            let symbols: Vec<String> = (0..=dice.below(5)).map(|at| format!("S{at}")).collect();
            json!({ "type": "enum", "name": names.next("Enum"), "symbols": symbols })
        }
        11 => json!({ "type": "bytes", "logicalType": "decimal", "precision": 38, "scale": dice.below(38) }),
        12 => {
            json!({ "type": "fixed", "name": names.next("Money"), "size": 16, "logicalType": "decimal", "precision": 30, "scale": 4 })
        }
        13 => json!({ "type": "int", "logicalType": "date" }),
        14 => json!({ "type": "int", "logicalType": "time-millis" }),
        15 => json!({ "type": "long", "logicalType": "time-micros" }),
        16 => json!({ "type": "long", "logicalType": "timestamp-millis" }),
        17 => json!({ "type": "long", "logicalType": "timestamp-micros" }),
        18 => json!({ "type": "long", "logicalType": "local-timestamp-micros" }),
        19 => json!({ "type": "string", "logicalType": "uuid" }),
        20 => json!({ "type": "fixed", "name": names.next("Span"), "size": 12, "logicalType": "duration" }),
        21 => json!({ "type": "long", "logicalType": "nobody-knows-this" }),
        22..25 => json!({ "type": "array", "items": schema(dice, names, depth - 1) }),
        25..27 => json!({ "type": "map", "values": schema(dice, names, depth - 1) }),
        27..30 => optional(dice, names, depth),
        30 => {
            let record = record(dice, names, depth - 1);
            json!(["string", "long", record, "null", "boolean"])
        }
        31 if !names.open.is_empty() => {
            let own = names.open[dice.below(names.open.len())].clone();
            json!(["null", own])
        }
        _ => record(dice, names, depth - 1),
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
        Kind::Float => Value::Float([0.0, -0.0, f32::INFINITY, 1.5e-3, f32::MIN][dice.below(5)]),
        Kind::Double => Value::Double([0.0, -0.0, f64::NEG_INFINITY, 1.5e-300, f64::MAX][dice.below(5)]),
        Kind::Bytes if logical.is_some() => {
            let at = dice.below(120);
            Value::Bytes(Blob::Own(minimal((dice.next() as i128) << 64 >> at).into()))
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
                let branch = dice.below(branches.len());
                Value::Union(Box::new((
                    branch as u32,
                    value(dice, schema, branches[branch], depth.saturating_sub(1)),
                )))
            }
        },
    }
}

/// As Java writes a BigInteger: no byte more than needed.
pub fn minimal(number: i128) -> Vec<u8> {
    let all = number.to_be_bytes();
    let spare = |at: &usize| {
        let sign = if number < 0 { 0xff } else { 0 };
        all[*at] == sign && (all[*at + 1] & 0x80) == (sign & 0x80)
    };
    let skip = (0..15).take_while(spare).count();
    all[skip..].to_vec()
}
