//! Avro behind a registry: ids, subjects, targets, refusals and outages.

mod memory;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::registry::SchemaKind;
use aqueduct_api::{Decoder, Encoded, Encoder, ErrorKind, Registry, Result, Side, Typed};
use aqueduct_formats::Avro;
use serde_json::{Value as Json, json};

use memory::{Held, Memory, context, framed};

const V1: &str = r#"{"type":"record","name":"shop.Order","fields":[{"name":"id","type":"long"},{"name":"card","type":"string"}]}"#;
const V2: &str = r#"{"type":"record","name":"shop.Order","fields":[{"name":"id","type":"long"},{"name":"card","type":"string"},{"name":"note","type":["null","string"],"default":null}]}"#;
/// `{ id: 1, card: "ab" }` in the first.
const ORDER: &[u8] = &[2, 4, b'a', b'b'];

fn config(options: Json) -> Arc<Avro> {
    Arc::new(serde_json::from_value(options).expect("options of avro"))
}

fn decoder(options: Json, registry: &Arc<Memory>) -> Box<dyn Decoder> {
    Avro::decoder(&config(options), &context(registry)).expect("a decoder")
}

fn encoder(options: Json, registry: &Arc<Memory>) -> Box<dyn Encoder> {
    Avro::encoder(&config(options), &context(registry)).expect("an encoder")
}

async fn decode(decoder: &mut dyn Decoder, held: &Held) -> Result<Typed> {
    decoder.prepare(&[held.piece()]).await?;
    decoder.decode(held.piece())
}

async fn encode(encoder: &mut dyn Encoder, typed: &Typed) -> Result<Vec<u8>> {
    let (topic, mut out) = (Arc::from("out"), Vec::new());
    if encoder.encode(&topic, typed, &mut out)? == Encoded::Unprepared {
        assert!(out.is_empty(), "an unprepared encoder wrote");
        encoder.prepare(&topic, typed.schema()).await?;
        let encoded = encoder.encode(&topic, typed, &mut out).inspect_err(|_| assert!(out.is_empty()))?;
        assert_eq!(encoded, Encoded::Done, "prepared in vain");
    }
    Ok(out)
}

#[tokio::test]
async fn a_value_keeps_its_schema_word_for_word_under_the_subject_of_its_new_topic() {
    let registry = Memory::new("r");
    registry.put("other", SchemaKind::Avro, V2);
    let id = registry.put("in-value", SchemaKind::Avro, V1);
    let typed = decode(&mut *decoder(json!({}), &registry), &Held::new(framed(id, ORDER))).await.unwrap();
    assert_eq!(typed.view().field("card").and_then(|card| card.text()), Some("ab"));
    assert_eq!(encode(&mut *encoder(json!({}), &registry), &typed).await.unwrap(), framed(id, ORDER));
    for (subject, expected) in [
        (json!("record_name"), "shop.Order"),
        (json!("topic_record_name"), "out-shop.Order"),
        (json!({ "fixed": "mine" }), "mine"),
    ] {
        encode(&mut *encoder(json!({ "subject": subject }), &registry), &typed).await.unwrap();
        assert!(registry.subjects().iter().any(|it| it == expected), "{:?}", registry.subjects());
    }
    assert!(registry.subjects().iter().any(|it| it == "out-value"), "{:?}", registry.subjects());
}

#[tokio::test]
async fn values_are_brought_into_the_schema_that_is_asked_for() {
    let registry = Memory::new("r");
    let (first, second) =
        (registry.put("in-value", SchemaKind::Avro, V1), registry.put("in-value", SchemaKind::Avro, V2));
    registry.put("out-value", SchemaKind::Avro, V2);
    let held = Held::new(framed(first, ORDER));
    // Read as the second version has it: the new field takes its default.
    for schema in [json!("latest"), json!({ "version": 2 }), json!({ "id": second })] {
        let typed = decode(&mut *decoder(json!({ "schema": schema }), &registry), &held).await.unwrap();
        assert!(typed.view().field("note").is_some(), "{schema}");
    }
    let typed = decode(&mut *decoder(json!({}), &registry), &held).await.unwrap();
    assert!(typed.view().field("note").is_none());
    // Written as the second version has it: null is its first branch.
    let mut note = ORDER.to_vec();
    note.push(0);
    for schema in [json!("latest"), json!({ "version": 1 }), json!({ "id": second })] {
        let made = encode(&mut *encoder(json!({ "schema": schema }), &registry), &typed).await.unwrap();
        assert_eq!(made, framed(second, &note), "{schema}");
    }
    // And the other way: a field that the sink's schema does not know.
    let wider = decode(&mut *decoder(json!({}), &registry), &Held::new(framed(second, &note))).await.unwrap();
    let narrow = |unknown: &str| json!({ "schema": { "id": first }, "unknown_fields": unknown });
    let error = encode(&mut *encoder(narrow("error"), &registry), &wider).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRecord);
    assert!(error.to_string().contains("note"), "{error}");
    let made = encode(&mut *encoder(narrow("drop"), &registry), &wider).await.unwrap();
    assert_eq!(made, framed(first, ORDER));
}

