//! What the threads of a source and the engine's side of it share: which partitions are owned, the batches
//! that wait for a poll, and how far offsets are committed. A state machine behind one lock; it calls no
//! library.

mod commits;
mod filling;

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_api::{Error, Offsets, Partition, Records};
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use self::commits::Commit;

/// Batches that wait for a poll; beyond that the data thread waits until half of them are taken.
const BATCHES_READY_MAX: usize = 4;
/// That many wait before the poll is told, unless no more is there to be read: each time it is woken is a switch of
/// threads, or of two, which costs more than to pass a batch on.
const BATCHES_TOLD: usize = 3;

/// See the file's header.
#[derive(Default)]
pub(crate) struct Handoff {
    state: Mutex<State>,
    /// For the threads: something changed.
    changed: Condvar,
    /// For the poll: there is something to give.
    pub(crate) ready: Notify,
}

#[derive(Default)]
struct State {
    owned: HashMap<Partition, Owned>,
    ownerships: u64,
    batches: VecDeque<Batch>,
    signals: VecDeque<Signal>,
    handover: Handover,
    /// Ownership is being changed: no call of the data thread may begin.
    paused: bool,
    /// A call of the data thread is under way.
    reading: bool,
    ending: Option<Ending>,
    /// Partitions were taken away without a chance to drain them.
    lost: bool,
    committing: Vec<Commit>,
    commit_again_at: Option<Instant>,
}

/// A partition of ours.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: i32,
    /// Differs each time the partition is assigned, so that what was read under an earlier one is known as
    /// such.
    ownership: u64,
    /// How far it is read, and how far that was given to the engine.
    read: Option<i64>,
    given: Option<i64>,
    /// The highest offset that may be committed, and the highest that is.
    released: Option<i64>,
    committed: Option<i64>,
    /// Committed once more although nothing has moved.
    again: bool,
    /// About to be given up: nothing is given out any more, what was may still be released.
    leaving: bool,
}

/// A batch of one partition.
pub(crate) struct Batch {
    /// Of which ownership.
    pub(crate) from: Ownership,
    /// Its records, in offset order.
    pub(crate) records: Records,
    /// The offset after the last.
    pub(crate) next: i64,
}

/// A partition as it was owned when something of it was read.
#[derive(Clone, Debug)]
pub(crate) struct Ownership {
    /// Its name in offsets: `topic/3`.
    pub(crate) name: Partition,
    number: u64,
}

/// What comes before any batch.
pub(crate) enum Signal {
    /// These are being given up.
    Revoked(Vec<Partition>),
    /// This partition begins at this offset, which is to be stored before anything of it is read.
    Begins(Partition, i64),
    /// The source failed.
    Failed(Error),
}

/// What a poll gets.
pub(crate) enum Given {
    Batch(Batch),
    Signal(Signal),
}

/// How the source ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In good order: what was released is committed.
    Leave,
    /// As a crash would: nothing is committed.
    Abandon,
}

/// Where a revocation stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Handover {
    #[default]
    None,
    /// The engine has not been told yet.
    Pending,
    /// It drains.
    Told,
    /// It has polled again: the partitions may go (invariant 9).
    LetGo,
}

impl Owned {
    /// The next offset to give out, as far as it is known.
    pub(crate) fn next(&self) -> Option<i64> {
        self.given.or(self.released)
    }

    /// How far it is stored, as far as it is known.
    pub(crate) fn stored(&self) -> Option<i64> {
        self.committed
    }
}

/// The name of a partition in offsets.
pub(crate) fn name_of(topic: &str, partition: i32) -> Partition {
    format!("{topic}/{partition}").into()
}

/// The side of the engine.
impl Handoff {
    /// A poll begins: what was told by an earlier one may go.
    pub(crate) fn polled(&self) {
        let mut state = self.state();
        if state.handover == Handover::Told {
            state.handover = Handover::LetGo;
            self.changed.notify_all();
        }
    }

    /// The next thing to give.
    pub(crate) fn take(&self) -> Option<Given> {
        let mut state = self.state();
        if let Some(signal) = state.signals.pop_front() {
            if matches!(signal, Signal::Revoked(_)) && state.handover == Handover::Pending {
                state.handover = Handover::Told;
            }
            return Some(Given::Signal(signal));
        }
        let batch = state.batches.pop_front()?;
        if state.batches.len() == BATCHES_READY_MAX / 2 {
            self.changed.notify_all();
        }
        Some(Given::Batch(batch))
    }

    /// The engine gets what was read of this partition up to `next`. False when that is no further than before.
    pub(crate) fn gave(&self, from: &Ownership, next: i64) -> bool {
        let mut state = self.state();
        if !state.holds(from) {
            return false;
        }
        let Some(owned) = state.owned.get_mut(&from.name) else { return false };
        let moves = Some(next) > owned.given;
        owned.given = owned.given.max(Some(next));
        moves
    }

