//! Credentials that are replaced on disk while a pipeline runs.
use crate::ends;

use std::path::{Path, PathBuf};
use std::time::Duration;

use aqueduct_api::{ErrorKind, Offsets};
use aqueduct_tests::{Folder, Kafka};
use ends::{create, fill, open_sink, open_sink_of, open_source, open_source_kept, record, until_member};
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

/// A pair of another user, of the same authority.
fn issue(kafka: &Kafka, name: &str, to: &dyn Fn(&str) -> PathBuf) {
    let openssl = |arguments: &[&str]| {
        let done = std::process::Command::new("openssl").args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let file = |path: PathBuf| path.display().to_string();
    let (key, request, certificate) = (file(to("key")), file(to("csr")), file(to("crt")));
    let (ca, ca_key) = (file(kafka.certificate("ca.crt")), file(kafka.certificate("ca.key")));
    let subject = format!("/CN={name}");
    openssl(&[
        "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-subj", &subject, "-out", &request,
    ]);
    openssl(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-days",
        "2",
        "-out",
        &certificate,
    ]);
}

/// Neither kind of sink fails or starts again: the next records are written by another user.
#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_is_taken_up_by_another_producer_of_the_sink() {
    let kafka = ends::broker();
    let folder = Folder::new("renewed");
    let path = |name: &str| folder.path().join(name);
    for name in ["crt", "key"] {
        copy(&kafka.certificate(&format!("client.{name}")), &path(name));
    }
    let tls = json!({ "ca": kafka.certificate("ca.crt"), "certificate": path("crt"), "key": path("key") });
    let connection = json!({ "brokers": kafka.tls_brokers(), "tls": tls });
    create(&kafka, "renewed", 1, &[]).await;
    create(&kafka, "unread", 1, &[]).await;
    let rights = |principal: &str| kafka.allow(principal, "topic:renewed", &["Write", "Describe"]);
    block_in_place(|| {
        rights("User:client");
        kafka.allow("User:client", "transactional-id:renewed-*", &["Write", "Describe"]);
        kafka.allow("User:second", "transactional-id:renewed-*", &["Write", "Describe"]);
        kafka.allow("User:second", "group:unread", &["Read"]);
        kafka.allow("User:second", "topic:unread", &["Read"]);
    });
    let config = json!({ "connection": connection, "topic": "renewed" });
    let mut writer = open_sink("", config.clone()).await;
    let mut transactional = open_sink_of("", "renewed", config, true).await;
    transactional.sink.transactional().unwrap().stored().await.unwrap();
    writer.write(vec![record("t", None, "1")]).await.unwrap();
    writer.flush().await.unwrap();

    issue(&kafka, "second", &path);
    block_in_place(|| rights("User:second"));
    tokio::time::sleep(Duration::from_secs(5)).await;
    block_in_place(|| kafka.disallow("User:client", "topic:renewed", &["Write"]));
    writer.write(vec![record("t", None, "2")]).await.unwrap();
    tokio::time::timeout(ends::PATIENCE, writer.flush()).await.unwrap().unwrap();
    transactional.write(vec![record("t", None, "3")]).await.unwrap();
    tokio::time::timeout(ends::PATIENCE, transactional.flush()).await.unwrap().unwrap();
    let reader =
        open_source_kept(&kafka.brokers(), "unread", json!({ "topics": ["unread"] }), 10, true).await;
    let proof = until_member(&reader).await;
    let nowhere = Offsets::from([("unread/0".into(), "0".into())]);
    transactional.sink.transactional().unwrap().commit(&nowhere, Some(proof)).await.unwrap();
    assert_eq!((writer.rejected.len(), transactional.rejected.len()), (0, 0));
    let written = block_in_place(|| kafka.read_values("renewed"));
    let written: Vec<_> = written.into_iter().map(|(_, _, value)| value.unwrap()).collect();
    assert_eq!(written, [b"1", b"2", b"3"]);
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

    // The cluster has another password; a connection stays open until its next login.
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
    // The admin requests use the new password a moment later than the producer.
    let deadline = Instant::now() + Duration::from_secs(10);
    while (reader.condition.reason(), writer.condition.reason()) != (None, None) {
        assert!(
            Instant::now() < deadline,
            "{:?}, {:?}",
            reader.condition.reason(),
            writer.condition.reason()
        );
        reader.nothing(Duration::from_millis(200)).await;
    }
}
