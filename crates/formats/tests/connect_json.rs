//! `connect_json` beside Kafka's own converter: `golden/connect_json.jsonl` is what its JsonConverter wrote.

mod damage;
mod opened;

use std::sync::Arc;

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::schema::{Kind, Schema, TypeId};
use aqueduct_api::{FormatContext, Headers, Part, Piece, Typed, Value};
use aqueduct_formats::{ConnectJson, Json};
use opened::{decode, encode, says};
use proptest::prelude::*;
use serde_json::{Value as Tree, json};

const GOLDEN: &str = include_str!("golden/connect_json.jsonl");

fn envelope(schema: &Tree, payload: &Tree) -> String {
    json!({ "schema": schema, "payload": payload }).to_string()
}

fn read(text: &str) -> Typed {
    decode::<ConnectJson>("{}", text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn writes_byte_for_byte_what_kafka_writes() {
    let mut seen = 0;
    for line in GOLDEN.lines() {
        let line: Tree = serde_json::from_str(line).unwrap();
        let name = line["name"].as_str().unwrap();
        let Some(text) = line["with_schema"].as_str() else { continue };
        seen += 1;
        let typed = read(text);
        let again = |options: &str| encode::<ConnectJson>(options, &typed).unwrap();
        assert_eq!(again("{}"), text, "{name}");
        assert_eq!(again(r#"{"schemas":false}"#), line["without_schema"].as_str().unwrap(), "{name}");
        // A scale below zero has no type of ours: such a decimal is bytes.
        if name == "decimal with a negative scale" {
            continue;
        }
        if let Some(numeric) = line["numeric_with_schema"].as_str() {
            assert_eq!(again(r#"{"decimal":"number"}"#), numeric, "{name}");
            assert_eq!(read(numeric), typed, "{name}");
        }
        let schema = line["schema"].as_str().unwrap_or("null");
        assert!(text.starts_with(&format!("{{\"schema\":{schema}")), "{name}");
    }
    assert!(seen > 60, "{seen}");
}

/// A type in short: its kind, what it means, and its attributes.
fn described(schema: &Schema, of: TypeId) -> String {
    let found = schema.get(of);
    let attributes: Vec<_> =
        found.attributes.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    let logical = found.logical.map(|logical| format!(" {logical:?}")).unwrap_or_default();
    format!("{}{logical}{}", found.kind.name(), attributes.concat())
}

#[test]
fn types_are_named_as_the_avro_converter_names_them() {
    let schema = json!({ "type": "struct", "optional": false, "name": "shop.Order", "version": 2, "doc": "an order", "fields": [
        { "type": "int8", "optional": false, "field": "small" },
        { "type": "int16", "optional": true, "field": "short" },
        { "type": "string", "optional": false, "name": "shop.Sku", "version": 3, "parameters": { "unit": "piece" }, "default": "none", "field": "sku" },
        { "type": "bytes", "optional": false, "name": "org.apache.kafka.connect.data.Decimal", "version": 1, "parameters": { "scale": "2", "connect.decimal.precision": "12" }, "default": "BNI=", "field": "total" },
        { "type": "int64", "optional": false, "name": "io.debezium.time.MicroTimestamp", "version": 1, "field": "at" },
        { "type": "map", "keys": { "type": "int32", "optional": false }, "values": { "type": "string", "optional": false }, "optional": false, "field": "by_number" },
        { "type": "struct", "fields": [], "optional": false, "field": "nameless" } ] });
    let typed = read(&envelope(
        &schema,
        &json!({ "small": 1, "short": null, "at": 1, "by_number": [[1, "a"]], "nameless": { "more": 1 } }),
    ));
    let of = typed.schema();
    let Kind::Record(record) = &of.get(of.root()).kind else { panic!("{typed:?}") };
    assert_eq!(
        described(of, of.root()),
        r#"shop.Order connect.doc="an order" connect.name="shop.Order" connect.version=2"#
    );
    let types: Vec<_> = record
        .fields
        .iter()
        .map(|field| described(of, of.optional(field.of).map_or(field.of, |(_, of)| of)))
        .collect();
    assert_eq!(
        types,
        [
            r#"int connect.type="int8""#,
            r#"int connect.type="int16""#,
            r#"string connect.default="none" connect.name="shop.Sku" connect.parameters={"unit":"piece"} connect.version=3"#,
            concat!(
                r#"bytes Decimal { precision: 12, scale: 2 } connect.default="\u0004Ò" connect.name="org.apache.kafka.connect.data.Decimal" "#,
                r#"connect.parameters={"scale":"2","connect.decimal.precision":"12"} connect.version=1"#
            ),
            r#"long Timestamp { unit: Micros, local: false } connect.name="io.debezium.time.MicroTimestamp" connect.version=1"#,
            "array",
            "io.confluent.connect.avro.ConnectDefault",
        ]
    );
    assert_eq!(record.fields[1].default, Some(Tree::Null));
    assert_eq!(record.fields[2].default, Some("none".into()));
    // What is missing has its default, and both forms of the default of a decimal are the same.
    assert_eq!(
        encode::<Json>("{}", &typed).unwrap(),
        r#"{"small":1,"short":null,"sku":"none","total":12.34,"at":"1970-01-01T00:00:00.000001Z","by_number":[[1,"a"]],"nameless":{}}"#
    );
}

#[test]
fn rows_of_avro_have_a_schema_of_connect() {
    let schema = json!({ "type": "record", "name": "R", "namespace": "shop", "fields": [
        { "name": "status", "type": { "type": "enum", "name": "Status", "symbols": ["NEW", "PAID"] }, "default": "NEW" },
        { "name": "note", "type": ["null", "string"], "default": null, "doc": "free text" },
        { "name": "either", "type": ["null", "int", "string"] },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-millis" } },
        { "name": "raw", "type": { "type": "fixed", "name": "Two", "size": 2 }, "default": "\u{0}\u{ff}" } ] });
    let options = json!({ "schema": schema.to_string() }).to_string();
    let row = decode::<Json>(&options, r#"{"status":"PAID","note":"x","either":"y","at":5}"#).unwrap();
    assert_eq!(
        encode::<ConnectJson>("{}", &row).unwrap(),
        concat!(
            r#"{"schema":{"type":"struct","fields":["#,
            r#"{"type":"string","optional":false,"parameters":{"io.confluent.connect.avro.Enum":"shop.Status","io.confluent.connect.avro.Enum.NEW":"NEW","io.confluent.connect.avro.Enum.PAID":"PAID"},"default":"NEW","field":"status"},"#,
            r#"{"type":"string","optional":true,"doc":"free text","field":"note"},"#,
            r#"{"type":"struct","fields":[{"type":"int32","optional":true,"field":"int"},{"type":"string","optional":true,"field":"string"}],"optional":true,"name":"io.confluent.connect.avro.Union","field":"either"},"#,
            r#"{"type":"int64","optional":false,"name":"org.apache.kafka.connect.data.Timestamp","version":1,"field":"at"},"#,
            r#"{"type":"bytes","optional":false,"name":"shop.Two","parameters":{"connect.fixed.size":"2"},"default":"AP8=","field":"raw"}"#,
            r#"],"optional":false,"name":"shop.R"},"payload":{"status":"PAID","note":"x","either":{"int":null,"string":"y"},"at":5,"raw":"AP8="}}"#
        )
    );
    let recursive =
        json!({ "type": "record", "name": "R", "fields": [{ "name": "r", "type": ["null", "R"] }] });
    let options = json!({ "schema": recursive.to_string() }).to_string();
    let row = decode::<Json>(&options, r#"{"r":null}"#).unwrap();
    assert!(
        says(encode::<ConnectJson>("{}", &row))
            .ends_with("a type that contains itself has no schema in Kafka Connect")
    );
    assert_eq!(encode::<ConnectJson>(r#"{"schemas":false}"#, &row).unwrap(), r#"{"r":null}"#);
}

#[test]
fn maps_by_optional_text_are_objects_in_json() {
    let schema = json!({ "type": "map", "keys": { "type": "string", "optional": true }, "values": { "type": "int32", "optional": false }, "optional": false });
    let text = envelope(&schema, &json!({ "a": 1, "b": 2 }));
    let typed = read(&text);
    assert!(matches!(typed.value(), Value::List(entries) if entries.len() == 2));
    assert_eq!(encode::<ConnectJson>("{}", &typed).unwrap(), text);
}

#[test]
fn the_payload_may_stand_before_its_schema_and_the_schema_is_read_once() {
    let schema = r#"{"type":"int32","optional":true}"#;
    let typed = read(&format!(" {{ \"payload\" : 7 , \"schema\" : {schema} }} "));
    assert_eq!(
        (typed.value(), encode::<ConnectJson>("{}", &typed).unwrap()),
        (&Value::Int(7), format!("{{\"schema\":{schema},\"payload\":7}}"))
    );

    let context = FormatContext { pipeline: "t".into(), part: Part::Value, registry: None };
    let mut decoder = ConnectJson::decoder(&Arc::default(), &context).unwrap();
    let mut decode = |text: &str| {
        let piece =
            Piece { topic: &"t".into(), headers: &Headers::default(), bytes: &text.to_owned().into() };
        decoder.decode(piece).unwrap()
    };
    let first = decode(r#"{"schema":{"type":"int32","optional":true},"payload":1}"#);
    let other = decode(r#"{"schema":{"type":"string"},"payload":"x"}"#);
    let again = decode(r#"{"schema":{"type":"int32","optional":true},"payload":null}"#);
    assert!(Arc::ptr_eq(first.schema(), again.schema()) && !Arc::ptr_eq(first.schema(), other.schema()));
    let any = decode(r#"{"schema":null,"payload":{"a":[1]}}"#);
    assert_eq!(any.schema().get(any.schema().root()).kind, Kind::Any);
}

#[test]
fn what_is_no_envelope_is_refused() {
    for (text, wrong) in [
        ("1", "'1' where an envelope with `schema` and `payload` is expected"),
        ("{\"a\":1}", "field `a`: an envelope has `schema` and `payload` and nothing else"),
        ("{\"payload\":1}", "an envelope has `schema` and `payload`; `schemas: false` reads plain JSON"),
        (
            r#"{"schema":{"type":"int128"},"payload":1}"#,
            "the schema of the envelope: there is no type `int128`",
        ),
        (r#"{"schema":{"type":"int8"},"payload":128}"#, "the number is not between -128 and 127"),
        (r#"{"schema":{"type":"int32"},"payload":null}"#, "'n' where a whole number is expected"),
        (
            r#"{"schema":{"type":"struct","fields":[{"type":"int32","field":"a"}]},"payload":{}}"#,
            "field `a`: is missing and has no default",
        ),
        (
            r#"{"schema":{"type":"struct","fields":[{"type":"int32","field":"a"},{"type":"int64","field":"a"}]},"payload":{}}"#,
            "the schema of the envelope: a struct has the field `a` twice",
        ),
    ] {
        let said = says(decode::<ConnectJson>("{}", text));
        assert!(said.starts_with(wrong), "{said}");
    }
    let plain = decode::<ConnectJson>(r#"{"schemas":false}"#, r#"{"a":[1,"x"]}"#).unwrap();
    assert_eq!(encode::<ConnectJson>("{}", &plain).unwrap(), r#"{"schema":null,"payload":{"a":[1,"x"]}}"#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn damaged_envelopes_are_read_or_refused(line in 0..GOLDEN.lines().count(), edits in damage::edits()) {
        let line: Tree = serde_json::from_str(GOLDEN.lines().nth(line).unwrap()).unwrap();
        let damaged = damage::damaged(line["with_schema"].as_str().unwrap_or_default(), &edits);
        if let Ok(typed) = decode::<ConnectJson>("{}", &damaged) {
            // What was read has a form again, and that one reads the same.
            let again = encode::<ConnectJson>("{}", &typed).unwrap();
            prop_assert_eq!(&decode::<ConnectJson>("{}", &again).unwrap(), &typed, "{}", again);
        }
    }
}
