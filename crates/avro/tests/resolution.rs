//! Schema resolution, rule by rule, as the specification lists them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use aqueduct_api::schema::Schema;
use aqueduct_api::value::Text;
use aqueduct_api::{Typed, Value};
use aqueduct_avro::{Decoder, Encoder, UnknownFields, parse};
use bytes::Bytes;
use serde_json::{Value as Json, json};

fn schema(json: &Json) -> Arc<Schema> {
    parse(&json.to_string(), &[]).unwrap()
}

fn field(name: &str, of: Json) -> Json {
    json!({ "name": name, "type": of })
}

fn record(fields: &[Json]) -> Json {
    json!({ "type": "record", "name": "R", "fields": fields })
}

/// The writer's value, read with the reader's schema: from bytes, and brought over as a value; both say the same.
fn read(writer: &Json, value: Value, reader: &Json) -> Result<Typed, String> {
    let (writer, reader) = (schema(writer), schema(reader));
    let typed = Typed::new(Arc::clone(&writer), Bytes::new(), value);
    let mut bytes = Vec::new();
    Encoder::new(&writer, UnknownFields::Error).encode(&typed, &mut bytes).unwrap();
    let decoded = Decoder::resolving(&writer, &reader)
        .and_then(|decoder| decoder.decode(&Bytes::from(bytes), 0))
        .map_err(|fault| fault.to_string());
    let mut brought = Vec::new();
    let encoder = Encoder::new(&reader, UnknownFields::Drop);
    match (&decoded, encoder.encode(&typed, &mut brought)) {
        (Ok(decoded), Ok(())) => {
            let again = Decoder::new(&reader).decode(&Bytes::from(brought), 0).unwrap();
            assert_eq!(&again, decoded);
        }
        (Err(_), Err(_)) => assert!(brought.is_empty()),
        (decoded, brought) => panic!("{decoded:?}, but {brought:?}"),
    }
    decoded
}

fn value(writer: &Json, written: Value, reader: &Json) -> Value {
    read(writer, written, reader).unwrap().value().clone()
}

#[test]
fn numbers_are_promoted() {
    assert_eq!(value(&json!("int"), Value::Int(-7), &json!("long")), Value::Long(-7));
    assert_eq!(value(&json!("int"), Value::Int(7), &json!("float")), Value::Float(7.0));
    assert_eq!(value(&json!("int"), Value::Int(7), &json!("double")), Value::Double(7.0));
    assert_eq!(value(&json!("long"), Value::Long(7), &json!("float")), Value::Float(7.0));
    assert_eq!(value(&json!("long"), Value::Long(7), &json!("double")), Value::Double(7.0));
    assert_eq!(value(&json!("float"), Value::Float(0.5), &json!("double")), Value::Double(0.5));
    let fault = read(&json!("long"), Value::Long(7), &json!("int")).unwrap_err();
    assert_eq!(fault, "`long` cannot be read as `int`");
}

#[test]
fn text_and_bytes_are_each_other() {
    let text = read(&json!("bytes"), Value::from(&b"abc"[..]), &json!("string")).unwrap();
    assert_eq!(text.view().text(), Some("abc"));
    let bytes = read(&json!("string"), Value::from("abc"), &json!("bytes")).unwrap();
    assert_eq!(bytes.view().bytes(), Some(&b"abc"[..]));
    assert!(
        read(&json!("bytes"), Value::from(&b"\xff"[..]), &json!("string")).unwrap_err().contains("UTF-8")
    );
}

