//! Opens the sink on its folder.

use std::sync::Arc;

use aqueduct_api::catalog::{Block, Duplicates, ProbeContext, SinkConnector, SinkContext, SinkTraits};
use aqueduct_api::{Finding, Problem, Result, Sink};
use aqueduct_objects::{ObjectsSink, Settings};
use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::folder::FolderStore;

/// Files being finished at a time at most: each waits for the disk, while others are written.
const FINISHING_MAX: usize = 4;

impl Block for Config {
    const NAME: &'static str = "directory";
    const ABOUT: &'static str = "Writes records into files of a local folder.";
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
                "files are named by their first offset, and a replay skips those that hold the same records",
            ),
            transactions: Err("what it has is known by the names of its files"),
            value_format: self.format.value_format(),
        }
    }

    fn names_by_offsets(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("directory {}/{}, {}", self.folder.trim_end_matches('/'), self.path.as_str(), self.format)
    }

    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        let store = FolderStore::open(self.folder.clone().into(), context.condition.clone()).await?;
        let settings = Settings {
            path: self.path.clone(),
            format: self.format.clone(),
            rotate: self.rotate.clone(),
            on_null_value: self.on_null_value,
            buffer_max_bytes: context.buffer_max_bytes,
        };
        let slots = Arc::new(Semaphore::new(FINISHING_MAX));
        Ok(Box::new(ObjectsSink::new(Arc::new(store), settings, slots, &context)?))
    }

    async fn probe(&self, _: ProbeContext) -> Vec<Finding> {
        let folder = self.folder.clone();
        let ask = move || crate::probe::probe(folder.as_ref());
        tokio::task::spawn_blocking(ask).await.unwrap_or_default()
    }
}
