//! Generated schemas and messages, with prost-reflect's dynamic messages as the oracle: its bytes become rows that say
//! the same, and our bytes of these rows are its bytes.

mod dice;

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::Value as Row;
use aqueduct_api::schema::Kind;
use aqueduct_api::value::View;
use aqueduct_protobuf::{Decoder, Encoder, Options, Proto, Shape, UnknownFields};
use bytes::Bytes;
use dice::Dice;
use protox::prost_reflect::prost::Message;
use protox::prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind as Of, MapKey, MessageDescriptor, ReflectMessage,
    Value,
};

const SCALARS: [&str; 15] = [
    "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32", "fixed64", "sfixed32", "sfixed64",
    "float", "double", "bool", "string", "bytes",
];
const LOGICAL: [&str; 6] = [
    "google.protobuf.Timestamp",
    "google.type.Date",
    "google.type.TimeOfDay",
    "google.protobuf.StringValue",
    "google.protobuf.Int64Value",
    "google.protobuf.Duration",
];

/// A schema of a few messages that contain each other.
fn schema(dice: &mut Dice, logical: bool) -> String {
    let messages = dice.below(4) + 1;
    let mut text = "syntax = \"proto3\"; package p;\n".to_owned();
    for import in
        ["protobuf/timestamp", "protobuf/wrappers", "protobuf/duration", "type/date", "type/timeofday"]
    {
        text += &format!("import \"google/{import}.proto\";\n");
    }
    text += "enum E { E_ZERO = 0; E_ONE = 1; E_MINUS = -7; E_FAR = 2147483647; }\n";
    for message in 0..messages {
        text += &format!("message M{message} {{\n");
        let (mut oneof, mut number) = (0, 0);
        for field in 0..dice.below(12) {
            number += 1 + dice.below(30);
            let of = match dice.below(if logical { 12 } else { 10 }) {
                0..=6 => (*dice.one_of(&SCALARS)).to_owned(),
                7 => "E".to_owned(),
                8 | 9 => format!("M{}", dice.below(messages)),
                _ => (*dice.one_of(&LOGICAL)).to_owned(),
            };
            let packable = !of.contains('.') && !of.starts_with('M') && of != "string" && of != "bytes";
            text += &match dice.below(9) {
                0 => format!("  optional {of} f{field} = {number};\n"),
                1 => format!("  repeated {of} f{field} = {number};\n"),
                2 if packable => format!("  repeated {of} f{field} = {number} [packed = false];\n"),
                3 => {
                    let key = *dice.one_of(&["string", "int32", "sint64", "uint64", "fixed32", "bool"]);
                    format!("  map<{key}, {of}> f{field} = {number};\n")
                }
                4 => {
                    oneof += 1;
                    let other = number;
                    number += 1;
                    format!("  oneof o{oneof} {{ {of} f{field} = {other}; int32 g{field} = {number}; }}\n")
                }
                _ => format!("  {of} f{field} = {number};\n"),
            };
        }
        text += "}\n";
    }
    text
}

fn message(dice: &mut Dice, of: &MessageDescriptor, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields() {
        // Messages inside messages end somewhere.
        let often = if depth > 4 && field.kind().as_message().is_some() { 0 } else { 7 };
        if dice.below(10) >= often || field.name() == "g" {
            continue;
        }
        let value = if field.is_map() {
            let entry = field.kind().as_message().cloned().expect("as the schema says");
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            let mut map = HashMap::new();
            for _ in 0..dice.below(4) {
                let key = match single(dice, &key, depth) {
                    Value::String(text) => MapKey::String(text),
                    Value::I32(number) => MapKey::I32(number),
                    Value::I64(number) => MapKey::I64(number),
                    Value::U32(number) => MapKey::U32(number),
                    Value::U64(number) => MapKey::U64(number),
                    Value::Bool(flag) => MapKey::Bool(flag),
                    other => panic!("{other:?} is no key"),
                };
                map.insert(key, single(dice, &value, depth));
            }
            Value::Map(map)
        } else if field.is_list() {
            Value::List((0..dice.below(4)).map(|_| single(dice, &field, depth)).collect())
        } else {
            single(dice, &field, depth)
        };
        message.set_field(&field, value);
    }
    message
}

