//! Whether a pipeline gets on: it is observed from time to time, and stalls when records are in flight and no counter
//! moves although nothing is waited for.

use std::time::Duration;

use tokio::time::Instant;

/// The progress of a pipeline at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Everything that was done so far, as one number that grows with each of it; also tries that failed.
    pub done: u64,
    /// Batches in memory.
    pub in_flight: usize,
    /// An end says that it waits: it knows what for, and goes on by itself.
    pub waits: bool,
}

/// Since when a pipeline has not got on.
#[derive(Debug, Default)]
pub struct StallWatch {
    still: Option<(u64, Instant)>,
}

impl StallWatch {
    /// Takes the progress of this moment into account: for how long there was work and none was done.
    pub fn observe(&mut self, progress: Progress, now: Instant) -> Duration {
        if progress.in_flight == 0 || progress.waits {
            self.still = None;
            return Duration::ZERO;
        }
        match self.still {
            Some((done, since)) if done == progress.done => now.duration_since(since),
            _ => {
                self.still = Some((progress.done, now));
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Progress = Progress { done: 10, in_flight: 3, waits: false };

    /// For how long the last of these states, a second apart, is a stall.
    fn after(states: &[Progress]) -> u64 {
        let (mut watch, begin) = (StallWatch::default(), Instant::now());
        let look = |(second, look): (usize, &Progress)| {
            watch.observe(*look, begin + Duration::from_secs(second as u64)).as_secs()
        };
        states.iter().enumerate().map(look).last().unwrap_or_default()
    }

    #[test]
    fn work_that_nobody_does_is_a_stall() {
        assert_eq!(after(&[BUSY, BUSY, BUSY, BUSY]), 3);
        assert_eq!(
            after(&[BUSY, BUSY, Progress { done: 11, ..BUSY }]),
            0,
            "something was acknowledged or tried again"
        );
        assert_eq!(after(&[BUSY, Progress { done: 11, ..BUSY }, Progress { done: 11, ..BUSY }]), 1);
    }

    #[test]
    fn idling_and_waiting_are_none() {
        let (idle, waits) = (Progress { in_flight: 0, ..BUSY }, Progress { waits: true, ..BUSY });
        assert_eq!(after(&[BUSY, BUSY, idle]), 0);
        assert_eq!(after(&[waits, waits, waits]), 0);
        assert_eq!(after(&[BUSY, waits, BUSY, BUSY]), 1, "counted anew after waiting");
    }
}
