//! Orders of twelve fields and some 278 bytes as JSON, checked, decoded and encoded on one core: ours, serde_json's and
//! sonic-rs's values beside it. `cargo bench -p aqueduct-formats`

use std::hint::black_box;
use std::sync::Arc;

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::{FormatContext, Headers, Part, Piece};
use aqueduct_formats::Json;
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const RECORDS: usize = 200_000;
const ROUNDS: usize = 7;

fn main() {
    let orders: Vec<Bytes> = (0..RECORDS as u64).map(order).collect();
    let bytes: usize = orders.iter().map(Bytes::len).sum();
    println!(
        "{RECORDS} orders of {} bytes, best of {ROUNDS} rounds, million records a second of CPU (of the clock)",
        bytes / RECORDS
    );
    let context = FormatContext { pipeline: "bench".into(), part: Part::Value, registry: None };
    let (topic, headers) = (Arc::from("orders"), Headers::default());
    let piece = |bytes| Piece { topic: &topic, headers: &headers, bytes };
    let options = Arc::new(Json::default());
    let mut decoder = Json::decoder(&options, &context).expect("a decoder");
    let mut encoder = Json::encoder(&options, &context).expect("an encoder");

    best("check   ours", &orders, |order| decoder.check(piece(order)).expect("an order"));
    best("check   serde_json IgnoredAny", &orders, |order| {
        let text = std::str::from_utf8(order).expect("text");
        black_box(serde_json::from_str::<serde::de::IgnoredAny>(text).expect("an order"));
    });
    best("decode  ours", &orders, |order| drop(black_box(decoder.decode(piece(order)).expect("an order"))));
    best("decode  serde_json Value", &orders, |order| {
        drop(black_box(serde_json::from_slice::<serde_json::Value>(order).expect("an order")));
    });
    best("decode  sonic-rs Value", &orders, |order| {
        drop(black_box(sonic_rs::from_slice::<sonic_rs::Value>(order).expect("an order")));
    });

    let mut out = Vec::new();
    let rows: Vec<_> = orders.iter().map(|order| decoder.decode(piece(order)).expect("an order")).collect();
    best("encode  ours", &rows, |row| {
        out.clear();
        encoder.encode(&topic, row, &mut out).expect("an order");
        black_box(&out);
    });
    let values: Vec<serde_json::Value> =
        orders.iter().map(|order| serde_json::from_slice(order).expect("an order")).collect();
    best("encode  serde_json Value", &values, |value| {
        out.clear();
        serde_json::to_writer(&mut out, value).expect("an order");
        black_box(&out);
    });
    let values: Vec<sonic_rs::Value> =
        orders.iter().map(|order| sonic_rs::from_slice(order).expect("an order")).collect();
    best("encode  sonic-rs Value", &values, |value| {
        out.clear();
        sonic_rs::to_writer(&mut out, value).expect("an order");
        black_box(&out);
    });
}

fn best<'a, T>(what: &str, all: &'a [T], mut one: impl FnMut(&'a T)) {
    let (mut cpu, mut wall) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let (begin, begin_cpu) = (seconds(ClockId::Monotonic), seconds(ClockId::ThreadCPUTime));
        all.iter().for_each(&mut one);
        (cpu, wall) = (
            cpu.min(seconds(ClockId::ThreadCPUTime) - begin_cpu),
            wall.min(seconds(ClockId::Monotonic) - begin),
        );
    }
    let rate = |seconds: f64| all.len() as f64 / seconds / 1e6;
    println!("{what:32} {:6.2} M/s ({:.2})", rate(cpu), rate(wall));
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The orders of the connector `generate`, or nearly.
fn order(id: u64) -> Bytes {
    let dice = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let item = |sku: &str, number: u64| {
        let cents = 195 + 50 * ((dice >> number) % 200);
        let quantity = 1 + (dice >> number) % 3;
        format!(
            r#"{{"sku":"{sku}-{}","quantity":{quantity},"price":{}.{:02}}}"#,
            100 + number,
            cents / 100,
            cents % 100
        )
    };
    let items = if id.is_multiple_of(3) {
        [item("grinder", 7), item("tea", 11)].join(",")
    } else {
        item("kettle", 5)
    };
    Bytes::from(format!(
        concat!(
            r#"{{"id":{},"customer_id":"c-{:05}","country":"SE","currency":"SEK","status":"shipped","amount":{}.{:02},"#,
            r#""items":[{}],"card_number":"400000000000{:04}","created_at":"2026-01-01T00:00:{:02}.{:06}Z","#,
            r#""note":null,"gift":{},"weight":{}.{}}}"#
        ),
        id,
        dice % 50_000,
        dice % 900,
        dice % 100,
        items,
        dice % 10_000,
        id % 60,
        dice % 1_000_000,
        id.is_multiple_of(2),
        dice % 30,
        1 + dice % 9
    ))
}
