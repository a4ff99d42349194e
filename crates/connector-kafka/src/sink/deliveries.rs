//! What was given to the producer and is not reported yet: a count per batch, no state per record. Batches
//! are reported in the order in which they came, so that whatever has to be sent again is still here with all
//! that followed it (invariant 7).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_api::sink::Durable;
use aqueduct_api::{Batch, Error, Rejected, Result, Written};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bits of a ticket that name the record inside its batch; the others name the batch.
const INDEX_BITS: u32 = 24;

/// While the producer's queue is full, and as a safety net behind notifications.
const PAUSE: Duration = Duration::from_millis(10);

/// See the file's header.
#[derive(Default)]
pub(crate) struct Deliveries {
    state: Mutex<State>,
    /// A batch is complete, or something failed: heard by the sink while it waits, and by the engine while it does not.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    open: VecDeque<Open>,
    /// The number of the first of them.
    first: usize,
    failure: Option<Error>,
    /// Some record has to be sent again.
    again: bool,
    /// Why it has to be sent again with care.
    doubt: Doubt,
    /// Some record of a transaction did not pass.
    marred: bool,
    /// Answers so far.
    answers: u64,
    /// When a batch was last answered in full, or came while none was open.
    moved: Option<Instant>,
}

struct Open {
    batch: Arc<Batch>,
    /// Records without an answer, and one more while the batch is being given to the producer.
    unanswered: usize,
    /// Refused for good, by index.
    rejected: Vec<(usize, Error)>,
    /// Refused, and to be sent again: for the sake of another record, or by a topic that takes none at the moment.
    unsent: Vec<usize>,
    /// Not written for the sake of a transaction that did not pass.
    undone: Vec<usize>,
}

/// Why records that have to be sent again cannot go all together at once.
#[derive(Default)]
pub(crate) struct Doubt {
    /// Their topic takes none at the moment.
    pub(crate) held: Option<Error>,
    /// So many were refused in company: one of them, or all.
    pub(crate) suspects: usize,
    /// Their request was too large, or one of them is.
    too_large: bool,
}

/// Why a transaction did not pass.
#[derive(Default)]
pub(crate) struct Blame {
    /// A topic takes none at the moment.
    pub(crate) held: Option<Error>,
    /// A request was too large, or a record in it.
    pub(crate) too_large: bool,
    /// Refused in company, by the number of their batch and index: one of them is to blame, or all.
    pub(crate) suspects: Vec<(usize, usize)>,
    /// Those that were neither written nor refused.
    pub(crate) undone: Vec<(usize, usize)>,
}

/// One batch that goes through the producer again.
pub(crate) struct Pass {
    pub(crate) number: usize,
    pub(crate) batch: Arc<Batch>,
    /// Its records, from the first unsent one on.
    pub(crate) indices: Vec<usize>,
    /// Those of them that were refused.
    pub(crate) unsent: Vec<usize>,
}

/// The answer for one record.
pub(crate) enum Answer {
    /// All replicas have it.
    Stored,
    /// It will never pass.
    Rejected(Error),
    /// It would have passed without another one in its request.
    SendAgain,
    /// It was refused, or another one in its request: the library does not tell which. Or the request as a whole was.
    Suspected {
        /// For its size.
        too_large: bool,
    },
    /// Its topic takes none at the moment: it has to wait, and so has what follows it.
    Later(Error),
    /// Its transaction is beyond repair, and it goes again in another one.
    Undone,
    /// Nothing further passes.
    Failed(Error),
}

/// Names a record: what the producer carries and gives back with the answer.
pub(crate) fn ticket(batch: usize, index: usize) -> usize {
    batch << INDEX_BITS | index
}

impl Deliveries {
    /// None yet; `wakeup` is what the engine hears.
    pub(crate) fn new(wakeup: &Arc<Notify>) -> Self {
        Self { changed: Arc::clone(wakeup), ..Self::default() }
    }

    /// A batch comes; returns its number. It is held open until `all_given`.
    pub(crate) fn open(&self, batch: &Arc<Batch>) -> usize {
        let mut state = self.state();
        let unanswered = batch.records.len() + 1;
        if state.open.iter().all(|open| open.unanswered == 0) {
            state.moved = Some(Instant::now());
        }
        state.open.push_back(Open {
            batch: batch.clone(),
            unanswered,
            rejected: Vec::new(),
            unsent: Vec::new(),
            undone: Vec::new(),
        });
        state.first + state.open.len() - 1
    }

    /// The producer has all records of this batch.
    pub(crate) fn all_given(&self, batch: usize) {
        let mut state = self.state();
        let first = state.first;
        if let Some(open) = batch.checked_sub(first).and_then(|at| state.open.get_mut(at)) {
            open.unanswered -= 1;
        }
    }