#[test]
fn fields_go_by_name_and_alias_and_have_defaults() {
    let writer =
        record(&[field("a", json!("int")), field("gone", json!("string")), field("old", json!("long"))]);
    let reader = record(&[
        json!({ "name": "fresh", "type": ["null", "string"], "default": null }),
        json!({ "name": "renamed", "type": "long", "aliases": ["old"] }),
        field("a", json!("double")),
        json!({ "name": "list", "type": { "type": "array", "items": "int" }, "default": [1, 2] }),
        json!({ "name": "raw", "type": "bytes", "default": "\u{ff}\u{0}" }),
    ]);
    let written = Value::Record([Value::Int(1), Value::from("x"), Value::Long(3)].into());
    let read_as = read(&writer, written, &reader).unwrap();
    let view = read_as.view();
    assert_eq!(view.field("fresh").unwrap().value, &Value::Null);
    assert_eq!(view.field("renamed").unwrap().value, &Value::Long(3));
    assert_eq!(view.field("a").unwrap().value, &Value::Double(1.0));
    assert_eq!(view.field("list").unwrap().value, &Value::List([Value::Int(1), Value::Int(2)].into()));
    assert_eq!(view.field("raw").unwrap().bytes(), Some(&[0xff, 0][..]));
}

#[test]
fn a_default_of_every_type_is_taken() {
    let of = |kind: &str, logical: &str| json!({ "type": kind, "logicalType": logical });
    let fixed = |size: usize| json!({ "type": "fixed", "name": "F", "size": size });
    let symbols = json!({ "type": "enum", "name": "E", "symbols": ["A", "B"] });
    let inner = json!({ "type": "record", "name": "I", "fields": [
        { "name": "a", "type": "int" }, { "name": "b", "type": "string", "default": "own" }
    ] });
    let own = |bytes: &[u8]| Value::from(bytes);
    let cases = [
        (json!("null"), json!(null), Value::Null),
        (json!("boolean"), json!(true), Value::Boolean(true)),
        (json!("int"), json!(-3), Value::Int(-3)),
        (json!("long"), json!(1_i64 << 40), Value::Long(1 << 40)),
        (json!("float"), json!(0.5), Value::Float(0.5)),
        (json!("double"), json!(7), Value::Double(7.0)),
        (json!("double"), json!("Infinity"), Value::Double(f64::INFINITY)),
        (json!("bytes"), json!("\u{80}a"), own(&[0x80, b'a'])),
        (json!("string"), json!("é"), Value::from("é")),
        (fixed(2), json!("\u{0}\u{ff}"), own(&[0, 0xff])),
        (symbols, json!("B"), Value::Enum(1)),
        (
            json!({ "type": "array", "items": "int" }),
            json!([1, 2]),
            Value::List([Value::Int(1), Value::Int(2)].into()),
        ),
        (
            json!({ "type": "map", "values": "long" }),
            json!({ "k": 1 }),
            Value::Map([(Text::Own("k".into()), Value::Long(1))].into()),
        ),
        (inner, json!({ "a": 1 }), Value::Record([Value::Int(1), Value::from("own")].into())),
        (json!(["null", "int"]), json!(null), Value::Null),
        (json!(["int", "null"]), json!(5), Value::Int(5)),
        (json!(["int", "string", "null"]), json!("x"), Value::Union(Box::new((1, Value::from("x"))))),
        (of("int", "date"), json!(9), Value::Int(9)),
        (of("int", "time-millis"), json!(9), Value::Int(9)),
        (of("long", "time-micros"), json!(9), Value::Long(9)),
        (of("long", "timestamp-nanos"), json!(9), Value::Long(9)),
        (of("long", "local-timestamp-millis"), json!(9), Value::Long(9)),
        (
            of("string", "uuid"),
            json!("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            Value::from("6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ),
        (
            json!({ "type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2 }),
            json!("\u{4}\u{d2}"),
            own(&[4, 0xd2]),
        ),
        (
            json!({ "type": "fixed", "name": "D", "size": 12, "logicalType": "duration" }),
            json!("\u{1}\u{0}\u{0}\u{0}".repeat(3)),
            own(&[1, 0, 0, 0].repeat(3)),
        ),
    ];
    for (of, default, expected) in cases {
        let reader = record(&[json!({ "name": "fresh", "type": of, "default": default })]);
        let decoded = read(&record(&[]), Value::Record([].into()), &reader).unwrap();
        let expected = Typed::new(schema(&reader), Bytes::new(), Value::Record([expected].into()));
        assert_eq!(decoded, expected, "{of} by default {default}");
    }
}

#[test]
fn a_default_of_another_type_is_an_error() {
    for (of, default) in [
        (json!("int"), json!("x")),
        (json!("int"), json!(1_i64 << 40)),
        (json!("long"), json!(1e300)),
        (json!("long"), json!(0.5)),
        (json!("bytes"), json!("日")),
        (json!({ "type": "fixed", "name": "F", "size": 2 }), json!("a")),
        (json!(["null", "int"]), json!(true)),
    ] {
        let reader = record(&[json!({ "name": "fresh", "type": of, "default": default })]);
        let fault = read(&record(&[]), Value::Record([].into()), &reader).unwrap_err();
        assert!(fault.contains("is not of the field's type"), "{fault}");
    }
}

#[test]
fn named_types_go_by_their_aliases_too() {
    let named = |of: &str, name: &str, aliases: &[&str]| {
        let mut json = json!({ "type": of, "name": name, "aliases": aliases });
        match of {
            "enum" => json["symbols"] = json!(["A"]),
            "fixed" => json["size"] = json!(1),
            _ => json["fields"] = json!([]),
        }
        json
    };
    for (of, written) in
        [("enum", Value::Enum(0)), ("fixed", Value::from(&b"x"[..])), ("record", Value::Record([].into()))]
    {
        let writer = named(of, "old.Thing", &[]);
        assert!(read(&writer, written.clone(), &named(of, "new.Item", &["old.Thing"])).is_ok(), "{of}");
        let fault = read(&writer, written, &named(of, "new.Item", &["old.Other"])).unwrap_err();
        assert!(fault.contains("the names differ"), "{fault}");
    }
}

#[test]
fn what_the_reader_needs_and_nobody_gives_is_an_error() {
    let (writer, reader) = (record(&[]), record(&[field("must", json!("int"))]));
    let fault = read(&writer, Value::Record([].into()), &reader).unwrap_err();
    assert_eq!(fault, "field `must`: the writer has no such field, and it has no default");
}

#[test]
fn a_field_that_the_target_does_not_know_is_an_error_unless_it_may_be_dropped() {
    let (from, to) = (schema(&record(&[field("a", json!("int"))])), schema(&record(&[])));
    let typed = Typed::new(from, Bytes::new(), Value::Record([Value::Int(1)].into()));
    let mut out = Vec::new();
    let fault = Encoder::new(&to, UnknownFields::Error).encode(&typed, &mut out).unwrap_err();
    assert_eq!(fault.to_string(), "field `a`: the schema `R` has no such field");
    Encoder::new(&to, UnknownFields::Drop).encode(&typed, &mut out).unwrap();
    assert!(out.is_empty());
}

#[test]
fn symbols_are_found_by_name_and_strangers_are_the_default() {
    let of = |symbols: Json| json!({ "type": "enum", "name": "E", "symbols": symbols });
    let writer = of(json!(["A", "B", "C"]));
    assert_eq!(value(&writer, Value::Enum(2), &of(json!(["C", "A"]))), Value::Enum(0));
    let fault = read(&writer, Value::Enum(1), &of(json!(["C", "A"]))).unwrap_err();
    assert!(fault.contains("does not know the symbol `B`"), "{fault}");
    let reader = json!({ "type": "enum", "name": "E", "symbols": ["X", "A"], "default": "X" });
    assert_eq!(value(&writer, Value::Enum(1), &reader), Value::Enum(0));
    let other = json!({ "type": "enum", "name": "F", "symbols": ["A", "B", "C"] });
    assert!(read(&writer, Value::Enum(0), &other).unwrap_err().contains("the names differ"));
}

#[test]
fn unions_meet_what_is_no_union() {
    let optional = json!(["null", "string"]);
    assert_eq!(value(&json!("null"), Value::Null, &optional), Value::Null);
    assert_eq!(read(&json!("string"), Value::from("x"), &optional).unwrap().view().text(), Some("x"));
    assert_eq!(read(&optional, Value::from("x"), &json!("string")).unwrap().view().text(), Some("x"));
    assert!(read(&optional, Value::Null, &json!("string")).unwrap_err().contains("`null` cannot be read as"));
    assert_eq!(value(&json!(["string", "null"]), Value::Null, &optional), Value::Null);
    let wide = json!(["null", "double", "long"]);
    assert_eq!(value(&json!("long"), Value::Long(1), &wide), Value::Union(Box::new((2, Value::Long(1)))));
    assert_eq!(value(&json!("int"), Value::Int(1), &wide), Value::Union(Box::new((1, Value::Double(1.0)))));
    let of = |at, value| Value::Union(Box::new((at, value)));
    assert_eq!(
        value(&wide, of(2, Value::Long(1)), &json!(["long", "double", "null"])),
        of(0, Value::Long(1))
    );
    assert_eq!(value(&wide, of(2, Value::Long(1)), &json!(["null", "long"])), Value::Long(1));
    assert!(read(&wide, of(1, Value::Double(1.0)), &json!(["null", "long"])).is_err());
}

#[test]
fn numbers_of_another_unit_or_scale_are_refused() {
    let stamp = |unit: &str| json!({ "type": "long", "logicalType": format!("timestamp-{unit}") });
    let fault = read(&stamp("millis"), Value::Long(1), &stamp("micros")).unwrap_err();
    assert!(fault.contains("cannot be read as"), "{fault}");
    assert_eq!(value(&stamp("millis"), Value::Long(1), &stamp("millis")), Value::Long(1));
    assert_eq!(value(&json!("long"), Value::Long(1), &stamp("millis")), Value::Long(1));
    let money =
        |scale: u32| json!({ "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale });
    assert!(read(&money(2), Value::from(&b"\x01"[..]), &money(3)).unwrap_err().contains("scale 2"));
    let wider = json!({ "type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 2 });
    assert!(read(&money(2), Value::from(&b"\x01"[..]), &wider).is_ok());
}

#[test]
fn a_type_inside_itself_resolves() {
    let list = |extra: &[Json]| {
        let mut fields = vec![field("value", json!("int")), field("next", json!(["null", "R"]))];
        fields.extend_from_slice(extra);
        record(&fields)
    };
    let reader = list(&[json!({ "name": "note", "type": "string", "default": "none" })]);
    let inner = Value::Record([Value::Int(2), Value::Null].into());
    let read_as = read(&list(&[]), Value::Record([Value::Int(1), inner].into()), &reader).unwrap();
    let next = read_as.view().field("next").unwrap();
    assert_eq!(next.field("value").unwrap().value, &Value::Int(2));
    assert_eq!(next.field("note").unwrap().text(), Some("none"));
}

#[test]
fn a_name_of_today_wins_over_an_earlier_one() {
    let writer = record(&[field("a", json!("int")), field("b", json!("int"))]);
    let mut renamed = field("b", json!("int"));
    renamed["aliases"] = json!(["a"]);
    let written = Value::Record([Value::Int(1), Value::Int(2)].into());
    assert_eq!(value(&writer, written, &record(&[renamed])), Value::Record([Value::Int(2)].into()));
}

#[test]
fn a_default_that_never_ends_is_an_error() {
    let mut inner = field("inner", json!("R"));
    inner["default"] = json!({});
    let error = read(&record(&[]), Value::Record([].into()), &record(&[inner])).unwrap_err();
    assert!(error.contains("is not of the field's type"), "{error}");
}
