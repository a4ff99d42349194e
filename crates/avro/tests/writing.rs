//! Schemas written as JSON again: what is read from them is the same schema; canonical form and fingerprint are the
//! oracle's.
#![allow(missing_docs, clippy::unwrap_used)]

mod dice;

use apache_avro::rabin::Rabin;
use aqueduct_avro::{canonical, fingerprint, parse, write};
use dice::{Dice, Names};
use serde_json::{Value as Json, json};

fn schemas() -> impl Iterator<Item = (u64, Json)> {
    (0..3_000).map(|seed| (seed, dice::schema(&mut Dice(seed), &mut Names::default(), 4)))
}

#[test]
fn what_is_written_is_the_schema_again() {
    for (seed, json) in schemas() {
        let schema = parse(&json.to_string(), &[]).unwrap();
        let written = write(&schema).to_string();
        let again = parse(&written, &[]).unwrap_or_else(|error| panic!("seed {seed}: {error}: {written}"));
        assert_eq!(again, schema, "seed {seed}: {written}");
    }
}

#[test]
fn nothing_that_it_says_is_lost() {
    let json = json!({
        "name": "Order", "type": "record", "namespace": "shop.v1", "aliases": ["shop.v0.Order", "shop.v1.Purchase"],
        "doc": "an order",
        "fields": [
            { "name": "id", "type": { "type": "string", "avro.java.string": "String" }, "aliases": ["key"], "doc": "its key", "order": "descending" },
            { "name": "at", "type": { "type": "long", "logicalType": "timestamp-micros", "connect.name": "io.debezium.time.MicroTimestamp" } },
            { "name": "status", "type": { "name": "Status", "type": "enum", "namespace": "shop", "doc": "how far", "symbols": ["NEW", "DONE"], "default": "NEW" } },
            { "name": "before", "type": ["null", "shop.Status"], "default": null },
            { "name": "total", "type": { "type": "bytes", "precision": 12, "scale": 2, "logicalType": "decimal" }, "default": "\u{ff}" },
            { "name": "hash", "type": { "name": "Hash", "type": "fixed", "namespace": "", "size": 16 } },
            { "name": "again", "type": { "type": "array", "items": "Hash" } },
            { "name": "parent", "type": ["null", "shop.v1.Order"], "default": null },
            { "name": "odd", "type": { "type": "int", "logicalType": "nobody-knows-this", "unit": 7 }, "default": 1, "extra": { "deep": [1] } },
            { "name": "map", "type": { "type": "map", "values": "double", "connect.version": 1 }, "default": {} }
        ],
        "connect.name": "Order"
    });
    let schema = parse(&json.to_string(), &[]).unwrap();
    let written = write(&schema);
    assert_eq!(parse(&written.to_string(), &[]).unwrap(), schema);
    // It was in our own order, so it is the same to the letter, but for the quotes around nothing.
    assert_eq!(written, json, "{written:#}");
}

#[test]
fn references_become_part_of_it() {
    let customer = r#"{ "type": "record", "name": "Customer", "namespace": "crm", "fields": [{ "name": "id", "type": "long" }] }"#;
    let order = r#"{ "type": "record", "name": "Order", "fields": [
        { "name": "by", "type": "crm.Customer" }, { "name": "for", "type": ["null", "crm.Customer"] }
    ] }"#;
    let written = write(&parse(order, &[customer]).unwrap());
    let again = parse(&written.to_string(), &[]).unwrap();
    assert_eq!(written["fields"][0]["type"]["name"], "Customer");
    assert_eq!(written["fields"][1]["type"][1], "crm.Customer");
    assert_eq!(write(&again), written);
}

#[test]
fn canonical_form_and_fingerprint_are_the_oracles() {
    let mut compared = 0;
    for (seed, json) in schemas() {
        let schema = parse(&json.to_string(), &[]).unwrap();
        let theirs = apache_avro::Schema::parse_str(&json.to_string()).unwrap();
        // It leaves a primitive type in an object when it had a logical type, which the specification's first rule forbids.
        let said = theirs.canonical_form();
        let mended = ["int", "long", "bytes", "string"].iter().fold(said.clone(), |all, kind| {
            all.replace(&format!(r#"{{"type":"{kind}"}}"#), &format!(r#""{kind}""#))
        });
        assert_eq!(canonical(&schema), mended, "seed {seed}: {json}");
        if said == mended {
            compared += 1;
            let print = theirs.fingerprint::<Rabin>();
            assert_eq!(fingerprint(&schema).to_le_bytes(), print.bytes[..], "seed {seed}: {json}");
        }
    }
    assert!(compared > 500, "only {compared} fingerprints were compared");
    // As the specification's own test data have it.
    assert_eq!(fingerprint(&parse(r#""int""#, &[]).unwrap()), 0x7275_d51a_3f39_5c8f);
}
