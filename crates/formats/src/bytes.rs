//! `bytes`: anything, passed on as it is.

/// The format `bytes`.
pub struct Bytes;