    /// Everything before these offsets is done. A partition that is not ours any more is left alone
    /// (invariant 9), and no offset moves back.
    pub(crate) fn release(&self, offsets: &Offsets) -> Result<(), Error> {
        let mut state = self.state();
        for (name, position) in offsets {
            let offset: i64 = position.parse().map_err(|_| {
                Error::fatal("a stored position is not an offset")
                    .with("partition", name)
                    .with("position", position)
            })?;
            if let Some(owned) = state.owned.get_mut(name) {
                owned.released = owned.released.max(Some(offset));
            }
        }
        Ok(())
    }

    /// What is released is committed already, by somebody else.
    pub(crate) fn committed_elsewhere(&self) {
        let mut state = self.state();
        state.owned.values_mut().for_each(|owned| owned.committed = owned.released);
    }

    /// Whether partitions were lost.
    pub(crate) fn has_lost(&self) -> bool {
        self.state().lost
    }

    /// A copy of all that is owned.
    pub(crate) fn owned(&self) -> Vec<(Partition, Owned)> {
        self.state().owned.iter().map(|(name, owned)| (name.clone(), owned.clone())).collect()
    }

    /// Ends the threads. The first ending counts.
    pub(crate) fn end(&self, ending: Ending) {
        self.state().ending.get_or_insert(ending);
        self.changed.notify_all();
    }
}

/// The side of the event thread.
impl Handoff {
    /// How the source ends, if it does.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.state().ending
    }

    /// The source failed; the next poll says so.
    pub(crate) fn fail(&self, error: Error) {
        self.state().signals.push_back(Signal::Failed(error));
        self.ready.notify_one();
    }

    /// Partitions were lost, and nothing that was read of them may be committed any more: the source fails with this.
    pub(crate) fn lose(&self, error: Error) {
        self.state().lost = true;
        self.fail(error);
    }

    /// Returns when no call of the data thread is under way, and lets none begin until `resume`.
    pub(crate) fn pause(&self) {
        let mut state = self.state();
        state.paused = true;
        while state.reading {
            state = self.wait(state);
        }
    }

    /// Ownership is settled.
    pub(crate) fn resume(&self) {
        self.state().paused = false;
        self.changed.notify_all();
    }

    /// A partition is ours; `committed` is what the group has for it.
    pub(crate) fn own(&self, topic: &str, partition: i32, committed: Option<i64>) {
        let mut state = self.state();
        state.ownerships += 1;
        let owned = Owned {
            topic: topic.to_owned(),
            partition,
            ownership: state.ownerships,
            read: committed,
            given: None,
            released: committed,
            committed,
            again: false,
            leaving: false,
        };
        state.owned.insert(name_of(topic, partition), owned);
    }

    /// The group has nothing for this partition yet, and it begins at `offset`: that is committed like a release, or
    /// `given` to the engine first, as a position without records.
    pub(crate) fn begin_at(&self, topic: &str, partition: i32, offset: i64, given: bool) {
        let mut state = self.state();
        let name = name_of(topic, partition);
        let Some(owned) = state.owned.get_mut(&name) else { return };
        owned.read = Some(offset);
        if given {
            state.signals.push_back(Signal::Begins(name, offset));
            self.ready.notify_one();
        } else {
            owned.released = Some(offset);
            owned.committed = None;
        }
    }

    /// All that is committed is committed once more.
    pub(crate) fn recommit(&self) {
        self.state().owned.values_mut().for_each(|owned| owned.again = true);
    }

    /// What the group has for this partition of ours, as far as it is known.
    pub(crate) fn committed_of(&self, name: &Partition) -> Option<i64> {
        self.state().owned.get(name)?.committed
    }

    /// Nothing more of these is given out, and the engine is told with its next poll. `at_once`: they are
    /// lost, there is nothing to drain or commit.
    pub(crate) fn revoke(&self, names: &[Partition], at_once: bool) {
        let mut state = self.state();
        for name in names {
            if at_once {
                state.owned.remove(name);
            } else if let Some(owned) = state.owned.get_mut(name) {
                owned.leaving = true;
            }
        }
        state.batches.retain(|batch| !names.contains(&batch.from.name));
        state.handover = if at_once { Handover::None } else { Handover::Pending };
        state.signals.push_back(Signal::Revoked(names.to_vec()));
        drop(state);
        self.changed.notify_all();
        self.ready.notify_one();
    }

    /// Whether the engine has really let go of what was revoked, or has ended with all of it done.
    pub(crate) fn has_let_go(&self) -> bool {
        let state = self.state();
        state.handover == Handover::LetGo || state.ending == Some(Ending::Leave)
    }

    /// Whether the engine has let go of what was revoked, or nobody will poll again.
    pub(crate) fn let_go(&self) -> bool {
        let state = self.state();
        state.handover == Handover::LetGo || state.ending.is_some()
    }

    /// They are gone; a release that comes later is dropped.
    pub(crate) fn forget(&self, names: &[Partition]) {
        let mut state = self.state();
        state.handover = Handover::None;
        for name in names {
            state.owned.remove(name);
        }
    }
}

