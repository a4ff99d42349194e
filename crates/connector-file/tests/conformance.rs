//! The suites that every connector passes, over a file.

mod ends;

use std::collections::BTreeMap;
use std::path::PathBuf;

use aqueduct_api::catalog::Duplicates;
use aqueduct_api::{Offsets, Payload, Rows, Sink, Source};
use aqueduct_formats::record_line;
use aqueduct_testkit::awkward::Awkward;
use aqueduct_testkit::conformance::{self, SinkUnderTest, SourceUnderTest};
use async_trait::async_trait;

struct Lines(PathBuf);

#[async_trait]
impl SinkUnderTest for Lines {
    async fn open(&self) -> Box<dyn Sink> {
        ends::sink(&self.0, "p").await.expect("it opens")
    }

    async fn stored(&self) -> BTreeMap<i32, Vec<String>> {
        let mut source =
            ends::source(serde_json::json!({ "path": self.0 }), Offsets::new()).await.expect("it opens");
        let mut stored: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for (records, _) in ends::read_all(source.as_mut()).await.expect("whole lines") {
            for record in records {
                let Payload::Raw(value) = &record.value else { panic!("no value") };
                let value = String::from_utf8(value.to_vec()).expect("text");
                stored.entry(record.origin.partition).or_default().push(value);
            }
        }
        stored
    }

    fn topic(&self) -> String {
        "orders".into()
    }

    fn duplicates(&self) -> Duplicates {
        Duplicates::Visible
    }
}

struct Read {
    path: PathBuf,
    format: &'static str,
    rows: Option<Rows>,
    count: usize,
}

#[async_trait]
impl SourceUnderTest for Read {
    async fn open(&self, resume: Offsets, batch_records_max: usize) -> Box<dyn Source> {
        let config = serde_json::json!({ "path": self.path, "format": self.format });
        ends::source_with(config, resume, batch_records_max, self.rows.clone()).await.expect("it opens")
    }

    fn count(&self) -> usize {
        self.count
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_keeps_the_contract() {
    conformance::sink(&Lines(ends::folder("conformance-sink").join("out.jsonl"))).await;
}

/// Records of all shapes as each format has them, those beyond the bytes of a batch too.
#[tokio::test(flavor = "multi_thread")]
async fn the_source_keeps_the_contract() {
    let awkward = Awkward::bytes(11, 1_500_000);
    let all = || awkward.offsets(2, 200).into_iter().map(|offset| awkward.record("orders", 2, offset));
    let quoted = |bytes: &[u8]| {
        let cell = String::from_utf8_lossy(bytes).replace('"', "\"\"");
        format!("\"{cell}\",\n").into_bytes()
    };
    for format in ["records", "lines", "json_lines", "csv"] {
        let path = ends::folder(&format!("conformance-{format}")).join("in");
        let mut bytes = Vec::new();
        for record in all() {
            let value = record.value.bytes().map_or(&b""[..], |value| value);
            match format {
                "records" => record_line::write(&record, &mut bytes),
                "lines" => bytes.extend(value.iter().filter(|byte| **byte != b'\n').chain(b"\r\n")),
                "json_lines" => bytes.extend(format!("[{:?}]\n", record.origin.offset).bytes()),
                _ => bytes.extend(quoted(value)),
            }
        }
        std::fs::write(&path, &bytes).expect("a file");
        let rows = (format == "csv").then_some(Rows { separator: ',', cells: Some(2), first: None });
        conformance::source(&Read { path, format, rows, count: 200 }).await;
    }
}
