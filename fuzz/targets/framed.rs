//! Bytes as payloads of a registry: the frame, the numbers of a Protobuf message, and what stands behind them, in all three
//! languages. Whatever they are, they are an error or a row, which is read again from what is written of it.
#![no_main]

#[path = "../../crates/formats/tests/memory/mod.rs"]
mod memory;

use std::sync::{Arc, LazyLock};

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::registry::SchemaKind;
use aqueduct_api::{Encoded, Headers, Part, Piece, SchemaId, Typed};
use aqueduct_formats::framed::frame::{self, Frame};
use aqueduct_formats::{Avro, JsonSchema, Protobuf};
use aqueduct_protobuf::{read_indexes, write_indexes};
use bytes::Bytes;
use futures_util::FutureExt;
use libfuzzer_sys::fuzz_target;
use memory::Memory;
use serde_json::json;

/// A row is at most so many times as large as its payload, beside what a few messages may take.
const GROWTH_MAX: usize = 2_000;
const MEMORY_BYTES_SPARE: usize = 1 << 20;

static REGISTRY: LazyLock<Arc<Memory>> = LazyLock::new(|| {
    let registry = Memory::new("r");
    let avro = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"},{"name":"b","type":["null","string","R"]},{"name":"c","type":{"type":"array","items":"int"}}]}"#;
    registry.put("avro", SchemaKind::Avro, avro);
    let proto = "syntax = 'proto3'; package p;
        message A { int64 a = 1; B b = 2; message B { string c = 1; repeated A d = 2; message D { bool e = 1; } map<string, D> f = 3; } }
        message C { optional double g = 1; A.B.D h = 2; oneof i { string j = 3; A k = 4; } }";
    registry.put("protobuf", SchemaKind::Protobuf, proto);
    let json = r##"{"title":"R","type":"object","required":["a"],"additionalProperties":false,"properties":{"a":{"type":"integer","minimum":-5},
        "b":{"type":"string","pattern":"^x*$"},"c":{"type":"array","maxItems":3,"items":{"$ref":"#"}},"d":{"oneOf":[{"type":"null"},{"type":"number"}]}}}"##;
    registry.put("json", SchemaKind::Json, json);
    registry
});

fn held(bytes: &Bytes, header: Option<Bytes>) -> (Arc<str>, Headers, Bytes) {
    let mut headers = Headers::default();
    if let Some(header) = header {
        headers.push("__value_schema_id", Some(header));
    }
    ("t".into(), headers, bytes.clone())
}

/// The row, if there is one; the registry answers at once.
fn read<K: Block + FormatKind>((topic, headers, bytes): &(Arc<str>, Headers, Bytes)) -> Option<Typed> {
    let context = memory::context(&REGISTRY);
    let config = Arc::new(serde_json::from_value(json!({})).expect("options"));
    let mut decoder = K::decoder(&config, &context).expect("a decoder");
    let piece = Piece { topic, headers, bytes };
    decoder.prepare(&[piece]).now_or_never().expect("an answer at once").ok()?;
    decoder.decode(piece).ok()
}

fn write<K: Block + FormatKind>(typed: &Typed) -> Bytes {
    let context = memory::context(&REGISTRY);
    let config = Arc::new(serde_json::from_value(json!({})).expect("options"));
    let mut encoder = K::encoder(&config, &context).expect("an encoder");
    let (topic, mut out) = ("t".into(), Vec::new());
    encoder.prepare(&topic, typed.schema()).now_or_never().expect("an answer at once").expect("its own schema");
    assert_eq!(encoder.encode(&topic, typed, &mut out).expect("a row of its own schema"), Encoded::Done);
    out.into()
}

fn there_and_back<K: Block + FormatKind>(held: &(Arc<str>, Headers, Bytes)) {
    let Some(typed) = read::<K>(held) else { return };
    let bound = MEMORY_BYTES_SPARE + GROWTH_MAX * held.2.len();
    assert!(typed.memory_bytes() < bound, "{} bytes from {}", typed.memory_bytes(), held.2.len());
    let written = write::<K>(&typed);
    let again = read::<K>(&self::held(&written, None)).expect("what was written");
    assert_eq!(write::<K>(&again), written);
}

fuzz_target!(|data: &[u8]| {
    let Some((pick, rest)) = data.split_first() else { return };
    let payload = Bytes::copy_from_slice(rest);
    let held = match pick / 4 % 2 {
        0 => held(&payload, None),
        _ => {
            let (header, payload) = rest.split_at(usize::from(pick / 8).min(rest.len()));
            held(&Bytes::copy_from_slice(payload), Some(Bytes::copy_from_slice(header)))
        }
    };
    let (topic, headers, bytes) = &held;
    let numbered = pick % 4 > 1;
    if let Ok(Frame { id, start, header }) =
        frame::read(Piece { topic, headers, bytes }, Part::Value, numbered)
    {
        assert!(start <= bytes.len(), "the payload begins behind the end");
        assert!(numbered || header.is_none_or(<[u8]>::is_empty), "nobody asked for numbers");
        if let (SchemaId::Number(id), None) = (id, header) {
            let mut front = Vec::new();
            frame::write(id, &mut front);
            assert_eq!(front, bytes[..start]);
        }
    }
    if let Ok((indexes, end)) = read_indexes(bytes, 0) {
        let mut written = Vec::new();
        write_indexes(&indexes, &mut written);
        // Nothing is shorter than what we write.
        assert!(written.len() <= end && end <= bytes.len(), "{indexes:?} in {end} bytes");
        assert_eq!(read_indexes(&written, 0), Ok((indexes, written.len())));
    }
    match pick % 4 {
        0 => there_and_back::<Avro>(&held),
        1 => there_and_back::<JsonSchema>(&held),
        _ => there_and_back::<Protobuf>(&held),
    }
});
