//! A schema registry with Confluent's API, as its clients see it: Confluent's own, Karapace, Apicurio. What one of them
//! lacks is done without, nothing rests on it.
//!
//! ids, and versions by their number, are remembered for ever, up to [`SCHEMAS_MAX`] of them; what is the latest version
//! of a subject is asked again after [`LATEST_AGE_MAX`], and while the registry is away the last answer holds. That
//! something does not exist, or is refused, is believed for [`REFUSAL_AGE_MAX`].

mod cache;
mod client;
mod config;
mod failure;
mod placing;
mod probe;
mod references;
mod remote;

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{Block, ProbeContext, RegistryKind};
use aqueduct_api::registry::Registry;
use aqueduct_api::{Finding, Problem, Result};
use async_trait::async_trait;

pub use config::{Config, Pem, Tls, Urls};

/// So many schemas are remembered at a time; the one that was asked for the longest ago is forgotten first.
pub const SCHEMAS_MAX: usize = 50_000;
/// Nor are they more than so many bytes of text together.
pub const SCHEMA_TEXTS_BYTES_MAX: usize = 64 << 20;
/// After this what is the latest version of a subject is asked again.
pub const LATEST_AGE_MAX: Duration = Duration::from_secs(60);
/// So long it is believed that something does not exist, or is refused.
pub const REFUSAL_AGE_MAX: Duration = Duration::from_secs(10);

impl Block for Config {
    const NAME: &'static str = "registry";
    const ABOUT: &'static str = "A schema registry with the API of Confluent's.";
}

#[async_trait]
impl RegistryKind for Config {
    fn check(&self) -> Vec<Problem> {
        config::check(self)
    }

    fn open(&self) -> Result<Arc<dyn Registry>> {
        Ok(Arc::new(remote::Remote::new(self)?))
    }

    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        probe::probe(self, context.patience).await
    }
}
