//! The offsets a group has committed, and those that wait for the end of a transaction.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::committed::{Committed, PartitionKey};
use super::group::{Group, Phase};

impl Group {
    /// Whether these may commit now: a present member, or anybody while the group has no members.
    pub(crate) fn check_commit(
        &mut self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.touch(now);
        if generation < 0 && self.phase == Phase::Empty {
            return Ok(());
        }
        self.check_member(id, instance, generation)?;
        self.keep_alive(id, now);
        match self.phase {
            Phase::CompletingRebalance => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Whether these may commit in a transaction; without generation and member id, the transaction alone decides
    /// (KIP-447).
    pub(crate) fn check_transactional_commit(
        &mut self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.touch(now);
        if generation < 0 && id.is_empty() {
            return Ok(());
        }
        self.check_member(id, instance, generation)
    }

    pub(crate) fn commit(&mut self, partition: PartitionKey, committed: Committed) {
        self.offsets.committed.insert(partition, committed);
    }

    pub(crate) fn commit_in_transaction(
        &mut self,
        producer_id: i64,
        partition: PartitionKey,
        committed: Committed,
    ) {
        self.offsets.pending.entry(producer_id).or_default().insert(partition, committed);
    }

    pub(crate) fn committed(&self) -> &BTreeMap<PartitionKey, Committed> {
        &self.offsets.committed
    }

    /// Whether a transaction that is still open has committed an offset for the partition.
    pub(crate) fn is_pending(&self, partition: &PartitionKey) -> bool {
        self.offsets.pending.values().any(|pending| pending.contains_key(partition))
    }

    pub(crate) fn forget(&mut self, partition: &PartitionKey) {
        self.offsets.committed.remove(partition);
    }

    pub(crate) fn offsets_len(&self) -> usize {
        self.offsets.committed.len() + self.offsets.pending.values().map(BTreeMap::len).sum::<usize>()
    }

    pub(super) fn forget_topic(&mut self, topic: &str) {
        self.offsets.committed.retain(|(of, _), _| of != topic);
        for pending in self.offsets.pending.values_mut() {
            pending.retain(|(of, _), _| of != topic);
        }
    }

    pub(super) fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        let pending = self.offsets.pending.remove(&producer_id).unwrap_or_default();
        if commit {
            self.offsets.committed.extend(pending);
        }
    }
}
