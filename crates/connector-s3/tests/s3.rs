//! The sink against a real S3 server.

#![allow(clippy::unwrap_used)]

mod scene;
// This file uses a part of what the server offers.
#[allow(dead_code)]
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{Duplicates, ProbeContext, SinkConnector};
use aqueduct_api::{Batch, BatchId, Condition, Durable, Error, ErrorKind, Payload, Record, Sink};
use aqueduct_connector_s3::Config;
use aqueduct_testkit::conformance::{self, SinkUnderTest};
use async_trait::async_trait;
use scene::{batch, config, lines, name, open, try_open};
use serde_json::{Value, json};
use server::{Doorman, Server, Trick};
use tokio::time::Instant;

async fn open_error(config: &Arc<Config>) -> Error {
    match try_open(config, &Condition::default()).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

struct UnderTest {
    server: Server,
    config: Arc<Config>,
}

#[async_trait]
impl SinkUnderTest for UnderTest {
    async fn open(&self) -> Box<dyn Sink> {
        open(&self.config).await
    }

    async fn stored(&self) -> BTreeMap<i32, Vec<String>> {
        let mut stored: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for (name, bytes) in self.server.objects().await {
            let (partition, _) = name.trim_start_matches("orders/").split_once('-').unwrap();
            let text = String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap();
            stored.entry(partition.parse().unwrap()).or_default().extend(text.lines().map(str::to_owned));
        }
        stored
    }

    fn topic(&self) -> String {
        "orders".into()
    }

    fn duplicates(&self) -> Duplicates {
        self.config.traits().duplicates
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let server = Server::start("contract").await;
    let format = json!({ "json_lines": { "compression": "zstd" } });
    let config = config(&server.endpoint(), json!({ "format": format, "rotate": { "records_max": 25 } }));
    conformance::sink(&UnderTest { server, config }).await;
}

/// Bodies over 64 KiB hung for 30 s with some mixes of AWS crates: so the time is looked at, too.
#[tokio::test(flavor = "multi_thread")]
async fn writes_small_and_large_objects() {
    let server = Server::start("sizes").await;
    let mut sink = open(&config(&server.endpoint(), json!({}))).await;
    let mut expected = Vec::new();
    for (id, (first, count)) in [(0, 66), (1_000, 8_192), (100_000, 40_000)].into_iter().enumerate() {
        let started = Instant::now();
        for part in 0..(count + 999) / 1_000 {
            let now = (count - part * 1_000).min(1_000);
            sink.write(&batch(id as u64 * 100 + part as u64, first + part * 1_000, now, 1_023))
                .await
                .unwrap();
        }
        sink.flush().await.unwrap();
        println!("{count} KiB: {:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(15));
        expected.push((name(first, ".txt"), lines(first, count, 1_023)));
    }
    assert!(server.objects().await == expected);
    assert_eq!(server.uploads().await, [""; 0]);

    let head = server.client().head_object().bucket("lake").key(name(0, ".txt")).send().await.unwrap();
    let metadata: BTreeMap<_, _> = head.metadata().unwrap().clone().into_iter().collect();
    let expected = [
        ("aqueduct-last-offset", "65"),
        ("aqueduct-partition", "0"),
        ("aqueduct-pipeline", "orders-to-lake"),
        ("aqueduct-records", "66"),
        ("aqueduct-start-offset", "0"),
        ("aqueduct-topic", "orders"),
    ];
    assert_eq!(metadata, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn skips_what_an_earlier_run_has_finished() {
    let server = Server::start("adopt").await;
    for (first, compression, suffix) in
        [(0, "zstd", ".txt.zst"), (1_000_000, "gzip", ".txt.gz"), (2_000_000, "none", ".txt")]
    {
        let format = json!({ "lines": { "compression": compression } });
        let config = config(&server.endpoint(), json!({ "format": format }));
        let mut sink = open(&config).await;
        // 10 MB: an upload in parts, whose metadata cannot name its end.
        for id in 0..10 {
            sink.write(&batch(id, first + id as i64 * 1_000, 1_000, 1_000)).await.unwrap();
        }
        sink.flush().await.unwrap();
        drop(sink);
        let before = server.objects().await;

        let mut sink = open(&config).await;
        for id in 0..4 {
            let written = sink.write(&batch(id, first + id as i64 * 3_000, 3_000, 1_000)).await.unwrap();
            assert_eq!(written.durable, Durable::Batches(vec![]));
        }
        let written = sink.flush().await.unwrap();
        assert_eq!(written.durable, Durable::Batches((0..4).map(BatchId).collect()));
        let after = server.objects().await;
        assert_eq!(after.len(), before.len() + 1);
        assert!(before.iter().all(|object| after.contains(object)));
        let (_, second) = after.iter().find(|(other, _)| *other == name(first + 10_000, suffix)).unwrap();
        if compression == "zstd" {
            assert!(zstd::decode_all(&second[..]).unwrap() == lines(first + 10_000, 2_000, 1_000));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_the_late_one_learns_it() {
    let server = Server::start("conflict").await;
    let config = config(&server.endpoint(), json!({}));
    for (first, count) in [(0, 10), (1_000_000, 10_000)] {
        let (mut one, mut other) = (open(&config).await, open(&config).await);
        // Both look the name up before either has finished it.
        one.write(&batch(0, first, count, 1_000)).await.unwrap();
        if count > 1_000 {
            // Beginning an object aborts older uploads of it: whoever begins last is the owner.
            other.write(&batch(0, first, 1, 1_000)).await.unwrap();
            let error = one.flush().await.unwrap_err();
            let says = "is gone: another writer has taken its place, or a rule of the bucket; starting again \
                        from the stored offsets";
            assert_eq!(error.to_string(), format!("the upload of `{}` {says}", name(first, ".txt")));
            other.flush().await.unwrap();
        } else {
            other.write(&batch(0, first, count + 1, 1_000)).await.unwrap();
            other.flush().await.unwrap();
            let error = one.flush().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fatal);
            let says = "first; starting again from the stored offsets, where its records are recognised";
            assert_eq!(
                error.to_string(),
                format!("another writer finished `{}` {says}", name(first, ".txt"))
            );
        }
    }
    assert_eq!(server.objects().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn removes_what_a_dead_run_left_and_nothing_else() {
    let server = Server::start("leftovers").await;
    for path in [
        "{topic}/{partition}-{start_offset}",
        "{topic}/{start_offset}-{partition}",
        "{start_offset}-{topic}-{partition}",
        "{start_offset}/{topic}/{partition}",
    ] {
        let name = |topic: &str, partition: i32, first: i64| {
            let name = path.replace("{topic}", topic).replace("{partition}", &partition.to_string());
            name.replace("{start_offset}", &format!("{first:020}")) + ".txt"
        };
        let left = [name("orders", 0, 100), name("orders", 0, 7_000)];
        let mut alive = vec![
            name("orders", 0, 99),
            name("orders", 1, 100),
            name("orders", 10, 7_000),
            name("refunds", 0, 100),
            name("orders", 0, 100) + ".gz",
            "else/where".to_owned(),
        ];
        for key in left.iter().chain(&alive) {
            server.client().create_multipart_upload().bucket("lake").key(key).send().await.unwrap();
        }
        let mut sink = open(&config(&server.endpoint(), json!({ "path": path }))).await;
        sink.write(&batch(0, 100, 10, 100)).await.unwrap();
        sink.flush().await.unwrap();
        alive.sort();
        let mut found = server.uploads().await;
        found.sort();
        assert_eq!(found, alive, "{path}");
        for key in &alive {
            server.abort(key).await;
        }
    }
}

/// The names are the same, the records are not.
#[tokio::test(flavor = "multi_thread")]
async fn other_records_at_the_same_offsets_are_never_skipped() {
    let server = Server::start("again").await;
    for (first, compression) in [(0, "zstd"), (1_000_000, "gzip"), (2_000_000, "none")] {
        let format = json!({ "lines": { "compression": compression } });
        let config = config(&server.endpoint(), json!({ "format": format }));
        // In parts, and read back in parts.
        let mut sink = open(&config).await;
        sink.write(&batch(0, first, 6_000, 1_000)).await.unwrap();
        sink.flush().await.unwrap();
        let before = server.objects().await;
        // The last of them differs, by no more than its last character.
        let mut other: Vec<Record> = batch(0, first, 6_000, 1_000).records.iter().cloned().collect();
        let last = other.last_mut().unwrap();
        let mut text = last.value.bytes().unwrap().to_vec();
        *text.last_mut().unwrap() ^= 1;
        last.value = Payload::Raw(text.into());
        let other = Batch::new(BatchId(0), other.into(), None);
        let error = open(&config).await.write(&other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{compression}: {error}");
        assert!(error.to_string().contains("its 6000 records differ from those that came again"), "{error}");
        // Fewer: not known before all were read, and then compared.
        for (last, kind) in [(1_000, None), (999, Some(ErrorKind::Config))] {
            let mut sink = open(&config).await;
            sink.write(&batch(0, first, last, 1_000)).await.unwrap();
            if kind.is_some() {
                sink.write(&batch(1, first + last + 1, 1, 1_000)).await.unwrap();
            }
            assert_eq!(sink.flush().await.err().map(|error| error.kind()), kind, "{compression}");
        }
        assert!(server.objects().await == before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn says_what_is_wrong_at_the_start() {
    let server = Server::start("wrong").await;
    let endpoint = server.endpoint();
    let at = |connection: Value| config(&endpoint, json!({ "connection": connection }));
    for (connection, says) in [
        (
            json!({ "secret_key": "hunter2" }),
            format!(
                "{endpoint} says that the secret of the access key `test` is wrong; correct \
                 `connection.secret_key`, or the environment it comes from"
            ),
        ),
        (
            json!({ "access_key": "nobody" }),
            format!(
                "{endpoint} does not know the access key `nobody`; correct `connection.access_key`, or the \
                 environment it comes from"
            ),
        ),
        (
            json!({ "bucket": "lakes" }),
            format!(
                "the bucket `lakes` does not exist at {endpoint}; create it, or correct `connection.bucket`"
            ),
        ),
    ] {
        let error = open_error(&at(connection)).await;
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Config, says));
    }
}

#[tokio::test]
async fn a_probe_tries_what_the_server_claims() {
    let server = Server::start("probe").await;
    let probe = async |config: &Arc<Config>| {
        let context =
            ProbeContext { pipeline: "p".into(), transactional: false, patience: Duration::from_secs(5) };
        let findings = config.probe(context).await;
        findings.into_iter().map(|finding| format!("{:?}: {finding}", finding.verdict)).collect::<Vec<_>>()
    };
    let found = probe(&config(&server.endpoint(), json!({}))).await;
    assert!(found[0].starts_with("Good: bucket `lake` exists, "), "{found:#?}");
    assert_eq!(
        found[1..],
        [
            "Good: objects can be created in `lake`",
            "Good: a second object of the same name is refused, as it must be"
        ]
    );
    assert_eq!(server.objects().await, [], "the probe leaves nothing");
    let found = probe(&config(&server.endpoint(), json!({ "connection": { "bucket": "puddle" } }))).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("Bad: the bucket `puddle` does not exist at "), "{found:#?}");
    // A server that takes the condition for an ornament.
    let doorman = Doorman::start(&server).await;
    doorman.play(2, "PUT", Trick::Answer("200 OK"));
    let found = probe(&config(&doorman.endpoint(), json!({}))).await;
    assert!(found[2].starts_with("Bad: an object of a name that is taken was not refused: "), "{found:#?}");
    let closed = "http://127.0.0.1:1";
    let found = probe(&config(closed, json!({}))).await;
    assert!(found[0].starts_with(&format!("Bad: {closed} cannot be reached: ")), "{found:#?}");
}
