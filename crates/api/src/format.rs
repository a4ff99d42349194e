//! What a record format is to the engine.

use bytes::Bytes;

use crate::error::Result;

/// How the bytes of a key or a value are to be read.
///
/// A pipeline that names a format and looks at nothing has its bytes checked and passed on as they are.
pub trait Format: Send + Sync {
    /// Whether these bytes are of the format; if not, an error of kind `BadRecord` that says where.
    fn check(&self, bytes: &Bytes) -> Result<()>;
}
