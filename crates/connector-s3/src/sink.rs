//! Opens the sink on its bucket.

use std::sync::Arc;

use aqueduct_api::catalog::{Block, Duplicates, ProbeContext, SinkConnector, SinkContext, SinkTraits};
use aqueduct_api::{Finding, Problem, Result, Sink};
use aqueduct_objects::{ObjectsSink, Settings};
use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::bucket::Bucket;
use crate::config::Config;
use crate::store::BucketStore;

/// Requests with a body under way at most, each of a part: two hide the latency of each other, and hold 10
/// MiB.
const REQUESTS_MAX: usize = 2;

impl Block for Config {
    const NAME: &'static str = "s3";
    const ABOUT: &'static str = "Writes records into objects of an S3 bucket.";
}

#[async_trait]
impl SinkConnector for Config {
    fn check(&self) -> Vec<Problem> {
        self.problems()
    }

    fn traits(&self) -> SinkTraits {
        SinkTraits {
            lanes: 1,
            batch_records_max: self.rotate.records_max.and_then(|max| usize::try_from(max).ok()),
            duplicates: Duplicates::Absorbed(
                "objects are named by their first offset, and a replay skips those that hold the same records",
            ),
            transactions: Err("what it has is known by the names of its objects"),
            value_format: self.format.value_format(),
        }
    }

    fn names_by_offsets(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("s3 {}/{}, {}", self.connection.bucket, self.path.as_str(), self.format)
    }

    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        let slots = Arc::new(Semaphore::new(REQUESTS_MAX));
        let bucket =
            Bucket::open(Arc::new(self.clone()), context.condition.clone(), Arc::clone(&slots)).await?;
        let settings = Settings {
            path: self.path.clone(),
            format: self.format.clone(),
            rotate: self.rotate.clone(),
            on_null_value: self.on_null_value,
            buffer_max_bytes: self
                .buffer_max
                .map_or(context.buffer_max_bytes, |size| usize::try_from(size.0).unwrap_or(usize::MAX)),
        };
        let store = BucketStore(Arc::new(bucket));
        Ok(Box::new(ObjectsSink::new(Arc::new(store), settings, slots, &context)?))
    }

    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        crate::probe::probe(self, context.patience).await
    }
}
