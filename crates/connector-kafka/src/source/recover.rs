//! What is done about partitions that are stopped: a lost offset is replaced as `on_lost_offsets` says, a batch that cannot be
//! read is tried again from time to time. Runs on the event thread.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aqueduct_api::{ErrorKind, Partition, Result};
use aqueduct_kafka_client::admin::{self, OffsetQuery};
use aqueduct_kafka_client::native::batch_queue;
use aqueduct_kafka_client::{CHECK_INTERVAL, WaitReason};
use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::handoff::name_of;
use super::lost_offsets::LostOffset;
use super::member::{GroupConsumer, Member};
use super::stopped::{Retry, StopReason, StoppedPartition, TRY_AGAIN};
use crate::config::Start;
use crate::diagnosis::BATCH_DAMAGED;

/// How long to wait before a request that the cluster did not answer is made again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long the library may take to move its position in a partition.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the group may take to answer that it is left.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);

/// Whether a restart is done, or the group has to be joined anew because its protocol cannot move a single partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Restart {
    Done,
    Rejoin,
}

impl Member {
    /// Does what is due for partitions that are stopped, and leaves the group for an error that waits for that.
    pub(crate) fn recover(&self, consumer: &GroupConsumer) -> Restart {
        let mut restart = Restart::Done;
        for stopped in self.stopped.due() {
            let this = match &stopped.why {
                StopReason::OffsetOutOfRange | StopReason::TopicRecreated => {
                    self.recover_offset(consumer, &stopped).unwrap_or_else(|error| {
                        self.fail_after_leaving(error);
                        Restart::Done
                    })
                }
                StopReason::NoLeader => self.start_once_led(consumer, &stopped),
                StopReason::Damaged(_) => {
                    self.retry_damaged(consumer, &stopped);
                    Restart::Done
                }
            };
            if this == Restart::Rejoin {
                restart = Restart::Rejoin;
            }
        }
        self.report_damaged();
        let leave_error = self.leave_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = leave_error {
            self.leave_group(consumer);
            self.handoff.fail(error);
        }
        restart
    }

    /// What was read is drained and committed, as at any revocation.
    fn leave_group(&self, consumer: &GroupConsumer) {
        consumer.unsubscribe();
        let deadline = Instant::now() + self.drain_timeout + LEAVE_TIMEOUT;
        while consumer.assignment().is_ok_and(|list| list.count() > 0) && Instant::now() < deadline {
            self.poll_briefly(consumer);
        }
        self.poll_events(consumer, LEAVE_TIMEOUT);
    }

