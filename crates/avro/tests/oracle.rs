//! Our decoder and encoder against apache-avro, over schemas and values from seeds; `AQUEDUCT_CASES` for more of them.
#![allow(missing_docs, clippy::unwrap_used)]

mod dice;

use std::collections::BTreeMap;
use std::sync::Arc;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use aqueduct_api::schema::{Kind, Logical, TypeId};
use aqueduct_api::{Schema, Typed, Value};
use aqueduct_avro::{Decoder, Encoder, UnknownFields, parse};
use bytes::Bytes;
use dice::{Dice, Names};

fn cases() -> u64 {
    std::env::var("AQUEDUCT_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3_000)
}

/// A seed, its schema as JSON, and a value of it.
fn each(mut check: impl FnMut(u64, &str, &Arc<Schema>, &Typed)) {
    for seed in 0..cases() {
        let mut dice = Dice(seed);
        let json = dice::schema(&mut dice, &mut Names::default(), 4).to_string();
        let schema = parse(&json, &[]).unwrap_or_else(|error| panic!("seed {seed}: {error}: {json}"));
        let typed = dice::typed(&mut dice, &schema);
        check(seed, &json, &schema, &typed);
    }
}

fn encode(schema: &Arc<Schema>, typed: &Typed) -> Vec<u8> {
    let mut out = Vec::new();
    Encoder::new(schema, UnknownFields::Error).encode(typed, &mut out).unwrap();
    out
}

#[test]
fn what_is_written_is_read_again() {
    each(|seed, json, schema, typed| {
        let bytes = Bytes::from(encode(schema, typed));
        let read = Decoder::new(schema)
            .decode(&bytes, 0)
            .unwrap_or_else(|fault| panic!("seed {seed}: {fault}: {json}"));
        assert_eq!(&read, typed, "seed {seed}: {json}");
        assert_eq!(encode(schema, &read), bytes, "seed {seed}: {json}");
    });
}

#[test]
fn the_blocks_of_other_writers_are_read_too() {
    let mut cut = 0;
    each(|seed, json, schema, typed| {
        let bytes = Bytes::from(dice::blocks::in_blocks(&mut Dice(seed), typed));
        let plain = encode(schema, typed);
        cut += u64::from(bytes != plain);
        let read = Decoder::new(schema)
            .decode(&bytes, 0)
            .unwrap_or_else(|fault| panic!("seed {seed}: {fault}: {json}"));
        assert_eq!(&read, typed, "seed {seed}: {json}");
        assert_eq!(encode(schema, &read), plain, "seed {seed}: {json}");
    });
    assert!(cut > cases() / 10, "only {cut} of {} values were cut into blocks", cases());
}

/// The oracle's own faults, none of which is met here: it refuses names with dashes and letters beyond ASCII, keeps maps
/// without an order, and under a reader's schema takes decimals of minimal length for too short.
#[test]
fn our_bytes_are_the_oracles_bytes() {
    each(|seed, json, schema, typed| {
        let bytes = encode(schema, typed);
        let theirs = apache_avro::Schema::parse_str(json)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}: {json}"));
        let reader = GenericDatumReader::builder(&theirs).build().unwrap();
        let value = reader
            .read_value(&mut &bytes[..])
            .unwrap_or_else(|error| panic!("seed {seed}: {error}: {json}: {bytes:?}"));
        let writer = GenericDatumWriter::builder(&theirs).build().unwrap();
        let mut again = Vec::new();
        writer
            .write_value_ref(&mut again, &value)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}: {json}"));
        assert_eq!(again, bytes, "seed {seed}: {json}: {value:?}");
    });
}

#[test]
fn numbers_of_every_width_are_the_oracles() {
    let schema = parse(r#""long""#, &[]).unwrap();
    let theirs = apache_avro::Schema::Long;
    let writer = GenericDatumWriter::builder(&theirs).build().unwrap();
    for shift in 0..64 {
        for number in
            (-2..=2).flat_map(|more| [(1_i64 << shift).wrapping_add(more), more.wrapping_sub(1 << shift)])
        {
            let ours = encode(&schema, &Typed::new(Arc::clone(&schema), Bytes::new(), Value::Long(number)));
            let mut bytes = Vec::new();
            writer.write_value_ref(&mut bytes, &apache_avro::types::Value::Long(number)).unwrap();
            assert_eq!(ours, bytes, "{number}");
            let read = Decoder::new(&schema).decode(&bytes.into(), 0).unwrap();
            assert_eq!(*read.value(), Value::Long(number));
        }
    }
}

#[test]
fn a_schema_resolves_into_itself() {
    each(|seed, json, schema, typed| {
        let bytes = Bytes::from(encode(schema, typed));
        // Equal, but another: so nothing is taken for granted.
        let other = parse(json, &[]).unwrap();
        assert!(!Arc::ptr_eq(schema, &other));
        let mut out = Vec::new();
        Encoder::new(&other, UnknownFields::Error)
            .encode(typed, &mut out)
            .unwrap_or_else(|fault| panic!("seed {seed}: {fault}: {json}"));
        assert_eq!(out, bytes, "seed {seed}: {json}");
    });
}

/// Changes a byte, cuts the rest off, or puts one in.
fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if !bytes.is_empty() {
        let at = dice.below(bytes.len());
        match dice.below(3) {
            0 => bytes[at] = dice.next() as u8,
            1 => bytes.truncate(at),
            _ => bytes.insert(at, 0xff),
        }
    }
}

