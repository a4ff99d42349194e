//! How long to wait before the same call again.

use std::time::Duration;

/// Pauses that double from `first` to `longest`, each with up to a quarter of jitter taken off, so that many
/// pipelines do not come back at the same moment.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
    jitter: u64,
}

impl Backoff {
    /// The pauses of a write: from 100 ms to 10 s.
    pub(crate) fn of_write(seed: u64) -> Self {
        Self { next: Duration::from_millis(100), longest: Duration::from_secs(10), jitter: seed | 1 }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (self.next * 2).min(self.longest);
        // A linear congruential step is random enough to spread callers, and the same in every replay of a seed.
        self.jitter =
            self.jitter.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        pause - pause.mul_f64((self.jitter >> 33) as f64 / f64::from(1u32 << 31) / 4.0)
    }
}
