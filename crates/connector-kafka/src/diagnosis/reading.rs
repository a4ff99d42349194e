//! The health of the source: offsets that are lost, and partitions that cannot be read.

use aqueduct_kafka_client::diagnosis::{Diagnosis, Reaction};

/// What every lost offset can be answered with.
const CHOOSE: &str = "choose where to go on with one of: `aqueduct offsets set {pipeline} --partition {topic}/{partition} --to earliest`, the same with `--to latest`, or with a time as in `--to {time}`: it shows what would be skipped or repeated, and does it with --apply; then start the pipeline again. `on_lost_offsets` decides it beforehand";

/// Retention, or somebody who deletes records, overtook the pipeline.
pub(crate) const OFFSET_DELETED: Diagnosis = Diagnosis {
    id: "offset-deleted",
    says: "records of partition {partition} of `{topic}` were deleted before they were read: offsets {from} to {to}, {records} records at most{read}; the oldest record left is at offset {first}{time_of_first}",
    why: "The topic's retention (retention.ms, retention.bytes) was shorter than the time that the pipeline was down or behind, or somebody deleted records. They are gone from this cluster; a copy may exist elsewhere.",
    remedy: CHOOSE,
    reaction: Reaction::Stops,
};

/// Truncation, or a topic made anew.
pub(crate) const OFFSET_BEYOND_END: Diagnosis = Diagnosis {
    id: "offset-beyond-end",
    says: "the offset to go on from in partition {partition} of `{topic}` is {offset}, and the partition ends at {end}: the topic was made anew, or the cluster lost its last {records} records{read}; the oldest record left is at offset {first}{time_of_first}",
    why: "Somebody deleted the topic and made it again, the pipeline was pointed at another cluster, or a replica that was behind became leader (unclean.leader.election.enable) and the records it lacked are gone. What was written since then at offsets that were read before is not told apart from what was read.",
    remedy: CHOOSE,
    reaction: Reaction::Stops,
};

/// An offset of a topic that is gone, under the name of one that is there.
pub(crate) const TOPIC_MADE_ANEW: Diagnosis = Diagnosis {
    id: "topic-made-anew",
    says: "topic `{topic}` was deleted and made anew: offset {offset} of partition {partition} belongs to the topic before, and the new one ends at {end}",
    why: "Its id is another one than that which was kept beside the offset. The offsets of the new topic begin at 0 again, so what stands there before the old offset was never read. An offset that `aqueduct offsets set` or another tool has stored is taken as it is.",
    remedy: CHOOSE,
    reaction: Reaction::Stops,
};

/// The group had an offset and has none.
pub(crate) const OFFSETS_FORGOTTEN: Diagnosis = Diagnosis {
    id: "offsets-forgotten",
    says: "group `{group}` had offset {offset} for partition {partition} of `{topic}` and has none any more",
    why: "The cluster forgets the offsets of a group that has had no members for offsets.retention.minutes (7 days); somebody deleted the group or its offsets; or the topic was deleted and made anew. A process remembers what it committed itself: after a restart of the process a group without offsets cannot be told from a new one, and `start` decides.",
    remedy: CHOOSE,
    reaction: Reaction::Stops,
};

/// `start: none`.
pub(crate) const OFFSET_NONE: Diagnosis = Diagnosis {
    id: "offset-none",
    says: "group `{group}` has no offset for partition {partition} of `{topic}`, and `start` is none",
    why: "The group is new, the partition is, or the cluster has forgotten the group's offsets; `start: none` asks for somebody to decide.",
    remedy: "set source.kafka.start to earliest, latest or a timestamp, or store an offset: `aqueduct offsets set {pipeline} --partition {topic}/{partition} --to earliest --apply`",
    reaction: Reaction::Stops,
};

/// Bytes that are not what the producer sent.
pub(crate) const BATCH_DAMAGED: Diagnosis = Diagnosis {
    id: "batch-damaged",
    says: "the batch at offset {offset} of partition {partition} of `{topic}` cannot be read: {reason}",
    why: "Its checksum is wrong or it cannot be decompressed: the disk of a broker or a producer damaged it. The partition stays where it is, everything before the batch is delivered, the other partitions go on. It is tried again every 20 seconds: another replica may have it whole.",
    remedy: "give the lead to a replica that has it whole, or leave it behind: stop the pipeline and run `aqueduct offsets set {pipeline} --partition {topic}/{partition} --to OFFSET --apply`, with the offset after its last record as kafka-dump-log.sh shows it",
    reaction: Reaction::Waits,
};

/// Named one by one, and one is not there.
pub(crate) const PARTITION_MISSING: Diagnosis = Diagnosis {
    id: "partition-missing",
    says: "topic `{topic}` has {count} partitions, and no partition {partition}",
    why: "`partitions` names one that the topic does not have; partitions are numbered from 0.",
    remedy: "correct source.kafka.partitions, or give the topic more partitions",
    reaction: Reaction::Waits,
};

/// Partitions that are named, under the name of a group that has members.
pub(crate) const GROUP_HAS_MEMBERS: Diagnosis = Diagnosis {
    id: "group-has-members",
    says: "offsets are not committed: group `{group}` has members, and `partitions` are read without being one",
    why: "Another pipeline or application joined a group of this name. The broker takes offsets from its members only; what is read meanwhile is read again after a restart.",
    remedy: "give this pipeline a `group` of its own, or stop the other",
    reaction: Reaction::Waits,
};

/// No assignment yet.
pub(crate) const GROUP_GIVES_NOTHING: Diagnosis = Diagnosis {
    id: "group-gives-nothing",
    says: "the group gave no partitions yet: this member waits for the next rebalance of `{group}`{found}",
    why: "Members that have partitions may take 20 seconds to finish what they have read of them. A member that was killed, or whose machine is gone, keeps its partitions until its session is over (`session_timeout`, 45 seconds), unless its process ran on this machine, where it is found dead and taken out of the group.",
    remedy: "it goes on by itself; `kafka-consumer-groups.sh --describe --group {group} --members` names the members: stop one that hangs",
    reaction: Reaction::Waits,
};
