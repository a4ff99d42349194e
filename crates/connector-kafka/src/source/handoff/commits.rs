//! Which offsets are to be committed, and what became of it.

use std::time::Duration;

use aqueduct_api::Partition;
use tokio::time::Instant;

use super::{Ending, Handoff, Owned};

/// After a commit that failed.
const COMMIT_RETRY: Duration = Duration::from_millis(500);

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

impl Handoff {
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
