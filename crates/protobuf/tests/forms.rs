//! What each form of a schema becomes, by hand: bytes of other implementations, the well-known types, the edges.

use std::sync::Arc;

use aqueduct_api::schema::{
    Enumeration, Field, Kind, Logical, Name, RecordType, Schema, SchemaBuilder, Type, Unit,
};
use aqueduct_api::value::Text;
use aqueduct_api::{Typed, Value};
use aqueduct_protobuf::{
    Decoder, Encoder, Options, Proto, Shape, Timestamps, UnknownFields, Unsigned, write,
};
use bytes::Bytes;

fn shape_with(text: &str, options: Options) -> Arc<Shape> {
    let proto = Proto::compile(text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Arc::new(proto.at(&[0], options).unwrap_or_else(|error| panic!("{error}")))
}

fn shape(text: &str) -> Arc<Shape> {
    shape_with(text, Options::default())
}

fn read(shape: &Arc<Shape>, bytes: &[u8]) -> Result<Typed, String> {
    Decoder::new(Arc::clone(shape))
        .decode(&Bytes::copy_from_slice(bytes), 0)
        .map_err(|fault| fault.to_string())
}

fn written(shape: &Arc<Shape>, row: &Typed) -> Result<Vec<u8>, String> {
    let mut out = b"kept".to_vec();
    let done = Encoder::new(Arc::clone(shape), UnknownFields::Error).encode(row, &mut out);
    assert!(out.starts_with(b"kept") && (done.is_ok() || out.len() == 4));
    done.map(|()| out[4..].to_vec()).map_err(|fault| fault.to_string())
}

fn field(name: &str, of: aqueduct_api::schema::TypeId) -> Field {
    Field {
        name: name.into(),
        aliases: Box::default(),
        doc: None,
        of,
        default: None,
        attributes: Default::default(),
    }
}

fn logical(kind: Kind, logical: Logical) -> Type {
    Type { logical: Some(logical), ..kind.into() }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

/// Made by `golden.py` with Python's protobuf 7.36.
#[test]
fn bytes_of_python_are_read_and_written() {
    let shape = shape(
        "syntax = 'proto3'; package shop;
        import 'google/protobuf/timestamp.proto'; import 'google/protobuf/wrappers.proto';
        enum Status { NEW = 0; PAID = 5; }
        message Order {
          int32 int32 = 1; int64 int64 = 2; uint32 uint32 = 3; uint64 uint64 = 4; sint32 sint32 = 5; sint64 sint64 = 6;
          fixed32 fixed32 = 7; fixed64 fixed64 = 8; sfixed32 sfixed32 = 9; sfixed64 sfixed64 = 10; float float = 11;
          double double = 12; bool bool = 13; string string = 14; bytes bytes = 15; Status status = 16;
          google.protobuf.Timestamp at = 17; google.protobuf.StringValue note = 18; repeated int32 numbers = 19;
          repeated string texts = 20; Order parent = 21; optional int32 maybe = 22; map<sint64, bool> counts = 23;
        }",
    );
    let bytes = hex(
        "08ffffffffffffffffff01108080808080808080800118ffffffff0f20ffffffffffffffff7f28ffffffff0f30053d070000004108000000\
         000000004df7ffffff51f6ffffffffffffff5d0000c03f6100000000000002c0680172074772c3bcc39f657a0200ff8001058a011008ffff\
         ffffffffffffff011080e59a779201009a010d01ac02ffffffffffffffffff01a20100a2010162aa01080804aa0103b00100b00100ba0104\
         08091000",
    );
    let row = read(&shape, &bytes).unwrap();
    let view = row.view();
    let value = |name: &str| view.field(name).unwrap().value.clone();
    for (name, expected) in [
        ("int32", Value::Int(-1)),
        ("int64", Value::Long(i64::MIN)),
        ("uint32", Value::Long(u32::MAX.into())),
        ("uint64", Value::Long(i64::MAX)),
        ("sint32", Value::Int(i32::MIN)),
        ("sint64", Value::Long(-3)),
        ("fixed32", Value::Long(7)),
        ("fixed64", Value::Long(8)),
        ("sfixed32", Value::Int(-9)),
        ("sfixed64", Value::Long(-10)),
        ("float", Value::Float(1.5)),
        ("double", Value::Double(-2.25)),
        ("bool", Value::Boolean(true)),
        ("status", Value::Enum(1)),
        ("at", Value::Long(-750_000)),
        ("numbers", Value::List([Value::Int(1), Value::Int(300), Value::Int(-1)].into())),
        ("maybe", Value::Int(0)),
        ("counts", Value::Map([(Text::Own("-5".into()), Value::Boolean(false))].into())),
    ] {
        assert_eq!(value(name), expected, "{name}");
    }
    assert_eq!(view.field("string").unwrap().text(), Some("Grüße"));
    assert_eq!(view.field("bytes").unwrap().bytes(), Some(&[0, 255][..]));
    assert_eq!(view.field("note").unwrap().text(), Some(""));
    assert_eq!(written(&shape, &row), Ok(bytes));
    // A message without bytes has every zero, and null where a field has presence.
    let empty = read(&shape, &[]).unwrap();
    let value = |name: &str| empty.view().field(name).unwrap().value.clone();
    assert_eq!(
        (value("int32"), value("status"), value("maybe")),
        (Value::Int(0), Value::Enum(0), Value::Null)
    );
    assert_eq!((value("at"), value("note"), value("parent")), (Value::Null, Value::Null, Value::Null));
    assert_eq!(written(&shape, &empty), Ok(vec![]));
}

#[test]
fn what_a_long_does_not_hold_is_an_error_or_a_decimal() {
    let text = "syntax = 'proto3'; message M { uint64 a = 1; repeated fixed64 b = 2; }";
    let bytes = hex("08ffffffffffffffffff01120800000000000000801a00");
    assert_eq!(
        read(&shape(text), &bytes).unwrap_err(),
        "field `a`: 18446744073709551615 is too large for a long: read `uint64` as `decimal` (byte 11)"
    );
    let decimals = shape_with(text, Options { unsigned: Unsigned::Decimal, ..Options::default() });
    let row = read(&decimals, &bytes).unwrap();
    assert_eq!(
        row.view().field("a").unwrap().bytes(),
        Some(&[0, 255, 255, 255, 255, 255, 255, 255, 255][..])
    );
    assert_eq!(written(&decimals, &row), Ok(bytes[..bytes.len() - 2].to_vec()));
    assert_eq!(written(&decimals, &read(&decimals, &[]).unwrap()), Ok(vec![]));
}

#[test]
fn unknown_fields_and_symbols() {
    let text = "syntax = 'proto3'; message M { int32 a = 1; E e = 2; } enum E { Z = 0; }";
    // A group, a text and a fixed number that nobody knows.
    let bytes = hex("2b30011a02616278012c3a0161450000000008051000");
    let row = read(&shape(text), &bytes).unwrap();
    assert_eq!(row.value(), &Value::Record([Value::Int(5), Value::Enum(0)].into()));
    let strict = shape_with(text, Options { unknown_fields: UnknownFields::Error, ..Options::default() });
    assert_eq!(read(&strict, &bytes).unwrap_err(), "the schema `M` has no field of the number 5 (byte 1)");
    assert_eq!(
        read(&shape(text), &[0x10, 7]).unwrap_err(),
        "field `e`: the enum `E` has no symbol of the number 7 (byte 2)"
    );
}

#[test]
fn proto2_has_required_fields_and_defaults() {
    let shape = shape(
        "syntax = 'proto2'; message M {
          required int32 id = 1; optional string name = 2; optional int32 retries = 3 [default = 3];
          optional E e = 4 [default = B]; optional double d = 5 [default = inf]; repeated int32 packed = 6 [packed = true];
          repeated int32 plain = 7;
        }
        enum E { A = 1; B = 2; }",
    );
    assert_eq!(read(&shape, &[]).unwrap_err(), "field `id`: a required field is not there (byte 0)");
    let row = read(&shape, &[8, 0]).unwrap();
    let expected = [
        Value::Int(0),
        Value::Null,
        Value::Int(3),
        Value::Enum(1),
        Value::Double(f64::INFINITY),
        Value::List(Box::default()),
        Value::List(Box::default()),
    ];
    assert_eq!(row.value(), &Value::Record(expected.into()));
    // Both ways of writing numbers are read, whatever the schema says.
    for bytes in [&[8, 1, 0x32, 2, 1, 2, 0x3a, 2, 1, 2][..], &[8, 1, 0x30, 1, 0x30, 2, 0x38, 1, 0x38, 2]] {
        let row = read(&shape, bytes).unwrap();
        let numbers = Value::List([Value::Int(1), Value::Int(2)].into());
        assert_eq!(row.view().field("packed").unwrap().value, &numbers);
        assert_eq!(row.view().field("plain").unwrap().value, &numbers);
        let out = written(&shape, &row).unwrap();
        assert!(out.ends_with(&[0x32, 2, 1, 2, 0x38, 1, 0x38, 2]), "{out:?}");
    }
    for (text, says) in [
        ("syntax = 'proto2'; message M { optional group G = 1 { optional int32 a = 2; } }", "is a group"),
        ("edition = '2023'; message M { int32 a = 1; }", "editions are not read"),
        ("syntax = 'proto3'; import 'other.proto'; message M {}", "other.proto"),
        ("syntax = 'proto3'; message M { N n = 1; }", "(schema):1:32"),
    ] {
        let error =
            Proto::compile(text, &[]).and_then(|proto| proto.at(&[0], Options::default())).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let deep = format!("syntax = 'proto3'; {}{}", "message A { ".repeat(5000), "}".repeat(5000));
    assert!(Proto::compile(&deep, &[]).is_err());
}

#[test]
fn messages_are_found_by_their_indexes_and_names() {
    let text = "syntax = 'proto3'; package a.b; import 'other.proto';
        message First { map<string, int32> m = 1; message In { message Deep { other.O o = 1; } } message In2 {} }
        message Second {}";
    let other = "syntax = 'proto3'; package other; message O { int32 x = 1; }";
    let proto = Proto::compile(text, &[("other.proto", other)]).unwrap();
    // The entry of the map is no message that anybody counts.
    for (name, indexes) in [
        (Some("First"), &[0][..]),
        (Some("a.b.First.In"), &[0, 0]),
        (Some("First.In.Deep"), &[0, 0, 0]),
        (Some("First.In2"), &[0, 1]),
        (Some("Second"), &[1]),
        (None, &[0]),
    ] {
        assert_eq!(proto.indexes(name).as_deref(), Ok(indexes), "{name:?}");
        let shape = proto.at(indexes, Options::default()).unwrap();
        let Kind::Record(record) = &shape.schema().get(shape.schema().root()).kind else {
            panic!("no record")
        };
        assert!(record.name.full.ends_with(name.unwrap_or("First")), "{}", record.name.full);
    }
    assert!(proto.indexes(Some("Third")).unwrap_err().to_string().contains("a.b.First, a.b.Second"));
    assert!(proto.at(&[0, 2], Options::default()).is_err() && proto.at(&[], Options::default()).is_err());
}

#[test]
fn of_a_oneof_the_last_counts_and_two_are_refused() {
    let shape = shape(
        "syntax = 'proto3'; message M { oneof o { int32 a = 1; string b = 2; } int32 c = 3; oneof p { int32 d = 4; int32 e = 5; } }",
    );
    let row = read(&shape, &[8, 1, 0x12, 1, b'x']).unwrap();
    assert_eq!(row.view().field("a").unwrap().value, &Value::Null);
    assert_eq!(row.view().field("b").unwrap().text(), Some("x"));
    // A zero that is set is written.
    assert_eq!(written(&shape, &read(&shape, &[8, 0]).unwrap()), Ok(vec![8, 0]));
    let values = [Value::Int(1), Value::from("x"), Value::Int(0), Value::Null, Value::Null];
    let both = Typed::new(Arc::clone(shape.schema()), Bytes::new(), Value::Record(values.into()));
    assert_eq!(written(&shape, &both).unwrap_err(), "`a` and `b` are of one `oneof`, and both are set");
}

#[test]
fn times_finer_than_a_row_are_refused_or_cut() {
    let text = "syntax = 'proto3'; import 'google/protobuf/timestamp.proto'; message M { google.protobuf.Timestamp t = 1; }";
    let bytes = [0x0a, 4, 8, 1, 0x10, 1];
    let read_as = |timestamps| {
        let shape = shape_with(text, Options { timestamps, ..Options::default() });
        read(&shape, &bytes).map(|row| (row.view().field("t").unwrap().value.clone(), written(&shape, &row)))
    };
    let error = read_as(Timestamps::Micros).unwrap_err();
    assert!(error.starts_with("field `t`: 1 nanoseconds are finer"), "{error}");
    assert_eq!(read_as(Timestamps::MicrosCut), Ok((Value::Long(1_000_000), Ok(vec![0x0a, 2, 8, 1]))));
    assert_eq!(read_as(Timestamps::Nanos), Ok((Value::Long(1_000_000_001), Ok(bytes.to_vec()))));
}

#[test]
fn hostile_bytes_are_errors_at_a_limit() {
    let shape = shape(
        "syntax = 'proto3'; message M { M m = 1; repeated M n = 2; repeated int32 i = 3; string s = 4; }",
    );
    let mut deep = Vec::new();
    for _ in 0..200 {
        let mut outer = vec![0x0a];
        let mut length = deep.len();
        while length >= 0x80 {
            outer.push(length as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(&deep);
        deep = outer;
    }
    let groups = [0x2b].repeat(100_000);
    let many = [0x12, 0].repeat(3_000_000);
    for (bytes, says) in [
        (&deep[..], "nested more than 100 deep"),
        (&groups, "nested more than 100 deep"),
        (&many, "more than 4194304 values"),
        (&[0x22, 0xff, 0xff, 0xff, 0xff, 0x0f], "bytes are announced"),
        (&[0x22, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "bytes are announced"),
        (&[0x1a, 2, 0x80, 0x80], "a number ends behind the last byte"),
        (&[0x22, 1, 0xff], "not UTF-8"),
        (&[0], "field number 0"),
        (&[7], "wire type 7"),
        (&[0x0c], "written as GroupEnd"),
        (&[0x2c], "a group ends"),
        (&[0x20, 1], "written as Varint, where Counted belongs"),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "more than 64 bits"),
    ] {
        let error = read(&shape, bytes).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

/// A schema as Avro or Postgres would give it, with a row of it.
fn foreign() -> Typed {
    let mut schema = SchemaBuilder::default();
    let order = schema.promise();
    let null = schema.add(Kind::Null);
    let (long, text) = (schema.add(Kind::Long), schema.add(Kind::Text));
    let maybe_text = schema.add(Kind::Union([null, text].into()));
    let at = schema.add(logical(Kind::Long, Logical::Timestamp { unit: Unit::Millis, local: false }));
    let day = schema.add(logical(Kind::Int, Logical::Date));
    let time = schema.add(logical(Kind::Int, Logical::TimeMillis));
    let price = schema.add(logical(Kind::Bytes, Logical::Decimal { precision: 10, scale: 2 }));
    let symbols = ["NEW".into(), "DONE".into()].into();
    let status = Enumeration { name: Name::new("shop.Status"), symbols, default: None };
    let status = schema.add(Kind::Enum(status));
    let item = RecordType::new(Name::new("shop.Item"), [field("sku", text), field("price", price)]);
    let item = schema.add(Kind::Record(item));
    let (items, tags) = (schema.add(Kind::List(item)), schema.add(Kind::Map(maybe_text)));
    let either = schema.add(Kind::Union([null, long, item].into()));
    let parent = schema.add(Kind::Union([null, order].into()));
    let maybe_items = schema.add(Kind::Union([null, items].into()));
    let fields = [
        field("id", long),
        field("note", maybe_text),
        field("at", at),
        field("day", day),
        field("time", time),
        field("status", status),
        field("items", items),
        field("tags", tags),
        field("either", either),
        field("parent", parent),
        field("more", maybe_items),
    ];
    schema.give(order, Kind::Record(RecordType::new(Name::new("shop.Order"), fields)));
    let item = || Value::Record([Value::from("a"), Value::from(&[1, 0xf4][..])].into());
    let row = [
        Value::Long(7),
        Value::Null,
        Value::Long(-1),
        Value::Int(-1),
        Value::Int(1),
        Value::Enum(1),
        Value::List([item()].into()),
        Value::Map([(Text::Own("k".into()), Value::from("v"))].into()),
        Value::Union(Box::new((2, item()))),
        Value::Null,
        Value::Null,
    ];
    Typed::new(schema.finish(order), Bytes::new(), Value::Record(row.into()))
}

#[test]
fn a_schema_of_others_is_written_and_its_rows_fit() {
    let row = foreign();
    let text = write(row.schema()).unwrap();
    assert_eq!(text, include_str!("order.proto"));
    let shape = shape(&text);
    let bytes = written(&shape, &row).unwrap();
    let back = read(&shape, &bytes).unwrap();
    let value = |name: &str| back.view().field(name).unwrap().value.clone();
    assert_eq!((value("id"), value("note"), value("at")), (Value::Long(7), Value::Null, Value::Long(-1000)));
    assert_eq!(
        (value("day"), value("time"), value("status")),
        (Value::Int(-1), Value::Long(1000), Value::Enum(1))
    );
    assert_eq!((value("more"), value("parent")), (Value::List(Box::default()), Value::Null));
    let either = back.view().field("either").unwrap().inner();
    assert_eq!(either.field("long").unwrap().value, &Value::Null);
    let price = either.field("Item").unwrap().inner().field("price").unwrap();
    assert_eq!(price.bytes(), Some(&[1, 0xf4][..]));
    // Written again the schema stays what it is: numbers, oneofs and types are kept.
    let again = write(shape.schema()).unwrap();
    let other = shape_with(&again, Options::default());
    assert_eq!(written(&other, &back), Ok(bytes));
}

#[test]
fn errors_name_the_field() {
    let row = foreign();
    for (text, says) in [
        ("message Order { int64 id = 1; }", "field `note`: the schema `Order` has no such field"),
        (
            "message Order { string id = 1; string note = 2; int32 at = 3; int32 day = 4; int32 time = 5; string status = 6; \
          repeated string items = 7; map<string, string> tags = 8; string either = 9; Order parent = 10; repeated bytes more = 11; }",
            "field `id`: `long` cannot be written as string",
        ),
    ] {
        assert_eq!(written(&shape(&format!("syntax = 'proto3'; {text}")), &row).unwrap_err(), says);
    }
    let shape = shape(
        "syntax = 'proto3'; message M { repeated N n = 1; } message N { map<string, O> o = 1; } message O { int32 x = 1; string y = 2; }",
    );
    let inner = shape.schema();
    let wrong = |value: Value| {
        let o = Value::Record([value, Value::from("y")].into());
        let n = Value::Record([Value::Map([(Text::Own("k".into()), o)].into())].into());
        let empty = Value::Record([Value::Map(Box::default())].into());
        let root = Value::Record([Value::List([empty, n].into())].into());
        written(&shape, &Typed::new(Arc::clone(inner), Bytes::new(), root)).unwrap_err()
    };
    assert_eq!(
        wrong(Value::Null),
        "field `n[1].o[\"k\"].x`: null does not belong here: the field is not `optional` in the schema"
    );
    assert_eq!(wrong(Value::Long(1 << 40)), "field `n[1].o[\"k\"].x`: 1099511627776 does not fit into int32");
}

#[test]
fn a_scalar_alone_is_googles_wrapper() {
    for (kind, value) in
        [(Kind::Text, Value::from("a")), (Kind::Long, Value::Long(0)), (Kind::Boolean, Value::Boolean(true))]
    {
        let mut schema = SchemaBuilder::default();
        let root = schema.add(kind);
        let row = Typed::new(schema.finish(root), Bytes::new(), value);
        let text = write(row.schema()).unwrap();
        let shape = shape(&text);
        let bytes = written(&shape, &row).unwrap();
        let back = read(&shape, &bytes).unwrap();
        assert!(back == row, "{back:?} {row:?}");
    }
}

#[test]
fn values_without_a_schema_go_where_their_names_say() {
    let shape = shape(
        "syntax = 'proto3'; package p; import 'google/protobuf/timestamp.proto'; import 'google/protobuf/wrappers.proto';
        message M { int64 big_id = 1; repeated E e = 2; bytes b = 3; google.protobuf.Timestamp t = 4; M m = 5; double d = 6;
          google.protobuf.BoolValue w = 7; map<int32, string> names = 8; uint32 u = 9; } enum E { E_A = 0; E_B = 1; }",
    );
    let text = |text: &str| Text::Own(text.into());
    let any = |entries: Vec<(&str, Value)>| {
        Value::Map(entries.into_iter().map(|(name, value)| (text(name), value)).collect())
    };
    let mut schema = SchemaBuilder::default();
    let root = schema.add(Kind::Any);
    let schema: Arc<Schema> = schema.finish(root);
    let row = |value| Typed::new(Arc::clone(&schema), Bytes::new(), value);
    let value = any(vec![
        ("m", any(vec![("u", Value::Double(3.0))])),
        ("bigId", Value::from("9007199254740993")),
        ("e", Value::List([Value::from("E_B"), Value::Long(0), Value::from("A")].into())),
        ("b", Value::from("AP8=")),
        ("t", Value::from("1969-12-31T23:59:59.25Z")),
        ("d", Value::Long(2)),
        ("w", Value::Null),
        ("names", any(vec![("-1", Value::from("x"))])),
    ]);
    let bytes = written(&shape, &row(value)).unwrap();
    let back = read(&shape, &bytes).unwrap();
    let value = |name: &str| back.view().field(name).unwrap().value.clone();
    assert_eq!(value("big_id"), Value::Long(9_007_199_254_740_993));
    assert_eq!(value("e"), Value::List([Value::Enum(1), Value::Enum(0), Value::Enum(0)].into()));
    assert_eq!(
        (value("t"), value("d"), value("w")),
        (Value::Long(-750_000), Value::Double(2.0), Value::Null)
    );
    assert_eq!(back.view().field("b").unwrap().bytes(), Some(&[0, 255][..]));
    assert_eq!(back.view().field("m").unwrap().inner().field("u").unwrap().value, &Value::Long(3));
    for (value, says) in [
        (any(vec![("x", Value::Null)]), "field `x`: the schema `p.M` has no such field"),
        (any(vec![("m", any(vec![("u", Value::Long(-1))]))]), "field `m.u`: -1 does not fit into uint32"),
        (any(vec![("d", Value::from("1"))]), "field `d`: text does not belong here"),
        (Value::Long(1), "a long does not belong here"),
    ] {
        assert_eq!(written(&shape, &row(value)).unwrap_err(), says);
    }
}
