//! Rows without a schema, as JSON has them, written in a declared Avro schema.
#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use aqueduct_api::schema::{Kind, Schema, SchemaBuilder};
use aqueduct_api::value::Text;
use aqueduct_api::{Typed, Value};
use aqueduct_avro::{Decoder, Encoder, UnknownFields, parse};
use bytes::Bytes;
use serde_json::{Value as Json, json};

fn any() -> Arc<Schema> {
    let mut builder = SchemaBuilder::default();
    let root = builder.add(Kind::Any);
    builder.finish(root)
}

/// As the JSON reader makes them.
fn row(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Boolean(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(long), _) => Value::Long(long),
            (None, Some(double)) => Value::Double(double),
            (None, None) => panic!("{number}"),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(list) => Value::List(list.iter().map(row).collect()),
        Json::Object(map) => {
            Value::Map(map.iter().map(|(name, json)| (Text::Own(name.as_str().into()), row(json))).collect())
        }
    }
}

fn adopted(schema: &Json, value: Value, unknown: UnknownFields) -> Result<Typed, String> {
    let schema = parse(&schema.to_string(), &[]).unwrap();
    let mut out = Vec::new();
    let typed = Typed::new(any(), Bytes::new(), value);
    let written = Encoder::new(&schema, unknown).encode(&typed, &mut out);
    written.map_err(|fault| fault.to_string())?;
    Ok(Decoder::new(&schema).decode(&Bytes::from(out), 0).unwrap())
}

fn value(schema: Json, json: Json) -> Result<Value, String> {
    adopted(&schema, row(&json), UnknownFields::Error).map(|typed| typed.value().clone())
}

fn bytes(schema: Json, value: Value) -> Result<Vec<u8>, String> {
    adopted(&schema, value, UnknownFields::Error).map(|typed| typed.view().bytes().unwrap().to_vec())
}

fn number(digits: &str) -> Value {
    Value::Number(Text::Own(digits.into()))
}

fn says(result: Result<impl std::fmt::Debug, String>, part: &str) {
    let fault = result.unwrap_err();
    assert!(fault.contains(part), "{fault}");
}

#[test]
fn numbers_have_their_ranges() {
    assert_eq!(value(json!("int"), json!(7)), Ok(Value::Int(7)));
    assert_eq!(value(json!("int"), json!(-2_147_483_648)), Ok(Value::Int(i32::MIN)));
    assert_eq!(value(json!("int"), json!(7.0)), Ok(Value::Int(7)));
    says(value(json!("int"), json!(2_147_483_648_u32)), "2147483648 is too large for an int");
    says(value(json!("int"), json!(7.5)), "7.5 is not a whole number");
    says(value(json!("int"), json!("7")), "text where `int` belongs");
    says(value(json!("int"), json!(true)), "a boolean where `int` belongs");
    assert_eq!(value(json!("long"), json!(i64::MIN)), Ok(Value::Long(i64::MIN)));
    says(value(json!("long"), json!(9.3e18)), "is not a whole number of 64 bits");
    let long = |digits| {
        adopted(&json!("long"), number(digits), UnknownFields::Error).map(|typed| typed.value().clone())
    };
    assert_eq!(long("9223372036854775807.0"), Ok(Value::Long(i64::MAX)));
    says(long("9223372036854775808"), "is not a whole number of 64 bits");
    assert_eq!(value(json!("double"), json!(7)), Ok(Value::Double(7.0)));
    assert_eq!(value(json!("float"), json!(0.5)), Ok(Value::Float(0.5)));
    says(value(json!("float"), json!(1e300)), "too large for a float");
    assert_eq!(value(json!("double"), json!("-Infinity")), Ok(Value::Double(f64::NEG_INFINITY)));
    assert!(matches!(value(json!("float"), json!("NaN")), Ok(Value::Float(number)) if number.is_nan()));
    says(value(json!("double"), json!("many")), "text where `double` belongs");
}

