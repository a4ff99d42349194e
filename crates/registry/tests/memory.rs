//! What is remembered: one question however many ask, for how long, how much; and schemas that refer to each other.
#![allow(missing_docs, clippy::unwrap_used)]

mod stub;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_api::ErrorKind;
use aqueduct_api::registry::{Registering, SchemaId, SchemaKind, SchemaText, Version};
use futures_util::future::join_all;
use serde_json::{Value, json};
use stub::{Asked, Reply, Stub};
use tokio::time::{sleep, timeout};

const SEVEN: SchemaId = SchemaId::Number(7);

fn slowly(reply: Reply) -> Reply {
    reply.after(Duration::from_millis(200))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_request_however_many_ask() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        "GET /schemas/ids/8?deleted=true" => slowly(Reply::text(503, "")),
        "GET /schemas/ids/9?deleted=true" => slowly(Reply::refusal(404, 40403, "Schema not found")),
        _ => slowly(Reply::ok(json!({ "id": 7, "schema": "\"int\"" }))),
    })
    .await;
    let registry = stub.open();
    for (id, kind) in [(7, None), (8, Some(ErrorKind::Transient)), (9, Some(ErrorKind::BadRecord))] {
        let before = stub.lines().len();
        let asking = (0..200).map(|_| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.schema(SchemaId::Number(id)).await })
        });
        for answer in join_all(asking).await {
            assert_eq!(answer.unwrap().err().map(|error| error.kind()), kind);
        }
        assert_eq!(stub.lines().len() - before, 1, "id {id}");
    }
    // As with ids, so with schemas.
    let before = stub.lines().len();
    let schema = SchemaText::new(SchemaKind::Avro, "\"int\"");
    let how = Registering { allowed: true, normalize: false };
    let asking = (0..200).map(|_| registry.id("a-value", &schema, how));
    assert!(join_all(asking).await.into_iter().all(|id| id.unwrap() == 7));
    assert_eq!(stub.lines()[before..], ["POST /subjects/a-value"]);
}

/// Whoever asked first may have given up: those who wait still get their answer.
#[tokio::test]
async fn an_asker_that_gives_up_takes_nobody_along() {
    let stub = Stub::start(|_| slowly(Reply::ok(json!({ "schema": "\"int\"" })))).await;
    let registry = stub.open();
    let (first, second) =
        tokio::join!(timeout(Duration::from_millis(50), registry.schema(SEVEN)), registry.schema(SEVEN));
    assert!(first.is_err());
    second.unwrap();
    assert_eq!(stub.lines().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thousands_of_ids_are_asked_a_few_at_a_time_and_once() {
    let stub = Stub::start(|asked| {
        let id = asked.line.trim_start_matches("GET /schemas/ids/").trim_end_matches("?deleted=true");
        Reply::ok(json!({ "schema": format!("\"s{id}\"") })).after(Duration::from_millis(1))
    })
    .await;
    let registry = stub.open();
    for _ in 0..2 {
        let asking = (0..2_000_u32).map(|id| {
            let registry = registry.clone();
            tokio::spawn(async move { (id, registry.schema(SchemaId::Number(id)).await.unwrap()) })
        });
        for answer in join_all(asking).await {
            let (id, registered) = answer.unwrap();
            assert_eq!((registered.id, &*registered.schema.text), (id, &*format!("\"s{id}\"")));
        }
    }
    assert_eq!(stub.lines().len(), 2_000);
    assert!((2..=8).contains(&stub.at_once_max()), "{}", stub.at_once_max());
}

#[tokio::test]
async fn what_was_not_there_may_come() {
    let there = Arc::new(AtomicBool::new(false));
    let known = there.clone();
    let stub = Stub::start(move |_| match known.load(Ordering::SeqCst) {
        true => Reply::ok(json!({ "schema": "\"int\"" })),
        false => Reply::refusal(404, 40403, "Schema not found"),
    })
    .await;
    let registry = stub.open();
    registry.schema(SEVEN).await.unwrap_err();
    there.store(true, Ordering::SeqCst);
    assert_eq!(registry.schema(SEVEN).await.unwrap_err().kind(), ErrorKind::BadRecord);
    assert_eq!(stub.lines().len(), 1);
    sleep(aqueduct_registry::REFUSAL_AGE_MAX + Duration::from_millis(100)).await;
    registry.schema(SEVEN).await.unwrap();
}

/// Subjects `s0`, `s1` and so on, each of which refers to those that its number is given.
async fn referring(to: impl Fn(u32) -> Vec<u32> + Send + Sync + 'static) -> Stub {
    Stub::start(move |asked: &Asked| {
        let number = asked.line.split(['/', '?']).find_map(|part| part.strip_prefix('s')?.parse().ok());
        let number: u32 = number.unwrap_or(0);
        let references: Vec<Value> = to(number)
            .into_iter()
            .map(|to| json!({ "name": format!("r{to}"), "subject": format!("s{to}"), "version": 1 }))
            .collect();
        slowly(Reply::ok(
            json!({ "id": number + 100, "schemaType": "AVRO", "schema": format!("\"t{number}\""), "references": references }),
        ))
    })
    .await
}

#[tokio::test]
async fn references_are_fetched_once_each() {
    // Two ways from 0 to 3.
    let stub = referring(|number| match number {
        0 => vec![1, 2],
        1 | 2 => vec![3],
        _ => vec![],
    })
    .await;
    let registry = stub.open();
    let registered = registry.schema(SEVEN).await.unwrap();
    let names =
        |schema: &SchemaText| schema.references.iter().map(|it| it.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&registered.schema), ["r1", "r2"]);
    let inner = &registered.schema.references[1].schema.references[0];
    assert_eq!((&*inner.subject, inner.version, &*inner.schema.text), ("s3", 1, "\"t3\""));
    assert_eq!(stub.lines().len(), 4);
    // They are known by themselves now.
    registry.version("s3", Version::Number(1)).await.unwrap();
    assert_eq!(stub.lines().len(), 4);
}

#[tokio::test]
async fn circles_and_depths_without_end_are_refused() {
    let circle = referring(|number| vec![if number == 5 { 3 } else { number + 1 }]).await;
    let registry = circle.open();
    // From several places at once: nobody waits for somebody who waits for him.
    let asking = [0, 3, 4, 5].map(|number| {
        let registry = registry.clone();
        async move { registry.version(&format!("s{number}"), Version::Number(1)).await }
    });
    for answer in timeout(Duration::from_secs(10), join_all(asking)).await.unwrap() {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRecord);
        assert!(error.says().ends_with("the schemas refer to each other in a circle"), "{error}");
    }
    let wide = Arc::new(Mutex::new(0));
    let counted = wide.clone();
    let stub = referring(move |number| {
        *counted.lock().unwrap() += 1;
        // Each refers twice to the next: few schemas, and a tree without end.
        if number < 20 { vec![number + 1, number + 1] } else { vec![] }
    })
    .await;
    let error = stub.open().version("s0", Version::Number(1)).await.unwrap_err();
    assert!(error.says().ends_with("refers to more than 1000 others"), "{error}");
    assert_eq!(*wide.lock().unwrap(), 21);
}

#[tokio::test]
async fn an_answer_has_a_bound() {
    let stub = Stub::start(|_| Reply::ok(json!({ "schema": "x".repeat(17 << 20) }))).await;
    let error = stub.open().schema(SEVEN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert!(error.says().contains("answers with more than"), "{error}");
}
