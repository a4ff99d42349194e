//! A registry, and a format that needs one; neither is ever opened.

use std::sync::Arc;

use aqueduct_api::catalog::{Block, FormatKind, ProbeContext, RegistryKind};
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

impl Block for RegistryConfig {
    const NAME: &'static str = "registry";
    const ABOUT: &'static str = "A schema registry with the API of Confluent's.";
}

#[async_trait]
impl RegistryKind for RegistryConfig {
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
    fn open(&self) -> Result<Arc<dyn Registry>> {
        Err(Error::config("only looks like a registry"))
    }
    async fn probe(&self, _: ProbeContext) -> Vec<Finding> {
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

impl Block for AvroConfig {
    const NAME: &'static str = "avro";
    const ABOUT: &'static str = "a format with a registry";
}

impl FormatKind for AvroConfig {
    fn check(&self, side: Side) -> Vec<Problem> {
        let wrong = side == Side::Source && self.register.is_some();
        let problem = || {
            Problem::new("register", "`register` is about writing, and a source only reads")
                .remedy("leave it out")
        };
        wrong.then(problem).into_iter().collect()
    }
    fn traits(&self) -> FormatTraits {
        FormatTraits { registry: true, structured: true, ..FormatTraits::default() }
    }
    fn describe(&self, _: Side) -> String {
        Self::NAME.to_owned()
    }
    fn decoder(&self, _: &FormatContext) -> Result<Box<dyn Decoder>> {
        Err(Error::config("only looks like a format"))
    }
    fn encoder(&self, _: &FormatContext) -> Result<Box<dyn Encoder>> {
        Err(Error::config("only looks like a format"))
    }
}
