//! What the three threads of a source share, behind one lock: which partitions are assigned, the batches that wait for a poll,
//! and how far offsets are released and committed. No library is called here.
//!
//! Each thread has a handle of its own, and calls what that one offers:
//!
//! - [`EngineSide`]: the engine's task, which polls, releases and ends the source;
//! - [`GroupSide`]: the event thread, which serves the group and alone changes the assignment;
//! - [`FetchSide`]: the data thread, which takes what librdkafka has fetched;
//! - [`Handoff`], to which each of them dereferences: what every thread may call.
//!
//! A partition from its assignment to its end, in order:
//!
//! 1. **Assigned.** The event thread lets no fetch begin (`pause`), enters the partition under a number that no earlier
//!    assignment had (`assign`), and lets fetches begin again (`resume`). Where nothing is stored yet for a partition, the
//!    offset at which it begins is stored first (`start_at`).
//! 2. **Fetched.** Between `begin_fetch` and `end_fetch` the data thread is inside the library; `end_fetch` says under which
//!    assignment records were read. `push` queues them as a batch, or drops them when that assignment is over. Four batches
//!    at most wait for a poll.
//! 3. **Polled.** `begin_poll`, then `next` until there is something to return; `advance` moves the position of the partition.
//! 4. **Released.** The engine says up to which offset everything is done (`release`).
//! 5. **Committed.** What is released and not committed is taken by `begin_commit`; `end_commit` says what became of it.
//! 6. **Revoked.** `revoke` drops the batches that wait, and queues the signal for the next poll ([`Revocation::Pending`]). With
//!    the signal the engine drains (`Draining`): what was polled is released and committed as before. When it polls again the
//!    drain is over (`Drained`), and the event thread, between `pause` and `resume` again, calls `give_up`: what is fetched or
//!    released under this assignment from then on is ignored (invariant 9). The event thread waits a bounded time for that.
//!    Partitions that are lost (`lose`) are removed at once, without a drain.
//!
//! [`Revocation::Pending`]: state::Revocation::Pending

mod commits;
mod engine;
mod fetch;
mod group;
mod partition;
mod state;

use std::sync::Arc;

pub(crate) use self::engine::{EngineSide, Next};
pub(crate) use self::fetch::FetchSide;
pub(crate) use self::group::GroupSide;
pub(crate) use self::partition::{Commit, PartitionState, name_of};
pub(crate) use self::state::{Batch, Ending, Handoff, Signal};

/// The three sides of a new source.
pub(crate) fn sides() -> (EngineSide, GroupSide, FetchSide) {
    let handoff: Arc<Handoff> = Arc::default();
    (EngineSide(handoff.clone()), GroupSide(handoff.clone()), FetchSide(handoff))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aqueduct_api::{Offsets, Records};

    use super::partition::Assignment;
    use super::*;

    fn offsets(position: &str) -> Offsets {
        Offsets::from([(name_of("t", 0), position.into())])
    }

    fn read(fetch: &FetchSide) -> Option<Assignment> {
        assert!(fetch.begin_fetch());
        fetch.end_fetch([name_of("t", 0)].into_iter()).pop().flatten()
    }

    fn offsets_of(commits: Option<Vec<Commit>>) -> Vec<i64> {
        commits.unwrap_or_default().iter().map(|commit| commit.offset).collect()
    }

    #[test]
    fn what_was_read_under_an_earlier_assignment_is_dropped() {
        let (engine, group, fetch) = sides();
        group.assign("t", 0, Some(5));
        let early = read(&fetch).unwrap();
        group.revoke(&[name_of("t", 0)]);
        assert!(read(&fetch).is_none());
        group.give_up(&[name_of("t", 0)]);
        group.assign("t", 0, Some(5));
        fetch.push(Batch { from: early, records: Records::default(), next: 100 });
        assert!(matches!(engine.next(), Some(Next::Signal(Signal::Revoked(_)))));
        assert!(engine.next().is_none());
        let now = read(&fetch).unwrap();
        fetch.push(Batch { from: now, records: Records::default(), next: 6 });
        assert!(matches!(engine.next(), Some(Next::Batch(batch)) if batch.next == 6));
    }

    #[tokio::test]
    async fn a_poll_is_woken_when_some_batches_wait_and_when_there_is_no_more() {
        let (engine, group, fetch) = sides();
        group.assign("t", 0, None);
        let from = read(&fetch).unwrap();
        let woken = async || tokio::time::timeout(Duration::ZERO, engine.ready()).await.is_ok();
        for next in 1..=2 {
            fetch.push(Batch { from: from.clone(), records: Records::default(), next });
            assert!(!woken().await);
        }
        fetch.flush();
        assert!(woken().await);
        fetch.push(Batch { from, records: Records::default(), next: 3 });
        assert!(woken().await);
        for next in 1..=3 {
            assert!(matches!(engine.next(), Some(Next::Batch(batch)) if batch.next == next));
        }
    }

    #[test]
    fn a_drain_is_over_with_the_poll_after_the_one_that_returned_the_revocation() {
        let (engine, group, _fetch) = sides();
        group.assign("t", 0, None);
        group.revoke(&[name_of("t", 0)]);
        engine.begin_poll();
        assert!(!group.is_drain_over());
        assert!(engine.next().is_some());
        assert!(!group.is_drain_over());
        engine.release(&offsets("7")).unwrap();
        assert!(group.has_uncommitted(false));
        engine.begin_poll();
        assert!(group.is_drain_over());
        assert_eq!(offsets_of(group.begin_commit()), [7]);
        group.end_commit(|_| false);
        group.give_up(&[name_of("t", 0)]);
        engine.release(&offsets("9")).unwrap();
        assert_eq!(group.begin_commit(), None);
    }

    #[test]
    fn offsets_never_move_back_and_a_failed_commit_is_made_again() {
        let (engine, group, _fetch) = sides();
        group.assign("t", 0, Some(10));
        engine.release(&offsets("8")).unwrap();
        assert_eq!(group.begin_commit(), None);
        engine.release(&offsets("20")).unwrap();
        assert_eq!(offsets_of(group.begin_commit()), [20]);
        assert_eq!(group.begin_commit(), None, "one at a time");
        group.end_commit(|_| true);
        assert_eq!(group.begin_commit(), None, "not at once");
        group.state().commit_again_at = None;
        engine.release(&offsets("30")).unwrap();
        assert_eq!(offsets_of(group.begin_commit()), [30]);
        group.end_commit(|_| false);
        assert!(!group.has_uncommitted(true));
        assert!(engine.release(&offsets("x")).is_err());
    }

    #[test]
    fn nothing_is_committed_on_the_crash_path() {
        let (engine, group, fetch) = sides();
        group.assign("t", 0, None);
        engine.release(&offsets("7")).unwrap();
        engine.end(Ending::Abandon);
        assert_eq!(group.begin_commit(), None);
        assert!(!fetch.begin_fetch());
    }
}
