//! Avro between topics: untouched, with one field changed, and into JSON, with the broker on the same cores.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use aqueduct_api::{Catalog, Error, Problem};
use aqueduct_connector_kafka::bench;
use aqueduct_devserver::Registry;
use aqueduct_engine::{Setting, Status, Stopper};
use aqueduct_spec::pipeline::Named;
use aqueduct_spec::{Delivery, Pipeline};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{Begin, Measured};
use crate::commands::pipeline_of;
use crate::supervise;

const PARTITIONS: i32 = 4;
/// Memory of a pipeline with default settings.
const MEMORY_MAX_BYTES: u64 = 64 << 20;
/// How often the engine is asked whether it has written everything.
const LOOK: Duration = Duration::from_millis(1);
/// Each way is gone so often, one after the other, and the best of each is printed.
const ROUNDS: u32 = 3;

/// What happens between two topics.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Bytes, by librdkafka alone.
    Bare,
    Untouched,
    /// With data and offsets in one transaction.
    ExactlyOnce,
    OneFieldChanged,
    ToJson,
}

/// All ways of the same records.
pub(super) fn between_topics(brokers: &str, records: u64, catalog: &Catalog) -> Result<(), String> {
    let runtime = Runtime::new().map_err(|error| format!("cannot start a runtime: {error}"))?;
    // Its ids hold only as long as this runs, and so do the topics.
    let registry = runtime
        .block_on(Registry::start(([127, 0, 0, 1], 0).into()))
        .map_err(|error| format!("cannot start the embedded schema registry: {error}"))?;
    let bench = Bench { brokers, records, catalog, runtime, registry_url: registry.url() };
    let run = format!("aqueduct-bench-avro-{}", std::process::id());
    let from = format!("{run}-from");
    bench.run(bench.generate(&from)?)?.print("generate -> Kafka, Avro");
    let ways = [
        (Way::Bare, "bare loop over librdkafka that copies"),
        (Way::Untouched, "Kafka -> Kafka, Avro untouched"),
        (Way::ExactlyOnce, "Kafka -> Kafka, Avro untouched, exactly once"),
        (Way::OneFieldChanged, "Kafka -> Kafka, Avro, one field changed"),
        (Way::ToJson, "Kafka -> Kafka, Avro to JSON"),
    ];
    let mut best: Vec<Option<Measured>> = ways.iter().map(|_| None).collect();
    for round in 0..ROUNDS {
        for ((way, _), best) in ways.iter().zip(&mut best) {
            let to = format!("{run}-{}-{round}", *way as u8);
            let measured = match way {
                Way::Bare => bench.bare(&from, &to)?,
                _ => bench.run(bench.copy(&from, &to, *way)?)?,
            };
            if best.as_ref().is_none_or(|best| measured.cpu_seconds < best.cpu_seconds) {
                *best = Some(measured);
            }
        }
    }
    let bare = best[0].as_ref().map_or(f64::NAN, |bare| bare.cpu_seconds);
    for ((way, name), best) in ways.iter().zip(&best) {
        let Some(best) = best else { continue };
        best.print(name);
        if *way != Way::Bare {
            println!("{:<40} {:6.1} % of the CPU of the bare loop", "", 100.0 * best.cpu_seconds / bare);
        }
    }
    Ok(())
}

struct Bench<'a> {
    brokers: &'a str,
    records: u64,
    catalog: &'a Catalog,
    runtime: Runtime,
    registry_url: String,
}