    /// The answer for the record of this ticket.
    pub(crate) fn answer(&self, ticket: usize, answer: Answer) {
        let (batch, index) = (ticket >> INDEX_BITS, ticket & ((1 << INDEX_BITS) - 1));
        let mut state = self.state();
        let first = state.first;
        let Some(open) = batch.checked_sub(first).and_then(|at| state.open.get_mut(at)) else {
            return;
        };
        open.unanswered -= 1;
        let whole = open.unanswered == 0;
        let mut news = whole;
        // One that was never sent leaves a transaction as it is.
        let passed = matches!(answer, Answer::Stored | Answer::Rejected(_));
        match answer {
            Answer::Stored => {}
            Answer::Rejected(error) => open.rejected.push((index, error)),
            Answer::SendAgain => {
                open.unsent.push(index);
                state.again = true;
                news = true;
            }
            Answer::Suspected { too_large } => {
                open.unsent.push(index);
                state.again = true;
                state.doubt.suspects += 1;
                state.doubt.too_large |= too_large;
                news = true;
            }
            Answer::Later(error) => {
                open.unsent.push(index);
                state.again = true;
                state.doubt.held.get_or_insert(error);
                news = true;
            }
            Answer::Undone => {
                open.undone.push(index);
                news = true;
            }
            Answer::Failed(error) => {
                state.failure.get_or_insert(error);
                news = true;
            }
        }
        state.answers += 1;
        state.marred |= !passed;
        if whole {
            state.moved = Some(Instant::now());
        }
        drop(state);
        if news {
            self.changed.notify_one();
        }
    }