    /// Reports all batches that cannot be read, in one sentence.
    fn report_damaged(&self) {
        let is_damaged = |it: &StoppedPartition| matches!(it.why, StopReason::Damaged(_));
        let damaged: Vec<StoppedPartition> = self.stopped.all().into_iter().filter(is_damaged).collect();
        let Some(first) = damaged.first() else { return self.health.clear(WaitReason::Partitions) };
        let StopReason::Damaged(reason) = &first.why else { return };
        let says = BATCH_DAMAGED.error(
            ErrorKind::Transient,
            &[
                ("offset", &first.at),
                ("partition", &first.partition),
                ("topic", &first.topic),
                ("reason", reason),
                ("pipeline", &self.pipeline),
            ],
        );
        let more = match damaged.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more partitions)"),
        };
        self.health.set(WaitReason::Partitions, format!("{says}{more}"));
    }

    /// Pauses the partition, and restarts it at the same offset when the pause is over.
    fn retry_damaged(&self, consumer: &GroupConsumer, stopped: &StoppedPartition) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&stopped.topic, stopped.partition);
        let done = if stopped.retry == Retry::Pending {
            // The library would fetch the same batch again without a pause.
            self.stopped.retry_in(stopped, Retry::Paused, TRY_AGAIN);
            consumer.pause(&list)
        } else {
            self.stopped.retry_in(stopped, Retry::Restarted, Duration::ZERO);
            let _ = self.restart(consumer, stopped, stopped.at, false);
            consumer.resume(&list)
        };
        if let Err(error) = done {
            tracing::debug!(%error, stopped.topic, stopped.partition, "a partition cannot be paused or resumed");
        }
    }

    /// A partition that had no leader when it was assigned begins where `start` says, once it has one.
    fn start_once_led(&self, consumer: &GroupConsumer, stopped: &StoppedPartition) -> Restart {
        let (topic, partition) = (stopped.topic.as_str(), stopped.partition);
        let ask =
            |query| admin::list_offsets(consumer.client(), &[(topic, partition, query)], CHECK_INTERVAL);
        let since = match self.start {
            Start::Timestamp(moment) => ask(OffsetQuery::Timestamp(moment.unix_ms.max(0))),
            _ => ask(OffsetQuery::Latest),
        };
        let offset = match since.map(|found| found.first().and_then(|found| found.offset)) {
            // No record is that late.
            Ok(None) => ask(OffsetQuery::Latest).map(|found| found.first().and_then(|found| found.offset)),
            offset => offset,
        };
        let Ok(Some(offset)) = offset else {
            self.stopped.retry_in(stopped, Retry::Pending, ASK_AGAIN);
            return Restart::Done;
        };
        let restarted = self.restart(consumer, stopped, offset, true);
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        if let Err(error) = consumer.resume(&list) {
            tracing::debug!(%error, topic, partition, "a partition cannot be resumed");
        }
        restarted
    }

    /// The offset is lost, or was reported as lost.
    fn recover_offset(&self, consumer: &GroupConsumer, stopped: &StoppedPartition) -> Result<Restart> {
        let bounds = self.first_and_end(consumer, &stopped.topic, stopped.partition);
        let found = bounds.and_then(|bounds| Ok((bounds, self.recreated(consumer, stopped)?)));
        let ((first, end), recreated) = match found {
            Ok(found) => found,
            Err(code) => {
                self.stopped.retry_in(stopped, Retry::Pending, ASK_AGAIN);
                return self.refused(code, &stopped.topic).map_or(Ok(Restart::Done), Err);
            }
        };
        // If the offset is there after all, the answer came from a follower that was behind.
        let lost = recreated.is_some() || !(first.offset..=end.offset).contains(&Some(stopped.at));
        let mut offset = Some(stopped.at);
        if lost {
            let ends_at = end.offset.unwrap_or(0);
            let error = match &recreated {
                Some(_) => self.recreated_error(&stopped.topic, stopped.partition, stopped.at, ends_at),
                None => self.out_of_range_error(stopped, &first, ends_at),
            };
            offset = self.apply_policy(consumer, LostOffset { lost: stopped.at, first, end }, error)?;
        }
        let Some(offset) = offset else {
            self.stopped.retry_in(stopped, Retry::Pending, ASK_AGAIN);
            return Ok(Restart::Done);
        };
        Ok(self.restart_as(consumer, stopped, offset, lost, recreated.as_ref()))
    }

    /// Revokes one partition, drains it, and assigns it again from an offset; `commit` stores that one at once.
    fn restart(
        &self,
        consumer: &GroupConsumer,
        stopped: &StoppedPartition,
        offset: i64,
        commit: bool,
    ) -> Restart {
        self.restart_as(consumer, stopped, offset, commit, None)
    }

    /// The same; `recreated` is the new id of the topic where it was recreated.
    fn restart_as(
        &self,
        consumer: &GroupConsumer,
        stopped: &StoppedPartition,
        offset: i64,
        commit: bool,
        recreated: Option<&Arc<str>>,
    ) -> Restart {
        let (topic, partition) = (stopped.topic.as_str(), stopped.partition);
        let name: Partition = name_of(topic, partition);
        batch_queue::detach(consumer, topic, partition);
        self.handoff.revoke(std::slice::from_ref(&name));
        self.drain(consumer);
        let committed = self.handoff.committed_of(&name);
        self.handoff.pause();
        self.handoff.give_up(std::slice::from_ref(&name));
        if !matches!(stopped.why, StopReason::Damaged(_)) {
            self.stopped.remove(std::slice::from_ref(&name));
        }
        let still_assigned =
            consumer.assignment().is_ok_and(|list| list.find_partition(topic, partition).is_some());
        let restarted = if still_assigned {
            if let Some(queue) = self.data_queue() {
                queue.attach(topic, partition);
            }
            let restarted = reposition(consumer, topic, partition, offset, || self.data_queue());
            // What was read before is drained, and its offsets are committed beside the old id.
            if let Some(id) = recreated {
                self.set_topic_id(topic, partition, id);
            }
            self.handoff.assign(topic, partition, committed);
            if commit {
                self.start_at(topic, partition, offset);
            }
            restarted
        } else {
            Restart::Done
        };
        self.handoff.resume();
        self.commit(consumer);
        restarted
    }
}

/// Moves the library's position in a partition. After an offset out of range it does not seek: then the partition is unassigned
/// and assigned again, which the eager group protocols allow for all partitions together only.
fn reposition(
    consumer: &GroupConsumer,
    topic: &str,
    partition: i32,
    offset: i64,
    queue: impl Fn() -> Option<Arc<batch_queue::BatchQueue<Member>>>,
) -> Restart {
    if consumer.seek(topic, partition, Offset::Offset(offset), SEEK_TIMEOUT).is_ok() {
        return Restart::Done;
    }
    if matches!(consumer.rebalance_protocol(), RebalanceProtocol::Eager) {
        return Restart::Rejoin;
    }
    let mut list = TopicPartitionList::new();
    if list.add_partition_offset(topic, partition, Offset::Offset(offset)).is_err() {
        return Restart::Rejoin;
    }
    let taken = consumer.incremental_unassign(&list);
    // The library stops the partition asynchronously and then detaches our queue from it, so the queue may be attached only
    // after that. It carries out requests for one partition in turn: this one is refused, after the stop.
    let _ = consumer.seek(topic, partition, Offset::Offset(offset), SEEK_TIMEOUT);
    if let Some(queue) = queue() {
        queue.attach(topic, partition);
    }
    match taken.and_then(|()| consumer.incremental_assign(&list)) {
        Ok(()) => Restart::Done,
        Err(error) => {
            tracing::debug!(%error, topic, partition, "a partition cannot be moved alone");
            Restart::Rejoin
        }
    }
}
