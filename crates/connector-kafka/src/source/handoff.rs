//! What the event thread of a source and the engine's side of it share: which partitions are owned, the batches
//! that wait for a poll, and how far offsets are committed. A state machine behind one lock; it calls no
//! library.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_api::{Error, Offsets, Partition};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pile::Pile;

/// After a commit that failed.
const COMMIT_RETRY: Duration = Duration::from_millis(500);

/// See the file's header.
#[derive(Default)]
pub(crate) struct Handoff {
    state: Mutex<State>,
    /// For the event thread: a call that took records is over.
    changed: Condvar,
    /// For the poll: there is something to give, or to take from the library.
    pub(crate) ready: Arc<Notify>,
}

#[derive(Default)]
struct State {
    owned: HashMap<Partition, Owned>,
    ownerships: u64,
    batches: VecDeque<Batch>,
    signals: VecDeque<Signal>,
    handover: Handover,
    /// Ownership is being changed: no call that takes records may begin.
    paused: bool,
    /// Such a call is under way.
    reading: bool,
    ending: Option<Ending>,
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
    /// Differs each time the partition is assigned, so that a commit of an earlier one is known as such.
    ownership: u64,
    /// The offset after the last record that was given to the engine.
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
    /// The partition's name in offsets.
    pub(crate) name: Partition,
    /// Its records, in offset order.
    pub(crate) pile: Pile,
    /// The offset after the last.
    pub(crate) next: i64,
}

/// What comes before any batch.
pub(crate) enum Signal {
    /// These are being given up.
    Revoked(Vec<Partition>),
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

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    name: Partition,
    ownership: u64,
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: i32,
    /// The next offset to read.
    pub(crate) offset: i64,
}

