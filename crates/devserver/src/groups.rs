//! All consumer groups: limits over all of them, and the clock that expels members who went silent.

mod answers;
mod committed;
mod group;
mod membership;
mod offsets;

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use tokio::time::Instant;
use tracing::warn;

pub(crate) use answers::{Joined, Reply, Synced};
pub(crate) use committed::{Committed, PartitionKey};
pub(crate) use group::{Group, Phase};
pub(crate) use membership::{Join, Sync};

/// Groups, members and committed offsets over all groups: far more than a developer's machine sees.
const GROUPS_MAX: usize = 1_000;
const MEMBERS_MAX: usize = 1_000;
const OFFSETS_MAX: usize = 100_000;

/// All groups, by name.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_name: BTreeMap<String, Group>,
}

impl Groups {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.by_name.iter().map(|(name, group)| (name.as_str(), group))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Group> {
        self.by_name.get(name)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Group> {
        self.by_name.get_mut(name)
    }

    /// The group for a member that wants to join; made when it is new.
    pub(crate) fn for_member(&mut self, name: &str, is_new: bool) -> Result<&mut Group, ResponseError> {
        if is_new && self.by_name.values().map(Group::members_len).sum::<usize>() >= MEMBERS_MAX {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        self.named(name)
    }

    /// The group for offsets to be committed; made when it is new.
    pub(crate) fn for_offsets<'a>(
        &mut self,
        name: &str,
        partitions: impl Iterator<Item = &'a PartitionKey>,
    ) -> Result<&mut Group, ResponseError> {
        let committed = self.by_name.get(name).map(Group::committed);
        let more = partitions.filter(|key| committed.is_none_or(|c| !c.contains_key(key))).count();
        let all: usize = self.by_name.values().map(Group::offsets_len).sum();
        if more > 0 && all + more > OFFSETS_MAX {
            return Err(ResponseError::InvalidCommitOffsetSize);
        }
        self.named(name)
    }

    pub(crate) fn delete(&mut self, name: &str) -> Result<(), ResponseError> {
        match self.by_name.get(name) {
            None => Err(ResponseError::GroupIdNotFound),
            Some(group) if group.phase() != Phase::Empty => Err(ResponseError::NonEmptyGroup),
            Some(_) => {
                self.by_name.remove(name);
                Ok(())
            }
        }
    }

    /// A deleted topic takes the offsets committed for it along.
    pub(crate) fn forget_topic(&mut self, topic: &str) {
        self.by_name.values_mut().for_each(|group| group.forget_topic(topic));
    }

    /// Offsets committed in a transaction take effect, or never were.
    pub(crate) fn end_transaction(&mut self, name: &str, producer_id: i64, commit: bool) {
        if let Some(group) = self.by_name.get_mut(name) {
            group.end_transaction(producer_id, commit);
        }
    }

    /// Lets time act: silent members are expelled, rebalances whose time is over go on without the missing.
    pub(crate) fn tick(&mut self, now: Instant) {
        for (name, group) in &mut self.by_name {
            group.tick(name, now);
        }
    }

    fn named(&mut self, name: &str) -> Result<&mut Group, ResponseError> {
        if name.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        if self.by_name.len() >= GROUPS_MAX && !self.by_name.contains_key(name) {
            let idle =
                self.by_name.iter().filter(|(_, group)| group.is_idle()).min_by_key(|(_, g)| g.touched());
            let Some(idle) = idle.map(|(name, _)| name.clone()) else {
                return Err(ResponseError::GroupMaxSizeReached);
            };
            warn!(group = idle, groups_max = GROUPS_MAX, "too many groups, forgot the one idle for longest");
            self.by_name.remove(&idle);
        }
        Ok(self.by_name.entry(name.to_owned()).or_default())
    }
}
