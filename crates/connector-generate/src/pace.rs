//! How many records are due, for a source that keeps to a rate.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// A rate. What was missed because nobody asked is made up for, but never more than a second of it.
pub(crate) struct Pace {
    per_second: f64,
    /// When the next record is due.
    next: Instant,
}

/// So long records are gathered before they are given: fewer, larger batches.
const GATHER: Duration = Duration::from_millis(10);
const BEHIND_MAX: Duration = Duration::from_secs(1);

impl Pace {
    /// That many records a second, beginning now.
    pub(crate) fn new(per_second: f64) -> Self {
        Self { per_second, next: Instant::now() }
    }

    /// Waits, no longer than `wait`, until records are due; the answer is how many.
    pub(crate) async fn due(&mut self, wait: Duration) -> usize {
        let gathered = self.next + GATHER;
        let left = gathered.saturating_duration_since(Instant::now());
        sleep(left.min(wait)).await;
        if left > wait {
            return 0;
        }
        let now = Instant::now();
        self.next = self.next.max(now.checked_sub(BEHIND_MAX).unwrap_or(self.next));
        ((now - self.next).as_secs_f64() * self.per_second) as usize + 1
    }

    /// So many were given.
    pub(crate) fn given(&mut self, records: usize) {
        self.next += Duration::from_secs_f64(records as f64 / self.per_second);
    }
}
