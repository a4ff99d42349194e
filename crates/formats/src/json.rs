//! `json`: one JSON text (RFC 8259), whitespace around it allowed.

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::{Error, Format, Result};
use serde::de::IgnoredAny;

use crate::NoOptions;
use crate::text::utf8;

/// The format `json`.
pub struct Json;

impl FormatKind for Json {
    const NAME: &'static str = "json";
    const ABOUT: &'static str = "One JSON text.";
    type Config = NoOptions;

    fn build(_: &NoOptions) -> Result<Box<dyn Format>> {
        Ok(Box::new(Json))
    }
}

impl Format for Json {
    fn check(&self, bytes: &bytes::Bytes) -> Result<()> {
        // UTF-8 first: a parser that ignores the values does not look into its strings.
        match serde_json::from_str::<IgnoredAny>(utf8(bytes)?) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::bad_record(format!("not valid JSON: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_json_passes_and_the_rest_is_told_where() {
        for text in [r#"{"id":1}"#, " [1, 2.5e300, null]\n", "\"a\"", "1e999", "true"] {
            assert!(Json.check(&text.into()).is_ok(), "{text}");
        }
        for (bytes, says) in [
            (&b""[..], "not valid JSON: EOF while parsing a value at line 1 column 0"),
            (b"{\"id\":1,\n \"b\"}", "not valid JSON: expected `:` at line 2 column 5"),
            (b"1 2", "not valid JSON: trailing characters at line 1 column 3"),
            (b"\"\xff\"", "byte 2 of 3, 0xff, is not UTF-8 text"),
        ] {
            let error = Json.check(&bytes::Bytes::from_static(bytes)).unwrap_err();
            assert_eq!(error.says(), says);
        }
    }
}
