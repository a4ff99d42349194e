//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

/// In milliseconds, for timestamps of records.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
