//! The harness itself: what the other tests are told must be true.

use std::fs;
use std::time::Duration;

use aqueduct_tests::{Answer, FaultProxy, Kafka, Load, S3, Toxiproxy, check, objects, request};
use serde_json::json;

#[test]
fn a_broker_killed_in_the_middle_keeps_what_it_acknowledged() {
    let kafka = Kafka::start();
    kafka.create_topic("orders", 6);
    let load = Load { topic: "orders".into(), ids: 0..20_000, keys: 100, rate: 8_000 };
    std::thread::scope(|scope| {
        scope.spawn(|| kafka.produce(&load));
        std::thread::sleep(Duration::from_millis(900));
        kafka.kill();
        kafka.start_again();
    });
    let records = kafka.read("orders");
    assert_eq!(records.len(), 20_000);
    check(&records, &records).assert_exact();
    assert_eq!(kafka.lag("nobody", "orders"), 20_000);
}

#[test]
fn a_bucket_is_read_past_its_server_and_faults_come_and_go() {
    let s3 = S3::start();
    s3.create_bucket("lake");
    fs::create_dir_all(s3.bucket("lake").join("orders")).expect("a folder");
    fs::write(s3.bucket("lake").join("orders/0-0.jsonl"), "{\"id\":1,\"key\":\"a\"}\n").expect("an object");
    assert_eq!(objects(&s3.bucket("lake")).len(), 1);

    let refusing = FaultProxy::start(s3.port);
    assert_eq!(request(refusing.port, "GET", "/health", "").expect("an answer").0, 200);
    refusing.answer(Some(Answer { status: 503, code: "SlowDown" }));
    let (status, body) = request(refusing.port, "PUT", "/lake/a", "body").expect("an answer");
    assert!(status == 503 && body.contains("SlowDown"), "{status} {body}");
    refusing.answer(None);
    assert_eq!(request(refusing.port, "GET", "/health", "").expect("an answer").0, 200);
    assert_eq!(refusing.answered(), 1);

    let proxy = Toxiproxy::start(s3.port);
    proxy.toxic("downstream", "limit_data", &json!({ "bytes": 5 }));
    assert!(request(proxy.port, "GET", "/health", "").is_err());
    proxy.heal();
    assert_eq!(request(proxy.port, "GET", "/health", "").expect("an answer").0, 200);
    proxy.cut();
    assert!(request(proxy.port, "GET", "/health", "").is_err());
}
