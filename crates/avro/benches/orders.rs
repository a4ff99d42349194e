//! Orders of twelve fields and some 132 bytes, decoded and encoded on one core: ours, and apache-avro beside it.
//! `cargo bench -p aqueduct-avro`

use std::hint::black_box;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;
use aqueduct_avro::{Decoder, Encoder, UnknownFields, parse};
use bytes::Bytes;
use tokio::time::Instant;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORDS: usize = 1_000_000;
const ROUNDS: usize = 5;

const ORDER: &str = r#"{ "type": "record", "name": "Order", "namespace": "shop", "fields": [
    { "name": "id", "type": "long" },
    { "name": "customer_id", "type": "long" },
    { "name": "placed_at", "type": { "type": "long", "logicalType": "timestamp-micros" } },
    { "name": "status", "type": { "type": "enum", "name": "Status", "symbols": ["NEW", "PAID", "SENT", "DONE"] } },
    { "name": "total", "type": { "type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2 } },
    { "name": "currency", "type": "string" },
    { "name": "email", "type": ["null", "string"] },
    { "name": "note", "type": ["null", "string"] },
    { "name": "paid", "type": "boolean" },
    { "name": "weight", "type": "double" },
    { "name": "address", "type": { "type": "record", "name": "Address", "fields": [
        { "name": "street", "type": "string" }, { "name": "city", "type": "string" }, { "name": "zip", "type": "string" }
    ] } },
    { "name": "tags", "type": { "type": "array", "items": "string" } }
] }"#;

fn main() {
    let payloads = payloads();
    let bytes: usize = payloads.iter().map(Bytes::len).sum();
    println!("{RECORDS} orders of {} bytes, best of {ROUNDS} rounds", bytes / RECORDS);
    let schema = parse(ORDER, &[]).expect("a schema");
    let decoder = Decoder::new(&schema);
    let ours = best(|| {
        payloads.iter().for_each(|bytes| drop(black_box(decoder.decode(bytes, 0).expect("an order"))))
    });
    let theirs = apache_avro::Schema::parse_str(ORDER).expect("a schema");
    let reader = GenericDatumReader::builder(&theirs).build().expect("a reader");
    let apache = best(|| {
        payloads
            .iter()
            .for_each(|bytes| drop(black_box(reader.read_value(&mut &bytes[..]).expect("an order"))))
    });
    print("decode", ours, apache);

    let some = 10_000;
    let rows: Vec<_> =
        payloads[..some].iter().map(|bytes| decoder.decode(bytes, 0).expect("an order")).collect();
    let encoder = Encoder::new(&schema, UnknownFields::Error);
    let mut out = Vec::new();
    let ours = best(|| {
        for _ in 0..RECORDS / some {
            for row in &rows {
                out.clear();
                encoder.encode(row, &mut out).expect("an order");
                black_box(&out);
            }
        }
    });
    let values: Vec<_> =
        payloads[..some].iter().map(|bytes| reader.read_value(&mut &bytes[..]).expect("an order")).collect();
    let writer = GenericDatumWriter::builder(&theirs).build().expect("a writer");
    let apache = best(|| {
        for _ in 0..RECORDS / some {
            for value in &values {
                out.clear();
                writer.write_value_ref(&mut out, value).expect("an order");
                black_box(&out);
            }
        }
    });
    print("encode", ours, apache);
}

/// Seconds of the best round.
fn best(mut round: impl FnMut()) -> f64 {
    let time = |_| {
        let begin = Instant::now();
        round();
        begin.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(time).fold(f64::INFINITY, f64::min)
}

fn print(what: &str, ours: f64, apache: f64) {
    let rate = |seconds: f64| RECORDS as f64 / seconds / 1e6;
    println!(
        "{what}  ours {:5.2} M/s   apache-avro {:5.2} M/s   {:4.1} times",
        rate(ours),
        rate(apache),
        apache / ours
    );
}

fn payloads() -> Vec<Bytes> {
    (0..RECORDS as i64).map(order).collect()
}

fn order(id: i64) -> Bytes {
    let mixed = id.wrapping_mul(0x9e37_79b9_7f4a).rem_euclid(1_000_003);
    let mut out = Vec::with_capacity(140);
    let long = |out: &mut Vec<u8>, number: i64| {
        let mut rest = (number << 1 ^ number >> 63) as u64;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    };
    let text = |out: &mut Vec<u8>, text: &str| {
        long(out, text.len() as i64);
        out.extend_from_slice(text.as_bytes());
    };
    long(&mut out, id);
    long(&mut out, mixed);
    long(&mut out, 1_700_000_000_000_000 + id * 1_000);
    long(&mut out, id % 4);
    let cents = (mixed % 1_000_000) as i32;
    let all = cents.to_be_bytes();
    let spare = all.iter().take(3).take_while(|byte| **byte == 0).count();
    let spare = if spare > 0 && all[spare] & 0x80 != 0 { spare - 1 } else { spare };
    long(&mut out, (4 - spare) as i64);
    out.extend_from_slice(&all[spare..]);
    text(&mut out, "EUR");
    long(&mut out, 1);
    text(&mut out, &format!("customer-{mixed:07}@example.com"));
    long(&mut out, i64::from(id % 4 == 0));
    if id % 4 == 0 {
        text(&mut out, "please ring twice");
    }
    out.push(u8::from(id % 2 == 0));
    out.extend_from_slice(&(mixed as f64 / 100.0).to_le_bytes());
    text(&mut out, &format!("{} Long Street", mixed % 1_000));
    text(&mut out, "Stockholm");
    text(&mut out, &format!("{:05}", mixed % 100_000));
    long(&mut out, 2);
    text(&mut out, "priority");
    text(&mut out, "gift");
    long(&mut out, 0);
    Bytes::from(out)
}
