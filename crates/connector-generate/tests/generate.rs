//! The source `generate` through the catalog: the same records again, each partition on its own, resumed
//! anywhere, shared by tasks, at the rate that was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_api::catalog::{SourceConnector, SourceContext};
use aqueduct_api::murmur2::partition_for_key;
use aqueduct_api::{Catalog, Offsets, Polled, Record, Source};
use aqueduct_connector_generate::Config;
use serde_json::{Value, json};
use tokio::time::Instant;

const START: &str = "2026-01-01T00:00:00Z";

fn configured(config: Value) -> std::sync::Arc<dyn SourceConnector> {
    let catalog = Catalog::default().source::<Config>();
    catalog.sources["generate"].configure(config).unwrap_or_else(|problems| panic!("{problems:?}"))
}

async fn open(config: Value, task: usize, tasks: usize, resume: Offsets) -> Box<dyn Source> {
    let context = SourceContext {
        task,
        tasks,
        has_store: true,
        resume,
        batch_records_max: 50,
        drain_timeout: Duration::from_secs(1),
        ..SourceContext::new("p")
    };
    configured(config).open(context).await.expect("it opens")
}

/// Up to so many batches, and where to resume after them.
async fn read(source: &mut dyn Source, batches: usize) -> (Vec<Record>, Offsets) {
    let (mut all, mut offsets) = (Vec::new(), Offsets::new());
    for _ in 0..batches {
        let Polled::Batch { records, resume_at } = source.poll(Duration::from_secs(1)).await.expect("a poll")
        else {
            break;
        };
        assert!(!records.is_empty() && records.len() <= 50);
        all.extend(records);
        offsets.extend(resume_at);
    }
    (all, offsets)
}

fn by_place(records: Vec<Record>) -> BTreeMap<(i32, i64), Record> {
    let count = records.len();
    let map: BTreeMap<_, _> =
        records.into_iter().map(|r| ((r.origin.partition, r.origin.offset), r)).collect();
    assert_eq!(map.len(), count, "a record came twice");
    map
}

#[tokio::test]
async fn orders_are_realistic_and_in_the_partition_of_their_key() {
    let mut source =
        open(json!({ "count": 10_000, "start": START, "rate": 1_000_000 }), 0, 1, Offsets::new()).await;
    let (records, _) = read(&mut *source, 10_000).await;
    assert!(matches!(source.poll(Duration::ZERO).await, Ok(Polled::End)));
    let (mut ids, mut refunds, mut next) = (vec![false; 10_001], 0, [0; 6]);
    for record in &records {
        let partition = record.origin.partition as usize;
        assert_eq!(record.origin.offset, next[partition], "offsets count up");
        next[partition] += 1;
        let key = record.key.bytes().unwrap();
        assert_eq!(partition_for_key(key, 6) as usize, partition);

        let value = record.value.bytes().unwrap();
        assert!((130..=400).contains(&value.len()), "{}", value.len());
        let order: Value = serde_json::from_slice(value).unwrap();
        assert_eq!(order["customer_id"], std::str::from_utf8(key).unwrap());
        let id = order["id"].as_u64().unwrap();
        assert!(!std::mem::replace(&mut ids[id as usize], true), "id {id} came twice");
        let sum: f64 = (order["items"].as_array().unwrap().iter())
            .map(|item| item["price"].as_f64().unwrap() * item["quantity"].as_f64().unwrap())
            .sum();
        let amount = order["amount"].as_f64().unwrap();
        assert!((sum - amount.abs()).abs() < 1e-6, "{order}");
        assert_eq!(amount < 0.0, order["status"] == "refunded");
        refunds += usize::from(amount < 0.0);
        assert_eq!(order["card_number"].as_str().unwrap().len(), 16);
        assert_eq!(record.timestamp_us, Some(1_767_225_600_000_000 + id as i64 - 1));
        let micros = record.timestamp_us.unwrap() % 1_000_000;
        assert_eq!(order["created_at"], format!("2026-01-01T00:00:00.{micros:06}Z"));
    }
    assert_eq!(records.len(), 10_000);
    assert!((400..900).contains(&refunds), "{refunds}");
}

#[tokio::test]
async fn the_same_seed_makes_the_same_records_and_another_one_others() {
    let config = |seed| json!({ "count": 500, "seed": seed, "start": START });
    let (first, _) = read(&mut *open(config(7), 0, 1, Offsets::new()).await, 100).await;
    let (again, _) = read(&mut *open(config(7), 0, 1, Offsets::new()).await, 100).await;
    let (other, _) = read(&mut *open(config(8), 0, 1, Offsets::new()).await, 100).await;
    assert_eq!(first, again);
    assert_ne!(first, other);
    // What a seed makes is promised over releases: stored offsets point into it.
    let value = std::str::from_utf8(first[0].value.bytes().unwrap()).unwrap();
    let expected = concat!(
        r#"{"id":1,"customer_id":"c-29155","country":"FI","currency":"EUR","status":"new","amount":445.75,"#,
        r#""items":[{"sku":"filter-407","quantity":2,"price":71.45},{"sku":"honey-989","quantity":3,"price":100.95}],"#,
        r#""card_number":"4000000000008461","created_at":"2026-01-01T00:00:00.000000Z"}"#,
    );
    assert_eq!(value, expected);
}