impl Handoff {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let (state, _) =
            self.changed.wait_timeout(state, Duration::from_secs(1)).unwrap_or_else(PoisonError::into_inner);
        state
    }
}

impl State {
    fn holds(&self, from: &Ownership) -> bool {
        self.owned.get(&from.name).is_some_and(|owned| owned.ownership == from.number && !owned.leaving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(position: &str) -> Offsets {
        Offsets::from([(name_of("t", 0), position.into())])
    }

    fn read(handoff: &Handoff) -> Option<Ownership> {
        assert!(handoff.begin_read());
        handoff.end_read([name_of("t", 0)].into_iter()).pop().flatten()
    }

    fn offsets_of(commits: Option<Vec<Commit>>) -> Vec<i64> {
        commits.unwrap_or_default().iter().map(|commit| commit.offset).collect()
    }

    #[test]
    fn what_was_read_under_an_earlier_ownership_is_dropped() {
        let handoff = Handoff::default();
        handoff.own("t", 0, Some(5));
        let early = read(&handoff).unwrap();
        handoff.revoke(&[name_of("t", 0)], false);
        assert!(read(&handoff).is_none());
        handoff.forget(&[name_of("t", 0)]);
        handoff.own("t", 0, Some(5));
        handoff.push(Batch { from: early, records: Records::default(), next: 100 });
        assert!(matches!(handoff.take(), Some(Given::Signal(Signal::Revoked(_)))));
        assert!(handoff.take().is_none());
        let now = read(&handoff).unwrap();
        handoff.push(Batch { from: now, records: Records::default(), next: 6 });
        assert!(matches!(handoff.take(), Some(Given::Batch(batch)) if batch.next == 6));
    }

    #[tokio::test]
    async fn a_poll_is_told_when_some_batches_wait_and_when_there_is_no_more() {
        let handoff = Handoff::default();
        handoff.own("t", 0, None);
        let from = read(&handoff).unwrap();
        let told = async || tokio::time::timeout(Duration::ZERO, handoff.ready.notified()).await.is_ok();
        for next in 1..=2 {
            handoff.push(Batch { from: from.clone(), records: Records::default(), next });
            assert!(!told().await);
        }
        handoff.tell();
        assert!(told().await);
        handoff.push(Batch { from, records: Records::default(), next: 3 });
        assert!(told().await);
        for next in 1..=3 {
            assert!(matches!(handoff.take(), Some(Given::Batch(batch)) if batch.next == next));
        }
    }

    #[test]
    fn partitions_go_with_the_poll_after_the_one_that_told() {
        let handoff = Handoff::default();
        handoff.own("t", 0, None);
        handoff.revoke(&[name_of("t", 0)], false);
        handoff.polled();
        assert!(!handoff.let_go());
        assert!(handoff.take().is_some());
        assert!(!handoff.let_go());
        handoff.release(&offsets("7")).unwrap();
        assert!(handoff.uncommitted(false));
        handoff.polled();
        assert!(handoff.let_go());
        assert_eq!(offsets_of(handoff.next_commit()), [7]);
        handoff.committed(|_| false);
        handoff.forget(&[name_of("t", 0)]);
        handoff.release(&offsets("9")).unwrap();
        assert_eq!(handoff.next_commit(), None);
    }

    #[test]
    fn offsets_never_move_back_and_a_failed_commit_is_made_again() {
        let handoff = Handoff::default();
        handoff.own("t", 0, Some(10));
        handoff.release(&offsets("8")).unwrap();
        assert_eq!(handoff.next_commit(), None);
        handoff.release(&offsets("20")).unwrap();
        assert_eq!(offsets_of(handoff.next_commit()), [20]);
        assert_eq!(handoff.next_commit(), None, "one at a time");
        handoff.committed(|_| true);
        assert_eq!(handoff.next_commit(), None, "not at once");
        handoff.state().commit_again_at = None;
        handoff.release(&offsets("30")).unwrap();
        assert_eq!(offsets_of(handoff.next_commit()), [30]);
        handoff.committed(|_| false);
        assert!(!handoff.uncommitted(true));
        assert!(handoff.release(&offsets("x")).is_err());
    }

    #[test]
    fn nothing_is_committed_on_the_crash_path() {
        let handoff = Handoff::default();
        handoff.own("t", 0, None);
        handoff.release(&offsets("7")).unwrap();
        handoff.end(Ending::Abandon);
        assert_eq!(handoff.next_commit(), None);
        assert!(!handoff.begin_read());
    }
}