fn single(dice: &mut Dice, field: &FieldDescriptor, depth: u32) -> Value {
    let number = dice.number();
    match field.kind() {
        Of::Double => Value::F64(number as f64 / 8.0),
        Of::Float => Value::F32(number as f32 / 8.0),
        Of::Int32 | Of::Sint32 | Of::Sfixed32 => Value::I32(number as i32),
        Of::Int64 | Of::Sint64 | Of::Sfixed64 => Value::I64(number),
        Of::Uint32 | Of::Fixed32 => Value::U32(number as u32),
        Of::Uint64 | Of::Fixed64 => Value::U64((number as u64) >> 1),
        Of::Bool => Value::Bool(number & 1 == 1),
        Of::String => Value::String(dice.text()),
        Of::Bytes => Value::Bytes(Bytes::from(dice.text().into_bytes())),
        Of::Enum(of) => Value::EnumNumber(dice.one_of(&of.values().collect::<Vec<_>>()).number()),
        Of::Message(of) => {
            let mut inside = message(dice, &of, depth + 1);
            let mut set = |name: &str, below: i64, from: i64, times: i64| {
                let part = (from + dice.below(below as usize) as i64) * times;
                inside.set_field_by_name(
                    name,
                    if name == "seconds" && below > 100 { Value::I64(part) } else { Value::I32(part as i32) },
                );
            };
            match of.full_name() {
                "google.protobuf.Timestamp" => {
                    set("seconds", 4_000_000_000, -2_000_000_000, 1);
                    set("nanos", 1_000_000, 0, 1000);
                }
                "google.type.Date" => {
                    set("year", 9999, 1, 1);
                    set("month", 12, 1, 1);
                    set("day", 28, 1, 1);
                }
                "google.type.TimeOfDay" => {
                    set("hours", 24, 0, 1);
                    set("minutes", 60, 0, 1);
                    set("seconds", 60, 0, 1);
                    set("nanos", 1_000_000, 0, 1000);
                }
                _ => {}
            }
            Value::Message(inside)
        }
    }
}

/// Whether a row says what a message says; the wrong field where it does not.
fn same_message(message: &DynamicMessage, row: View<'_>) {
    let Kind::Record(record) = &row.schema.get(row.of).kind else { panic!("no record") };
    assert_eq!(record.name.full.as_ref(), message.descriptor().full_name());
    for field in message.descriptor().fields() {
        let view = row.field(field.name()).expect("a field");
        let value = message.get_field(&field);
        if field.supports_presence() && !message.has_field(&field) {
            assert_eq!(*view.value, Row::Null, "{}", field.full_name());
            continue;
        }
        let inner = view.schema.optional(view.of).map_or(view.of, |(_, inner)| inner);
        let view = View { of: inner, ..view };
        match (&*value, view.value) {
            (Value::List(items), Row::List(values)) => {
                let Kind::List(of) = view.schema.get(view.of).kind else { panic!("no list") };
                assert_eq!(items.len(), values.len(), "{}", field.full_name());
                for (item, value) in items.iter().zip(values) {
                    same(&field, item, View { of, value, ..view });
                }
            }
            (Value::Map(entries), Row::Map(values)) => {
                let Kind::Map(of) = view.schema.get(view.of).kind else { panic!("no map") };
                assert_eq!(entries.len(), values.len(), "{}", field.full_name());
                let entry = field.kind().as_message().cloned().expect("as the schema says");
                for (name, value) in values {
                    let name = name.get(view.payload);
                    let is_it = |key: &&MapKey| match key {
                        MapKey::String(text) => text == name,
                        MapKey::I32(number) => number.to_string() == name,
                        MapKey::I64(number) => number.to_string() == name,
                        MapKey::U32(number) => number.to_string() == name,
                        MapKey::U64(number) => number.to_string() == name,
                        MapKey::Bool(flag) => flag.to_string() == name,
                    };
                    let key = entries.keys().find(is_it).expect("a key");
                    same(&entry.map_entry_value_field(), &entries[key], View { of, value, ..view });
                }
            }
            (value, _) => same(&field, value, view),
        }
    }
}

