//! Records with structure: Avro behind a real registry, into files and into topics, through kills, poison and outages.

use std::thread::sleep;
use std::time::Duration;

use aqueduct_tests::{Load, SchemaRegistry, Stored, Toxiproxy, check, until, url};

use crate::fixture::{BUCKET, Fixture, GROUP, PIPELINE, TOPIC, not_ready};

const SOON: Duration = Duration::from_secs(60);

/// The schema in its version `version`: each adds an optional number.
fn schema(version: u64) -> String {
    let more: String = (1..=version)
        .map(|n| format!(r#",{{"name":"more_{n}","type":["null","long"],"default":null}}"#))
        .collect();
    format!(
        r#"{{"type":"record","name":"Order","namespace":"shop","fields":[{{"name":"id","type":"long"}},{{"name":"key","type":"string"}},{{"name":"card","type":"string"}}{more}]}}"#
    )
}

/// A record of that version, written by hand: the encoder that is tested is not asked.
fn order(schema_id: u32, version: u64, id: u64, key: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&schema_id.to_be_bytes());
    number(&mut bytes, id as i64);
    for text in [key, "4111-1111"] {
        number(&mut bytes, text.len() as i64);
        bytes.extend_from_slice(text.as_bytes());
    }
    for _ in 0..version {
        number(&mut bytes, 1);
        number(&mut bytes, id as i64);
    }
    bytes
}

fn number(out: &mut Vec<u8>, number: i64) {
    let mut rest = (number << 1 ^ number >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// The schema id, the order and its card.
fn read_order((partition, offset, value): (i32, i64, Option<Vec<u8>>)) -> (u32, Stored, String) {
    let value = value.expect("no tombstones");
    let (frame, mut rest) = value.split_at(5);
    let schema = u32::from_be_bytes(frame[1..].try_into().expect("four bytes"));
    let mut next = || {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let (byte, left) = rest.split_first().expect("more bytes");
            rest = left;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return (number >> 1) as i64 ^ -((number & 1) as i64);
            }
        }
    };
    let id = next() as u64;
    let key_bytes = next() as usize;
    let (key, left) = rest.split_at(key_bytes);
    let card = String::from_utf8_lossy(&left[1..1 + left[0] as usize / 2]).into_owned();
    let key = String::from_utf8_lossy(key).into_owned();
    (schema, Stored { partition, offset, id, key }, card)
}

fn source(fixture: &Fixture, registry: &str) -> String {
    let brokers = fixture.kafka.brokers();
    format!(
        "pipeline: {PIPELINE}\nregistry: {{ url: \"{registry}\" }}\nsource:\n  \
         kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topics: [{TOPIC}], {GROUP} }}\n  value: avro\n"
    )
}

fn to_bucket(fixture: &Fixture) -> String {
    format!(
        "sink:\n  s3:\n    connection: {{ bucket: {BUCKET}, region: us-east-1, endpoint: \"http://127.0.0.1:{}\", \
         path_style: true, access_key: test, secret_key: testtest }}\n    path: \"{{topic}}/{{partition}}-{{start_offset}}\"\n    \
         format: {{ json_lines: {{ compression: zstd }} }}\n    rotate: {{ records_max: 2_000, age_max: 500ms }}\n",
        fixture.s3.port
    )
}

#[test]
fn a_topic_changes_its_schema_ten_times_while_the_runner_is_killed() {
    let (fixture, registry) = (Fixture::new(), SchemaRegistry::start());
    let text = source(&fixture, &registry.url()) + &to_bucket(&fixture);
    let ids: Vec<u32> = (0..=10).map(|version| registry.put("orders-value", &schema(version))).collect();
    let each = 5_000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (version, schema_id) in (0..).zip(&ids) {
                let load = Load {
                    topic: TOPIC.into(),
                    ids: version * each..(version + 1) * each,
                    keys: 97,
                    rate: 2_500,
                };
                fixture.kafka.produce_values(&load, |id, key| order(*schema_id, version, id, key), || true);
            }
        });
        for kill in 0..10 {
            let (mut aqueduct, _) = fixture.run_text(&text);
            sleep(Duration::from_millis(900 + 370 * kill));
            aqueduct.kill();
        }
    });
    let (mut aqueduct, _) = fixture.run_text(&text);
    fixture.until_done(Duration::from_secs(120));
    aqueduct.stop();
    let topic: Vec<Stored> =
        fixture.kafka.read_values(TOPIC).into_iter().map(|value| read_order(value).1).collect();
    assert_eq!(topic.len() as u64, 11 * each);
    check(&topic, &fixture.bucket()).assert_exact();
}