#[test]
fn texts_are_texts_symbols_bytes_and_uuids() {
    assert!(value(json!("string"), json!("é")).is_ok());
    says(value(json!("string"), json!(1)), "a long where `string` belongs");
    let state = json!({ "type": "enum", "name": "State", "symbols": ["NEW", "DONE"], "default": "NEW" });
    assert_eq!(value(state.clone(), json!("DONE")), Ok(Value::Enum(1)));
    says(value(state, json!("GONE")), "`State` has no such symbol");
    assert_eq!(bytes(json!("bytes"), Value::from("a\u{ff}\u{0}")), Ok(vec![b'a', 0xff, 0]));
    says(bytes(json!("bytes"), Value::from("日")), "letters above U+00FF");
    let fixed = json!({ "type": "fixed", "name": "F", "size": 2 });
    assert_eq!(bytes(fixed.clone(), Value::from("\u{1}\u{80}")), Ok(vec![1, 0x80]));
    says(bytes(fixed, Value::from("abc")), "3 bytes where 2 belong");
    let text = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let uuid = |of: Json| {
        let mut of = of;
        of["logicalType"] = json!("uuid");
        of
    };
    assert!(value(uuid(json!({ "type": "string" })), json!(text)).is_ok());
    says(value(uuid(json!({ "type": "string" })), json!("no")), "not a uuid");
    let fixed = uuid(json!({ "type": "fixed", "name": "U", "size": 16 }));
    assert_eq!(bytes(fixed.clone(), Value::from(text)).map(|bytes| (bytes[0], bytes[15])), Ok((0x6b, 0xc8)));
    says(bytes(fixed, Value::from("0123456789abcdef")), "not a uuid");
}

