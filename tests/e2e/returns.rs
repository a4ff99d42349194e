//! Records that come again where nobody wants them: a restart that helps nothing, and sinks that feed their own source.

use std::time::Duration;

use aqueduct_tests::{Aqueduct, Folder, Kafka, Load, Signal, free_ports, until};

use crate::fixture::not_ready;

const SOON: Duration = Duration::from_secs(40);

/// Bytes that no codec makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[test]
fn a_record_too_large_for_the_dead_letters_too_stops_the_pipeline() {
    let (kafka, folder, port) = (Kafka::start(), Folder::new("large"), free_ports(1));
    kafka.create_topic("large", 1);
    kafka.create_topic_with("large.copy", 1, &[("max.message.bytes", "100000")]);
    kafka.create_topic_with("large.dead", 1, &[("max.message.bytes", "150000")]);
    let load = Load { topic: "large".into(), ids: 0..3, keys: 1, rate: 0 };
    let value = |id: u64, _: &str| if id == 1 { noise(200_000) } else { noise(10) };
    kafka.produce_values(&load, value, || true);
    let brokers = kafka.brokers();
    let text = format!(
        "pipeline: copy
source: {{ kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topics: [large] }} }}
sink: {{ kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topic: large.copy }} }}
errors: {{ on_bad_record: {{ dead_letter: {{ topic: large.dead }} }} }}
---
pipeline: other
source: {{ generate: {{ rate: 1 }} }}
sink: discard
"
    );
    folder.write("a.yaml", &text);
    folder.write("aqueduct.yaml", &format!("runtime: {{ listen: \"127.0.0.1:{port}\" }}\n"));
    let mut aqueduct = Aqueduct::spawn(folder.path(), &["run", "a.yaml"], &[]);
    not_ready(port, "copy: failed: a record does not pass: the record of ");
    // Longer than the pause before a start.
    std::thread::sleep(Duration::from_secs(4));
    not_ready(port, "copy: failed: a record does not pass: the record of ");
    aqueduct.signal(Signal::TERM);
    assert_eq!(aqueduct.wait(SOON).code(), Some(1));
    let said = aqueduct.output();
    for part in [
        "too large for topic `large.copy`",
        "and its dead letter is refused: the record of ",
        "too large for topic `large.dead`",
        "topic=large, partition=0, offset=1, stage=write",
        "on_bad_record: skip",
    ] {
        assert!(said.contains(part), "no `{part}` in {said}");
    }
    assert!(!said.contains("it will be started again"), "{said}");
    let copied = kafka.read_values("large.copy").len();
    assert!(copied <= 2, "{copied} records were written, and there are two that fit");
}

/// How this command ended, and what it said.
fn ended(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let mut aqueduct = Aqueduct::spawn(folder.path(), arguments, &[]);
    let code = aqueduct.wait(SOON).code();
    (code, aqueduct.output())
}

fn pipeline(from: &str, topics: &str, to: &str, topic: &str) -> String {
    format!(
        "pipeline: mirror
source: {{ kafka: {{ connection: {{ brokers: \"{from}\" }}, topics: {topics}, client: {{ topic.metadata.refresh.interval.ms: 500 }} }} }}
sink: {{ kafka: {{ connection: {{ brokers: \"{to}\" }}, topic: \"{topic}\", on_missing_topic: {{ create: {{}} }} }} }}
"
    )
}

#[test]
fn what_feeds_itself_is_found_before_anything_is_read() {
    let kafka = Kafka::start();
    kafka.create_topic("orders", 1);
    kafka.produce_uniform(&Load { topic: "orders".into(), ids: 0..10, keys: 1, rate: 0 });
    let (here, there) = (kafka.brokers(), kafka.brokers().replace("127.0.0.1", "localhost"));
    assert_ne!(here, there, "one cluster under two addresses, and under those of another listener below");
    for (topics, to, topic, says) in [
        ("[orders]", &there, "{topic}", "to `orders`, which the source reads"),
        ("{ pattern: \".*\" }", &here, "copy.{topic}", "to `copy.orders`, which the source reads"),
        ("{ pattern: \"o.*\" }", &there, "{topic}", "to `orders`, which the source reads"),
        ("[orders]", &kafka.proxied_brokers(), "{topic}", "to `orders`, which the source reads"),
    ] {
        let folder = Folder::new("loop");
        folder.write("a.yaml", &pipeline(&here, topics, to, topic));
        let (code, said) = ended(&folder, &["check", "a.yaml"]);
        assert_eq!(code, Some(0), "the file does not show it: {said}");
        let (code, said) = ended(&folder, &["check", "--connect", "a.yaml"]);
        assert!(
            code == Some(1) && said.contains(says) && said.contains("mirror, sink.kafka"),
            "{code:?} {said}"
        );
        let (code, said) = ended(&folder, &["run", "a.yaml"]);
        assert!(code == Some(2) && said.contains(says), "{code:?} {said}");
    }
    assert_eq!(kafka.read_values("orders").len(), 10);
}

#[test]
fn a_topic_that_comes_later_and_would_feed_itself_stops_the_pipeline() {
    let (kafka, folder, port) = (Kafka::start(), Folder::new("later"), free_ports(1));
    let brokers = kafka.brokers();
    let text = pipeline(&brokers, "{ pattern: \"later.*\" }", &brokers, "later.copy.{topic}");
    folder.write(
        "a.yaml",
        &format!("{text}---\npipeline: other\nsource: {{ generate: {{ rate: 1 }} }}\nsink: discard\n"),
    );
    folder.write("aqueduct.yaml", &format!("runtime: {{ listen: \"127.0.0.1:{port}\" }}\n"));
    let mut aqueduct = Aqueduct::spawn(folder.path(), &["run", "a.yaml"], &[]);
    aqueduct.says("started", SOON);
    kafka.create_topic("later", 1);
    kafka.produce_uniform(&Load { topic: "later".into(), ids: 0..10, keys: 1, rate: 0 });
    not_ready(port, "mirror: failed: the sink writes records of `later` to `later.copy.later`");
    aqueduct.signal(Signal::TERM);
    assert_eq!(aqueduct.wait(SOON).code(), Some(1));
    until("the topic has what was produced and no more", SOON, || {
        (kafka.read_values("later").len() == 10).then_some(())
    });
}
