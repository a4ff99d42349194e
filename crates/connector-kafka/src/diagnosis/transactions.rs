//! The health of `delivery: exactly_once`.

use aqueduct_kafka_client::diagnosis::{Diagnosis, Reaction};

/// Somebody else has the id, or the coordinator lost patience.
pub(crate) const PRODUCER_FENCED: Diagnosis = Diagnosis {
    id: "producer-fenced",
    says: "the cluster has fenced off the producer of the transactional id `{transactional_id}`: {reason}",
    why: "The runner was frozen or cut off for longer than `transaction.timeout.ms` (15 s unless `client` says otherwise), so that the cluster undid its transaction; or another producer uses the same id. What was not committed is not seen by those who read committed records.",
    remedy: "the pipeline starts again from its committed offsets; if it happens again, see what stops the runner for so long",
    reaction: Reaction::Restarts,
};

/// The brokers have a bound for it.
pub(crate) const TRANSACTION_TOO_LONG: Diagnosis = Diagnosis {
    id: "transaction-too-long",
    says: "the cluster takes no transactions that may last as long as `client: { transaction.timeout.ms }` says",
    why: "`transaction.max.timeout.ms` of the brokers bounds it, 15 minutes by default.",
    remedy: "lower transaction.timeout.ms, or leave it out: 15 seconds are the default",
    reaction: Reaction::Stops,
};

/// It is undone, and written again.
pub(crate) const TRANSACTION_UNDONE: Diagnosis = Diagnosis {
    id: "transaction-undone",
    says: "a transaction was undone and is written again: {reason}",
    why: "A rebalance fell between two steps of the transaction, a record in it was refused, or brokers were away for too long. Those who read committed records see none of it; what is written again takes new room in the topic.",
    remedy: "none is needed, unless it happens all the time",
    reaction: Reaction::Waits,
};

/// The group gave the partitions to others.
pub(crate) const PARTITIONS_LOST: Diagnosis = Diagnosis {
    id: "partitions-lost",
    says: "group `{group}` took partitions away while a transaction was open: it is not committed",
    why: "The runner was frozen or cut off for longer than the session, or what it had read could not be written within the 20 seconds in which it may give partitions up; others read them now, from what was committed. Under `delivery: exactly_once` nothing of the open transaction may be seen, so the pipeline starts again.",
    remedy: "the pipeline starts again from its committed offsets; if it happens again, see what the sink or the dead letters wait for, or what stops the runner for so long",
    reaction: Reaction::Restarts,
};
