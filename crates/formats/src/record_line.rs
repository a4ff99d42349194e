//! The record line: one JSON object on one line that carries every part of a record. Files, dead letters,
//! standard input and output, and the cases of tests are written in it.
//!
//! ```json
//! {"topic":"shop.orders","partition":3,"offset":17,"timestamp":"2026-01-01T00:00:00.25Z","key":"c-1",
//!  "value":"{\"id\":1}","headers":[{"name":"trace","value":{"base64":"/w=="}}]}
//! ```
//!
//! - A key, a value or the value of a header that is UTF-8 text stands as a JSON string, any other bytes as
//!   `{"base64": "..."}` (RFC 4648, padded), an absent one as `null`. What is written reads back the same.
//! - `value` must be there: a tombstone is said aloud. All other parts may be left out.
//! - For people there is more to read than is written: a number, `true`, `false`, an array or an object
//!   (except the object of the one field `base64`) stands for its own JSON text without the whitespace
//!   between its tokens, digits and order of fields as they are. An object that really is `{"base64": ...}`
//!   is written as a string.
//! - `timestamp` is RFC 3339, read to the microsecond. A time outside the years 0 to 9999 is `{"us": N}`,
//!   microseconds since 1970. A bare number is refused: it could be seconds, milliseconds or microseconds.
//! - `headers` is a list of names and values in order; a map from name to value reads as well.

mod read;
mod write;

use std::sync::Arc;

pub use read::{from_json, read};
pub use write::write;

/// What a line means that does not say it.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, counted from 0.
    pub partition: i32,
    /// The offset inside the partition.
    pub offset: i64,
}

/// RFC 3339 has four digits for the year: 0000-01-01T00:00:00Z in microseconds.
const RFC_3339_FIRST_US: i64 = -62_167_219_200_000_000;
