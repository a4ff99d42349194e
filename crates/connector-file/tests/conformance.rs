//! The suites that every connector passes, over a file.

mod ends;

use std::collections::BTreeMap;
use std::path::PathBuf;

use aqueduct_api::catalog::Repeats;
use aqueduct_api::{Offsets, Payload, Sink, Source};
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

    fn repeats(&self) -> Repeats {
        Repeats::Visible
    }
}

#[async_trait]
impl SourceUnderTest for Lines {
    async fn open(&self, resume: Offsets, batch_records_max: usize) -> Box<dyn Source> {
        let config = serde_json::json!({ "path": self.0 });
        ends::source_of(config, resume, batch_records_max).await.expect("it opens")
    }

    fn count(&self) -> usize {
        200
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_keeps_the_contract() {
    conformance::sink(&Lines(ends::folder("conformance-sink").join("out.jsonl"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_keeps_the_contract() {
    let path = ends::folder("conformance-source").join("in.jsonl");
    let lines = (0..200).map(|id| format!("{{\"key\":\"k{}\",\"value\":{{\"id\":{id}}}}}\n", id % 7));
    std::fs::write(&path, lines.collect::<String>()).expect("a file");
    conformance::source(&Lines(path)).await;
}