#[test]
fn damaged_bytes_are_an_error_or_a_value_and_nothing_else() {
    each(|seed, _, schema, typed| {
        let mut dice = Dice(seed ^ 0xdead);
        let mut bytes = encode(schema, typed);
        for _ in 0..4 {
            damage(&mut dice, &mut bytes);
            if let Ok(read) = Decoder::new(schema).decode(&Bytes::from(bytes.clone()), 0) {
                let again = encode(schema, &read);
                let second = Decoder::new(schema).decode(&Bytes::from(again), 0).unwrap();
                assert_eq!(second, read, "seed {seed}");
            }
        }
    });
}

/// Some of the fields of the outermost record, as a coin falls.
fn some_fields(dice: &mut Dice, schema: &Schema) -> Vec<Arc<str>> {
    let Kind::Record(record) = &schema.get(schema.root()).kind else { return Vec::new() };
    record.fields.iter().filter(|_| dice.one_in(2)).map(|field| Arc::clone(&field.name)).collect()
}

/// Puts other things into a value, as transforms do and more.
fn disturb(dice: &mut Dice, value: &mut Value) {
    match value {
        _ if dice.one_in(6) => *value = Value::from("put in later"),
        _ if dice.one_in(12) => *value = Value::List([Value::Long(1), Value::from("one")].into()),
        Value::Record(values) | Value::List(values) => {
            values.iter_mut().for_each(|value| disturb(dice, value))
        }
        Value::Map(entries) => entries.iter_mut().for_each(|(_, value)| disturb(dice, value)),
        Value::Union(branch) => disturb(dice, &mut branch.1),
        _ => {}
    }
}

#[test]
fn whatever_stood_in_its_memory_a_value_is_the_same() {
    let (mut used, mut again) = (None, 0);
    each(|seed, json, schema, typed| {
        let mut dice = Dice(seed ^ 0xbeef);
        let decoder = match dice.one_in(2) {
            true => Decoder::looking_at(schema, &some_fields(&mut dice, schema)),
            false => Decoder::new(schema),
        };
        for typed in [typed.clone(), dice::typed(&mut dice, schema), typed.clone()] {
            let bytes = Bytes::from(encode(schema, &typed));
            again += u64::from(used.is_some());
            let mut over = decoder.decode_over(&bytes, 0, used.take()).unwrap();
            let fresh = decoder.decode(&bytes, 0).unwrap();
            assert!(
                over == fresh && encode(schema, &over) == bytes,
                "seed {seed}: {json}: {over:?}, not {fresh:?}"
            );
            disturb(&mut dice, over.value_mut());
            let cut = bytes.slice(..dice.below(bytes.len() + 1));
            // A value that somebody still has is left alone, and what is refused leaves nothing behind.
            let held = dice.one_in(4).then(|| over.clone());
            used = over.used();
            assert_eq!(used.is_none(), held.is_some());
            if dice.one_in(4) && cut.len() < bytes.len() {
                let (over, fresh) = (decoder.decode_over(&cut, 0, used.take()), decoder.decode(&cut, 0));
                assert_eq!(over.is_ok(), fresh.is_ok(), "seed {seed}: {json}");
            }
        }
    });
    assert!(again > cases(), "only {again} values were written over another");
}

#[test]
fn fields_that_nobody_looks_at_go_out_as_they_came() {
    let mut left = 0;
    each(|seed, json, schema, typed| {
        let mut dice = Dice(seed ^ 0x100);
        let fields = some_fields(&mut dice, schema);
        let looking = Decoder::looking_at(schema, &fields);
        for bytes in [encode(schema, typed), dice::blocks::in_blocks(&mut dice, typed)] {
            let bytes = Bytes::from(bytes);
            let read =
                looking.decode(&bytes, 0).unwrap_or_else(|fault| panic!("seed {seed}: {fault}: {json}"));
            if let (Value::Record(read), Value::Record(all)) = (read.value(), typed.value())
                && let Kind::Record(record) = &schema.get(schema.root()).kind
            {
                let unread = |value: &Value| matches!(value, Value::Opaque(_));
                for ((field, read), all) in record.fields.iter().zip(read).zip(all) {
                    assert_eq!(
                        unread(read),
                        !fields.contains(&field.name),
                        "seed {seed}: {}: {json}",
                        field.name
                    );
                    left += u64::from(unread(read) && *all != Value::Null);
                }
            }
            let out = encode(schema, &read);
            assert_eq!(
                &Decoder::new(schema).decode(&out.clone().into(), 0).unwrap(),
                typed,
                "seed {seed}: {json}"
            );
            if bytes == encode(schema, typed) {
                assert_eq!(out, bytes, "seed {seed}: {json}");
            }
        }
    });
    assert!(left > cases() / 4, "only {left} fields were left unread");
}

