//! The sink against a real S3 server, and against one that is away, slow, overloaded, or cut off.

#![allow(clippy::unwrap_used)]

mod server;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_api::catalog::{ProbeContext, Repeats, SinkConnector, SinkContext};
use aqueduct_api::{
    Batch, BatchId, Condition, Durable, Error, ErrorKind, Origin, Payload, Record, Result, Sink,
};
use aqueduct_connector_s3::{Config, Objects};
use aqueduct_testkit::conformance::{self, SinkUnderTest};
use async_trait::async_trait;
use serde_json::{Value, json};
use server::{Doorman, Server, Trick};
use tokio::time::Instant;

fn config(endpoint: &str, more: Value) -> Arc<Config> {
    let mut config = json!({
        "connection": { "bucket": "lake", "endpoint": endpoint, "access_key": "test", "secret_key": "testtest" },
        "path": "{topic}/{partition}-{start_offset}",
        "format": "lines",
    });
    for (name, value) in more.as_object().unwrap() {
        match (config.get_mut(name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new.clone()),
            _ => config[name] = value.clone(),
        }
    }
    let config: Config = serde_json::from_value(config).unwrap();
    assert_eq!(Objects::check(&config), []);
    Arc::new(config)
}

async fn try_open(config: &Arc<Config>, condition: &Condition) -> Result<Box<dyn Sink>> {
    let context = SinkContext { condition: condition.clone(), ..SinkContext::new("orders-to-lake") };
    Objects::open(Arc::clone(config), context).await
}

async fn open(config: &Arc<Config>) -> Box<dyn Sink> {
    try_open(config, &Condition::default()).await.unwrap()
}

async fn open_error(config: &Arc<Config>) -> Error {
    match try_open(config, &Condition::default()).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

/// A value of `bytes` characters that no compressor makes smaller than three quarters.
fn value(offset: i64, bytes: usize) -> String {
    let mut state = offset as u64;
    let mut text = format!("{offset}:");
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(char::from(b'0' + (state >> 58) as u8));
    }
    text
}

fn batch(id: u64, first: i64, count: i64, bytes: usize) -> Arc<Batch> {
    let record = |offset| Record {
        topic: "orders".into(),
        origin: Origin { partition: 0, offset },
        key: Payload::Absent,
        value: value(offset, bytes).into(),
        headers: Default::default(),
        timestamp_us: Some(0),
    };
    Batch::new(BatchId(id), (first..first + count).map(record).collect(), None)
}

fn lines(first: i64, count: i64, bytes: usize) -> Vec<u8> {
    (first..first + count).map(|offset| value(offset, bytes) + "\n").collect::<String>().into_bytes()
}

fn name(first: i64, suffix: &str) -> String {
    format!("orders/0-{first:020}{suffix}")
}

