//! What the supervisor does with pipelines that fail again and again.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicU32;

use aqueduct_api::catalog::{Block, KeepsOffsets, SourceConnector, SourceContext, SourceTraits};
use aqueduct_api::{Polled, Problem, Source};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use super::*;
use crate::commands::pipeline_of;

/// How often a source was opened, over all runs of one test.
static RUNS: [AtomicU32; 3] = [const { AtomicU32::new(0) }; 3];

/// A source that fails as soon as it is asked.
#[derive(Deserialize, JsonSchema)]
struct Fails {
    how: How,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum How {
    /// At one record.
    Record,
    /// Because a right is missing.
    Denied,
    Panic,
}

struct Failing(How);

impl Block for Fails {
    const NAME: &'static str = "fails";
    const ABOUT: &'static str = "Fails.";
}

#[async_trait]
impl SourceConnector for Fails {
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
    fn traits(&self) -> SourceTraits {
        let keeps_offsets = KeepsOffsets::Always;
        SourceTraits { keeps_offsets, tasks_max: None, finite: false, typed: false, transactions: Err("") }
    }
    fn describe(&self, _: &str) -> String {
        "fails".to_owned()
    }
    async fn open(&self, _: SourceContext) -> Result<Box<dyn Source>> {
        RUNS[self.how as usize].fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Failing(self.how)))
    }
}

#[async_trait]
impl Source for Failing {
    async fn poll(&mut self, _: Duration) -> Result<Polled> {
        match self.0 {
            How::Record => {
                Err(Error::fatal("too odd").with("topic", "a").with("partition", 0).with("offset", 7))
            }
            How::Denied => Err(Error::fatal("may not read").with("topic", "a")),
            How::Panic => panic!("index out of bounds"),
        }
    }
}

/// The state of the pipeline after this time, what is said of it, and how often it ran.
async fn after(time: Duration, how: &str, index: usize) -> (&'static str, String, u32) {
    let catalog = crate::catalog::catalog().source::<Fails>();
    let source = ("fails", serde_json::json!({ "how": how }));
    let pipeline = pipeline_of(&catalog, "odd", source, ("discard", serde_json::Value::Null)).unwrap();
    let fleet = Fleet::start(vec![pipeline], &Runtime::default(), &catalog);
    tokio::time::sleep(time).await;
    let members = fleet.members();
    let said = members[0].not_ready().unwrap_or_default();
    (members[0].state(), said, RUNS[index].load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_three_runs_stops_the_pipeline_and_readyz_says_it() {
    let (state, said, runs) = after(Duration::from_secs(3_600), "record", 0).await;
    assert_eq!((state, runs), ("failed", 3), "{said}");
    let expected = "failed: too odd (topic=a, partition=0, offset=7); three runs ended in this way, so it is not started again";
    assert_eq!(said, expected);
}

#[tokio::test(start_paused = true)]
async fn what_may_heal_from_outside_is_tried_again_however_long_it_takes() {
    let (state, said, runs) = after(Duration::from_secs(3_600), "denied", 1).await;
    assert!(state == "restarting" || state == "running", "{state}: {said}");
    assert!(runs > 50, "{runs} runs in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_comes_again_stops_the_pipeline() {
    let (state, said, runs) = after(Duration::from_secs(3_600), "panic", 2).await;
    assert_eq!((state, runs), ("failed", 3), "{said}");
    assert!(said.contains("index out of bounds") && said.contains("please report it"), "{said}");
}
