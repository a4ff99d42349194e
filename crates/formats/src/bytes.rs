//! `bytes`: anything, passed on as it is.

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::{Format, Result};

use crate::NoOptions;

/// The format `bytes`.
pub struct Bytes;

impl FormatKind for Bytes {
    const NAME: &'static str = "bytes";
    const ABOUT: &'static str = "Any bytes, passed on as they are and never looked into.";
    type Config = NoOptions;

    fn build(_: &NoOptions) -> Result<Box<dyn Format>> {
        Ok(Box::new(Bytes))
    }
}

impl Format for Bytes {
    fn check(&self, _: &bytes::Bytes) -> Result<()> {
        Ok(())
    }
}
