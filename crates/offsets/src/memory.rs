//! `memory`: offsets that live as long as the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aqueduct_api::catalog::{Block, OffsetStoreKind};
use aqueduct_api::{OffsetStore, Offsets, Result};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

/// The offset store `memory`. A pipeline that is started again in the same process resumes; a new process
/// begins anew.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<String, Offsets>>);

/// The block of `memory`: it has no options.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {}

impl Block for MemoryConfig {
    const NAME: &'static str = "memory";
    const ABOUT: &'static str =
        "Keeps offsets in the process: they survive a restart of the pipeline, not of the process.";
}

#[async_trait]
impl OffsetStoreKind for MemoryConfig {
    async fn open(&self) -> Result<Arc<dyn OffsetStore>> {
        Ok(Arc::new(Memory::default()))
    }
}

#[async_trait]
impl OffsetStore for Memory {
    async fn load(&self, pipeline: &str) -> Result<Offsets> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.get(pipeline).cloned().unwrap_or_default())
    }

    async fn save(&self, pipeline: &str, moved: &Offsets) -> Result<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(pipeline.to_owned()).or_default().extend(moved.clone());
        Ok(())
    }
}
