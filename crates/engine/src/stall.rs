//! Whether a pipeline gets on: it is looked at from time to time, and stalls when records are in flight and no counter
//! moves although nothing is waited for.

use std::time::Duration;

use tokio::time::Instant;

/// What one look sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
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
    /// Takes a look into account: for how long there was work and none was done.
    pub fn look(&mut self, look: Look, now: Instant) -> Duration {
        if look.in_flight == 0 || look.waits {
            self.still = None;
            return Duration::ZERO;
        }
        match self.still {
            Some((done, since)) if done == look.done => now.duration_since(since),
            _ => {
                self.still = Some((look.done, now));
                Duration::ZERO
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Look = Look { done: 10, in_flight: 3, waits: false };

    /// What the last of these looks, a second apart, finds.
    fn after(looks: &[Look]) -> u64 {
        let (mut watch, begin) = (StallWatch::default(), Instant::now());
        let look = |(second, look): (usize, &Look)| {
            watch.look(*look, begin + Duration::from_secs(second as u64)).as_secs()
        };
        looks.iter().enumerate().map(look).last().unwrap_or_default()
    }

    #[test]
    fn work_that_nobody_does_is_a_stall() {
        assert_eq!(after(&[BUSY, BUSY, BUSY, BUSY]), 3);
        assert_eq!(
            after(&[BUSY, BUSY, Look { done: 11, ..BUSY }]),
            0,
            "something was settled or tried again"
        );
        assert_eq!(after(&[BUSY, Look { done: 11, ..BUSY }, Look { done: 11, ..BUSY }]), 1);
    }

    #[test]
    fn idling_and_waiting_are_none() {
        let (idle, waits) = (Look { in_flight: 0, ..BUSY }, Look { waits: true, ..BUSY });
        assert_eq!(after(&[BUSY, BUSY, idle]), 0);
        assert_eq!(after(&[waits, waits, waits]), 0);
        assert_eq!(after(&[BUSY, waits, BUSY, BUSY]), 1, "counted anew after waiting");
    }
}
