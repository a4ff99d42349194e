//! The member of the group: what its parts share. It is the context of the library's consumer, whose callbacks stand in
//! `rebalance.rs`. Everything here runs on the event thread, but for `commit` and `check_first_answers`, which the engine's task
//! calls as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aqueduct_api::{Error, ErrorKind, Incarnations, Offsets, Partition};
use aqueduct_kafka_client::native::batch_queue::BatchQueue;
use aqueduct_kafka_client::{Access, ClientHealth, WaitReason};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::committed_cache;
use super::handoff::GroupSide;
use super::known_partitions::KnownPartitions;
use super::stopped::StoppedPartitions;
use crate::config::{OnLostOffsets, Start};
use crate::diagnosis::GROUP_GIVES_NOTHING;

/// How long events are served at a time while something else is waited for.
const BRIEF_POLL: Duration = Duration::from_millis(20);

/// The consumer with this member as its context.
pub(crate) type GroupConsumer = BaseConsumer<Member>;

/// See the file's header.
pub(crate) struct Member {
    pub(crate) handoff: GroupSide,
    pub(crate) stopped: Arc<StoppedPartitions>,
    pub(crate) health: ClientHealth,
    pub(crate) pipeline: Arc<str>,
    pub(crate) group: String,
    pub(crate) brokers: String,
    pub(crate) start: Start,
    pub(crate) on_lost: OnLostOffsets,
    pub(crate) offset_storage: OffsetStorage,
    /// The ids of the topics as their partitions are read.
    pub(crate) incarnations: Incarnations,
    pub(crate) known_partitions: KnownPartitions,
    pub(crate) drain_timeout: Duration,
    /// The queue to which assigned partitions are forwarded.
    pub(crate) data_queue: Mutex<Weak<BatchQueue<Member>>>,
    /// What the source fails with once it has left the group.
    pub(crate) leave_error: Mutex<Option<Error>>,
    /// The leaders of all that is assigned have answered once.
    pub(crate) leaders_answered_once: AtomicBool,
    /// The library has reported a topic that the cluster does not know.
    pub(crate) unknown_topics: AtomicBool,
    /// The group has not given an assignment yet, not even an empty one. Never set for one that joins no group.
    pub(crate) awaiting_assignment: AtomicBool,
}

/// Where the offsets of a source are stored, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OffsetStorage {
    /// By this source, in the group that it joins.
    Group,
    /// By this source, in a group that it does not join.
    UnjoinedGroup,
    /// By the transactions of the sink, in the group that this source joins.
    SinkTransactions,
    /// By an offset store, which had these.
    Store(Offsets),
}

impl Member {
    /// The error for a right that is missing; `None` for every other code.
    pub(crate) fn denied(&self, code: RDKafkaErrorCode, topic: Option<&str>) -> Option<Error> {
        self.health.denied(code, "", self.access(topic))
    }

    /// What this member needs to be allowed.
    pub(super) fn access<'a>(&'a self, topic: Option<&'a str>) -> Access<'a> {
        Access { operation: "Read", topic, group: Some(&self.group) }
    }

    /// Whether the group stores the offsets, whoever commits them.
    pub(crate) fn offsets_in_group(&self) -> bool {
        !matches!(self.offset_storage, OffsetStorage::Store(_))
    }

    /// Whether this member commits them.
    pub(crate) fn commits(&self) -> bool {
        matches!(self.offset_storage, OffsetStorage::Group | OffsetStorage::UnjoinedGroup)
    }

    /// Whether this member joins a group.
    pub(crate) fn joins_group(&self) -> bool {
        matches!(self.offset_storage, OffsetStorage::Group | OffsetStorage::SinkTransactions)
    }

    /// Reading begins at an offset that may be found differently next time: it is stored at once.
    pub(crate) fn start_at(&self, topic: &str, partition: i32, offset: i64) {
        self.handoff.start_at(topic, partition, offset, !self.commits());
    }

    /// The queue to which records are forwarded, as long as the data thread reads it.
    pub(crate) fn data_queue(&self) -> Option<Arc<BatchQueue<Member>>> {
        self.data_queue.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// The source fails with this error once it has left the group, so that whoever moves its offsets then need not wait for
    /// the end of a session.
    pub(crate) fn fail_after_leaving(&self, error: Error) {
        self.leave_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// From now on an assignment is expected from the group.
    pub(crate) fn await_assignment(&self) {
        self.awaiting_assignment.store(true, Ordering::Release);
        self.health.set_quietly(WaitReason::Assignment, self.no_assignment(""));
    }

    /// The group has given one.
    pub(crate) fn assignment_received(&self) {
        self.awaiting_assignment.store(false, Ordering::Release);
        self.health.clear_quietly(WaitReason::Assignment);
    }

    /// Whether one is still expected.
    pub(crate) fn is_awaiting_assignment(&self) -> bool {
        self.awaiting_assignment.load(Ordering::Acquire)
    }

    /// The sentence for a group that has given no assignment, with what was found out about it.
    pub(super) fn no_assignment(&self, found: &str) -> String {
        let values: [(&str, &dyn std::fmt::Display); 2] = [("group", &self.group), ("found", &found)];
        GROUP_GIVES_NOTHING.error(ErrorKind::Transient, &values).to_string()
    }

    /// The id of the topic as this partition of it is read.
    pub(crate) fn topic_id(&self, topic: &str, partition: i32) -> Option<Arc<str>> {
        self.incarnations.of(&topic.into(), partition)
    }

    /// From now on this partition is read of the topic with this id.
    pub(super) fn set_topic_id(&self, topic: &str, partition: i32, id: &Arc<str>) {
        self.incarnations.set(topic, partition, Arc::clone(id));
    }

    /// Remembers an offset that is stored for a partition.
    pub(crate) fn cache_committed(&self, name: Partition, offset: i64) {
        let id = name.rsplit_once('/').and_then(|(topic, of)| self.topic_id(topic, of.parse().ok()?));
        committed_cache::put(&self.brokers, &self.group, name, offset, id);
    }

    /// Serves events for a moment.
    pub(crate) fn poll_briefly(&self, consumer: &GroupConsumer) {
        self.poll_events(consumer, BRIEF_POLL);
    }

    /// Serves events for that long. Records go to the data queue; one among the events would be lost, and is an error.
    pub(crate) fn poll_events(&self, consumer: &GroupConsumer, wait: Duration) {
        match consumer.poll(wait) {
            None => {}
            Some(Ok(_)) => {
                self.handoff.fail(
                    Error::fatal("a record came among the events of the group").with("group", &self.group),
                );
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                let error =
                    Error::fatal(format!("the Kafka client gave up: {code}")).with("group", &self.group);
                self.handoff.fail(error);
            }
            // The callback for errors has it as well.
            Some(Err(_)) => {}
        }
    }
}