impl Bench<'_> {
    fn connection(&self) -> Value {
        json!({ "brokers": self.brokers })
    }

    fn sink(&self, topic: &str) -> Value {
        let create = json!({ "create": { "partitions": PARTITIONS } });
        json!({ "connection": self.connection(), "topic": topic, "on_missing_topic": create })
    }

    fn generate(&self, topic: &str) -> Result<Pipeline, String> {
        let source = json!({ "topic": topic, "partitions": PARTITIONS, "count": self.records });
        let sink = self.sink("{topic}");
        self.pipeline("generate", ("generate", source), ("kafka", sink), |pipeline, this| {
            pipeline.sink.formats.value = Some(this.format("avro")?);
            Ok(())
        })
    }

    fn copy(&self, from: &str, to: &str, way: Way) -> Result<Pipeline, String> {
        let source =
            json!({ "connection": self.connection(), "topics": [from], "group": format!("{to}-group") });
        let sink = self.sink(to);
        self.pipeline("copy", ("kafka", source), ("kafka", sink), |pipeline, this| {
            pipeline.source.formats.value = Some(this.format("avro")?);
            match way {
                Way::Bare | Way::Untouched => {}
                Way::ExactlyOnce => pipeline.delivery = Delivery::ExactlyOnce { transactional: true },
                Way::ToJson => pipeline.sink.formats.value = Some(this.format("json")?),
                Way::OneFieldChanged => {
                    let mask = this.catalog.transforms.get("mask").ok_or_else(|| absent("mask"))?;
                    let configured = mask.configure(json!({ "fields": ["card_number"] }))?;
                    pipeline.transforms.push(Named { kind: mask.name, configured });
                }
            }
            Ok(())
        })
    }

    fn pipeline(
        &self,
        name: &str,
        source: (&str, Value),
        sink: (&str, Value),
        more: impl FnOnce(&mut Pipeline, &Self) -> Result<(), Vec<Problem>>,
    ) -> Result<Pipeline, String> {
        let made = pipeline_of(self.catalog, name, source, sink).and_then(|mut pipeline| {
            more(&mut pipeline, self)?;
            let registry = self.catalog.registry.as_ref().ok_or_else(|| absent("registry"))?;
            let registry = registry.configure(json!({ "url": self.registry_url }))?;
            pipeline.source.formats.registry = Some(Arc::clone(&registry));
            pipeline.sink.formats.registry = Some(registry);
            Ok(pipeline)
        });
        made.map_err(|problems| format!("{problems:?}"))
    }

    fn format(&self, name: &str) -> Result<Named<dyn aqueduct_api::catalog::FormatKind>, Vec<Problem>> {
        let entry = self.catalog.formats.get(name).ok_or_else(|| absent("format"))?;
        Ok(Named { kind: entry.name, configured: entry.configure(Value::Null)? })
    }

    fn bare(&self, from: &str, to: &str) -> Result<Measured, String> {
        let run = || {
            self.runtime.block_on(bench::make(self.brokers, to, PARTITIONS))?;
            let begin = Begin::now();
            let counted = bench::bare_copy(self.brokers, from, to)?;
            Ok(Measured { seconds: counted.seconds, ..begin.ended(counted.records) })
        };
        run().map_err(|error: Error| error.to_string())
    }

    /// From the first record that is written, when the topic has been made, to the last.
    fn run(&self, pipeline: Pipeline) -> Result<Measured, String> {
        let (status, stopper) = (Arc::new(Status::default()), Stopper::new());
        let setting = Setting {
            limits: supervise::limits(&pipeline, MEMORY_MAX_BYTES, 1),
            store: None,
            status: Arc::clone(&status),
            stop: stopper.listener(),
        };
        let run = async {
            let running = tokio::spawn(async move { aqueduct_engine::run(&pipeline, &setting).await });
            while status.records_written.load(Relaxed) == 0 && !running.is_finished() {
                tokio::time::sleep(LOOK).await;
            }
            let (begin, before) = (Begin::now(), status.records_written.load(Relaxed));
            while status.records_written.load(Relaxed) < self.records && !running.is_finished() {
                tokio::time::sleep(LOOK).await;
            }
            let measured = begin.ended(status.records_written.load(Relaxed) - before);
            stopper.stop();
            running.await.map_err(|panic| Error::fatal("the engine panicked").caused_by(panic))??;
            Ok::<_, Error>(measured)
        };
        self.runtime.block_on(run).map_err(|error| error.to_string())
    }
}

fn absent(name: &str) -> Vec<Problem> {
    vec![Problem::new(name, "this binary does not have it")]
}
