//! What schemas without end may take: a process of its own, since the bound is that of the process.

#![allow(clippy::unwrap_used)]

mod memory;

use std::sync::Arc;

use aqueduct_api::Decoder;
use aqueduct_api::catalog::FormatKind;
use aqueduct_api::registry::SchemaKind;
use aqueduct_formats::Avro;

use memory::{Held, Memory, context, framed};

/// Anybody who may produce can register schemas and write one record of each: what was compiled of them is forgotten, and each
/// of them is read all the same, also when a batch brings more than may be kept.
#[tokio::test]
async fn large_schemas_without_end_take_a_bounded_room() {
    let registry = Memory::new("r");
    let fields: Vec<String> =
        (0..1_500).map(|n| format!(r#"{{"name":"f{n}","type":["null","string"],"default":null}}"#)).collect();
    let held: Vec<Held> = (0..150)
        .map(|n| {
            let text = format!(r#"{{"type":"record","name":"R{n}","fields":[{}]}}"#, fields.join(","));
            Held::new(framed(registry.put(&format!("s{n}-value"), SchemaKind::Avro, &text), &[0; 1_500]))
        })
        .collect();
    let before = resident_kib();
    let mut decoder: Box<dyn Decoder> =
        Avro::decoder(&Arc::new(serde_json::from_str("{}").unwrap()), &context(&registry)).unwrap();
    for at in (0..150).chain([0, 149, 1]) {
        let pieces: Vec<_> = held[at..].iter().map(Held::piece).collect();
        if !decoder.is_ready(pieces[0]) {
            decoder.prepare(&pieces).await.unwrap();
        }
        decoder.decode(pieces[0]).unwrap();
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 150 << 10, "{grown} KiB for schemas");
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
