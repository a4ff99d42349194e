//! What the formats of both ends make of records: kept, set aside as they came, waited for.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use aqueduct_api::catalog::{
    Block, Duplicates, FormatKind, KeepsOffsets, SinkConnector, SinkContext, SinkTraits, SourceConnector,
    SourceContext, SourceTraits, TopicResolver,
};
use aqueduct_api::schema::{Kind, Schema};
use aqueduct_api::{
    Catalog, Decoder, Encoded, Encoder, Error, ErrorKind, FormatContext, FormatTraits, Headers, Origin,
    Outcome, Payload, Piece, Problem, Projection, Reads, Record, Result, SchemaBuilder, Side, Sink, Source,
    TakesTopic, Transform, Typed, Value, Writes,
};
use aqueduct_engine::Stage;
use aqueduct_engine::chain::Chain;
use aqueduct_spec::pipeline::{Formats, Named, SinkBlock, SourceBlock};
use aqueduct_spec::{Delivery, Errors, OnBadRecord, Pipeline};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

/// Both ends; neither is ever opened.
#[derive(Deserialize, JsonSchema)]
struct End {}

impl Block for End {
    const NAME: &'static str = "end";
    const ABOUT: &'static str = "an end";
}

#[async_trait]
impl SourceConnector for End {
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
    fn traits(&self) -> SourceTraits {
        SourceTraits {
            keeps_offsets: KeepsOffsets::Always,
            tasks_max: None,
            finite: true,
            typed: false,
            transactions: Err("it cannot"),
        }
    }
    fn describe(&self, _: &str) -> String {
        "end".into()
    }
    /// Topics that begin with `back`, whatever comes.
    fn reads(&self, _: &str) -> Option<Reads> {
        let pattern: TakesTopic = Arc::new(|topic| topic.starts_with("back"));
        let system = BTreeSet::from(["here".to_owned()]);
        Some(Reads {
            system,
            named: Vec::new(),
            pattern: Some(pattern),
            group: None,
            partitions: BTreeSet::new(),
        })
    }
    async fn open(&self, _: SourceContext) -> Result<Box<dyn Source>> {
        Err(Error::config("never opened"))
    }
}

#[async_trait]
impl SinkConnector for End {
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
    fn traits(&self) -> SinkTraits {
        SinkTraits {
            lanes: 1,
            batch_records_max: None,
            duplicates: Duplicates::Visible,
            transactions: Err("it cannot"),
            value_format: None,
        }
    }
    fn describe(&self) -> String {
        "end".into()
    }
    fn topic(&self) -> Option<TopicResolver> {
        Some(Box::new(|record| match &*record.topic {
            "homeless" => Err(Error::bad_record("it has no topic")),
            topic => Ok(format!("{topic}-out").into()),
        }))
    }
    fn writes(&self) -> Option<Writes> {
        let topic = "{topic}-out".parse().ok()?;
        Some(Writes { system: BTreeSet::from(["here".to_owned()]), topic, option: "topic" })
    }
    async fn open(&self, _: SinkContext) -> Result<Box<dyn Sink>> {
        Err(Error::config("never opened"))
    }
}

static TRIES: AtomicU64 = AtomicU64::new(0);

/// A number as text in, and out behind the topic it goes to. Reading a 9 waits for a registry twice; a number is written
/// only after it was prepared, 13 never, and 14 not at all.
#[derive(Deserialize, JsonSchema)]
struct Numbers {
    #[serde(skip)]
    prepared: Option<i64>,
}

impl Block for Numbers {
    const NAME: &'static str = "numbers";
    const ABOUT: &'static str = "numbers";
}

impl FormatKind for Numbers {
    fn traits(&self) -> FormatTraits {
        FormatTraits { declared: true, ..FormatTraits::default() }
    }
    fn describe(&self, _: Side) -> String {
        Self::NAME.to_owned()
    }
    fn decoder(&self, _: &FormatContext) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Numbers { prepared: None }))
    }
    fn encoder(&self, _: &FormatContext) -> Result<Box<dyn Encoder>> {
        Ok(Box::new(Numbers { prepared: None }))
    }
}

#[async_trait]
impl Decoder for Numbers {
    fn is_ready(&self, piece: Piece<'_>) -> bool {
        &piece.bytes[..] != b"9" || self.prepared.is_some()
    }
    async fn prepare(&mut self, pieces: &[Piece<'_>]) -> Result<()> {
        assert_eq!(
            (pieces.len(), &pieces[0].bytes[..]),
            (1, &b"9"[..]),
            "from the one that waits, without the tombstone"
        );
        match TRIES.fetch_add(1, Relaxed) {
            0 | 1 => Err(Error::transient("the registry is away")),
            _ => {
                self.prepared = Some(9);
                Ok(())
            }
        }
    }
    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        let number = std::str::from_utf8(piece.bytes).ok().and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| Error::bad_record("not a number"))?;
        let mut schema = SchemaBuilder::default();
        let root = schema.add(Kind::Long);
        Ok(Typed::new(schema.finish(root), piece.bytes.clone(), Value::Long(number)))
    }
    fn frame_header(&self) -> Option<&'static str> {
        Some("frame")
    }
}

