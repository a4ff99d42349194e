//! JSON behind the id of its JSON Schema.

#![allow(clippy::unwrap_used)]

mod memory;

use std::sync::Arc;

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::registry::SchemaKind;
use aqueduct_api::{Decoder, Encoded, Encoder, ErrorKind, Result, Typed};
use aqueduct_formats::{Avro, JsonSchema};
use serde_json::{Value as Json, json};

use memory::{Held, Memory, context, framed};

const ORDER: &str = r#"{"$schema":"http://json-schema.org/draft-07/schema#","title":"Order","type":"object","required":["id","tags"],"properties":{"id":{"type":"integer","minimum":1},"tags":{"type":"array","items":{"type":"string"}}}}"#;

fn decoder<K: Block + FormatKind>(registry: &Arc<Memory>) -> Box<dyn Decoder> {
    K::decoder(&Arc::new(serde_json::from_value(json!({})).unwrap()), &context(registry)).unwrap()
}

fn encoder(options: Json, registry: &Arc<Memory>) -> Box<dyn Encoder> {
    JsonSchema::encoder(&Arc::new(serde_json::from_value(options).unwrap()), &context(registry)).unwrap()
}

async fn decode(decoder: &mut dyn Decoder, bytes: Vec<u8>) -> Result<Typed> {
    let held = Held::new(bytes);
    decoder.prepare(&[held.piece()]).await?;
    decoder.decode(held.piece())
}

async fn encode(encoder: &mut dyn Encoder, typed: &Typed) -> Result<Vec<u8>> {
    let (topic, mut out) = (Arc::from("out"), Vec::new());
    if encoder.encode(&topic, typed, &mut out)? == Encoded::Unprepared {
        encoder.prepare(&topic, typed.schema()).await?;
        encoder.encode(&topic, typed, &mut out)?;
    }
    Ok(out)
}

#[tokio::test]
async fn values_keep_their_schema_and_its_rules() {
    let registry = Memory::new("r");
    registry.put("filler", SchemaKind::Json, "{}");
    let id = registry.put("in-value", SchemaKind::Json, ORDER);
    let mut decoder = decoder::<JsonSchema>(&registry);
    let text = br#"{"id":7,"tags":["a"]}"#;
    let typed = decode(&mut *decoder, framed(id, text)).await.unwrap();
    assert!(typed.view().field("tags").is_some());
    let written = encode(&mut *encoder(json!({}), &registry), &typed).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(&framed(id, text)));
    for (wrong, why) in [
        (&br#"{"id":"x","tags":[]}"#[..], "id"),
        (br#"{"id":0,"tags":[]}"#, "less than the minimum of 1 at `/id`"),
        (br#"{"id":1}"#, "tags"),
    ] {
        let error = decode(&mut *decoder, framed(id, wrong)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::BadRecord && error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn what_was_avro_is_registered_as_a_json_schema() {
    let registry = Memory::new("r");
    let avro = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"},{"name":"note","type":["null","string"],"default":null}]}"#;
    let id = registry.put("in-value", SchemaKind::Avro, avro);
    let typed = decode(&mut *decoder::<Avro>(&registry), framed(id, &[14, 2, 4, b'h', b'i'])).await.unwrap();
    let written = encode(&mut *encoder(json!({}), &registry), &typed).await.unwrap();
    assert_eq!(written[..5], [0, 0, 0, 0, 2]);
    let again = decode(&mut *decoder::<JsonSchema>(&registry), written.clone()).await.unwrap();
    assert_eq!(again.view().field("note").and_then(|note| note.inner().text()), Some("hi"));
    let json: Json = serde_json::from_slice(&written[5..]).unwrap();
    assert_eq!(json, json!({ "id": 7, "note": "hi" }));
}
