//! Records that were sent to the producer and have no outcome yet: a count for each batch, no state for each record. Batches
//! are reported in the order in which they came, so that whatever has to be sent again is still here with all that
//! followed it (invariant 7).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_api::sink::Durable;
use aqueduct_api::{Batch, Error, Rejected, Result, Written};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bits of a delivery id that name the record inside its batch; the others name the batch.
const INDEX_BITS: u32 = 24;

/// While the producer's queue is full, and as a safety net behind notifications.
const PAUSE: Duration = Duration::from_millis(10);

/// See the file's header.
#[derive(Default)]
pub(crate) struct Deliveries {
    state: Mutex<State>,
    /// A batch is complete, or something failed: the sink waits for it, or the engine where the sink does not.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    open: VecDeque<Open>,
    /// The number of the first of them.
    first: usize,
    failure: Option<Error>,
    /// Some record has to be sent again.
    must_retry: bool,
    /// Why not all of it can be sent again at once.
    retry_reason: RetryReason,
    /// Some record of the transaction was not written.
    must_abort: bool,
    /// Outcomes so far.
    completed: u64,
    /// When a batch was last completed, or came while none was open.
    progressed_at: Option<Instant>,
}

struct Open {
    batch: Arc<Batch>,
    /// Records without an outcome, and one more while the batch is being sent.
    pending: usize,
    /// Refused for good, by index.
    rejected: Vec<(usize, Error)>,
    /// To be sent again: refused because of another record, or by a topic that takes none at the moment.
    unsent: Vec<usize>,
    /// Not written, because their transaction has to be aborted.
    aborted: Vec<usize>,
}

/// Why records that have to be sent again cannot go all together at once.
#[derive(Default)]
pub(crate) struct RetryReason {
    /// Their topic takes none at the moment.
    pub(crate) retry_later: Option<Error>,
    /// So many were refused in one batch, because of one of them or of all.
    pub(crate) candidates: usize,
    /// Their batch was too large, or one of them is.
    too_large: bool,
}

/// Why a transaction has to be aborted.
#[derive(Default)]
pub(crate) struct AbortReason {
    /// A topic takes no records at the moment.
    pub(crate) retry_later: Option<Error>,
    /// A batch was too large, or a record in it.
    pub(crate) too_large: bool,
    /// Refused in one batch, because of one of them or of all; by the number of their batch and index.
    pub(crate) candidates: Vec<(usize, usize)>,
    /// Those that were neither written nor refused.
    pub(crate) aborted: Vec<(usize, usize)>,
}

/// One batch of which records are sent again.
pub(crate) struct Retry {
    pub(crate) number: usize,
    pub(crate) batch: Arc<Batch>,
    /// The records that are sent again.
    pub(crate) indices: Vec<usize>,
    /// Those of them that were refused.
    pub(crate) unsent: Vec<usize>,
}

/// What became of one record.
pub(crate) enum Outcome {
    /// All replicas have it.
    Stored,
    /// It will never be written.
    Rejected(Error),
    /// It was not written because of another record.
    Retry,
    /// It was refused, or another record of its batch: the broker does not say which. Or the batch as a whole was.
    RefusedInBatch {
        /// For its size.
        too_large: bool,
    },
    /// Its topic takes no records at the moment: it has to wait, and so has what follows it.
    RetryLater(Error),
    /// Its transaction has to be aborted, and it is written again in another one.
    Aborted,
    /// Nothing further is written.
    Failed(Error),
}

/// Names a record: the producer keeps it and gives it back in the delivery report.
pub(crate) fn delivery_id(batch: usize, index: usize) -> usize {
    batch << INDEX_BITS | index
}

impl Deliveries {
    /// None yet; `wakeup` wakes the engine.
    pub(crate) fn new(wakeup: &Arc<Notify>) -> Self {
        Self { changed: Arc::clone(wakeup), ..Self::default() }
    }

    /// A batch comes; returns its number. It is held open until `all_sent`.
    pub(crate) fn open(&self, batch: &Arc<Batch>) -> usize {
        let mut state = self.state();
        let pending = batch.records.len() + 1;
        if state.open.iter().all(|open| open.pending == 0) {
            state.progressed_at = Some(Instant::now());
        }
        state.open.push_back(Open {
            batch: batch.clone(),
            pending,
            rejected: Vec::new(),
            unsent: Vec::new(),
            aborted: Vec::new(),
        });
        state.first + state.open.len() - 1
    }