#[test]
fn decimals_are_exact_or_an_error() {
    let money = json!({ "type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2 });
    let of = |value: Value| bytes(money.clone(), value);
    assert_eq!(of(Value::Double(12.34)), Ok(vec![4, 0xd2]));
    assert_eq!(of(Value::Long(-1)), Ok(vec![0x9c]));
    assert_eq!(of(Value::from("12.34")), of(Value::Double(12.34)));
    assert_eq!(of(number("100000000000000000000000000000.01")).map(|bytes| bytes.len()), Ok(13));
    says(of(Value::from("0.125")), "more than 2 digits behind the point");
    says(of(Value::from("ten")), "not a decimal number");
    says(of(Value::Double(f64::NAN)), "not a decimal number");
    says(of(Value::Boolean(true)), "a boolean is no decimal");
    let small = json!({ "type": "fixed", "name": "M", "size": 3, "logicalType": "decimal", "precision": 5, "scale": 1 });
    assert_eq!(bytes(small.clone(), Value::Double(-0.1)), Ok(vec![0xff, 0xff, 0xff]));
    says(bytes(small, Value::from("12345.6")), "more than 5 digits");
}

#[test]
fn times_are_texts_or_the_plain_number() {
    let of = |kind: &str, logical: &str| json!({ "type": kind, "logicalType": logical });
    assert_eq!(value(of("int", "date"), json!("1970-01-03")), Ok(Value::Int(2)));
    assert_eq!(value(of("int", "date"), json!(2)), Ok(Value::Int(2)));
    assert_eq!(value(of("int", "time-millis"), json!("00:00:02")), Ok(Value::Int(2_000)));
    assert_eq!(value(of("long", "time-micros"), json!("00:00:00.000002")), Ok(Value::Long(2)));
    assert_eq!(value(of("long", "timestamp-millis"), json!("1970-01-01T02:00:00+02:00")), Ok(Value::Long(0)));
    assert_eq!(
        value(of("long", "timestamp-nanos"), json!("1970-01-01T00:00:01Z")),
        Ok(Value::Long(1_000_000_000))
    );
    assert_eq!(
        value(of("long", "local-timestamp-micros"), json!("1970-01-01T00:00:01")),
        Ok(Value::Long(1_000_000))
    );
    assert_eq!(value(of("long", "timestamp-micros"), json!(-5)), Ok(Value::Long(-5)));
    says(
        value(of("long", "timestamp-millis"), json!("1970-01-01T00:00:00.0001Z")),
        "finer than the schema's milliseconds",
    );
    says(value(of("long", "timestamp-millis"), json!("yesterday")), "not a timestamp with a zone");
}

#[test]
fn unions_take_the_first_branch_that_fits() {
    assert_eq!(value(json!(["string", "null"]), json!(null)), Ok(Value::Null));
    says(value(json!(["null", "int"]), json!("x")), "text where `int` belongs");
    let wide = json!(["int", "long", "null", "double", { "type": "array", "items": "int" }]);
    let of = |at, value| Ok(Value::Union(Box::new((at, value))));
    assert_eq!(value(wide.clone(), json!(5)), of(0, Value::Int(5)));
    assert_eq!(value(wide.clone(), json!(5_000_000_000_u64)), of(1, Value::Long(5_000_000_000)));
    assert_eq!(value(wide.clone(), json!(null)), of(2, Value::Null));
    assert_eq!(value(wide.clone(), json!(0.5)), of(3, Value::Double(0.5)));
    assert_eq!(value(wide.clone(), json!([1])), of(4, Value::List([Value::Int(1)].into())));
    says(value(wide, json!("x")), "text fits none of int, long, null, double, array");
}

#[test]
fn a_value_that_takes_forever_to_fit_is_refused() {
    // Each of the two branches fits all but the innermost value, so every level doubles the work.
    let of = |name: &str| json!({ "type": "record", "name": name, "fields": [{ "name": "a", "type": ["A", "B", "null", "int"] }] });
    let mut a = of("A");
    a["fields"][0]["type"][1] = of("B");
    let mut deep = json!("x");
    for _ in 0..60 {
        deep = json!({ "a": deep });
    }
    says(value(a, deep), "too many tries");
}

#[test]
fn fields_go_by_name() {
    let order = json!({ "type": "record", "name": "Order", "fields": [
        { "name": "id", "type": "long" },
        { "name": "note", "type": ["null", "string"], "default": null },
        { "name": "amount", "type": "double", "aliases": ["sum"] },
        { "name": "lines", "type": { "type": "array", "items": { "type": "map", "values": "int" } }, "default": [] }
    ] });
    let of = |json: Json, unknown| adopted(&order, row(&json), unknown);
    let typed = of(json!({ "sum": 2.5, "id": 1, "lines": [{ "a": 3 }] }), UnknownFields::Error).unwrap();
    let view = typed.view();
    assert_eq!(view.field("id").unwrap().value, &Value::Long(1));
    assert_eq!(view.field("amount").unwrap().value, &Value::Double(2.5));
    assert_eq!(view.field("note").unwrap().value, &Value::Null);
    says(
        of(json!({ "id": 1 }), UnknownFields::Error),
        "field `amount`: the field is missing and has no default",
    );
    let more = json!({ "id": 1, "amount": 1, "more": 1 });
    says(of(more.clone(), UnknownFields::Error), "field `more`: the schema `Order` has no such field");
    assert!(of(more, UnknownFields::Drop).is_ok());
    let nested = json!({ "id": 1, "amount": 1, "lines": [{}, { "a": "x" }] });
    says(of(nested, UnknownFields::Error), r#"field `lines[1]["a"]`: text where `int` belongs"#);
}

#[test]
fn a_field_of_any_kind_inside_a_typed_row_is_adopted_too() {
    let mut builder = SchemaBuilder::default();
    let any = builder.add(Kind::Any);
    let list = builder.add(Kind::List(any));
    let schema = builder.finish(list);
    let target = parse(r#"{ "type": "array", "items": ["null", "int"] }"#, &[]).unwrap();
    let typed = Typed::new(schema, Bytes::new(), Value::List([Value::Null, Value::Long(4)].into()));
    let mut out = Vec::new();
    Encoder::new(&target, UnknownFields::Error).encode(&typed, &mut out).unwrap();
    assert_eq!(out, [4, 0, 2, 8, 0]);
}
