//! A registry, and a format that needs one; neither is ever opened.

use std::sync::Arc;

use aqueduct_api::catalog::{FormatKind, ProbeContext, RegistryKind};
use aqueduct_api::config::Secret;
use aqueduct_api::{
    Decoder, Encoder, Error, Finding, FormatContext, FormatTraits, Problem, Registry, Result, Side,
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegistryConfig {
    /// Where it is.
    #[allow(dead_code)]
    url: String,
    /// What it wants to hear.
    #[serde(default)]
    #[allow(dead_code)]
    password: Option<Secret<String>>,
}

pub struct AnyRegistry;

#[async_trait]
impl RegistryKind for AnyRegistry {
    type Config = RegistryConfig;
    fn check(_: &RegistryConfig) -> Vec<Problem> {
        Vec::new()
    }
    fn open(_: &RegistryConfig) -> Result<Arc<dyn Registry>> {
        Err(Error::config("only looks like a registry"))
    }
    async fn probe(_: Arc<RegistryConfig>, _: ProbeContext) -> Vec<Finding> {
        Vec::new()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AvroConfig {
    /// Whether a sink may register schemas.
    #[serde(default)]
    register: Option<bool>,
}

pub struct Avro;

impl FormatKind for Avro {
    const NAME: &'static str = "avro";
    const ABOUT: &'static str = "a format with a registry";
    type Config = AvroConfig;
    fn check(config: &AvroConfig, side: Side) -> Vec<Problem> {
        let wrong = side == Side::Source && config.register.is_some();
        let problem = || {
            Problem::new("register", "`register` is about writing, and a source only reads")
                .remedy("leave it out")
        };
        wrong.then(problem).into_iter().collect()
    }
    fn traits(_: &AvroConfig) -> FormatTraits {
        FormatTraits { registry: true, structured: true, ..FormatTraits::default() }
    }
    fn decoder(_: &Arc<AvroConfig>, _: &FormatContext) -> Result<Box<dyn Decoder>> {
        Err(Error::config("only looks like a format"))
    }
    fn encoder(_: &Arc<AvroConfig>, _: &FormatContext) -> Result<Box<dyn Encoder>> {
        Err(Error::config("only looks like a format"))
    }
}