    /// The producer has all records of this batch.
    pub(crate) fn all_sent(&self, batch: usize) {
        let mut state = self.state();
        let first = state.first;
        if let Some(open) = batch.checked_sub(first).and_then(|at| state.open.get_mut(at)) {
            open.pending -= 1;
        }
    }

    /// What became of a record.
    pub(crate) fn complete(&self, delivery_id: usize, outcome: Outcome) {
        let (batch, index) = (delivery_id >> INDEX_BITS, delivery_id & ((1 << INDEX_BITS) - 1));
        let mut state = self.state();
        let first = state.first;
        let Some(open) = batch.checked_sub(first).and_then(|at| state.open.get_mut(at)) else {
            return;
        };
        open.pending -= 1;
        let complete = open.pending == 0;
        let mut notify = complete;
        // A record that is refused before it is sent leaves a transaction as it is.
        let written = matches!(outcome, Outcome::Stored | Outcome::Rejected(_));
        match outcome {
            Outcome::Stored => {}
            Outcome::Rejected(error) => open.rejected.push((index, error)),
            Outcome::Retry => {
                open.unsent.push(index);
                state.must_retry = true;
                notify = true;
            }
            Outcome::RefusedInBatch { too_large } => {
                open.unsent.push(index);
                state.must_retry = true;
                state.retry_reason.candidates += 1;
                state.retry_reason.too_large |= too_large;
                notify = true;
            }
            Outcome::RetryLater(error) => {
                open.unsent.push(index);
                state.must_retry = true;
                state.retry_reason.retry_later.get_or_insert(error);
                notify = true;
            }
            Outcome::Aborted => {
                open.aborted.push(index);
                notify = true;
            }
            Outcome::Failed(error) => {
                state.failure.get_or_insert(error);
                notify = true;
            }
        }
        state.completed += 1;
        state.must_abort |= !written;
        if complete {
            state.progressed_at = Some(Instant::now());
        }
        drop(state);
        if notify {
            self.changed.notify_one();
        }
    }

