//! Which offsets are to be committed, and what became of it. The engine's task and the event thread both commit, one commit at a
//! time.

use std::time::Duration;

use aqueduct_api::Partition;
use tokio::time::Instant;

use super::partition::{Assignment, Commit, PartitionState};
use super::state::{Ending, Handoff};

/// After a commit that failed.
const COMMIT_RETRY: Duration = Duration::from_millis(500);

impl Handoff {
    /// What is released and not committed, unless a commit is under way or has just failed.
    pub(crate) fn begin_commit(&self) -> Option<Vec<Commit>> {
        let mut state = self.state();
        let early = state.commit_again_at.is_some_and(|at| Instant::now() < at);
        if early || !state.committing.is_empty() || state.ending == Some(Ending::Abandon) {
            return None;
        }
        let pending = |(name, it): (&Partition, &PartitionState)| {
            let offset = it.released.filter(|_| it.recommit || it.released > it.committed)?;
            let from = Assignment { partition: name.clone(), id: it.assignment };
            Some(Commit { from, topic: it.topic.clone(), partition: it.partition, offset })
        };
        let commits: Vec<Commit> = state.assigned.iter().filter_map(pending).collect();
        state.committing.clone_from(&commits);
        (!commits.is_empty()).then_some(commits)
    }

    /// The commit is over; one that failed is made again a little later. `failed` says it of each partition.
    pub(crate) fn end_commit(&self, failed: impl Fn(&Commit) -> bool) {
        let mut state = self.state();
        state.commit_again_at = None;
        for commit in std::mem::take(&mut state.committing) {
            if failed(&commit) {
                state.commit_again_at = Some(Instant::now() + COMMIT_RETRY);
            } else if let Some(partition) = state.assigned.get_mut(&commit.from.partition)
                && partition.assignment == commit.from.id
            {
                partition.committed = partition.committed.max(Some(commit.offset));
                partition.recommit = false;
            }
        }
    }
}
