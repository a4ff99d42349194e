//! The sink `discard`.

use std::sync::Arc;

use aqueduct_api::catalog::{Block, Duplicates, SinkConnector, SinkContext, SinkTraits};
use aqueduct_api::{Batch, Problem, Result, Sink, Written};
use async_trait::async_trait;

use crate::config::Config;

/// Says of everything that it is durable.
struct Nothing;

impl Block for Config {
    const NAME: &'static str = "discard";
    const ABOUT: &'static str =
        "Takes every record and keeps none: to measure a source, or to try a pipeline.";
}

#[async_trait]
impl SinkConnector for Config {
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }

    fn traits(&self) -> SinkTraits {
        SinkTraits {
            lanes: 1,
            batch_records_max: None,
            duplicates: Duplicates::Absorbed("nothing is kept"),
            transactions: Err("nothing is kept"),
            value_format: None,
        }
    }

    fn describe(&self) -> String {
        "discard".to_owned()
    }

    async fn open(&self, _: SinkContext) -> Result<Box<dyn Sink>> {
        Ok(Box::new(Nothing))
    }
}

#[async_trait]
impl Sink for Nothing {
    async fn write(&mut self, _: &Arc<Batch>) -> Result<Written> {
        Ok(Written::all())
    }

    async fn flush(&mut self) -> Result<Written> {
        Ok(Written::all())
    }
}
