//! From when on a batch is durable: at the cuts, where no object is half-way. Pure; the clock is given.
//!
//! Offsets that are stored must be such that a replay from there opens objects at the very same records. They
//! are, if every object that was opened before is finished: a *cut*. What lies between two cuts of the same
//! partitions is an *epoch*: it takes batches as long as one of its objects is open, and its batches count,
//! all at once, when all its objects are finished. A batch of several partitions joins their epochs into one.

use aqueduct_api::BatchId;
use tokio::time::{Duration, Instant};

/// Names an object within one run of one sink.
pub(crate) type ObjectId = u64;

/// The epochs that are not reported yet.
#[derive(Default)]
pub(crate) struct Checkpoint {
    epochs: Vec<Epoch>,
}

struct Epoch {
    streams: Vec<usize>,
    batches: Vec<BatchId>,
    open: Vec<ObjectId>,
    finishing: Vec<ObjectId>,
    since: Instant,
}

impl Checkpoint {
    /// A batch with records of these partitions is taken; objects are opened for it afterwards.
    pub(crate) fn take(&mut self, batch: BatchId, streams: &[usize], now: Instant) {
        let mut epoch = Epoch {
            streams: streams.to_vec(),
            batches: Vec::new(),
            open: Vec::new(),
            finishing: Vec::new(),
            since: now,
        };
        let mut index = 0;
        while index < self.epochs.len() {
            let other = &self.epochs[index];
            if !other.open.is_empty() && other.streams.iter().any(|stream| streams.contains(stream)) {
                epoch.join(self.epochs.swap_remove(index));
            } else {
                index += 1;
            }
        }
        epoch.batches.push(batch);
        self.epochs.push(epoch);
    }

    /// An object is opened for the batch that was taken last.
    pub(crate) fn open(&mut self, object: ObjectId) {
        if let Some(epoch) = self.epochs.last_mut() {
            epoch.open.push(object);
        }
    }

    /// An object takes no more records.
    pub(crate) fn seal(&mut self, object: ObjectId) {
        for epoch in &mut self.epochs {
            if let Some(index) = epoch.open.iter().position(|open| *open == object) {
                epoch.open.swap_remove(index);
                epoch.finishing.push(object);
            }
        }
    }

    /// A sealed object stands in the store.
    pub(crate) fn finish(&mut self, object: ObjectId) {
        for epoch in &mut self.epochs {
            epoch.finishing.retain(|finishing| *finishing != object);
        }
    }

    /// The batches that became durable. Call it between batches only.
    pub(crate) fn durable(&mut self) -> Vec<BatchId> {
        let mut batches = Vec::new();
        self.epochs.retain_mut(|epoch| {
            let waits = !epoch.open.is_empty() || !epoch.finishing.is_empty();
            if !waits {
                batches.append(&mut epoch.batches);
            }
            waits
        });
        batches.sort_unstable();
        batches
    }

    /// The open objects of epochs older than that; their clocks start anew.
    pub(crate) fn overdue(&mut self, now: Instant, age_max: Duration) -> Vec<ObjectId> {
        let mut objects = Vec::new();
        for epoch in &mut self.epochs {
            if now.duration_since(epoch.since) >= age_max {
                objects.extend(&epoch.open);
                epoch.since = now;
            }
        }
        objects
    }
}

impl Epoch {
    fn join(&mut self, other: Epoch) {
        self.streams.extend(other.streams);
        self.streams.sort_unstable();
        self.streams.dedup();
        self.batches.extend(other.batches);
        self.open.extend(other.open);
        self.finishing.extend(other.finishing);
        self.since = self.since.min(other.since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn batches_count_at_cuts_only() {
        let now = Instant::now();
        let mut checkpoint = Checkpoint::default();
        checkpoint.take(BatchId(1), &[0], now);
        checkpoint.open(10);
        checkpoint.open(11);
        checkpoint.seal(10);
        checkpoint.finish(10);
        assert_eq!(checkpoint.durable(), [], "11 is half-way");
        checkpoint.take(BatchId(2), &[0], now);
        checkpoint.seal(11);
        // All are sealed: the next batch begins a new epoch, although 11 is not finished yet.
        checkpoint.take(BatchId(3), &[0], now);
        checkpoint.open(12);
        checkpoint.finish(11);
        assert_eq!(checkpoint.durable(), [BatchId(1), BatchId(2)]);
        checkpoint.seal(12);
        checkpoint.finish(12);
        assert_eq!(checkpoint.durable(), [BatchId(3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mixed_batch_joins_its_partitions() {
        let now = Instant::now();
        let mut checkpoint = Checkpoint::default();
        for (batch, stream, object) in [(1, 0, 10), (2, 1, 11)] {
            checkpoint.take(BatchId(batch), &[stream], now);
            checkpoint.open(object);
        }
        checkpoint.take(BatchId(3), &[0, 1], now);
        checkpoint.seal(10);
        checkpoint.finish(10);
        assert_eq!(checkpoint.durable(), []);
        checkpoint.seal(11);
        checkpoint.finish(11);
        assert_eq!(checkpoint.durable(), [BatchId(1), BatchId(2), BatchId(3)]);
    }

    #[tokio::test(start_paused = true)]
    async fn age_counts_from_the_first_record_since_the_cut() {
        let start = Instant::now();
        let age_max = Duration::from_secs(10);
        let mut checkpoint = Checkpoint::default();
        checkpoint.take(BatchId(1), &[0], start);
        checkpoint.open(10);
        checkpoint.take(BatchId(2), &[0], start + Duration::from_secs(9));
        assert!(checkpoint.overdue(start + Duration::from_secs(9), age_max).is_empty());
        assert_eq!(checkpoint.overdue(start + Duration::from_secs(10), age_max), [10]);
        assert!(checkpoint.overdue(start + Duration::from_secs(11), age_max).is_empty(), "sealed by now");
    }
}
