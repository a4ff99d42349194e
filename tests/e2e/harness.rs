//! The harness itself: what it reports to the other tests must be true.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use aqueduct_tests::{Answer, FaultProxy, Kafka, Load, S3, Toxiproxy, check, objects, request, until};
use serde_json::json;

const SOON: Duration = Duration::from_secs(40);

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

/// Writes one record as librdkafka's own tool does: what it complained about, if it was refused.
fn kcat(kafka: &str, topic: &str, properties: &[String]) -> Result<(), String> {
    let mut command = Command::new("kcat");
    command.args(["-b", kafka, "-t", topic, "-P", "-X", "message.timeout.ms=6000"]);
    for property in properties {
        command.args(["-X", property]);
    }
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kcat starts");
    let _ = child.stdin.take().expect("a standard input").write_all(b"{\"id\":1,\"key\":\"a\"}\n");
    let done = child.wait_with_output().expect("an end");
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

#[test]
fn a_secured_broker_knows_its_users_and_what_they_may() {
    let kafka = Kafka::start();
    kafka.create_topic("orders", 1);
    let file = |key: &str, name: &str| format!("{key}={}", kafka.certificate(name).display());
    let tls = |certificate: &str, key: &str| {
        let own = [file("ssl.certificate.location", certificate), file("ssl.key.location", key)];
        [&["security.protocol=ssl".to_owned(), file("ssl.ca.location", "ca.crt")][..], &own[..]].concat()
    };
    let client = tls("client.crt", "client.key");
    let scram = |user: &str, password: &str| {
        let ca = file("ssl.ca.location", "ca.crt");
        let [user, password] = [format!("sasl.username={user}"), format!("sasl.password={password}")];
        vec!["security.protocol=sasl_ssl".into(), "sasl.mechanism=SCRAM-SHA-512".into(), ca, user, password]
    };

    let refused = kcat(&kafka.tls_brokers(), "orders", &client).expect_err("no right yet");
    assert!(refused.contains("authorization failed"), "{refused}");
    let admin = || kcat(&kafka.sasl_brokers(), "orders", &scram("admin", "admin-secret")).ok();
    until("the password of `admin` is known", SOON, admin);
    kafka.allow("User:client", "topic:ord*", &["Write", "Describe"]);
    kafka.allow("User:app", "topic:orders", &["Write", "Describe"]);
    until("the right is known", SOON, || kcat(&kafka.tls_brokers(), "orders", &client).ok());
    kcat(&kafka.sasl_brokers(), "orders", &scram("app", "app-secret")).expect("app may");
    kafka.disallow("User:app", "topic:orders", &["Write"]);
    let lost = || kcat(&kafka.sasl_brokers(), "orders", &scram("app", "app-secret")).err();
    until("the right is gone", SOON, lost);

    // The password of the encrypted key, a certificate whose time is over, one of another authority.
    let encrypted = tls("client.crt", "client-encrypted.key");
    let password = ["ssl.key.password=secret".to_owned()];
    kcat(&kafka.tls_brokers(), "orders", &[&encrypted[..], &password[..]].concat()).expect("the key opens");
    for stranger in ["client-expired", "client-future", "client-other"] {
        let own = tls(&format!("{stranger}.crt"), &format!("{stranger}.key"));
        kcat(&kafka.tls_brokers(), "orders", &own).expect_err(stranger);
    }
    kcat(&kafka.sasl_brokers(), "orders", &scram("app", "wrong")).expect_err("a wrong password");
    kafka.configure("users", "admin", "SCRAM-SHA-512=[password=other]");
    until("the new password counts", SOON, || {
        kcat(&kafka.sasl_brokers(), "orders", &scram("admin", "other")).ok()
    });
}

#[test]
fn a_broker_presents_the_certificate_it_is_set_to() {
    for certificate in ["server-expired", "server-future", "server-elsewhere"] {
        let kafka = Kafka::new().present(certificate);
        kafka.start_again();
        let ca = format!("ssl.ca.location={}", kafka.certificate("ca.crt").display());
        let common = ["security.protocol=sasl_ssl".to_owned(), "sasl.mechanism=SCRAM-SHA-512".into(), ca];
        let user = ["sasl.username=admin".to_owned(), "sasl.password=admin-secret".into()];
        kafka.create_topic("orders", 1);
        let own = [&common[..], &user[..]].concat();
        let refused = kcat(&kafka.sasl_brokers(), "orders", &own).expect_err(certificate);
        assert!(refused.contains("certificate verify failed"), "{certificate}: {refused}");
    }
}

#[test]
fn what_an_administrator_does_is_done() {
    let kafka = Kafka::start();
    kafka.create_topic_with("orders", 1, &[("retention.ms", "-1")]);
    kafka.produce(&Load { topic: "orders".into(), ids: 0..1_000, keys: 1, rate: 0 });
    kafka.delete_records("orders", 0, 400);
    assert_eq!(kafka.read("orders").first().map(|record| record.offset), Some(400));
    kafka.add_partitions("orders", 3);
    until("there are three", SOON, || (kafka.progress("nobody", "orders").len() == 3).then_some(()));
    kafka.set_topic("orders", &[("max.message.bytes", "50")]);
    let refused = kcat(&kafka.brokers(), "orders", &[]).expect_err("it is too large");
    assert!(refused.contains("too large"), "{refused}");
    kafka.configure("clients", "slow", "producer_byte_rate=1000");
    kafka.unconfigure("clients", "slow", "producer_byte_rate");
    kafka.delete_topic("orders");
    until("it is gone", SOON, || kafka.leader("orders", 0).is_none().then_some(()));
}

#[test]
fn three_brokers_stand_the_loss_of_each_and_an_election_gives_back() {
    let kafka = Kafka::cluster(3);
    kafka.create_topic_with("orders", 6, &[("min.insync.replicas", "2")]);
    let first = |partition| kafka.leader("orders", partition).expect("a leader");
    let before: Vec<u16> = (0..6).map(first).collect();
    let load = Load { topic: "orders".into(), ids: 0..40_000, keys: 100, rate: 4_000 };
    std::thread::scope(|scope| {
        scope.spawn(|| kafka.produce(&load));
        for broker in 0..3 {
            std::thread::sleep(Duration::from_millis(500));
            kafka.kill_broker(broker);
            let led = |_: &u16| (0..6).all(|partition| kafka.leader("orders", partition) != Some(broker));
            until("others lead", SOON, || Some(broker).filter(led));
            kafka.start_broker(broker);
        }
        kafka.freeze_broker(1);
        std::thread::sleep(Duration::from_secs(3));
        kafka.thaw_broker(1);
    });
    let records = kafka.read("orders");
    assert_eq!(records.len(), 40_000);
    check(&records, &records).assert_exact();
    until("all is led as before", SOON, || {
        kafka.elect_preferred();
        let now: Option<Vec<u16>> = (0..6).map(|partition| kafka.leader("orders", partition)).collect();
        (now.as_ref() == Some(&before)).then_some(())
    });
}

#[test]
fn a_listener_leads_through_a_proxy() {
    let kafka = Kafka::new();
    let proxy = Toxiproxy::start(kafka.port_of(0, 5));
    let kafka = kafka.advertise(&[proxy.port]);
    kafka.start_again();
    kafka.create_topic("orders", 1);
    kcat(&kafka.proxied_brokers(), "orders", &[]).expect("the way is free");
    proxy.cut();
    kcat(&kafka.proxied_brokers(), "orders", &[]).expect_err("the way is cut");
    assert_eq!(kafka.read("orders").len(), 1, "the plain listener is not touched");
}