#[async_trait]
impl Encoder for Numbers {
    fn encode(&mut self, topic: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        let Value::Long(number) = typed.value() else { return Err(Error::bad_record("not a number")) };
        if *number == 14 {
            return Err(Error::bad_record("14 cannot be written"));
        }
        if self.prepared.is_none() || (*number == 13 && self.prepared != Some(13)) {
            self.prepared = Some(*number);
            return Ok(Encoded::Unprepared);
        }
        out.extend_from_slice(format!("{topic}:{number}").as_bytes());
        Ok(Encoded::Done)
    }
    async fn prepare(&mut self, _: &Arc<str>, _: &Arc<Schema>) -> Result<()> {
        match self.prepared {
            Some(13) => Err(Error::bad_record("13 is refused")),
            _ => Ok(()),
        }
    }
}

fn pipeline() -> Pipeline {
    let catalog = Catalog::default().source::<End>().sink::<End>().format::<Numbers>();
    let raw = || serde_json::Value::Null;
    let format =
        || Named { kind: "numbers", configured: catalog.formats["numbers"].configure(raw()).unwrap() };
    let formats = || Formats { key: Some(format()), value: Some(format()), ..Formats::default() };
    let source = Named { kind: "end", configured: catalog.sources["end"].configure(raw()).unwrap() };
    let sink = Named { kind: "end", configured: catalog.sinks["end"].configure(raw()).unwrap() };
    Pipeline {
        name: "p".into(),
        description: None,
        file: PathBuf::new(),
        source: SourceBlock { connector: source, formats: formats() },
        transforms: Vec::new(),
        sink: SinkBlock { connector: sink, formats: formats() },
        errors: Errors { on_bad_record: OnBadRecord::Stop, stop_after: None },
        delivery: Delivery::default(),
        tasks: 1,
        stop_timeout: Duration::from_secs(1),
        offset_store: None,
        dev: None,
        source_raw: raw(),
        sink_raw: raw(),
    }
}

fn record(topic: &str, offset: i64, value: &'static str) -> Record {
    let mut headers = Headers::default();
    headers.push("frame", Some("f".into()));
    headers.push("other", Some("o".into()));
    let origin = Origin { partition: 0, offset };
    Record { topic: topic.into(), origin, key: "1".into(), value: value.into(), headers, timestamp_us: None }
}

#[tokio::test(start_paused = true)]
async fn records_are_decoded_encoded_and_set_aside_as_they_came() {
    let mut chain = Chain::build(&pipeline()).unwrap();
    let mut tombstone = record("t", 6, "");
    tombstone.value = Payload::Absent;
    let records = vec![
        record("t", 0, "7"),
        record("t", 1, "x"),
        record("t", 2, "13"),
        record("t", 3, "14"),
        record("homeless", 4, "8"),
        record("t", 5, "9"),
        tombstone,
    ];
    let begin = tokio::time::Instant::now();
    let passed = chain.apply(records.clone().into()).await.unwrap();
    // Twice the registry was away, and that was waited for.
    assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
    assert_eq!(chain.condition().reason(), None);

    let kept: Vec<_> = passed.kept.iter().map(|it| (it.origin.offset, it.value.bytes().cloned())).collect();
    assert_eq!(kept, [(0, Some("t-out:7".into())), (5, Some("t-out:9".into())), (6, None)]);
    for record in &passed.kept {
        assert_eq!(record.key.bytes().map(|bytes| &bytes[..]), Some(&b"t-out:1"[..]));
        let names: Vec<&str> = record.headers.iter().map(|header| &*header.name).collect();
        assert_eq!(names, ["other"], "the header that belonged to the old bytes is gone");
    }
    let bad: Vec<_> =
        passed.bad.iter().map(|bad| (bad.record.origin.offset, bad.stage, bad.error.says())).collect();
    assert_eq!(
        bad,
        [
            (1, Stage::Decode, "not a number"),
            (2, Stage::Encode, "13 is refused"),
            (3, Stage::Encode, "14 cannot be written"),
            (4, Stage::Encode, "it has no topic"),
        ]
    );
    for bad in &passed.bad {
        assert_eq!(bad.record, records[bad.record.origin.offset as usize], "set aside as the source gave it");
    }
}

/// Gives a key structure that no format of the pipeline writes.
struct Structures;

impl Transform for Structures {
    fn projection(&self) -> Projection {
        Projection::default()
    }
    fn apply(&mut self, record: &mut Record) -> Result<Outcome> {
        let mut schema = SchemaBuilder::default();
        let root = schema.add(Kind::Long);
        record.key = Payload::Typed(Typed::new(schema.finish(root), "".into(), Value::Long(1)));
        Ok(Outcome::Keep)
    }
}

#[tokio::test]
async fn structure_that_nobody_writes_never_reaches_a_sink() {
    let mut chain = Chain::of(vec![Box::new(Structures)]);
    let error = chain.apply(vec![record("t", 0, "7")].into()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.says().contains("nothing says how it is written"), "{error}");
}

#[tokio::test]
async fn before_a_topic_that_would_feed_itself_the_pipeline_stops_in_good_order() {
    let mut chain = Chain::build(&pipeline()).unwrap();
    let passed = chain.apply(vec![record("t", 0, "7")].into()).await.unwrap();
    assert!(passed.stop.is_none() && passed.kept.len() == 1);
    let passed = chain.apply(vec![record("t", 1, "7"), record("back", 0, "7")].into()).await.unwrap();
    let stop = passed.stop.unwrap();
    assert!(stop.says().contains("records of `back` to `back-out`, which the source reads"), "{stop}");
    assert!(passed.kept.is_empty() && passed.bad.is_empty() && passed.dropped == 0);
}
