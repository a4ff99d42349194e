//! What schemas in envelopes may take, without end: a process of its own, since the bound is that of the process.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::{FormatContext, Headers, Part, Piece};
use aqueduct_formats::ConnectJson;
use bytes::Bytes;
use serde_json::{Value as Tree, json};

/// Each record brings a schema of its own: what is kept of them is bounded in bytes.
#[test]
fn schemas_without_end_take_a_bounded_room() {
    let of = |fields: usize, n: usize| {
        let fields: Vec<Tree> = (0..fields)
            .map(|at| json!({ "type": "int32", "optional": true, "field": format!("f{at}") }))
            .collect();
        let schema = json!({ "type": "struct", "name": format!("R{n}"), "fields": fields });
        Bytes::from(json!({ "schema": schema, "payload": {} }).to_string())
    };
    let context = FormatContext { pipeline: "t".into(), part: Part::Value, registry: None };
    let mut decoder = ConnectJson::decoder(&Arc::default(), &context).unwrap();
    let mut read = |bytes: &Bytes| {
        let piece = Piece { topic: &"t".into(), headers: &Headers::default(), bytes };
        decoder.decode(piece).unwrap();
    };
    let before = resident_kib();
    for n in 0..60 {
        read(&of(8_000, n));
    }
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 150 << 10, "{grown} KiB for schemas");
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