#[test]
fn damage_is_found_in_fields_that_nobody_looks_at_too() {
    let mut refused = 0;
    each(|seed, json, schema, typed| {
        let mut dice = Dice(seed ^ 0xbad);
        let mut bytes = encode(schema, typed);
        let looking = Decoder::looking_at(schema, &some_fields(&mut dice, schema));
        for _ in 0..4 {
            damage(&mut dice, &mut bytes);
            let damaged = Bytes::from(bytes.clone());
            let fault =
                |decoder: &Decoder| decoder.decode(&damaged, 0).map_err(|fault| fault.to_string()).err();
            let said = fault(&Decoder::new(schema));
            refused += u64::from(said.is_some());
            assert_eq!(fault(&looking), said, "seed {seed}: {json}: {bytes:?}");
        }
    });
    assert!(refused > cases() / 2, "only {refused} were refused");
}

/// So that the tests above say something about all kinds of values, each of these is drawn again and again.
#[test]
fn everything_is_drawn() {
    let mut drawn: BTreeMap<String, u64> = BTreeMap::new();
    each(|_, _, schema, typed| {
        let mut note = |what: &str| *drawn.entry(what.to_owned()).or_default() += 1;
        walk(schema, schema.root(), typed.value(), &mut vec![], &mut note);
    });
    let wanted = [
        "NaN",
        "infinity",
        "inside itself by union",
        "inside itself by array",
        "inside itself by map",
        "decimal of bytes",
        "decimal of fixed",
        "decimal of more than 38 digits",
        "uuid of string",
        "uuid of fixed",
        "Date",
        "TimeMillis",
        "TimeMicros",
        "Duration",
        "Timestamp { unit: Millis, local: false }",
        "Timestamp { unit: Millis, local: true }",
        "Timestamp { unit: Micros, local: false }",
        "Timestamp { unit: Micros, local: true }",
        "Timestamp { unit: Nanos, local: false }",
        "Timestamp { unit: Nanos, local: true }",
    ];
    for what in wanted {
        let times = drawn.get(what).copied().unwrap_or(0);
        assert!(times >= cases() / 150, "{what} was drawn {times} times in {} cases: {drawn:?}", cases());
    }
}

fn walk(
    schema: &Schema,
    id: TypeId,
    value: &Value,
    way: &mut Vec<(TypeId, &'static str)>,
    note: &mut impl FnMut(&str),
) {
    let of = schema.get(id);
    let text = if of.kind == Kind::Text { "string" } else { "fixed" };
    match of.logical {
        None => {}
        Some(Logical::Uuid) => note(&format!("uuid of {text}")),
        Some(Logical::Decimal { precision, .. }) => {
            note(if of.kind == Kind::Bytes { "decimal of bytes" } else { "decimal of fixed" });
            if precision > 38 {
                note("decimal of more than 38 digits");
            }
        }
        Some(other) => note(&format!("{other:?}")),
    }
    let kind = match (&of.kind, value) {
        (_, Value::Double(number)) if number.is_nan() => return note("NaN"),
        (_, Value::Double(number)) if number.is_infinite() => return note("infinity"),
        (Kind::Union(_), _) => "union",
        (Kind::List(_), _) => "array",
        (Kind::Map(_), _) => "map",
        _ => "record",
    };
    if let Some(at) = way.iter().position(|(seen, _)| *seen == id)
        && kind == "record"
    {
        way[at + 1..].iter().for_each(|(_, kind)| note(&format!("inside itself by {kind}")));
    }
    way.push((id, kind));
    match (&of.kind, value) {
        (Kind::Record(record), Value::Record(values)) => {
            record
                .fields
                .iter()
                .zip(values)
                .for_each(|(field, value)| walk(schema, field.of, value, way, note));
        }
        (Kind::List(of), Value::List(values)) => {
            values.iter().for_each(|value| walk(schema, *of, value, way, note))
        }
        (Kind::Map(of), Value::Map(entries)) => {
            entries.iter().for_each(|(_, value)| walk(schema, *of, value, way, note));
        }
        (Kind::Union(branches), Value::Union(branch)) => {
            walk(schema, branches[branch.0 as usize], &branch.1, way, note);
        }
        (Kind::Union(_), value) if *value != Value::Null => {
            let (_, of) = schema.optional(id).unwrap();
            walk(schema, of, value, way, note);
        }
        _ => {}
    }
    way.pop();
}