    /// All replicas have these records.
    pub(crate) fn stored(&self, delivery_ids: &[usize]) {
        let mut state = self.state();
        let (first, mut complete) = (state.first, false);
        state.completed += delivery_ids.len() as u64;
        for delivery_id in delivery_ids {
            let at = (delivery_id >> INDEX_BITS).checked_sub(first);
            if let Some(open) = at.and_then(|at| state.open.get_mut(at)) {
                open.pending -= 1;
                complete |= open.pending == 0;
            }
        }
        if complete {
            state.progressed_at = Some(Instant::now());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// The batch of a record, and its index there.
    pub(crate) fn batch_of(&self, delivery_id: usize) -> Option<(Arc<Batch>, usize)> {
        let state = self.state();
        let open = state.open.get((delivery_id >> INDEX_BITS).checked_sub(state.first)?)?;
        Some((Arc::clone(&open.batch), delivery_id & ((1 << INDEX_BITS) - 1)))
    }

    /// The producer itself failed.
    pub(crate) fn fail(&self, error: Error) {
        self.state().failure.get_or_insert(error);
        self.changed.notify_one();
    }

    /// Wakes the sink and the engine for another reason.
    pub(crate) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Returns when something has changed, or after a moment. An error is what ended the producer.
    pub(crate) async fn changed(&self) -> Result<()> {
        let _ = tokio::time::timeout(PAUSE, self.changed.notified()).await;
        self.check()
    }

    /// A failure that was not returned yet: nothing further is written.
    pub(crate) fn check(&self) -> Result<()> {
        self.state().failure.take().map_or(Ok(()), Err)
    }

    /// What became durable, with what was rejected in it.
    pub(crate) fn collect(&self) -> Result<Written> {
        self.check()?;
        let mut state = self.state();
        let (mut ids, mut rejected) = (Vec::new(), Vec::new());
        while state.open.front().is_some_and(|open| open.pending == 0 && open.unsent.is_empty()) {
            let Some(open) = state.open.pop_front() else { break };
            state.first += 1;
            ids.push(open.batch.id);
            let refused = |(index, error)| {
                open.batch
                    .records
                    .get(index)
                    .map(|record: &aqueduct_api::Record| Rejected { record: record.clone(), error })
            };
            rejected.extend(open.rejected.into_iter().filter_map(refused));
        }
        Ok(Written { durable: Durable::Batches(ids), rejected })
    }

    /// Whether nothing is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.state().open.is_empty()
    }

    /// Whether some record has to be sent again.
    pub(crate) fn must_retry(&self) -> bool {
        self.state().must_retry
    }

    /// Why what has to be sent again cannot go all at once, and forgets it.
    pub(crate) fn take_retry_reason(&self) -> RetryReason {
        std::mem::take(&mut self.state().retry_reason)
    }

    /// How many outcomes there were.
    pub(crate) fn completed(&self) -> u64 {
        self.state().completed
    }

    /// The oldest batch that is not complete, and since when no batch was completed.
    pub(crate) fn oldest(&self) -> Option<(Arc<Batch>, Instant)> {
        let state = self.state();
        let batch = state.open.iter().find(|open| open.pending > 0)?.batch.clone();
        Some((batch, state.progressed_at?))
    }

    /// Whether every record that was sent has its outcome.
    pub(crate) fn all_complete(&self) -> bool {
        self.state().open.iter().all(|open| open.pending == 0)
    }

    /// What has to be sent again, in the same order; unless `only` that, everything from its first record on, since
    /// librdkafka has sent a key's later records already. All must be complete. Each batch is held open until `all_sent`.
    pub(crate) fn take_retries(&self, only: bool) -> Vec<Retry> {
        let mut state = self.state();
        state.must_retry = false;
        let first = state.first;
        let mut from = None;
        let mut retries = Vec::new();
        for (at, open) in state.open.iter_mut().enumerate() {
            let start = match (from, open.unsent.iter().min()) {
                (None, None) => continue,
                (None, Some(index)) => *index,
                (Some(()), _) => 0,
            };
            from = Some(());
            let mut unsent = std::mem::take(&mut open.unsent);
            let indices: Vec<usize> = if only {
                unsent.sort_unstable();
                unsent.clone()
            } else {
                let rest: Range<usize> = start..open.batch.records.len();
                rest.filter(|index| open.rejected.iter().all(|(rejected, _)| rejected != index)).collect()
            };
            if indices.is_empty() {
                continue;
            }
            open.pending = indices.len() + 1;
            retries.push(Retry { number: first + at, batch: open.batch.clone(), indices, unsent });
        }
        retries
    }

    /// Whether some record since the last `clear` was not written.
    pub(crate) fn must_abort(&self) -> bool {
        self.state().must_abort
    }

    /// The broker refused a record of the transaction.
    pub(crate) fn require_abort(&self) {
        self.state().must_abort = true;
    }

    /// Takes what was refused for good: number of the batch, index, and why.
    pub(crate) fn take_rejected(&self) -> Vec<(usize, usize, Error)> {
        let mut state = self.state();
        let first = state.first;
        let of = |(at, open): (usize, &mut Open)| {
            let rejected = std::mem::take(&mut open.rejected);
            rejected.into_iter().map(move |(index, error)| (first + at, index, error))
        };
        state.open.iter_mut().enumerate().flat_map(of).collect()
    }

    /// Forgets all batches, and ignores outcomes that come later. Says why some records were not written.
    pub(crate) fn clear(&self) -> AbortReason {
        let mut state = self.state();
        let retry_reason = std::mem::take(&mut state.retry_reason);
        let (mut candidates, mut aborted) = (Vec::new(), Vec::new());
        for open in std::mem::take(&mut state.open) {
            let number = state.first;
            if retry_reason.candidates > 0 {
                candidates.extend(open.unsent.into_iter().map(|index| (number, index)));
            }
            aborted.extend(open.aborted.into_iter().map(|index| (number, index)));
            state.first += 1;
        }
        (state.must_retry, state.must_abort) = (false, false);
        AbortReason {
            retry_later: retry_reason.retry_later,
            too_large: retry_reason.too_large,
            candidates,
            aborted,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqueduct_api::{BatchId, Origin, Payload, Record};

    fn batch(id: u64, records: i64) -> Arc<Batch> {
        let record = |offset| Record {
            topic: "t".into(),
            origin: Origin { partition: 0, offset },
            key: Payload::Absent,
            value: Payload::Absent,
            headers: Default::default(),
            timestamp_us: None,
        };
        Batch::new(BatchId(id), (0..records).map(record).collect(), None)
    }

    fn ids(deliveries: &Deliveries) -> Vec<u64> {
        match deliveries.collect().unwrap().durable {
            Durable::Batches(ids) => ids.into_iter().map(|id| id.0).collect(),
            Durable::All => panic!("never all"),
        }
    }

    #[test]
    fn batches_are_reported_whole_and_in_order() {
        let deliveries = Deliveries::default();
        let (one, two) = (deliveries.open(&batch(7, 2)), deliveries.open(&batch(8, 1)));
        deliveries.complete(delivery_id(one, 0), Outcome::Stored);
        deliveries.complete(delivery_id(two, 0), Outcome::Stored);
        deliveries.all_sent(two);
        assert!(ids(&deliveries).is_empty());
        deliveries.complete(delivery_id(one, 1), Outcome::Rejected(Error::bad_record("too large")));
        assert!(ids(&deliveries).is_empty(), "still being given");
        deliveries.all_sent(one);
        let written = deliveries.collect().unwrap();
        assert_eq!(written.durable, Durable::Batches(vec![BatchId(7), BatchId(8)]));
        assert_eq!(written.rejected[0].record.origin.offset, 1);
        assert!(deliveries.is_empty());
    }

    #[test]
    fn a_transaction_is_marred_by_what_was_sent_and_says_by_what() {
        let deliveries = Deliveries::default();
        let one = deliveries.open(&batch(1, 4));
        deliveries.complete(delivery_id(one, 0), Outcome::Rejected(Error::bad_record("no name of a topic")));
        assert!(!deliveries.must_abort(), "it never left");
        deliveries.complete(delivery_id(one, 1), Outcome::Stored);
        deliveries.complete(delivery_id(one, 2), Outcome::RefusedInBatch { too_large: true });
        deliveries.complete(delivery_id(one, 3), Outcome::Aborted);
        assert!(deliveries.must_abort());
        let rejected: Vec<(usize, usize)> =
            deliveries.take_rejected().into_iter().map(|(number, index, _)| (number, index)).collect();
        assert_eq!((rejected, deliveries.take_rejected().len()), (vec![(one, 0)], 0));
        let reason = deliveries.clear();
        assert_eq!((reason.candidates, reason.aborted), (vec![(one, 2)], vec![(one, 3)]));
        assert!(reason.too_large && reason.retry_later.is_none());
        assert!(deliveries.is_empty() && !deliveries.must_abort());
        // Late outcomes are ignored, and numbers go on.
        deliveries.complete(delivery_id(one, 3), Outcome::Failed(Error::fatal("late")));
        assert!(deliveries.check().is_ok() && !deliveries.must_abort());
        assert_eq!(deliveries.open(&batch(2, 1)), one + 1);
    }

    #[test]
    fn what_is_sent_again_takes_along_all_that_followed() {
        let deliveries = Deliveries::default();
        let numbers =
            [deliveries.open(&batch(1, 1)), deliveries.open(&batch(2, 3)), deliveries.open(&batch(3, 2))];
        numbers.iter().for_each(|number| deliveries.all_sent(*number));
        deliveries.complete(delivery_id(numbers[0], 0), Outcome::Stored);
        deliveries.complete(delivery_id(numbers[1], 0), Outcome::Stored);
        deliveries.complete(delivery_id(numbers[1], 1), Outcome::Retry);
        deliveries.complete(delivery_id(numbers[1], 2), Outcome::Rejected(Error::bad_record("no key")));
        deliveries.complete(delivery_id(numbers[2], 0), Outcome::Stored);
        assert!(!deliveries.all_complete());
        deliveries.complete(delivery_id(numbers[2], 1), Outcome::Stored);
        assert!(deliveries.all_complete() && deliveries.must_retry());
        assert_eq!(ids(&deliveries), [1]);
        let retries: Vec<(usize, Vec<usize>)> =
            deliveries.take_retries(false).into_iter().map(|pass| (pass.number, pass.indices)).collect();
        assert_eq!(retries, [(1, vec![1]), (2, vec![0, 1])]);
        for (number, indices) in retries {
            indices
                .iter()
                .for_each(|index| deliveries.complete(delivery_id(number, *index), Outcome::Stored));
            deliveries.all_sent(number);
        }
        assert_eq!(ids(&deliveries), [2, 3]);
    }
}
