//! The coordinator of transactions (KIP-98): producer ids and epochs, what each open transaction has touched, and its
//! end. There is one broker, so a transaction ends in one step under one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::time::Instant;
use tracing::warn;

use crate::clock::now_ms;
use crate::groups::{Groups, PartitionKey};
use crate::topics::Topics;

/// Transactional ids that are remembered; of idle ones the oldest is forgotten first.
const IDS_MAX: usize = 1_000;
/// As in Kafka's `transaction.max.timeout.ms`.
const TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);

/// A producer that has been fenced this often gets a new id; beyond it there is room for the timeout's own step.
const EPOCH_MAX: i16 = i16::MAX - 2;

/// All transactional producers, by transactional id, and the next producer id.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    by_id: BTreeMap<String, Transaction>,
    next_producer_id: i64,
}

/// One transactional id.
#[derive(Debug)]
struct Transaction {
    producer_id: i64,
    epoch: i16,
    timeout: Duration,
    phase: Phase,
    touched: Instant,
    partitions: BTreeSet<PartitionKey>,
    groups: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Idle,
    Open,
    Ended { committed: bool },
}

/// What a client shows to prove that it is the present producer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) transactional_id: &'a str,
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

impl Transactions {
    /// A fresh id for a producer that is idempotent only.
    pub(crate) fn producer_id(&mut self) -> i64 {
        self.next_producer_id += 1;
        self.next_producer_id
    }

    /// The id and epoch for a transactional producer that starts, or starts over after an error (KIP-360). What its
    /// predecessor left open is aborted, and the predecessor fenced.
    pub(crate) fn begin_producer(
        &mut self,
        id: &str,
        claimed: Option<(i64, i16)>,
        timeout: Duration,
        now: Instant,
        (topics, groups): (&mut Topics, &mut Groups),
    ) -> Result<(i64, i16), ResponseError> {
        if id.is_empty() {
            return Err(ResponseError::InvalidRequest);
        }
        if timeout.is_zero() || timeout > TIMEOUT_MAX {
            return Err(ResponseError::InvalidTransactionTimeout);
        }
        if !self.by_id.contains_key(id) {
            self.make_room()?;
        }
        let fresh = self.next_producer_id + 1;
        let transaction = self.by_id.entry(id.to_owned()).or_insert_with(|| Transaction::new(fresh, now));
        let present = (transaction.producer_id, transaction.epoch);
        if claimed.is_some_and(|claimed| transaction.epoch >= 0 && claimed != present) {
            return Err(ResponseError::ProducerFenced);
        }
        transaction.epoch += 1;
        if transaction.phase == Phase::Open {
            transaction.end(false, topics, groups); // under the new epoch, which fences the predecessor
        }
        if transaction.epoch >= EPOCH_MAX {
            (transaction.producer_id, transaction.epoch) = (fresh, 0);
        }
        transaction.phase = Phase::Idle;
        (transaction.timeout, transaction.touched) = (timeout, now);
        self.next_producer_id = self.next_producer_id.max(transaction.producer_id);
        Ok((transaction.producer_id, transaction.epoch))
    }

    /// Enters partitions and a group into the producer's transaction, which is opened by the first of them.
    pub(crate) fn add(
        &mut self,
        claim: Claim,
        partitions: impl IntoIterator<Item = PartitionKey>,
        group: Option<&str>,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let transaction = self.claimed(claim)?;
        if transaction.phase != Phase::Open {
            (transaction.phase, transaction.touched) = (Phase::Open, now);
        }
        transaction.partitions.extend(partitions);
        transaction.groups.extend(group.map(str::to_owned));
        Ok(())
    }

