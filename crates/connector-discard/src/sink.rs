//! The sink `discard`.

use std::sync::Arc;

use aqueduct_api::catalog::{Duplicates, SinkConnector, SinkContext, SinkTraits};
use aqueduct_api::{Batch, Problem, Result, Sink, Written};
use async_trait::async_trait;

use crate::config::Config;

/// The sink connector `discard`.
pub struct Nothing;

#[async_trait]
impl SinkConnector for Nothing {
    const NAME: &'static str = "discard";
    const ABOUT: &'static str =
        "Takes every record and keeps none: to measure a source, or to try a pipeline.";
    type Config = Config;

    fn check(_: &Config) -> Vec<Problem> {
        Vec::new()
    }

    fn traits(_: &Config) -> SinkTraits {
        SinkTraits {
            lanes: 1,
            batch_records_max: None,
            duplicates: Duplicates::Absorbed("nothing is kept"),
            transactions: Err("nothing is kept"),
            value_format: None,
        }
    }

    fn describe(_: &Config) -> String {
        "discard".to_owned()
    }

    async fn open(_: Arc<Config>, _: SinkContext) -> Result<Box<dyn Sink>> {
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