fn same(field: &FieldDescriptor, value: &Value, view: View<'_>) {
    let at = field.full_name();
    match (value, view.value) {
        (Value::Bool(a), Row::Boolean(b)) => assert_eq!(a, b, "{at}"),
        (Value::I32(a), Row::Int(b)) => assert_eq!(a, b, "{at}"),
        (Value::I64(a), Row::Long(b)) => assert_eq!(a, b, "{at}"),
        (Value::U32(a), Row::Long(b)) => assert_eq!(i64::from(*a), *b, "{at}"),
        (Value::U64(a), Row::Long(b)) => assert_eq!(i64::try_from(*a), Ok(*b), "{at}"),
        (Value::F32(a), Row::Float(b)) => assert_eq!(a, b, "{at}"),
        (Value::F64(a), Row::Double(b)) => assert_eq!(a, b, "{at}"),
        (Value::String(a), _) => assert_eq!(Some(a.as_str()), view.text(), "{at}"),
        (Value::Bytes(a), _) => assert_eq!(Some(&a[..]), view.bytes(), "{at}"),
        (Value::EnumNumber(a), Row::Enum(b)) => {
            let Of::Enum(of) = field.kind() else { panic!("no enum") };
            let Kind::Enum(symbols) = &view.schema.get(view.of).kind else { panic!("no enum") };
            assert_eq!(
                of.get_value(*a).expect("as the schema says").name(),
                &*symbols.symbols[*b as usize],
                "{at}"
            );
        }
        (Value::Message(a), b) => {
            let part = |name: &str| {
                let value = a.get_field_by_name(name).expect("as the schema says");
                value.as_i64().or(value.as_i32().map(i64::from)).expect("as the schema says")
            };
            match (a.descriptor().full_name(), b) {
                ("google.protobuf.Timestamp", Row::Long(b)) => {
                    assert_eq!(part("seconds") * 1_000_000 + part("nanos") / 1000, *b, "{at}");
                }
                ("google.type.Date", Row::Int(b)) => {
                    let (year, month, day) = (part("year") as i16, part("month") as i8, part("day") as i8);
                    let date = jiff::civil::Date::new(year, month, day).expect("as the schema says");
                    let since = date.duration_since(jiff::civil::date(1970, 1, 1));
                    assert_eq!(since.as_secs() / 86_400, i64::from(*b), "{at}");
                }
                ("google.type.TimeOfDay", Row::Long(b)) => {
                    let seconds = (part("hours") * 60 + part("minutes")) * 60 + part("seconds");
                    assert_eq!(seconds * 1_000_000 + part("nanos") / 1000, *b, "{at}");
                }
                ("google.protobuf.StringValue" | "google.protobuf.Int64Value", _) => {
                    let inner = a.descriptor().get_field_by_name("value").expect("as the schema says");
                    same(&inner, &a.get_field(&inner), view);
                }
                _ => same_message(a, view),
            }
        }
        (a, b) => panic!("{at}: {a:?} became {b:?}"),
    }
}