impl Owned {
    /// The next offset to give out, as far as it is known.
    pub(crate) fn next(&self) -> Option<i64> {
        self.given.or(self.committed)
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
        if let Some(owned) = state.owned.get_mut(&batch.name) {
            owned.given = Some(batch.next);
        }
        Some(Given::Batch(batch))
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

    /// A copy of all that is owned.
    pub(crate) fn owned(&self) -> Vec<(Partition, Owned)> {
        self.state().owned.iter().map(|(name, owned)| (name.clone(), owned.clone())).collect()
    }

    /// Ends the source. The first ending counts. Whoever may say so does not poll at the same time, nor again: no call
    /// that takes records is under way, unless one was broken off.
    pub(crate) fn end(&self, ending: Ending) {
        let mut state = self.state();
        state.ending.get_or_insert(ending);
        state.reading = false;
        drop(state);
        self.changed.notify_all();
    }

    /// Whether records may be taken: not while ownership is being changed, which ends with news, and not when the
    /// source ends.
    pub(crate) fn begin_read(&self) -> bool {
        let mut state = self.state();
        state.reading = !state.paused && state.ending.is_none();
        state.reading
    }

    /// The call is over. What it read of partitions that are owned waits for a poll; the rest is dropped: nothing of it
    /// was released, so whoever owns the partition now reads it again. In one breath with the end of the call: between
    /// the two nothing could be taken away and given back.
    pub(crate) fn end_read(&self, piles: Vec<Pile>) {
        let mut state = self.state();
        state.reading = false;
        for pile in piles {
            let name = name_of(&pile.topic, pile.partition);
            if state.owned.get(&name).is_some_and(|owned| !owned.leaving) {
                state.batches.push_back(Batch { name, next: pile.next(), pile });
            }
        }
        drop(state);
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

    /// Returns when no call that takes records is under way, and lets none begin until `resume`.
    pub(crate) fn pause(&self) {
        let mut state = self.state();
        state.paused = true;
        while state.reading {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ownership is settled.
    pub(crate) fn resume(&self) {
        self.state().paused = false;
        self.ready.notify_one();
    }

    /// A partition is ours; `committed` is what the group has for it.
    pub(crate) fn own(&self, topic: &str, partition: i32, committed: Option<i64>) {
        let mut state = self.state();
        state.ownerships += 1;
        let owned = Owned {
            topic: topic.to_owned(),
            partition,
            ownership: state.ownerships,
            given: None,
            released: committed,
            committed,
            again: false,
            leaving: false,
        };
        state.owned.insert(name_of(topic, partition), owned);
    }

    /// The group has nothing for this partition yet, and it begins at `offset`: that is committed like a
    /// release.
    pub(crate) fn begin_at(&self, topic: &str, partition: i32, offset: i64) {
        if let Some(owned) = self.state().owned.get_mut(&name_of(topic, partition)) {
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
        state.batches.retain(|batch| !names.contains(&batch.name));
        state.handover = if at_once { Handover::None } else { Handover::Pending };
        state.signals.push_back(Signal::Revoked(names.to_vec()));
        drop(state);
        self.ready.notify_one();
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

    /// What is released and not committed, unless a commit is under way or has just failed.
    pub(crate) fn next_commit(&self) -> Option<Vec<Commit>> {
        let mut state = self.state();
        let early = state.commit_again_at.is_some_and(|at| Instant::now() < at);
        if early || !state.committing.is_empty() || state.ending == Some(Ending::Abandon) {
            return None;
        }
        let pending = |(name, owned): (&Partition, &Owned)| {
            let offset = owned.released.filter(|_| owned.again || owned.released > owned.committed)?;
            let (topic, partition) = (owned.topic.clone(), owned.partition);
            Some(Commit { name: name.clone(), ownership: owned.ownership, topic, partition, offset })
        };
        let commits: Vec<Commit> = state.owned.iter().filter_map(pending).collect();
        state.committing.clone_from(&commits);
        (!commits.is_empty()).then_some(commits)
    }

    /// The commit is over; one that failed is made again a little later. `failed` says it of each partition.
    pub(crate) fn committed(&self, failed: impl Fn(&Commit) -> bool) {
        let mut state = self.state();
        state.commit_again_at = None;
        for commit in std::mem::take(&mut state.committing) {
            if failed(&commit) {
                state.commit_again_at = Some(Instant::now() + COMMIT_RETRY);
            } else if let Some(owned) = state.owned.get_mut(&commit.name)
                && owned.ownership == commit.ownership
            {
                owned.committed = owned.committed.max(Some(commit.offset));
                owned.again = false;
            }
        }
    }

    /// Whether something is released and not committed among the partitions that are leaving, or among all.
    pub(crate) fn uncommitted(&self, of_all: bool) -> bool {
        let state = self.state();
        state.owned.values().any(|owned| (of_all || owned.leaving) && owned.released > owned.committed)
    }
}

impl Handoff {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(position: &str) -> Offsets {
        Offsets::from([(name_of("t", 0), position.into())])
    }

    fn pile() -> Pile {
        Pile { topic: "t".to_owned(), ..Pile::default() }
    }

    fn read(handoff: &Handoff) {
        assert!(handoff.begin_read());
        handoff.end_read(vec![pile()]);
    }

    fn offsets_of(commits: Option<Vec<Commit>>) -> Vec<i64> {
        commits.unwrap_or_default().iter().map(|commit| commit.offset).collect()
    }

    #[test]
    fn what_was_read_of_a_partition_that_is_given_up_is_dropped() {
        let handoff = Handoff::default();
        handoff.own("t", 0, Some(5));
        read(&handoff);
        assert!(handoff.begin_read());
        handoff.revoke(&[name_of("t", 0)], false);
        handoff.end_read(vec![pile()]);
        assert!(matches!(handoff.take(), Some(Given::Signal(Signal::Revoked(_)))));
        assert!(handoff.take().is_none(), "neither what waited nor what was being read");
        handoff.forget(&[name_of("t", 0)]);
        read(&handoff);
        assert!(handoff.take().is_none(), "not ours");
        handoff.own("t", 0, Some(5));
        read(&handoff);
        assert!(matches!(handoff.take(), Some(Given::Batch(batch)) if batch.name == name_of("t", 0)));
    }

    #[test]
    fn ownership_changes_between_two_calls_only() {
        let handoff = Arc::new(Handoff::default());
        assert!(handoff.begin_read());
        let other = handoff.clone();
        let pausing = std::thread::spawn(move || other.pause());
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!pausing.is_finished());
        handoff.end_read(Vec::new());
        pausing.join().unwrap();
        assert!(!handoff.begin_read());
        handoff.resume();
        assert!(handoff.begin_read());
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
