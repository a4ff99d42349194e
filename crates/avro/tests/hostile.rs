//! What nobody should send: an error at a limit, with its place, and never memory.
#![allow(missing_docs, clippy::unwrap_used)]

use aqueduct_avro::{Decoder, parse};
use bytes::Bytes;

fn fault(schema: &str, bytes: &[u8]) -> String {
    let schema = parse(schema, &[]).unwrap();
    Decoder::new(&schema).decode(&Bytes::copy_from_slice(bytes), 0).unwrap_err().to_string()
}

#[test]
fn lengths_beyond_the_payload() {
    let two_gib = [0x80, 0x80, 0x80, 0x80, 0x10];
    assert_eq!(fault(r#""string""#, &two_gib), "2147483648 bytes are announced and 0 are there (byte 5)");
    assert_eq!(fault(r#""bytes""#, &[0x01]), "a length of -1 (byte 1)");
    let list = r#"{ "type": "array", "items": "long" }"#;
    assert_eq!(fault(list, &two_gib), "a block of 2147483648 items in 0 bytes (byte 5)");
    assert_eq!(fault(r#""long""#, &[0xff; 11]), "a number of more than 64 bits (byte 0)");
    assert_eq!(fault(r#""long""#, &[0xff]), "a number ends behind the last byte (byte 0)");
    assert_eq!(fault(r#""int""#, &two_gib), "2147483648 is too large for an int (byte 5)");
    assert_eq!(fault(r#""double""#, &[1, 2]), "the value is cut off (byte 0)");
}

#[test]
fn items_that_take_no_bytes() {
    let nulls = r#"{ "type": "array", "items": "null" }"#;
    let many = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0];
    assert!(fault(nulls, &many).starts_with("the record has more than 4194304 values"));
    let empty = r#"{ "type": "array", "items": { "type": "record", "name": "R", "fields": [] } }"#;
    assert!(fault(empty, &many).starts_with("the record has more than"));
    // A few bytes of payload must not become megabytes: 65,537 of them are too many, in one block or in several.
    assert!(fault(nulls, &[0x82, 0x80, 0x08, 0]).starts_with("the record has more than"));
    assert!(fault(nulls, &[0x80, 0x80, 0x08, 2, 0]).starts_with("the record has more than"));
    // A few are fine.
    let schema = parse(nulls, &[]).unwrap();
    assert!(Decoder::new(&schema).decode(&Bytes::from_static(&[0x80, 0x02, 0]), 0).is_ok());
    // Block after block of them too.
    let blocks = vec![0xfe; 4];
    assert!(Decoder::new(&schema).decode(&Bytes::from(blocks), 0).is_err());
}

#[test]
fn values_nested_without_end() {
    let node =
        r#"{ "type": "record", "name": "Node", "fields": [{ "name": "next", "type": ["null", "Node"] }] }"#;
    let says = fault(node, &[2; 100_000]);
    assert!(says.contains("nested more than 200 deep"), "{says}");
    let itself = r#"{ "type": "record", "name": "Node", "fields": [{ "name": "next", "type": "Node" }] }"#;
    assert!(fault(itself, &[]).contains("nested more than 200 deep"));
}

#[test]
fn the_place_is_named() {
    let order = r#"{ "type": "record", "name": "Order", "fields": [
        { "name": "items", "type": { "type": "array", "items": { "type": "record", "name": "Item", "fields": [
            { "name": "sku", "type": "string" }
        ] } } }
    ] }"#;
    assert_eq!(
        fault(order, &[4, 2, b'a', 6, b'b', 0xff, b'c', 0]),
        "field `items[1].sku`: the text is not UTF-8 (byte 5)"
    );
    assert_eq!(fault(r#""boolean""#, &[1, 1]), "the value ends 1 bytes before the payload does (byte 1)");
    assert_eq!(fault(r#"["null", "int", "string"]"#, &[6]), "branch 3 of a union that has 3 (byte 1)");
}

#[test]
fn schemas_that_are_none() {
    for (text, says) in [
        ("", "the schema is not JSON"),
        ("7", "a type is a name, an object or a list"),
        (r#""Unknown""#, "there is no type `Unknown`"),
        (r#"{ "type": "record", "name": "R" }"#, "the record has no `fields`"),
        (
            r#"{ "type": "record", "name": "R", "fields": [{ "name": "a", "type": "b" }] }"#,
            "a: there is no type `b`",
        ),
        (r#"{ "type": "enum", "name": "E", "symbols": ["A", "A"] }"#, "`E` has a symbol twice"),
        (r#"["int", "int"]"#, "the union has `int` twice"),
        (r#"["int", ["null"]]"#, "a union stands directly inside a union"),
        (r#"{ "type": "fixed", "name": "F" }"#, "fixed has no `size`"),
        (r#"{ "type": "fixed", "name": "int", "size": 4 }"#, "`int` is the name of a primitive type"),
    ] {
        let error = parse(text, &[]).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let deep = format!("{}\"int\"{}", r#"{ "type": "array", "items": "#.repeat(110), "}".repeat(110));
    assert!(parse(&deep, &[]).unwrap_err().to_string().contains("deeper"));
}

#[test]
fn names_as_other_languages_write_them() {
    let schema = parse(
        r#"{ "type": "record", "name": "order-line", "namespace": "shöp.v1", "fields": [
            { "name": "unit-price", "type": { "type": { "type": "string" } } },
            { "name": "status", "type": { "type": "enum", "name": "Status", "symbols": ["in-transit"] } },
            { "name": "before", "type": ["null", "order-line"], "default": null }
        ] }"#,
        &[],
    )
    .unwrap();
    assert_eq!(schema.get(schema.root()).kind.name(), "shöp.v1.order-line");
}

#[test]
fn a_record_of_many_of_itself_is_looked_at_once() {
    let field = |name: &str| format!(r#"{{"name":"{name}","type":"R"}}"#);
    let fields = ["a", "b", "c", "d"].map(field).join(",");
    let schema = format!(r#"{{"type":"array","items":{{"type":"record","name":"R","fields":[{fields}]}}}}"#);
    // With a look along every way to every depth this took longer than anybody lives.
    let schema = parse(&schema, &[]).unwrap();
    assert!(Decoder::new(&schema).decode(&Bytes::from_static(&[2, 0]), 0).is_err());
    assert!(Decoder::new(&schema).decode(&Bytes::from_static(&[0]), 0).is_ok());
}
