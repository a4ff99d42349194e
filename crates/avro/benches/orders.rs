//! Orders of twelve fields and 132 bytes, decoded and encoded on one core: ours, and apache-avro and
//! schema_registry_converter beside it, each from a warm start. The machine may be busy: rates are by the CPU time of the
//! thread, and by the wall in brackets; all sides take turns, and of each slice of the orders the best round counts.
//! `cargo bench -p aqueduct-avro`

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::ops::Range;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Theirs;
use apache_avro::writer::datum::GenericDatumWriter;
use aqueduct_api::Typed;
use aqueduct_avro::{Decoder, Encoder, UnknownFields, parse};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use schema_registry_converter::async_impl::avro::{AvroDecoder, AvroEncoder};
use schema_registry_converter::async_impl::schema_registry::SrSettings;
use schema_registry_converter::schema_registry_common::SubjectNameStrategy;
use tokio::runtime::{Builder, Runtime};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const RECORDS: usize = 100_000;
/// So few that the rows of a slice are in the cache when they are encoded, as a row is that was decoded a moment ago.
const SLICE: usize = 250;
const ROUNDS: usize = 9;

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

/// The same, later: a field is new, one is gone, one has another name, one is wider, and the order is another.
fn later() -> String {
    let longer = ORDER.replace(r#"{ "name": "note", "type": ["null", "string"] },"#, "");
    let renamed = longer.replace(
        r#"{ "name": "currency", "type": "string" }"#,
        r#"{ "name": "coin", "aliases": ["currency"], "type": "string" }, { "name": "channel", "type": "string", "default": "web" }"#,
    );
    let wider = renamed.replace(
        r#"{ "name": "customer_id", "type": "long" }"#,
        r#"{ "name": "customer_id", "type": "double" }"#,
    );
    let tags = r#",
    { "name": "tags", "type": { "type": "array", "items": "string" } }"#;
    let first = r#"{ "name": "tags", "type": { "type": "array", "items": "string" } }, { "name": "id""#;
    let moved = wider.replace(tags, "").replace(r#"{ "name": "id""#, first);
    assert!(longer != ORDER && renamed != longer && wider != renamed && moved != wider);
    moved
}

fn main() {
    let payloads: Vec<Bytes> = (0..RECORDS as i64).map(order).collect();
    let bytes: usize = payloads.iter().map(Bytes::len).sum();
    println!(
        "{RECORDS} orders of {} bytes, best of {ROUNDS} rounds, million records a second of CPU (of the wall)",
        bytes / RECORDS
    );
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let registry = registry();
    let values = decoding(&payloads, &runtime, &registry);
    encoding(&payloads, &values, &runtime, &registry);
}

fn decoding(payloads: &[Bytes], runtime: &Runtime, registry: &str) -> Vec<Theirs> {
    let (schema, reader) = (parse(ORDER, &[]).expect("a schema"), parse(&later(), &[]).expect("a schema"));
    let decoder = Decoder::new(&schema);
    let resolving = Decoder::resolving(&schema, &reader).expect("schemas that fit");
    let theirs = apache_avro::Schema::parse_str(ORDER).expect("a schema");
    let read_as = apache_avro::Schema::parse_str(&later()).expect("a schema");
    let apache = GenericDatumReader::builder(&theirs).build().expect("a reader");
    let apache_resolving =
        GenericDatumReader::builder(&theirs).reader_schema(&read_as).build().expect("a reader");
    let read = |bytes: &Bytes| apache.read_value(&mut &bytes[..]).expect("an order");
    let converter = AvroDecoder::new(SrSettings::new(registry.to_owned()));
    let wired: Vec<Vec<u8>> = payloads.iter().map(|bytes| [&[0, 0, 0, 0, 1], &bytes[..]].concat()).collect();
    let looking = Decoder::looking_at(&schema, &["email".into()]);
    // As a pipeline does it: what was written serves the next record.
    let ours = |decoder: &Decoder, slice: Range<usize>| {
        let mut used = None;
        for bytes in &payloads[slice] {
            used = black_box(decoder.decode_over(bytes, 0, used).expect("an order")).used();
        }
    };
    race(
        "decode",
        &mut [
            ("ours", &mut |slice| ours(&decoder, slice)),
            ("apache-avro", &mut |slice| {
                payloads[slice].iter().for_each(|bytes| drop(black_box(read(bytes))))
            }),
            ("schema_registry_converter", &mut |slice| {
                runtime.block_on(async {
                    for bytes in &wired[slice] {
                        drop(black_box(converter.decode(Some(bytes)).await.expect("an order")));
                    }
                });
            }),
        ],
    );
    race("decode one field of them", &mut [("ours", &mut |slice| ours(&looking, slice))]);
    // 0.22 refuses decimals of minimal length under a reader's schema, so its errors are timed as well as its values.
    race(
        "decode into another schema",
        &mut [
            ("ours", &mut |slice| ours(&resolving, slice)),
            ("apache-avro, if it could", &mut |slice| {
                payloads[slice]
                    .iter()
                    .for_each(|bytes| drop(black_box(apache_resolving.read_value(&mut &bytes[..]))));
            }),
        ],
    );
    payloads.iter().map(read).collect()
}

fn encoding(payloads: &[Bytes], values: &[Theirs], runtime: &Runtime, registry: &str) {
    let (schema, reader) = (parse(ORDER, &[]).expect("a schema"), parse(&later(), &[]).expect("a schema"));
    let decoder = Decoder::new(&schema);
    let rows: Vec<Typed> = payloads.iter().map(|bytes| decoder.decode(bytes, 0).expect("an order")).collect();
    let encoder = Encoder::new(&schema, UnknownFields::Error);
    let resolving = Encoder::new(&reader, UnknownFields::Drop);
    let theirs = apache_avro::Schema::parse_str(ORDER).expect("a schema");
    let apache = GenericDatumWriter::builder(&theirs).build().expect("a writer");
    let converter = AvroEncoder::new(SrSettings::new(registry.to_owned()));
    let (mut out, mut resolved, mut written) = (Vec::new(), Vec::new(), Vec::new());
    let ours = |encoder: &Encoder, slice: Range<usize>, out: &mut Vec<u8>| {
        for row in &rows[slice] {
            out.clear();
            encoder.encode(row, out).expect("an order");
            black_box(&*out);
        }
    };
    race(
        "encode",
        &mut [
            ("ours", &mut |slice| ours(&encoder, slice, &mut out)),
            ("apache-avro", &mut |slice| {
                for value in &values[slice] {
                    written.clear();
                    apache.write_value_ref(&mut written, value).expect("an order");
                    black_box(&written);
                }
            }),
            ("schema_registry_converter", &mut |slice| {
                runtime.block_on(async {
                    for value in &values[slice] {
                        let Theirs::Record(fields) = value else { unreachable!("an order is a record") };
                        // It takes the values, so they have to be cloned.
                        let fields = fields.iter().map(|(name, value)| (&**name, value.clone())).collect();
                        let subject = SubjectNameStrategy::TopicNameStrategy("orders".to_owned(), false);
                        black_box(converter.encode(fields, subject).await.expect("an order"));
                    }
                });
            }),
        ],
    );
    race("encode into another schema", &mut [("ours", &mut |slice| ours(&resolving, slice, &mut resolved))]);
}

/// Reads or writes a slice of the orders.
type Run<'a> = dyn FnMut(Range<usize>) + 'a;

/// Runs all in turn, several times over, and prints the best of each beside the first.
fn race(what: &str, sides: &mut [(&str, &mut Run<'_>)]) {
    let mut best = vec![(0.0, 0.0); sides.len()];
    for from in (0..RECORDS).step_by(SLICE) {
        let mut of_slice = vec![(f64::INFINITY, f64::INFINITY); sides.len()];
        for _ in 0..ROUNDS {
            for ((_, run), best) in sides.iter_mut().zip(&mut of_slice) {
                let begin = (seconds(ClockId::ThreadCPUTime), seconds(ClockId::Monotonic));
                run(from..from + SLICE);
                best.0 = best.0.min(seconds(ClockId::ThreadCPUTime) - begin.0);
                best.1 = best.1.min(seconds(ClockId::Monotonic) - begin.1);
            }
        }
        best.iter_mut().zip(of_slice).for_each(|(all, one)| *all = (all.0 + one.0, all.1 + one.1));
    }
    println!("{what}");
    let rate = |seconds: f64| RECORDS as f64 / seconds / 1e6;
    for ((name, _), (cpu, wall)) in sides.iter().zip(&best) {
        let times = cpu / best[0].0;
        println!("  {name:26} {:6.2} ({:5.2})   {:5.1} times the time", rate(*cpu), rate(*wall), times);
    }
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// As much of a registry as a warm cache needs: one schema, whatever is asked.
fn registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("a port"));
    std::thread::spawn(move || {
        let body = serde_json::json!({ "subject": "orders-value", "version": 1, "id": 1, "schema": ORDER })
            .to_string();
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "{head} {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

fn order(id: i64) -> Bytes {
    let mixed = id.wrapping_mul(0x9e37_79b9_7f4a).rem_euclid(1_000_003);
    let mut out = Vec::with_capacity(160);
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
    text(&mut out, &format!("customer-{mixed:07}@mail.example.com"));
    long(&mut out, i64::from(id % 4 == 0));
    if id % 4 == 0 {
        text(&mut out, "please ring twice");
    }
    out.push(u8::from(id % 2 == 0));
    out.extend_from_slice(&(mixed as f64 / 100.0).to_le_bytes());
    text(&mut out, &format!("{} Rather Long Street North", mixed % 1_000));
    text(&mut out, "Stockholm");
    text(&mut out, &format!("{:05}", mixed % 100_000));
    long(&mut out, 2);
    text(&mut out, "priority");
    text(&mut out, "gift");
    long(&mut out, 0);
    Bytes::from(out)
}