    /// Whether the producer may write to the partition in its transaction.
    pub(crate) fn check_partition(
        &mut self,
        claim: Claim,
        partition: &PartitionKey,
    ) -> Result<(), ResponseError> {
        let transaction = match self.claimed(claim) {
            Err(ResponseError::ProducerFenced) => return Err(ResponseError::InvalidProducerEpoch),
            claimed => claimed?,
        };
        match transaction.phase == Phase::Open && transaction.partitions.contains(partition) {
            true => Ok(()),
            false => Err(ResponseError::InvalidTxnState),
        }
    }

    /// Whether the producer may commit offsets of the group in its transaction.
    pub(crate) fn check_group(&mut self, claim: Claim, group: &str) -> Result<(), ResponseError> {
        let transaction = self.claimed(claim)?;
        match transaction.phase == Phase::Open && transaction.groups.contains(group) {
            true => Ok(()),
            false => Err(ResponseError::InvalidTxnState),
        }
    }

    /// Commits or aborts; the same end asked for twice is the same end.
    pub(crate) fn end(
        &mut self,
        claim: Claim,
        commit: bool,
        now: Instant,
        (topics, groups): (&mut Topics, &mut Groups),
    ) -> Result<(), ResponseError> {
        let transaction = self.claimed(claim)?;
        transaction.touched = now;
        match transaction.phase {
            Phase::Open => transaction.end(commit, topics, groups),
            Phase::Ended { committed } if committed == commit => {}
            _ => return Err(ResponseError::InvalidTxnState),
        }
        Ok(())
    }

    /// Aborts what has been open for longer than its timeout, and fences its producer. True when there was any.
    pub(crate) fn tick(&mut self, now: Instant, topics: &mut Topics, groups: &mut Groups) -> bool {
        let mut any = false;
        for (id, transaction) in &mut self.by_id {
            if transaction.phase == Phase::Open && now >= transaction.touched + transaction.timeout {
                warn!(transactional_id = id, "transaction was open for longer than its timeout, aborted");
                transaction.epoch += 1;
                transaction.end(false, topics, groups);
                any = true;
            }
        }
        any
    }

    fn claimed(&mut self, claim: Claim) -> Result<&mut Transaction, ResponseError> {
        let transaction =
            self.by_id.get_mut(claim.transactional_id).ok_or(ResponseError::InvalidProducerIdMapping)?;
        if transaction.producer_id != claim.producer_id {
            Err(ResponseError::InvalidProducerIdMapping)
        } else if transaction.epoch != claim.epoch {
            Err(ResponseError::ProducerFenced)
        } else {
            Ok(transaction)
        }
    }

    fn make_room(&mut self) -> Result<(), ResponseError> {
        if self.by_id.len() < IDS_MAX {
            return Ok(());
        }
        let idle = self.by_id.iter().filter(|(_, transaction)| transaction.phase != Phase::Open);
        let oldest = idle.min_by_key(|(_, transaction)| transaction.touched).map(|(id, _)| id.clone());
        let oldest = oldest.ok_or(ResponseError::PolicyViolation)?;
        warn!(transactional_id = oldest, ids_max = IDS_MAX, "too many transactional ids, forgot the oldest");
        self.by_id.remove(&oldest);
        Ok(())
    }
}

impl Transaction {
    fn new(producer_id: i64, now: Instant) -> Self {
        Self {
            producer_id,
            epoch: -1,
            timeout: TIMEOUT_MAX,
            phase: Phase::Idle,
            touched: now,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
        }
    }

    fn end(&mut self, commit: bool, topics: &mut Topics, groups: &mut Groups) {
        let now_ms = now_ms();
        for (topic, partition) in std::mem::take(&mut self.partitions) {
            // A partition deleted in the meantime has no end to mark.
            _ = topics.change(&topic, partition, |log| {
                log.end_transaction(self.producer_id, self.epoch, commit, now_ms);
                Ok(())
            });
        }
        for group in std::mem::take(&mut self.groups) {
            groups.end_transaction(&group, self.producer_id, commit);
        }
        self.phase = Phase::Ended { committed: commit };
    }
}
