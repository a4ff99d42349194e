//! `string`: UTF-8 text.

use aqueduct_api::{Error, Result};

/// The format `string`.
pub struct Text;

/// The bytes as text, or an error of kind `BadRecord` that names the first byte that is none.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let byte = bytes.get(at).copied().unwrap_or_default();
        Error::bad_record(format!("byte {} of {}, 0x{byte:02x}, is not UTF-8 text", at + 1, bytes.len()))
            .remedy("name the format the data really has, or `bytes`")
    })
}
