//! The sink against a server that is away, slow, overloaded, cut off, or that refuses.

#![allow(clippy::unwrap_used)]

mod scene;
// This file uses a part of what the server offers.
#[allow(dead_code)]
mod server;

use std::time::Duration;

use aqueduct_api::{BatchId, Condition, Durable, ErrorKind};
use scene::{batch, config, lines, name, try_open, watch};
use serde_json::json;
use server::{Doorman, Server, Trick};

/// As docs/running.md says: the pipeline starts, waits, and says for what.
#[tokio::test(flavor = "multi_thread")]
async fn waits_for_a_server_that_is_away_at_the_start() {
    let server = Server::start("late").await;
    let doorman = Doorman::start(&server).await;
    // Nobody listens there, and later the doorman takes it over.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let condition = Condition::default();
    let opening = tokio::spawn({
        let (config, condition) = (config(&endpoint, json!({})), condition.clone());
        async move { try_open(&config, &condition).await }
    });
    let reason = loop {
        match condition.reason() {
            Some(reason) => break reason,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        assert!(!opening.is_finished(), "it does not wait");
    };
    let says = format!(
        "{endpoint} cannot be reached: Connection refused (os error 111); it is tried again by itself; check that it \
         runs, and `connection.endpoint`"
    );
    assert_eq!(reason, says);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!opening.is_finished());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let upstream = doorman.port;
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(("127.0.0.1", upstream)).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    let mut sink = tokio::time::timeout(Duration::from_secs(30), opening).await.unwrap().unwrap().unwrap();
    assert_eq!(condition.reason(), None);
    sink.write(&batch(0, 0, 10, 100)).await.unwrap();
    assert_eq!(sink.flush().await.unwrap().durable, Durable::Batches(vec![BatchId(0)]));
    assert!(server.objects().await == [(name(0, ".txt"), lines(0, 10, 100))]);
}

/// What somebody has to grant is waited for, and said; what no answer will change ends the pipeline.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_waited_for_and_an_option_that_is_refused_is_not() {
    let server = Server::start("rights").await;
    let doorman = Doorman::start(&server).await;
    let condition = Condition::default();
    let said = watch(&condition);
    let config = config(&doorman.endpoint(), json!({}));
    // Listing uploads is not needed: without it leftovers stay.
    doorman.play(1, "GET /lake", Trick::Answer("403 Forbidden"));
    let mut sink = try_open(&config, &condition).await.unwrap();
    assert_eq!((doorman.left(), condition.reason()), (0, None));
    doorman.play(1, "PUT /lake/orders", Trick::Answer("403 Forbidden"));
    sink.write(&batch(0, 0, 10, 100)).await.unwrap();
    assert_eq!(sink.flush().await.unwrap().durable, Durable::Batches(vec![BatchId(0)]));
    let says = "the access key `test` may not write objects in the bucket `lake`; allow s3:GetObject, s3:PutObject, \
                s3:AbortMultipartUpload, s3:ListBucket and s3:ListBucketMultipartUploads; it is tried again by itself";
    assert!(said.lock().unwrap().iter().any(|reason| reason == says), "{said:?}");
    sink.write(&batch(1, 10, 10, 100)).await.unwrap();
    doorman.play(1, "PUT /lake/orders", Trick::Answer("501 Not Implemented"));
    let error = sink.flush().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
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
