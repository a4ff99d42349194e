//! `json`: one JSON text (RFC 8259), whitespace around it allowed.

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::{Error, Result};
use serde::de::IgnoredAny;

use crate::NoOptions;
use crate::text::utf8;

/// The format `json`.
pub struct Json;

impl FormatKind for Json {
    const NAME: &'static str = "json";
    const ABOUT: &'static str = "One JSON text.";
    type Config = NoOptions;

    fn decoder(
        _: &std::sync::Arc<NoOptions>,
        _: &aqueduct_api::FormatContext,
    ) -> Result<Box<dyn aqueduct_api::Decoder>> {
        Ok(Box::new(Json))
    }

    fn encoder(
        _: &std::sync::Arc<NoOptions>,
        _: &aqueduct_api::FormatContext,
    ) -> Result<Box<dyn aqueduct_api::Encoder>> {
        Err(Error::config("not here"))
    }
}

impl aqueduct_api::Decoder for Json {
    fn decode(&mut self, _: aqueduct_api::Piece<'_>) -> Result<aqueduct_api::Typed> {
        Err(Error::config("not here"))
    }
    fn check(&mut self, piece: aqueduct_api::Piece<'_>) -> Result<()> {
        // UTF-8 first: a parser that ignores the values does not look into its strings.
        match serde_json::from_str::<IgnoredAny>(utf8(piece.bytes)?) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::bad_record(format!("not valid JSON: {error}"))),
        }
    }
}