fn compiled(text: &str) -> (Arc<Shape>, MessageDescriptor) {
    let proto = Proto::compile(text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let shape = Arc::new(proto.at(&[0], Options::default()).expect("as the schema says"));
    // The oracle's own reading of the same text.
    let mut files = protox::file::ChainFileResolver::new();
    files.add(Files(text.to_owned()));
    files.add(protox::file::GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_imports(true).open_file("main.proto").expect("as the schema says");
    // Read back, since it looks at `packed` before it has read the options of a text.
    let pool =
        DescriptorPool::decode(&compiler.encode_file_descriptor_set()[..]).expect("as the schema says");
    (shape, pool.get_message_by_name("p.M0").expect("as the schema says"))
}

struct Files(String);

impl protox::file::FileResolver for Files {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        match name {
            "main.proto" => protox::file::File::from_source(name, &self.0),
            "google/type/date.proto" => {
                protox::file::File::from_source(name, include_str!("../proto/google/type/date.proto"))
            }
            "google/type/timeofday.proto" => {
                protox::file::File::from_source(name, include_str!("../proto/google/type/timeofday.proto"))
            }
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

#[test]
fn rows_say_what_messages_say_and_are_written_as_they_are() {
    let mut maps = 0;
    for seed in 0..1500 {
        let mut dice = Dice::new(seed);
        let text = schema(&mut dice, true);
        let (shape, descriptor) = compiled(&text);
        let (decoder, encoder) =
            (Decoder::new(Arc::clone(&shape)), Encoder::new(shape, UnknownFields::Error));
        for _ in 0..4 {
            let bytes = Bytes::from(message(&mut dice, &descriptor, 0).encode_to_vec());
            // An empty list that was set is not one that was never set, to the oracle.
            let message = DynamicMessage::decode(descriptor.clone(), &bytes[..]).unwrap();
            let row =
                decoder.decode(&bytes, 0).unwrap_or_else(|fault| panic!("seed {seed}: {fault}\n{text}"));
            same_message(&message, row.view());
            let mut out = Vec::new();
            encoder.encode(&row, &mut out).unwrap_or_else(|fault| panic!("seed {seed}: {fault}\n{text}"));
            let again = DynamicMessage::decode(descriptor.clone(), &out[..]).unwrap();
            assert_eq!(again, message, "seed {seed}\n{text}");
            // The entries of maps have no order, and libraries differ in writing their zeros.
            if text.contains("map<") {
                maps += 1;
            } else {
                assert_eq!(out, bytes, "seed {seed}\n{text}");
            }
        }
    }
    assert!((1000..5000).contains(&maps), "{maps}");
}

#[test]
fn two_messages_one_after_the_other_are_one() {
    for seed in 0..600 {
        let mut dice = Dice::new(seed);
        let text = schema(&mut dice, false);
        let (shape, descriptor) = compiled(&text);
        let mut bytes = message(&mut dice, &descriptor, 0).encode_to_vec();
        bytes.extend(message(&mut dice, &descriptor, 0).encode_to_vec());
        let merged = DynamicMessage::decode(descriptor, &bytes[..]).unwrap();
        let row = Decoder::new(shape).decode(&bytes.into(), 0).unwrap();
        same_message(&merged, row.view());
    }
}

#[test]
fn broken_bytes_are_errors_or_rows_that_can_be_written() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..1500 {
        let mut dice = Dice::new(seed);
        let text = schema(&mut dice, true);
        let (shape, descriptor) = compiled(&text);
        let (decoder, encoder) =
            (Decoder::new(Arc::clone(&shape)), Encoder::new(shape, UnknownFields::Error));
        let whole = message(&mut dice, &descriptor, 0).encode_to_vec();
        for _ in 0..20 {
            let mut bytes = whole.clone();
            for _ in 0..dice.below(3) {
                if !bytes.is_empty() {
                    let at = dice.below(bytes.len());
                    bytes[at] = dice.number() as u8;
                }
            }
            bytes.truncate(dice.below(bytes.len() + 2));
            match decoder.decode(&bytes.clone().into(), 0) {
                Err(_) => bad += 1,
                Ok(row) => {
                    good += 1;
                    let mut out = Vec::new();
                    encoder.encode(&row, &mut out).unwrap_or_else(|fault| panic!("seed {seed}: {fault}"));
                    let again = decoder.decode(&out.into(), 0).unwrap();
                    assert!(again == row, "seed {seed}: {again:?} {row:?}");
                    // What we take, the oracle takes as well.
                    DynamicMessage::decode(descriptor.clone(), &bytes[..]).unwrap();
                }
            }
        }
    }
    assert!(good > 3000 && bad > 3000, "{good} {bad}");
}