    /// All replicas have the records of these tickets.
    pub(crate) fn stored(&self, tickets: &[usize]) {
        let mut state = self.state();
        let (first, mut whole) = (state.first, false);
        state.answers += tickets.len() as u64;
        for ticket in tickets {
            let at = (ticket >> INDEX_BITS).checked_sub(first);
            if let Some(open) = at.and_then(|at| state.open.get_mut(at)) {
                open.unanswered -= 1;
                whole |= open.unanswered == 0;
            }
        }
        if whole {
            state.moved = Some(Instant::now());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// The batch that a ticket names, and the index of its record there.
    pub(crate) fn batch_of(&self, ticket: usize) -> Option<(Arc<Batch>, usize)> {
        let state = self.state();
        let open = state.open.get((ticket >> INDEX_BITS).checked_sub(state.first)?)?;
        Some((Arc::clone(&open.batch), ticket & ((1 << INDEX_BITS) - 1)))
    }

    /// The producer itself failed.
    pub(crate) fn fail(&self, error: Error) {
        self.state().failure.get_or_insert(error);
        self.changed.notify_one();
    }

    /// There is news of another kind.
    pub(crate) fn ring(&self) {
        self.changed.notify_one();
    }

    /// Returns when there is news, or after a moment. An error is what ended the producer.
    pub(crate) async fn changed(&self) -> Result<()> {
        let _ = tokio::time::timeout(PAUSE, self.changed.notified()).await;
        self.check()
    }

    /// Something failed that was not said yet: nothing further passes.
    pub(crate) fn check(&self) -> Result<()> {
        self.state().failure.take().map_or(Ok(()), Err)
    }

    /// What became durable, with what was rejected in it.
    pub(crate) fn collect(&self) -> Result<Written> {
        self.check()?;
        let mut state = self.state();
        let (mut ids, mut rejected) = (Vec::new(), Vec::new());
        while state.open.front().is_some_and(|open| open.unanswered == 0 && open.unsent.is_empty()) {
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

    /// Whether something has to be sent again.
    pub(crate) fn again(&self) -> bool {
        self.state().again
    }

    /// Why what has to be sent again needs care; asked once.
    pub(crate) fn take_doubt(&self) -> Doubt {
        std::mem::take(&mut self.state().doubt)
    }

    /// How many answers there were.
    pub(crate) fn answers(&self) -> u64 {
        self.state().answers
    }

    /// The oldest batch that lacks an answer, and since when no batch got its last one.
    pub(crate) fn oldest(&self) -> Option<(Arc<Batch>, Instant)> {
        let state = self.state();
        let batch = state.open.iter().find(|open| open.unanswered > 0)?.batch.clone();
        Some((batch, state.moved?))
    }

    /// Whether every record given so far is answered.
    pub(crate) fn all_answered(&self) -> bool {
        self.state().open.iter().all(|open| open.unanswered == 0)
    }

    /// What was not sent, for one more pass in the same order; unless `only` that, everything from its first record on: the
    /// producer carries a key's later records again behind the earlier one. All must be answered. Each batch is held
    /// open until `all_given`.
    pub(crate) fn take_unsent(&self, only: bool) -> Vec<Pass> {
        let mut state = self.state();
        state.again = false;
        let first = state.first;
        let mut from = None;
        let mut passes = Vec::new();
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
            open.unanswered = indices.len() + 1;
            passes.push(Pass { number: first + at, batch: open.batch.clone(), indices, unsent });
        }
        passes
    }

    /// Whether some record since the last `clear` did not pass.
    pub(crate) fn is_marred(&self) -> bool {
        self.state().marred
    }

    /// The broker refused a record of the transaction.
    pub(crate) fn mar(&self) {
        self.state().marred = true;
    }

    /// What was refused for good since it was asked last: number of the batch, index, and why.
    pub(crate) fn take_rejected(&self) -> Vec<(usize, usize, Error)> {
        let mut state = self.state();
        let first = state.first;
        let of = |(at, open): (usize, &mut Open)| {
            let rejected = std::mem::take(&mut open.rejected);
            rejected.into_iter().map(move |(index, error)| (first + at, index, error))
        };
        state.open.iter_mut().enumerate().flat_map(of).collect()
    }

    /// Lets go of all batches: answers that come later are for nobody. Says why some did not pass.
    pub(crate) fn clear(&self) -> Blame {
        let mut state = self.state();
        let doubt = std::mem::take(&mut state.doubt);
        let (mut suspects, mut undone) = (Vec::new(), Vec::new());
        for open in std::mem::take(&mut state.open) {
            let number = state.first;
            if doubt.suspects > 0 {
                suspects.extend(open.unsent.into_iter().map(|index| (number, index)));
            }
            undone.extend(open.undone.into_iter().map(|index| (number, index)));
            state.first += 1;
        }
        (state.again, state.marred) = (false, false);
        Blame { held: doubt.held, too_large: doubt.too_large, suspects, undone }
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
        deliveries.answer(ticket(one, 0), Answer::Stored);
        deliveries.answer(ticket(two, 0), Answer::Stored);
        deliveries.all_given(two);
        assert!(ids(&deliveries).is_empty());
        deliveries.answer(ticket(one, 1), Answer::Rejected(Error::bad_record("too large")));
        assert!(ids(&deliveries).is_empty(), "still being given");
        deliveries.all_given(one);
        let written = deliveries.collect().unwrap();
        assert_eq!(written.durable, Durable::Batches(vec![BatchId(7), BatchId(8)]));
        assert_eq!(written.rejected[0].record.origin.offset, 1);
        assert!(deliveries.is_empty());
    }

    #[test]
    fn a_transaction_is_marred_by_what_was_sent_and_says_by_what() {
        let deliveries = Deliveries::default();
        let one = deliveries.open(&batch(1, 4));
        deliveries.answer(ticket(one, 0), Answer::Rejected(Error::bad_record("no name of a topic")));
        assert!(!deliveries.is_marred(), "it never left");
        deliveries.answer(ticket(one, 1), Answer::Stored);
        deliveries.answer(ticket(one, 2), Answer::Suspected { too_large: true });
        deliveries.answer(ticket(one, 3), Answer::Undone);
        assert!(deliveries.is_marred());
        let rejected: Vec<(usize, usize)> =
            deliveries.take_rejected().into_iter().map(|(number, index, _)| (number, index)).collect();
        assert_eq!((rejected, deliveries.take_rejected().len()), (vec![(one, 0)], 0));
        let blame = deliveries.clear();
        assert_eq!((blame.suspects, blame.undone), (vec![(one, 2)], vec![(one, 3)]));
        assert!(blame.too_large && blame.held.is_none());
        assert!(deliveries.is_empty() && !deliveries.is_marred());
        // What comes late is for nobody, and numbers go on.
        deliveries.answer(ticket(one, 3), Answer::Failed(Error::fatal("late")));
        assert!(deliveries.check().is_ok() && !deliveries.is_marred());
        assert_eq!(deliveries.open(&batch(2, 1)), one + 1);
    }

    #[test]
    fn what_is_sent_again_takes_along_all_that_followed() {
        let deliveries = Deliveries::default();
        let numbers =
            [deliveries.open(&batch(1, 1)), deliveries.open(&batch(2, 3)), deliveries.open(&batch(3, 2))];
        numbers.iter().for_each(|number| deliveries.all_given(*number));
        deliveries.answer(ticket(numbers[0], 0), Answer::Stored);
        deliveries.answer(ticket(numbers[1], 0), Answer::Stored);
        deliveries.answer(ticket(numbers[1], 1), Answer::SendAgain);
        deliveries.answer(ticket(numbers[1], 2), Answer::Rejected(Error::bad_record("no key")));
        deliveries.answer(ticket(numbers[2], 0), Answer::Stored);
        assert!(!deliveries.all_answered());
        deliveries.answer(ticket(numbers[2], 1), Answer::Stored);
        assert!(deliveries.all_answered() && deliveries.again());
        assert_eq!(ids(&deliveries), [1]);
        let passes: Vec<(usize, Vec<usize>)> =
            deliveries.take_unsent(false).into_iter().map(|pass| (pass.number, pass.indices)).collect();
        assert_eq!(passes, [(1, vec![1]), (2, vec![0, 1])]);
        for (number, indices) in passes {
            indices.iter().for_each(|index| deliveries.answer(ticket(number, *index), Answer::Stored));
            deliveries.all_given(number);
        }
        assert_eq!(ids(&deliveries), [2, 3]);
    }
}