#[test]
fn a_card_is_masked_between_topics_and_schemas_go_to_the_other_registry() {
    let (fixture, registry, other) = (Fixture::new(), SchemaRegistry::start(), SchemaRegistry::start());
    let brokers = fixture.kafka.brokers();
    // Ids that mean something else over there.
    other.put("filler-value", r#"{"type":"string"}"#);
    let ids = [0, 1].map(|version| registry.put("orders-value", &schema(version)));
    for (topic, partitions) in [("masked", 6), ("moved", 6)] {
        fixture.kafka.create_topic(topic, partitions);
    }
    let load = Load { topic: TOPIC.into(), ids: 0..20_000, keys: 97, rate: 0 };
    fixture.kafka.produce_values(&load, |id, key| order(ids[id as usize % 2], id % 2, id, key), || true);
    let sink = |topic: &str, more: &str| {
        format!("sink:\n  kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topic: {topic} }}\n{more}")
    };
    let masked = source(&fixture, &registry.url())
        + "transforms:\n  - mask: { fields: [card] }\n"
        + &sink("masked", "");
    let (mut aqueduct, _) = fixture.run_text(&masked);
    fixture.until_done(SOON);
    aqueduct.stop();
    let moved = source(&fixture, &registry.url()).replace(PIPELINE, "moved")
        + &sink("moved", &format!("  value: avro\n  registry: {{ url: \"{}\" }}\n", other.url()));
    let (mut aqueduct, _) = fixture.run_text(&moved);
    until("all is moved", SOON, || (fixture.kafka.lag("moved", TOPIC) == 0).then_some(()));
    aqueduct.stop();

    let all = |topic: &str| fixture.kafka.read_values(topic).into_iter().map(read_order).collect::<Vec<_>>();
    let (before, after, moved) = (all(TOPIC), all("masked"), all("moved"));
    let orders =
        |of: &[(u32, Stored, String)]| of.iter().map(|(_, order, _)| order.clone()).collect::<Vec<_>>();
    check(&orders(&before), &orders(&after)).assert_exact();
    check(&orders(&before), &orders(&moved)).assert_exact();
    assert!(
        after.iter().all(|(schema, _, card)| card.is_empty() && ids.contains(schema)),
        "a card came through"
    );
    assert!(registry.subjects().contains(&"masked-value".to_owned()), "{:?}", registry.subjects());
    // Untouched but for the id, which stands for the same schema over there.
    assert!(moved.iter().all(|(_, _, card)| card == "4111-1111"));
    for (schema_id, order, _) in moved.iter().take(50) {
        let written: serde_json::Value = serde_json::from_str(&other.schema(*schema_id)).expect("JSON");
        let expected: serde_json::Value = serde_json::from_str(&schema(order.id % 2)).expect("JSON");
        assert_eq!(written, expected);
    }
    assert!(other.subjects().contains(&"moved-value".to_owned()), "{:?}", other.subjects());
}

#[test]
fn an_outage_of_the_registry_is_waited_for_and_not_noticed_once_all_is_known() {
    let (fixture, registry) = (Fixture::new(), SchemaRegistry::start());
    let proxy = Toxiproxy::start(registry.port);
    let ids = [0, 1].map(|version| registry.put("orders-value", &schema(version)));
    let text = source(&fixture, &url(proxy.port)) + &to_bucket(&fixture);
    let produce = |ids: std::ops::Range<u64>, schema_id: u32, version: u64| {
        let load = Load { topic: TOPIC.into(), ids, keys: 97, rate: 0 };
        fixture.kafka.produce_values(&load, |id, key| order(schema_id, version, id, key), || true);
    };
    produce(0..1_000, ids[0], 0);
    proxy.cut();
    let (mut aqueduct, port) = fixture.run_text(&text);
    not_ready(port, "registry");
    proxy.heal();
    fixture.until_done(SOON);
    proxy.cut();
    produce(1_000..2_000, ids[0], 0);
    fixture.until_done(SOON);
    produce(2_000..3_000, ids[1], 1);
    not_ready(port, "registry");
    assert_eq!(fixture.kafka.lag(PIPELINE, TOPIC), 1_000, "what is not known is waited for");
    proxy.heal();
    fixture.until_done(SOON);
    aqueduct.stop();
    let topic: Vec<Stored> =
        fixture.kafka.read_values(TOPIC).into_iter().map(|value| read_order(value).1).collect();
    check(&topic, &fixture.bucket()).assert_exact();
}

/// An order of version 1 whose number is null.
fn without_number(schema_id: u32, key: &str) -> Vec<u8> {
    let mut bytes = order(schema_id, 0, 500, key);
    bytes.push(0);
    bytes
}

/// What cannot be read, and why.
fn poison(schema_id: u32) -> [(Vec<u8>, &'static str); 3] {
    let mut cut_off = order(schema_id, 1, 7, "key-7");
    cut_off.pop();
    let mut unknown = order(schema_id, 1, 7, "key-7");
    unknown[1..5].copy_from_slice(&90_000_u32.to_be_bytes());
    [
        (b"{\"id\":7}".to_vec(), "does not begin with a schema id"),
        (cut_off, "ends behind the last byte"),
        (unknown, "90000"),
    ]
}

#[test]
fn poison_in_the_middle_stops_is_skipped_or_set_aside_as_the_file_says() {
    let (fixture, registry) = (Fixture::new(), SchemaRegistry::start());
    let brokers = fixture.kafka.brokers();
    fixture.kafka.create_topic("one", 1);
    let schema_id = registry.put("one-value", &schema(1));
    // Over there the number has to be: null is read, and cannot be written.
    let strict = schema(1).replace(r#""type":["null","long"],"default":null"#, r#""type":"long""#);
    let strict = registry.put("strict-value", &strict);
    let poison = poison(schema_id);
    let value = |id: u64, key: &str| match id {
        300..=302 => poison[id as usize - 300].0.clone(),
        500 => without_number(schema_id, key),
        _ => order(schema_id, 1, id, key),
    };
    let load = Load { topic: "one".into(), ids: 0..1_000, keys: 1, rate: 0 };
    fixture.kafka.produce_values(&load, value, || true);
    let pipeline = |name: &str, errors: &str| {
        fixture.kafka.create_topic(name, 1);
        source(&fixture, &registry.url()).replace(PIPELINE, name).replace("[orders]", "[one]")
            + &format!(
                "sink:\n  kafka: {{ connection: {{ brokers: \"{brokers}\" }}, topic: {name} }}\n  \
                 value: {{ avro: {{ schema: {{ id: {strict} }} }} }}\n{errors}"
            )
    };
    let ids = |topic: &str| -> Vec<u64> {
        fixture.kafka.read_values(topic).into_iter().map(|value| read_order(value).1.id).collect()
    };
    let good: Vec<u64> = (0..1_000).filter(|id| !matches!(id, 300..=302 | 500)).collect();

    let (mut aqueduct, _) = fixture.run_text(&pipeline("stops", ""));
    aqueduct.says("the value does not begin with a schema id", SOON);
    aqueduct.says("topic=one, partition=0, offset=300, stage=decode", SOON);
    assert!(!aqueduct.wait(SOON).success(), "it stays down: the record would be there again");
    let (stopped, committed) = (ids("stops"), fixture.kafka.committed("stops", "one"));
    assert!(stopped.len() <= 300 && good.starts_with(&stopped), "{} records", stopped.len());
    assert!(committed <= 300, "moved to {committed}, past a record that nobody has");

    let (mut aqueduct, _) = fixture.run_text(&pipeline("skips", "errors: { on_bad_record: skip }\n"));
    until("all is read", SOON, || (fixture.kafka.lag("skips", "one") == 0).then_some(()));
    aqueduct.stop();
    assert_eq!(ids("skips"), good);

    fixture.kafka.create_topic("dead", 1);
    let errors = "errors: { on_bad_record: { dead_letter: { topic: dead } } }\n";
    let (mut aqueduct, _) = fixture.run_text(&pipeline("letters", errors));
    until("all is read", SOON, || (fixture.kafka.lag("letters", "one") == 0).then_some(()));
    aqueduct.stop();
    assert_eq!(ids("letters"), good);
    let dead: Vec<Vec<u8>> =
        fixture.kafka.read_values("dead").into_iter().filter_map(|(_, _, value)| value).collect();
    let null = without_number(schema_id, "key-0");
    let expected: Vec<&Vec<u8>> = poison.iter().map(|(bytes, _)| bytes).chain([&null]).collect();
    assert_eq!(dead.iter().collect::<Vec<_>>(), expected, "set aside as it was read");
    let headers = fixture.kafka.read_headers("dead");
    let of = |index: usize, name: &str| {
        let found = headers[index].iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    for (index, (offset, stage)) in
        [(300, "decode"), (301, "decode"), (302, "decode"), (500, "encode")].into_iter().enumerate()
    {
        assert_eq!(
            (of(index, "aqueduct.offset"), &*of(index, "aqueduct.stage")),
            (offset.to_string(), stage)
        );
    }
    for (index, (_, why)) in poison.iter().enumerate() {
        assert!(of(index, "aqueduct.error").contains(why), "{}", of(index, "aqueduct.error"));
    }
}