#[tokio::test]
async fn without_a_frame_a_file_says_how_values_are_written() {
    let path = std::env::temp_dir().join(format!("aqueduct-order-{}.avsc", std::process::id()));
    std::fs::write(&path, V1).unwrap();
    let options = json!({ "frame": "none", "schema": { "file": path } });
    let registry = Memory::new("r");
    let typed = decode(&mut *decoder(options.clone(), &registry), &Held::new(ORDER)).await.unwrap();
    assert_eq!(encode(&mut *encoder(options, &registry), &typed).await.unwrap(), ORDER);
    assert_eq!(registry.asked.load(Relaxed), 0);
    std::fs::remove_file(path).unwrap();
    let problems = Avro::check(&config(json!({ "frame": "none" })), Side::Source);
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_not_known_is_a_bad_record_until_it_is_known() {
    let registry = Memory::new("r");
    let mut decoder = decoder(json!({}), &registry);
    let held = Held::new(framed(1, ORDER));
    for _ in 0..3 {
        let error = decode(&mut *decoder, &held).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRecord);
        assert!(error.to_string().contains("schema id 1 is not there"), "{error}");
    }
    assert_eq!(registry.asked.load(Relaxed), 1, "a refusal is remembered");
    registry.put("in-value", SchemaKind::Avro, V1);
    tokio::time::advance(Duration::from_secs(11)).await;
    assert!(decode(&mut *decoder, &held).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_the_registry_refuses_is_a_bad_record_in_its_own_words() {
    let registry = Memory::new("r");
    let id = registry.put("in-value", SchemaKind::Avro, V1);
    let typed = decode(&mut *decoder(json!({}), &registry), &Held::new(framed(id, ORDER))).await.unwrap();
    registry.refuse("out-value", "READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1");
    let mut strict = encoder(json!({}), &registry);
    for _ in 0..3 {
        let error = encode(&mut *strict, &typed).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRecord);
        assert!(error.to_string().contains("READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1"), "{error}");
    }
    assert_eq!(registry.asked.load(Relaxed), 2, "one for the schema, one for the refusal");
    let unregistered = encoder(json!({ "register": false }), &Memory::new("empty"));
    let error = encode(&mut *{ unregistered }, &typed).await.unwrap_err();
    assert!(error.to_string().contains("does not have this schema"), "{error}");
}

#[tokio::test]
async fn an_outage_is_waited_for_when_a_schema_is_missing_and_not_noticed_otherwise() {
    let registry = Memory::new("r");
    let id = registry.put("in-value", SchemaKind::Avro, V1);
    let (mut decoder, mut encoder) = (decoder(json!({}), &registry), encoder(json!({}), &registry));
    let held = Held::new(framed(id, ORDER));
    registry.away.store(true, Relaxed);
    assert_eq!(decode(&mut *decoder, &held).await.unwrap_err().kind(), ErrorKind::Transient);
    registry.away.store(false, Relaxed);
    let typed = decode(&mut *decoder, &held).await.unwrap();
    registry.away.store(true, Relaxed);
    assert_eq!(encode(&mut *encoder, &typed).await.unwrap_err().kind(), ErrorKind::Transient);
    registry.away.store(false, Relaxed);
    encode(&mut *encoder, &typed).await.unwrap();
    registry.away.store(true, Relaxed);
    let typed = decode(&mut *decoder, &held).await.unwrap();
    assert_eq!(encode(&mut *encoder, &typed).await.unwrap(), framed(id, ORDER));
}

#[tokio::test]
async fn each_of_ten_thousand_ids_is_asked_for_once() {
    let registry = Memory::new("r");
    let ids: Vec<u32> = (0..10_000)
        .map(|n| {
            registry.put("in-value", SchemaKind::Avro, &V1.replace("shop.Order", &format!("shop.Order{n}")))
        })
        .collect();
    let mut decoder = decoder(json!({}), &registry);
    for _ in 0..2 {
        for ids in ids.chunks(500) {
            let held: Vec<Held> = ids.iter().map(|id| Held::new(framed(*id, ORDER))).collect();
            let pieces: Vec<_> = held.iter().chain(&held).map(Held::piece).collect();
            for (at, piece) in pieces.iter().enumerate() {
                if !decoder.is_ready(*piece) {
                    decoder.prepare(&pieces[at..]).await.unwrap();
                }
                decoder.decode(*piece).unwrap();
            }
        }
        assert_eq!(registry.asked.load(Relaxed), 10_000);
    }
}

#[tokio::test]
async fn a_guid_in_a_header_says_the_schema_too() {
    let registry = Memory::new("r");
    let id = registry.put("in-value", SchemaKind::Avro, V1);
    let mut held = Held::new(ORDER);
    let mut header = vec![1, id as u8];
    header.resize(17, 9);
    held.headers.push("__value_schema_id", Some(header.into()));
    let mut decoder = decoder(json!({}), &registry);
    let typed = decode(&mut *decoder, &held).await.unwrap();
    assert_eq!(typed.view().field("card").and_then(|card| card.text()), Some("ab"));
    assert_eq!(decoder.frame_header(), Some("__value_schema_id"));
}

#[tokio::test]
async fn ids_are_translated_between_registries_without_a_look_at_the_payload() {
    let (from, to) = (Memory::new("from"), Memory::new("to"));
    from.put("filler", SchemaKind::Avro, V2);
    let id = from.put("in-value", SchemaKind::Avro, V1);
    let source: Arc<dyn Registry> = Arc::clone(&from) as _;
    let mut translator = Avro::translator(&config(json!({})), &source, &context(&to)).unwrap();
    // No value of the schema: nobody looks.
    let held = Held::new(framed(id, b"whatever"));
    let (topic, mut out) = (Arc::from("out"), Vec::new());
    assert_eq!(translator.translate(&topic, held.piece(), &mut out).unwrap(), Encoded::Unprepared);
    translator.prepare(&topic, held.piece()).await.unwrap();
    assert_eq!(translator.translate(&topic, held.piece(), &mut out).unwrap(), Encoded::Done);
    assert_eq!(out, framed(1, b"whatever"));
    assert_eq!(to.subjects(), ["out-value"]);
}

#[tokio::test]
async fn what_has_no_schema_is_brought_into_the_one_that_is_named() {
    let registry = Memory::new("r");
    let id = registry.put("out-value", SchemaKind::Avro, V1);
    let mut json = aqueduct_formats::Json::decoder(
        &Arc::new(serde_json::from_value(json!({})).unwrap()),
        &context(&registry),
    )
    .unwrap();
    let typed = json.decode(Held::new(r#"{"card":"ab","id":1}"#).piece()).unwrap();
    let latest = || encoder(json!({ "schema": "latest" }), &registry);
    assert_eq!(encode(&mut *latest(), &typed).await.unwrap(), framed(id, ORDER));
    let error = encode(&mut *encoder(json!({}), &registry), &typed).await.unwrap_err();
    assert!(error.to_string().contains("a value without a schema cannot be registered"), "{error}");
    let typed = json.decode(Held::new(r#"{"card":"ab","id":"x"}"#).piece()).unwrap();
    let error = encode(&mut *latest(), &typed).await.unwrap_err();
    assert!(error.kind() == ErrorKind::BadRecord && error.to_string().contains("id"), "{error}");
}

#[tokio::test]
async fn bare_bytes_stand_behind_the_id_without_a_length() {
    let registry = Memory::new("r");
    let id = registry.put("in-value", SchemaKind::Avro, r#""bytes""#);
    let held = Held::new(framed(id, b"\x04ab"));
    let typed = decode(&mut *decoder(json!({}), &registry), &held).await.unwrap();
    assert_eq!(typed.view().bytes(), Some(&b"\x04ab"[..]));
    assert_eq!(encode(&mut *encoder(json!({}), &registry), &typed).await.unwrap(), framed(id, b"\x04ab"));
}
