//! The health of the sink.

use aqueduct_kafka_client::diagnosis::{Diagnosis, Reaction};

/// A topic that could not be made.
pub(crate) const TOPIC_NOT_CREATED: Diagnosis = Diagnosis {
    id: "topic-not-created",
    says: "topic `{topic}` does not exist and cannot be created: {reason}",
    why: "`on_missing_topic: create` is set, and the cluster refuses: this user lacks CREATE on the topic or the cluster, a policy of the cluster forbids it, a setting is unknown, or there are fewer brokers than `replication` asks for. A topic that a record names is set aside instead of waited for.",
    remedy: "grant CREATE on it, correct on_missing_topic.create, or create the topic yourself",
    reaction: Reaction::Waits,
};

/// A template that made no name.
pub(crate) const TOPIC_NAME: Diagnosis = Diagnosis {
    id: "topic-name",
    says: "`{topic}` is not a topic name",
    why: "The topic is put together from the record, and what came out cannot be a name in Kafka.",
    remedy: "a name has 1 to 249 letters, digits, dots, dashes and underscores",
    reaction: Reaction::SetsAside,
};

/// Larger than its topic takes.
pub(crate) const RECORD_TOO_LARGE: Diagnosis = Diagnosis {
    id: "record-too-large",
    says: "the record of {bytes} bytes is too large for topic `{topic}`",
    why: "The topic or the broker takes batches of `max.message.bytes` at most, and this record was refused alone. Where smaller records are refused for their company they are sent again in smaller batches; `client: { batch.size: ... }` below `max.message.bytes` spares that detour.",
    remedy: "raise max.message.bytes of the topic, or set such records aside",
    reaction: Reaction::SetsAside,
};

/// Too old or too far ahead for its topic.
pub(crate) const RECORD_TIME: Diagnosis = Diagnosis {
    id: "record-time",
    says: "topic `{topic}` refuses the record for its timestamp",
    why: "`message.timestamp.before.max.ms` or `message.timestamp.after.max.ms` of the topic bounds how far a timestamp may be from the broker's clock. After two hours in the future every topic refuses, by default since Kafka 3.6.",
    remedy: "correct the timestamp at its source, widen these settings of the topic, or set such records aside",
    reaction: Reaction::SetsAside,
};

/// Refused by the broker's own look at the record.
pub(crate) const RECORD_REFUSED: Diagnosis = Diagnosis {
    id: "record-refused",
    says: "topic `{topic}` refuses the record: {reason}",
    why: "The broker looked at the record and found it unfit for the topic: one without a key in a compacted topic is the usual case.",
    remedy: "correct the record at its source, or set such records aside",
    reaction: Reaction::SetsAside,
};

/// Nobody leads the partition.
pub(crate) const PARTITION_WITHOUT_LEADER: Diagnosis = Diagnosis {
    id: "partition-without-leader",
    says: "partition {partition} of topic `{topic}` has no leader",
    why: "Every broker that keeps the partition and is up to date is away. A pipeline that reads it goes on with the other partitions. One that writes to it waits with the records of this partition, and with what was read after them.",
    remedy: "bring one of its brokers back",
    reaction: Reaction::Waits,
};

/// Fewer replicas in sync than the topic demands.
pub(crate) const NOT_ENOUGH_REPLICAS: Diagnosis = Diagnosis {
    id: "not-enough-replicas",
    says: "topic `{topic}` takes no records: {in_sync} of {replicas} replicas of partition {partition} are in sync, and min.insync.replicas asks for {wanted}",
    why: "Records are written with the acknowledgement of all replicas, and the topic refuses them while fewer than `min.insync.replicas` are in sync. Writing goes on by itself as soon as enough are.",
    remedy: "bring the missing brokers back, or correct min.insync.replicas of the topic",
    reaction: Reaction::Waits,
};

/// Silence, for no reason that can be seen.
pub(crate) const NOT_ACKNOWLEDGED: Diagnosis = Diagnosis {
    id: "not-acknowledged",
    says: "the brokers have acknowledged nothing for a while",
    why: "Records were sent, the brokers answer other questions, and no acknowledgement comes: a network that passes small packets only, a broker that hangs or is overloaded, a slow disk.",
    remedy: "see the logs and the load of the brokers, and the network in between",
    reaction: Reaction::Waits,
};

/// Held back by a quota.
pub(crate) const THROTTLED: Diagnosis = Diagnosis {
    id: "throttled",
    says: "the brokers slow this pipeline down by a quota",
    why: "The user or client id writes more than its quota allows, and the broker delays its answers. Nothing is lost and the pipeline stays ready; `aqueduct_pipeline_slowed` is 1.",
    remedy: "raise producer_byte_rate or request_percentage of the user, or leave it so",
    reaction: Reaction::SlowsDown,
};
