//! The way to a secured cluster, and what is said when it is barred: each sentence is provoked on the real broker.
#![allow(missing_docs, clippy::unwrap_used)]

mod ends;

use std::path::Path;
use std::time::Duration;

use aqueduct_api::{Condition, Polled};
use aqueduct_tests::Kafka;
use ends::{broker, create, open_sink, open_source, record, text};
use serde_json::{Value, json};
use tokio::time::Instant;

fn mutual(kafka: &Kafka) -> Value {
    json!({ "ca": kafka.certificate("ca.crt"), "certificate": kafka.certificate("client.crt"),
            "key": kafka.certificate("client.key") })
}

fn scram(password: &str) -> Value {
    json!({ "scram_sha_512": { "user": "app", "password": password } })
}

/// What both ends of a pipeline say while they cannot connect.
async fn says(connection: Value, expected: &str) {
    let config = json!({ "connection": connection, "topics": ["secured"] });
    let mut reader = open_source("", "connecting", config).await;
    let writer = open_sink("", json!({ "connection": connection, "topic": "secured" })).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    let wrong = |end: &Condition| end.reason().is_none_or(|reason| !reason.starts_with(expected));
    while wrong(&reader.condition) || wrong(&writer.condition) {
        let reasons = [&reader.condition, &writer.condition].map(Condition::reason);
        assert!(Instant::now() < deadline, "expected {expected}\nfound {reasons:#?}");
        let polled = reader.source.poll(Duration::from_millis(50)).await.unwrap();
        assert!(matches!(polled, Polled::Idle), "{polled:?}");
    }
    assert_eq!(reader.condition.reason(), writer.condition.reason());
}

/// Writes through the connection and reads it back.
async fn passes(connection: Value, group: &str) {
    let mut writer = open_sink("", json!({ "connection": connection, "topic": "secured" })).await;
    writer.write(vec![record("t", Some("k"), group)]).await.unwrap();
    writer.flush().await.unwrap();
    let config = json!({ "connection": connection, "topics": ["secured"], "group": group });
    let mut reader = open_source("", "connecting", config).await;
    let deadline = Instant::now() + ends::PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{:?}", reader.condition.reason());
        if let Polled::Batch { records, .. } = reader.source.poll(Duration::from_millis(100)).await.unwrap()
            && records.iter().any(|record| text(&record.value) == group)
        {
            break;
        }
    }
    reader.source.close().await.unwrap();
}

async fn secured(kafka: &Kafka) {
    create(kafka, "secured", 1, &[]).await;
    for principal in ["User:client", "User:app"] {
        kafka.allow(principal, "topic:secured", &["Read", "Write", "Describe"]);
        kafka.allow(principal, "group:secured*", &["Read"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_pass_over_tls_and_scram() {
    let kafka = broker();
    secured(&kafka).await;
    let files = json!({ "brokers": kafka.tls_brokers(), "tls": mutual(&kafka) });
    passes(files, "secured-files").await;
    let pem = |name: &str| std::fs::read_to_string(kafka.certificate(name)).unwrap();
    let text = json!({ "ca": pem("ca.crt"), "certificate": pem("client.crt"),
        "key": pem("client-encrypted.key"), "key_password": "secret" });
    passes(json!({ "brokers": kafka.tls_brokers(), "tls": text }), "secured-text").await;
    let tls = json!({ "ca": kafka.certificate("ca.crt") });
    passes(
        json!({ "brokers": kafka.sasl_brokers(), "tls": tls, "sasl": scram("app-secret") }),
        "secured-scram",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bar_on_the_way_is_named() {
    let kafka = broker();
    let (plain, tls, sasl) = (kafka.brokers(), kafka.tls_brokers(), kafka.sasl_brokers());
    let ca = json!({ "ca": kafka.certificate("ca.crt") });
    let other = json!({ "ca": kafka.certificate("ca-other.crt") });
    says(
        json!({ "brokers": "no-such-host.invalid:9092" }),
        "the name `no-such-host.invalid` of broker no-such-host.invalid:9092 cannot be resolved: ",
    )
    .await;
    let closed = format!("127.0.0.1:{}", aqueduct_tests::free_ports(1));
    says(json!({ "brokers": closed }), &format!("nothing listens at {closed}: the connection was refused; "))
        .await;
    says(json!({ "brokers": tls }), &format!("{tls} speaks TLS, and the connection is made without; ")).await;
    says(
        json!({ "brokers": plain, "tls": ca }),
        &format!("{plain} does not speak TLS, and the connection is made with it; "),
    )
    .await;
    says(
        json!({ "brokers": tls, "tls": other }),
        &format!("the certificate of {tls} is signed by `CN=test-ca`, which is not trusted here: "),
    )
    .await;
    says(
        json!({ "brokers": tls, "tls": true }),
        &format!("the certificate of {tls} is signed by `CN=test-ca`, which is not trusted here: "),
    )
    .await;
    says(
        json!({ "brokers": tls, "tls": ca }),
        &format!("{tls} asks for a client certificate, and the connection has none; "),
    )
    .await;
    let foreign = json!({ "ca": kafka.certificate("ca.crt"), "certificate": kafka.certificate("client-other.crt"),
        "key": kafka.certificate("client-other.key") });
    says(
        json!({ "brokers": tls, "tls": foreign }),
        &format!("{tls} refuses the client certificate `CN=client`: "),
    )
    .await;
    says(
        json!({ "brokers": sasl, "tls": ca }),
        &format!("{sasl} asks for a login, and the connection has no `sasl`; "),
    )
    .await;
    says(
        json!({ "brokers": plain, "sasl": scram("app-secret") }),
        &format!("{plain} takes no login on this port, and the connection has `sasl`; "),
    )
    .await;
    let login = json!({ "plain": { "user": "app", "password": "app-secret" } });
    says(
        json!({ "brokers": sasl, "tls": ca, "sasl": login }),
        &format!("{sasl} does not take PLAIN, it takes SCRAM-SHA-512; "),
    )
    .await;
    says(
        json!({ "brokers": sasl, "tls": ca, "sasl": scram("wrong") }),
        &format!("{sasl} does not accept SCRAM-SHA-512 of user `app`: invalid credentials"),
    )
    .await;
    let controller = format!("127.0.0.1:{}", kafka.port_of(0, 3));
    says(
        json!({ "brokers": controller }),
        &format!("{controller} is the port of a KRaft controller, not of a broker; "),
    )
    .await;
    let web = web_server();
    says(
        json!({ "brokers": web }),
        &format!("what listens at {web} is not a Kafka broker: it answers in HTTP; "),
    )
    .await;
}

/// Answers every request, when it comes, in HTTP.
fn web_server() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let (mut stream, mut request) = (stream.unwrap(), [0; 1024]);
                let _ = stream.read(&mut request);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_brokers_out_of_their_time_or_place() {
    for (certificate, says_then) in [
        ("server-expired", "the certificate of {} expired at 20"),
        ("server-future", "the certificate of {} is not valid before 20"),
        ("server-elsewhere", "the certificate of {} is for `elsewhere.example`, not for `localhost`; "),
    ] {
        let kafka = Kafka::new().present(certificate);
        kafka.start_again();
        let brokers = kafka.tls_brokers();
        let connection = json!({ "brokers": brokers, "tls": mutual(&kafka) });
        says(connection, &says_then.replace("{}", &brokers)).await;
        if certificate == "server-elsewhere" {
            secured(&kafka).await;
            let mut tls = mutual(&kafka);
            tls["verify_hostname"] = json!(false);
            passes(json!({ "brokers": brokers, "tls": tls }), "secured-elsewhere").await;
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}
