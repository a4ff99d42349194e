//! Credentials that somebody replaces on disk while a pipeline runs.
#![allow(missing_docs, clippy::unwrap_used)]

mod ends;

use std::path::{Path, PathBuf};
use std::time::Duration;

use aqueduct_api::ErrorKind;
use aqueduct_tests::{Folder, Kafka};
use ends::{create, fill, open_sink, open_source, record};
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::Instant;

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

fn allow(kafka: &Kafka, principal: &str, topic: &str) {
    kafka.allow(principal, &format!("topic:{topic}"), &["Read", "Write", "Describe"]);
    kafka.allow(principal, &format!("group:{topic}"), &["Read"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_is_taken_up_by_another_client() {
    let kafka = ends::broker();
    let folder = Folder::new("credentials");
    let path = |name: &str| folder.path().join(name);
    for name in ["crt", "key"] {
        copy(&kafka.certificate(&format!("client.{name}")), &path(name));
    }
    let tls = json!({ "ca": kafka.certificate("ca.crt"), "certificate": path("crt"), "key": path("key") });
    let connection = json!({ "brokers": kafka.tls_brokers(), "tls": tls });
    create(&kafka, "replaced", 1, &[]).await;
    allow(&kafka, "User:client", "replaced");
    let config = json!({ "connection": connection, "topics": ["replaced"] });
    let mut reader = open_source("", "replaced", config).await;
    // Half of a pair is no pair, and is not taken up.
    copy(&kafka.certificate("client-future.crt"), &path("crt"));
    reader.nothing(Duration::from_secs(4)).await;
    // The same pair in another form is another content.
    let again = std::fs::read_to_string(kafka.certificate("client.crt")).unwrap() + "\n";
    std::fs::write(path("crt"), again).unwrap();
    let error = reader.error().await;
    assert_eq!(error.kind(), ErrorKind::Fatal);
    let brokers = kafka.tls_brokers();
    let says = format!("the credentials for {brokers} were replaced on disk: connecting with the new ones");
    assert_eq!(error.says(), says);
}

/// With SCRAM at a broker over TLS, the password in a file.
fn connection(kafka: &Kafka, password: &PathBuf) -> Value {
    let login = json!({ "scram_sha_512": { "user": "app", "password": { "file": password } } });
    json!({ "brokers": kafka.sasl_brokers(), "tls": { "ca": kafka.certificate("ca.crt") }, "sasl": login })
}

#[tokio::test(flavor = "multi_thread")]
async fn another_password_is_taken_up_by_the_client_that_runs() {
    let kafka = Kafka::start();
    let folder = Folder::new("password");
    let password = folder.path().join("password");
    std::fs::write(&password, "app-secret\n").unwrap();
    create(&kafka, "rotated", 1, &[]).await;
    allow(&kafka, "User:app", "rotated");
    fill(&kafka, "rotated", 0..10, 1_000).await;
    let connection = connection(&kafka, &password);
    let config = json!({ "connection": connection, "topics": ["rotated"] });
    let mut reader = open_source("", "rotated", config).await;
    let mut writer = open_sink("", json!({ "connection": connection, "topic": "rotated" })).await;
    reader.read(10).await;
    writer.write(vec![record("t", None, "10")]).await.unwrap();
    writer.flush().await.unwrap();
    reader.read(1).await;

    // The cluster has another one; nobody is thrown out for it before he logs in anew.
    block_in_place(|| kafka.configure("users", "app", "SCRAM-SHA-512=[password=other]"));
    block_in_place(|| {
        kafka.kill();
        kafka.start_again();
    });
    let deadline = Instant::now() + ends::PATIENCE;
    let refused = format!("{} does not accept SCRAM-SHA-512 of user `app`: ", kafka.sasl_brokers());
    for condition in [&reader.condition, &writer.condition] {
        while condition.reason().is_none_or(|reason| !reason.starts_with(&refused)) {
            assert!(Instant::now() < deadline, "{:?}", condition.reason());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    std::fs::write(&password, "other\n").unwrap();
    // Neither end fails: both are the clients that they were.
    writer.write(vec![record("t", None, "11")]).await.unwrap();
    writer.flush().await.unwrap();
    reader.read(1).await;
    reader.nothing(Duration::from_secs(1)).await;
    assert_eq!((reader.condition.reason(), writer.condition.reason()), (None, None));
}
