//! Why a Protobuf schema cannot be used.

use std::fmt;

use aqueduct_api::Error;

/// Why some text is not a Protobuf schema, or one that cannot be read: a sentence with the place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtoError(pub(crate) String);

impl fmt::Display for ProtoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProtoError {}

impl From<ProtoError> for Error {
    /// Whoever wrote a record with this schema wrote one that cannot be read.
    fn from(error: ProtoError) -> Self {
        Error::bad_record(error.to_string())
    }
}