#[tokio::test]
async fn resumes_where_it_stopped_with_the_same_records() {
    let config = || json!({ "count": 2_003, "partitions": 4 });
    let whole = open(json!({ "count": 2_003, "partitions": 4, "start": START }), 0, 1, Offsets::new());
    let (whole, _) = read(&mut *whole.await, 1_000).await;
    for cut in [0, 1, 5, 17, 40] {
        // Without a start it begins now; the positions remember when that was.
        let (before, offsets) = read(&mut *open(config(), 0, 1, Offsets::new()).await, cut).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        let (after, _) = read(&mut *open(config(), 0, 1, offsets).await, 1_000).await;
        let all = by_place(before.into_iter().chain(after).collect());
        assert_eq!(all.len(), 2_003);
        let keys = |record: &Record| (record.key.clone(), record.origin);
        assert!(all.values().map(keys).eq(by_place(whole.clone()).values().map(keys)), "cut at {cut}");
        let start =
            |r: &Record| r.timestamp_us.unwrap() - (r.origin.offset * 4 + i64::from(r.origin.partition)) / 20;
        if cut > 0 {
            assert!(all.values().all(|record| start(record) == start(&all[&(0, 0)])), "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn tasks_share_the_partitions() {
    let config = || json!({ "count": 1_000, "partitions": 5, "start": START });
    let (whole, _) = read(&mut *open(config(), 0, 1, Offsets::new()).await, 1_000).await;
    let mut shared = Vec::new();
    for task in 0..3 {
        let (records, offsets) = read(&mut *open(config(), task, 3, Offsets::new()).await, 1_000).await;
        assert_eq!(offsets.len(), [2, 2, 1][task]);
        shared.extend(records);
    }
    assert_eq!(by_place(shared), by_place(whole));
    assert_eq!(configured(config()).traits().tasks_max, Some(5));
}

#[tokio::test(start_paused = true)]
async fn keeps_to_the_rate() {
    let mut source = open(json!({ "rate": 1_000, "start": START }), 0, 1, Offsets::new()).await;
    let begin = Instant::now();
    let mut records = 0;
    while begin.elapsed() < Duration::from_secs(10) {
        records += read(&mut *source, 1).await.0.len();
    }
    assert!((9_990..=10_020).contains(&records), "{records}");

    // What a stalled pipeline missed is made up for, but no more than a second of it.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let begin = Instant::now();
    let mut records = 0;
    while begin.elapsed() < Duration::from_secs(1) {
        records += read(&mut *source, 1).await.0.len();
    }
    assert!((1_950..=2_050).contains(&records), "{records}");

    // A slow rate is no reason to hold up the caller.
    let mut slow = open(json!({ "rate": 1, "start": START }), 0, 1, Offsets::new()).await;
    let begin = Instant::now();
    assert_eq!(read(&mut *slow, 1).await.0.len(), 1);
    assert!(matches!(slow.poll(Duration::from_millis(100)).await, Ok(Polled::Idle)));
    assert!(begin.elapsed() < Duration::from_millis(150), "{:?}", begin.elapsed());
}

#[test]
fn the_block_reads_as_people_write_it() {
    let config = Config::named("orders").unwrap();
    assert_eq!((&*config.topic, config.partitions, config.seed), ("shop.orders", 6, 1));
    assert!(Config::named("order").is_err());
    let written = configured(json!({ "kind": "orders", "rate": 1_000, "count": 200_000, "seed": 7 }));
    assert!(written.traits().finite && written.traits().keeps_offsets.needs_store(false));
    assert_eq!(written.describe("p"), "generate 200000 orders to shop.orders, 6 partitions, 1000 a second");

    let entry = Catalog::default().source::<Config>().sources["generate"].clone();
    let problems =
        entry.configure(json!({ "partitions": 0, "rate": 0, "start": "now", "topic": "" })).err().unwrap();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["topic", "partitions", "rate", "start"]);
}

#[tokio::test]
async fn refuses_offsets_it_cannot_read() {
    let context = SourceContext {
        has_store: true,
        resume: Offsets::from([("shop.orders/0".into(), "12".into())]),
        batch_records_max: 50,
        drain_timeout: Duration::from_secs(1),
        ..SourceContext::new("p")
    };
    let error = configured(json!({})).open(context).await.err().unwrap();
    assert!(
        error
            .to_string()
            .starts_with("`12` is no position of a generated partition (partition=shop.orders/0)")
    );
}