/// Everything that was said while waiting.
fn watch(condition: &Condition) -> Arc<Mutex<Vec<String>>> {
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let (condition, heard) = (condition.clone(), Arc::clone(&said));
    tokio::spawn(async move {
        loop {
            if let Some(reason) = condition.reason() {
                let mut heard = heard.lock().unwrap();
                if heard.last() != Some(&reason) {
                    heard.push(reason);
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    said
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

    fn repeats(&self) -> Repeats {
        Objects::traits(&self.config).repeats
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
    let left = [name(100, ".txt"), name(7_000, ".txt")];
    let alive = [name(99, ".txt"), "orders/1-00000000000000000100.txt".to_owned(), "else/where".to_owned()];
    for key in left.iter().chain(&alive) {
        server.client().create_multipart_upload().bucket("lake").key(key).send().await.unwrap();
    }
    let mut sink = open(&config(&server.endpoint(), json!({}))).await;
    sink.write(&batch(0, 100, 10, 100)).await.unwrap();
    sink.flush().await.unwrap();
    let mut expected = alive.to_vec();
    expected.sort();
    let mut found = server.uploads().await;
    found.sort();
    assert_eq!(found, expected);
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
    let nobody = "http://127.0.0.1:1";
    let error = open_error(&config(nobody, json!({}))).await;
    let says = format!(
        "{nobody} cannot be reached: Connection refused (os error 111); it is tried again by itself; check that it \
         runs, and `connection.endpoint`"
    );
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Transient, says));
}

/// Trouble that passes is waited out and said, and nothing is lost or written twice.
#[tokio::test(flavor = "multi_thread")]
async fn waits_for_a_server_in_trouble() {
    let server = Server::start("trouble").await;
    let doorman = Doorman::start(&server).await;
    let endpoint = doorman.endpoint();
    let config =
        config(&endpoint, json!({ "connection": { "timeouts": { "connect": "1s", "answer": "1s" } } }));
    let condition = Condition::default();
    let said = watch(&condition);
    let mut sink = try_open(&config, &condition).await.unwrap();
    let again = "it is tried again by itself";
    let mut expected = Vec::new();
    // The SDK tries twice by itself: of three failures over two parts, two meet in one.
    for (round, (times, trick, says)) in [
        (3, Trick::Answer("503 Slow Down"), Some(format!("{endpoint} answers 503; {again}"))),
        (3, Trick::Answer("500 Internal Server Error"), Some(format!("{endpoint} answers 500; {again}"))),
        (
            3,
            Trick::Silence,
            Some(format!(
                "{endpoint} does not answer in time; {again}; a slow line may need a longer `connection.timeouts.answer`"
            )),
        ),
        (3, Trick::Cut(1_000), None),
        (1, Trick::LoseAnswer, None),
        (2, Trick::LoseAnswer, None),
    ]
    .into_iter()
    .enumerate()
    {
        // A small object in one request, and one in parts.
        for (size, count) in [(0, 10), (1, 6_000)] {
            let first = round as i64 * 100_000 + size * 10_000;
            doorman.play(times, "PUT /lake/orders", trick);
            if size == 1 {
                doorman.play(1, "POST /lake/orders", trick);
            }
            said.lock().unwrap().clear();
            sink.write(&batch(first as u64, first, count, 1_000)).await.unwrap();
            let flushed = tokio::time::timeout(Duration::from_secs(60), sink.flush()).await;
            assert_eq!(flushed.unwrap().unwrap().durable, Durable::Batches(vec![BatchId(first as u64)]), "{trick:?}");
            assert_eq!((doorman.left(), condition.reason()), (0, None));
            let said = said.lock().unwrap().clone();
            println!("{trick:?}: {said:?}");
            if let Some(says) = &says {
                assert!(said.contains(says), "{said:?}");
            }
            expected.push((name(first, ".txt"), lines(first, count, 1_000)));
        }
    }
    assert!(server.objects().await == expected);
}

/// The server goes away for a while, with a sink in the middle of its work.
#[tokio::test(flavor = "multi_thread")]
async fn waits_for_a_server_that_is_away() {
    let server = Server::start("away").await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let upstream = server.port;
    let relay = move |listener: tokio::net::TcpListener| async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", upstream)).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    };
    let running = tokio::spawn(relay(tokio::net::TcpListener::from_std(listener).unwrap()));
    let endpoint = format!("http://127.0.0.1:{port}");
    let condition = Condition::default();
    let said = watch(&condition);
    let mut sink = try_open(&config(&endpoint, json!({})), &condition).await.unwrap();
    sink.write(&batch(0, 0, 100, 1_000)).await.unwrap();
    running.abort();
    let _ = running.await;
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        relay(tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap()).await;
    });
    assert_eq!(sink.flush().await.unwrap().durable, Durable::Batches(vec![BatchId(0)]));
    let says = format!(
        "{endpoint} cannot be reached: Connection refused (os error 111); it is tried again by itself; check that it \
         runs, and `connection.endpoint`"
    );
    assert!(said.lock().unwrap().contains(&says), "{said:?}");
    assert!(server.objects().await == [(name(0, ".txt"), lines(0, 100, 1_000))]);
}

#[tokio::test]
async fn a_probe_tries_what_the_server_claims() {
    let server = Server::start("probe").await;
    let probe = async |config: &Arc<Config>| {
        let context =
            ProbeContext { pipeline: "p".into(), transactional: false, patience: Duration::from_secs(5) };
        let findings = Objects::probe(Arc::clone(config), context).await;
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
