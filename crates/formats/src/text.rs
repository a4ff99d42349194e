//! `string`: UTF-8 text.

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::{Error, Format, Result};

use crate::NoOptions;

/// The format `string`.
pub struct Text;

impl FormatKind for Text {
    const NAME: &'static str = "string";
    const ABOUT: &'static str = "UTF-8 text.";
    type Config = NoOptions;

    fn build(_: &NoOptions) -> Result<Box<dyn Format>> {
        Ok(Box::new(Text))
    }
}

impl Format for Text {
    fn check(&self, bytes: &bytes::Bytes) -> Result<()> {
        utf8(bytes).map(|_| ())
    }
}

/// The bytes as text, or an error of kind `BadRecord` that names the first byte that is none.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        Error::bad_record(format!("byte {} of {}, 0x{byte:02x}, is not UTF-8 text", at + 1, bytes.len()))
            .remedy("name the format the data really has, or `bytes`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_passes_and_other_bytes_are_named() {
        assert!(Text.check(&"Grüße".into()).is_ok());
        let error = Text.check(&bytes::Bytes::from_static(b"ab\xffd")).unwrap_err();
        assert_eq!(error.says(), "byte 3 of 4, 0xff, is not UTF-8 text");
        let cut_off = Text.check(&bytes::Bytes::from_static(b"ab\xc3")).unwrap_err();
        assert_eq!(cut_off.says(), "byte 3 of 3, 0xc3, is not UTF-8 text");
    }
}
