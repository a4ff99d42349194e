//! Our decoder and encoder against apache-avro, over schemas and values from seeds; `AQUEDUCT_CASES` for more of them.
#![allow(missing_docs, clippy::unwrap_used)]

mod dice;

use std::sync::Arc;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use aqueduct_api::{Schema, Typed};
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

#[test]
fn damaged_bytes_are_an_error_or_a_value_and_nothing_else() {
    each(|seed, _, schema, typed| {
        let mut dice = Dice(seed ^ 0xdead);
        let mut bytes = encode(schema, typed);
        for _ in 0..4 {
            if !bytes.is_empty() {
                let at = dice.below(bytes.len());
                match dice.below(3) {
                    0 => bytes[at] = dice.next() as u8,
                    1 => bytes.truncate(at),
                    _ => bytes.insert(at, 0xff),
                }
            }
            if let Ok(read) = Decoder::new(schema).decode(&Bytes::from(bytes.clone()), 0) {
                let again = encode(schema, &read);
                let second = Decoder::new(schema).decode(&Bytes::from(again), 0).unwrap();
                assert_eq!(second, read, "seed {seed}");
            }
        }
    });
}
