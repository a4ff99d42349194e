//! The block of `discard` in a pipeline file: it has no options.

use schemars::JsonSchema;
use serde::Deserialize;

/// The sink that keeps nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {}
