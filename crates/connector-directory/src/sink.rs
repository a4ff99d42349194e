//! Opens the sink on its folder.

use std::sync::Arc;

use aqueduct_api::catalog::{Duplicates, ProbeContext, SinkConnector, SinkContext, SinkTraits};
use aqueduct_api::{Finding, Problem, Result, Sink};
use aqueduct_objects::{ObjectsSink, Settings};
use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::folder::FolderStore;

/// Files being finished at a time at most: each waits for the disk, while others are written.
const FINISHING_MAX: usize = 4;

/// Files of records in a local folder.
pub struct Folder;

#[async_trait]
impl SinkConnector for Folder {
    const NAME: &'static str = "directory";
    const ABOUT: &'static str = "Writes records into files of a local folder.";
    type Config = Config;

    fn check(config: &Config) -> Vec<Problem> {
        config.check()
    }

    fn traits(config: &Config) -> SinkTraits {
        SinkTraits {
            lanes: 1,
            batch_records_max: config.rotate.records_max.and_then(|max| usize::try_from(max).ok()),
            duplicates: Duplicates::Absorbed(
                "files are named by their first offset, and a replay skips those that hold the same records",
            ),
            transactions: Err("what it has is known by the names of its files"),
            value_format: config.format.value_format(),
        }
    }

    fn names_by_offsets() -> bool {
        true
    }

    fn describe(config: &Config) -> String {
        format!(
            "directory {}/{}, {}",
            config.folder.trim_end_matches('/'),
            config.path.as_str(),
            config.format
        )
    }

    async fn open(config: Arc<Config>, context: SinkContext) -> Result<Box<dyn Sink>> {
        let store = FolderStore::open(config.folder.clone().into(), context.condition.clone()).await?;
        let settings = Settings {
            path: config.path.clone(),
            format: config.format.clone(),
            rotate: config.rotate.clone(),
            on_null_value: config.on_null_value,
            buffer_max_bytes: context.buffer_max_bytes,
        };
        let slots = Arc::new(Semaphore::new(FINISHING_MAX));
        Ok(Box::new(ObjectsSink::new(Arc::new(store), settings, slots, &context)?))
    }

    async fn probe(config: Arc<Config>, _: ProbeContext) -> Vec<Finding> {
        let ask = move || crate::probe::probe(config.folder.as_ref());
        tokio::task::spawn_blocking(ask).await.unwrap_or_default()
    }
}
