//! What is called compatible: beside the answers of Java's Avro library, beside resolution itself over schemas that
//! change by seeds (`AQUEDUCT_CASES` for more of them), and what is said of each rule.
#![allow(missing_docs, clippy::unwrap_used)]

mod dice;

use std::collections::BTreeSet;
use std::sync::Arc;

use aqueduct_api::schema::Schema;
use aqueduct_avro::{Decoder, Encoder, Rule, UnknownFields, incompatibilities, parse};
use bytes::Bytes;
use dice::{Dice, Names};
use serde_json::{Value as Json, json};

fn schema(json: &Json) -> Arc<Schema> {
    parse(&json.to_string(), &[]).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn said(reader: &Json, writer: &Json) -> Vec<String> {
    incompatibilities(&schema(reader), &schema(writer)).iter().map(ToString::to_string).collect()
}

/// `compatible/Answers.java` asked Java.
#[test]
fn java_says_the_same() {
    // The numbers would mean something else: by the specification these do not match, and Java does not look.
    let stricter = ["decimal of another scale", "timestamp of another unit"];
    // Java reports the type of a field that is not there.
    let by_another_name = ["enum field added, with the enum's default"];
    let pairs: Vec<Json> = serde_json::from_str(include_str!("compatible/pairs.json")).unwrap();
    assert!(pairs.len() > 190);
    for pair in &pairs {
        let name = pair["name"].as_str().unwrap();
        let java: BTreeSet<&str> = (pair["java"].as_array().unwrap().iter())
            .map(|found| found.as_str().unwrap().split_once(' ').unwrap().0)
            .collect();
        let found = incompatibilities(&schema(&pair["reader"]), &schema(&pair["writer"]));
        let ours: BTreeSet<&str> = found.iter().map(|found| found.rule.name()).collect();
        if stricter.contains(&name) {
            assert_eq!((java.len(), ours), (0, BTreeSet::from([Rule::Meaning.name()])), "{name}");
        } else if java.contains(Rule::UnionBranch.name()) || by_another_name.contains(&name) {
            // Java does not look into branches.
            assert!(!ours.is_empty(), "{name}: {java:?}");
        } else {
            assert_eq!(ours, java, "{name}");
        }
    }
}

#[test]
fn every_reason_is_told_with_its_place() {
    let record = |name: &str, fields: Json| json!({ "type": "record", "name": name, "fields": fields });
    let address = |fields: Json| record("Address", fields);
    let item = |of: &str| json!({ "type": "array", "items": record("Item", json!([{ "name": "price", "type": of }])) });
    let state = |symbols: Json| json!({ "type": "enum", "name": "State", "symbols": symbols });
    let fixed = |size: u32| json!({ "type": "fixed", "name": "Hash", "size": size });
    let decimal =
        |scale: u32| json!({ "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale });
    let writer = record(
        "Order",
        json!([
            { "name": "amount", "type": "string" },
            { "name": "address", "type": ["null", address(json!([]))] },
            { "name": "items", "type": item("string") },
            { "name": "state", "type": state(json!(["NEW", "PAID", "SENT"])) },
            { "name": "hash", "type": fixed(16) },
            { "name": "labels", "type": { "type": "map", "values": "long" } },
            { "name": "either", "type": ["int", "string"] },
            { "name": "tax", "type": decimal(2) },
            { "name": "at", "type": { "type": "long", "logicalType": "timestamp-millis" } },
        ]),
    );
    let reader = record(
        "Order",
        json!([
            { "name": "amount", "type": "long" },
            { "name": "address", "type": ["null", address(json!([{ "name": "zip", "type": "string" }]))] },
            { "name": "items", "type": item("double") },
            { "name": "state", "type": state(json!(["NEW"])) },
            { "name": "hash", "type": fixed(32) },
            { "name": "labels", "type": { "type": "map", "values": "int" } },
            { "name": "either", "type": ["null", "long", "boolean"] },
            { "name": "tax", "type": decimal(3) },
            { "name": "at", "type": { "type": "long", "logicalType": "local-timestamp-micros" } },
            { "name": "fresh", "type": "int" },
            { "name": "wrong", "type": "int", "default": "x" },
        ]),
    );
    let expected = [
        "field fresh: the reader's field has no default, and the writer has no such field",
        "field wrong: the writer has no such field, and the default \"x\" is not of the field's type",
        "field amount: string cannot be read as long",
        "field address.zip: the reader's field has no default, and the writer has no such field",
        "field items[].price: string cannot be read as double",
        "field state: the reader's enum State has no default, and lacks PAID, SENT",
        "field hash: fixed of 16 bytes cannot be read as one of 32",
        "field labels{}: long cannot be read as int",
        "field either: string cannot be read as any of null, long, boolean",
        "field tax: a decimal of scale 2 cannot be read as one of scale 3",
        "field at: timestamp-millis cannot be read as local-timestamp-micros",
    ];
    assert_eq!(said(&reader, &writer), expected);
    let other = record("shop.Customer", json!([]));
    assert_eq!(said(&other, &writer), ["Order cannot be read as shop.Customer: the names differ".to_owned()]);
}

#[test]
fn names_go_before_aliases() {
    let record = |fields: Json| json!({ "type": "record", "name": "R", "fields": fields });
    let writer = record(json!([{ "name": "b", "type": "int" }, { "name": "a", "type": "string" }]));
    let reader = record(json!([{ "name": "b", "type": "int", "aliases": ["a"] }]));
    assert_eq!(said(&reader, &writer), [""; 0]);
}

/// However many ways lead to it, a reason is told once.
#[test]
fn large_schemas_are_compared() {
    let chain = |of: &str| {
        let mut types =
            vec![json!({ "type": "record", "name": "T0", "fields": [{ "name": "f", "type": of }] })];
        for at in 1..500 {
            let before = format!("T{}", at - 1);
            types.push(
                json!({ "type": "record", "name": format!("T{at}"), "fields": [{ "name": "f", "type": before }] }),
            );
        }
        Json::from(types)
    };
    let found = incompatibilities(&schema(&chain("int")), &schema(&chain("string")));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].says == "string cannot be read as int");
}

/// A schema that somebody worked on.
fn changed(dice: &mut Dice, json: &Json, names: &mut Names) -> Json {
    if dice.one_in(12) && !json.is_array() && *json != "null" {
        return if dice.one_in(2) { json!(["null", json]) } else { json!([json, "null"]) };
    }
    match json {
        Json::String(name) if dice.one_in(6) => match name.as_str() {
            "int" => json!(["long", "float", "double", "string"][dice.below(4)]),
            "long" => json!(["float", "double", "int"][dice.below(3)]),
            "float" => json!(["double", "long"][dice.below(2)]),
            "string" => json!(["bytes", "boolean"][dice.below(2)]),
            _ => json.clone(),
        },
        Json::Array(branches) => {
            let kept = |of: &Json| (!dice.one_in(20)).then(|| changed_branch(dice, of, names));
            let mut branches: Vec<Json> = branches.iter().filter_map(kept).collect();
            if dice.one_in(4) {
                branches.reverse();
            }
            Json::from(branches)
        }
        Json::Object(_) => changed_object(dice, json.clone(), names),
        _ => json.clone(),
    }
}

/// A branch stays what it is, so that no union has two of a kind.
fn changed_branch(dice: &mut Dice, json: &Json, names: &mut Names) -> Json {
    if json.is_object() { changed_object(dice, json.clone(), names) } else { json.clone() }
}

fn changed_object(dice: &mut Dice, mut json: Json, names: &mut Names) -> Json {
    for inside in ["items", "values"] {
        if let Some(of) = json.get(inside) {
            json[inside] = changed(dice, of, names);
        }
    }
    if let Some(symbols) = json.get_mut("symbols").and_then(Json::as_array_mut) {
        match dice.below(8) {
            0 => symbols.push(json!("MORE")),
            1 if symbols.len() > 1 => drop(symbols.remove(0)),
            2 => symbols.reverse(),
            _ => {}
        }
        if dice.one_in(4) {
            json["default"] = json["symbols"][0].clone();
        }
    }
    if json["logicalType"] == "decimal" && dice.one_in(6) {
        json["scale"] = json!(3);
    }
    if json["logicalType"] == "timestamp-millis" && dice.one_in(6) {
        json["logicalType"] = json!("timestamp-micros");
    }
    if let Some(fields) = json.get("fields").and_then(Json::as_array).cloned() {
        let mut kept = Vec::new();
        for mut field in fields {
            field["type"] = changed(dice, &field["type"].clone(), names);
            match dice.below(12) {
                0 => continue,
                1 => {
                    field["aliases"] = json!([field["name"]]);
                    field["name"] = json!(format!("renamed_{}", field["name"].as_str().unwrap()));
                }
                2 => field["name"] = json!(format!("other_{}", field["name"].as_str().unwrap())),
                _ => {}
            }
            kept.push(field);
        }
        match dice.below(6) {
            0 => kept.push(json!({ "name": "added", "type": "string", "default": "none" })),
            1 => kept.insert(0, json!({ "name": "added", "type": ["null", "long"], "default": null })),
            2 if dice.one_in(4) => kept.push(json!({ "name": "added", "type": "long" })),
            3 => kept.reverse(),
            _ => {}
        }
        json["fields"] = Json::from(kept);
    }
    json
}

/// What is called compatible resolves, and every value comes through; of what is not, some value does not.
#[test]
fn what_is_compatible_resolves() {
    let cases = std::env::var("AQUEDUCT_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2_000);
    let (mut compatible, mut refused, mut not_met) = (0, 0, 0);
    for seed in 0..cases {
        let mut dice = Dice(seed);
        let mut names = Names::default();
        let json = dice::record(&mut dice, &mut names, 4);
        let other = changed(&mut dice, &json, &mut names);
        // The changes may have moved a type before the one that it names.
        let Ok(reader) = parse(&other.to_string(), &[]) else { continue };
        let writer = schema(&json);
        let found = incompatibilities(&reader, &writer);
        let mut fault = None;
        let decoder = Decoder::resolving(&writer, &reader).inspect_err(|why| fault = Some(why.to_string()));
        for _ in 0..40 {
            let Ok(decoder) = &decoder else { break };
            let typed = dice::typed(&mut dice, &writer);
            let mut bytes = Vec::new();
            Encoder::new(&writer, UnknownFields::Error).encode(&typed, &mut bytes).unwrap();
            fault = decoder.decode(&Bytes::from(bytes), 0).err().map(|why| why.to_string());
            if fault.is_some() {
                break;
            }
        }
        match (found.is_empty(), fault) {
            (true, Some(fault)) => panic!("seed {seed}: {fault}\nwriter {json}\nreader {other}"),
            (true, None) => compatible += 1,
            (false, Some(_)) => refused += 1,
            // An array that was never filled, a branch that was never written.
            (false, None) => not_met += 1,
        }
    }
    println!("{compatible} compatible, {refused} refused, {not_met} refused without a value that shows it");
    assert!(compatible > cases / 4 && refused > cases / 4 && not_met < refused / 5);
}
