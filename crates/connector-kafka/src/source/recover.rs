//! What happens to a partition that cannot be read on: an offset that is lost is answered as `on_lost_offsets` says, a batch
//! that cannot be read is tried again now and then. Runs on the event thread.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use aqueduct_api::{Error, ErrorKind, Partition, Result};
use rdkafka::consumer::{Consumer, RebalanceProtocol};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::halts::{Halt, Stage, TRY_AGAIN, Why};
use super::handoff::name_of;
use super::member::{GroupConsumer, Member};
use crate::config::{OnLostOffsets, Start};
use crate::diagnosis::{BATCH_DAMAGED, Diagnosis, OFFSET_BEYOND_END, OFFSET_DELETED, OFFSETS_FORGOTTEN};
use aqueduct_kafka_client::admin::{self, ListedOffset, OffsetQuery};
use aqueduct_kafka_client::native::batch_queue;
use aqueduct_kafka_client::{CHECK_INTERVAL, REQUEST_TIMEOUT, WaitReason, is_passing};

/// Until a question that the cluster did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long the library may take to move its place in a partition.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the group may take to hear that it is left.
const LEAVE_TIMEOUT: Duration = Duration::from_millis(500);
/// What stands in a remedy where no record has a time.
const SOME_TIME: &str = "2026-01-31T12:00:00Z";

/// Whether the group has to be joined anew, because its protocol lets nobody move a single partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Moved {
    Done,
    Rejoin,
}

/// A partition whose offset is lost.
struct Lost {
    /// The offset to go on from, which is not there.
    at: i64,
    first: ListedOffset,
    end: ListedOffset,
}

impl Member {
    /// Sees to all that stand still.
    pub(crate) fn recover(&self, consumer: &GroupConsumer) -> Moved {
        let mut moved = Moved::Done;
        for halt in self.halts.due() {
            match &halt.why {
                Why::Lost | Why::MadeAnew => match self.lost(consumer, &halt) {
                    Ok(Moved::Done) => {}
                    Ok(Moved::Rejoin) => moved = Moved::Rejoin,
                    Err(error) => self.part_with(error),
                },
                Why::Unplaced => {
                    if self.place_late(consumer, &halt) == Moved::Rejoin {
                        moved = Moved::Rejoin;
                    }
                }
                Why::Damaged(_) => self.damaged(consumer, &halt),
            }
        }
        self.show_halts();
        let parting = self.parting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = parting {
            self.leave(consumer);
            self.handoff.fail(error);
        }
        moved
    }

    /// The source fails with this, once it has left the group: who moves the offsets then need not wait for the end of a
    /// session.
    pub(crate) fn part_with(&self, error: Error) {
        self.parting.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// What was read is drained and committed, as at any revocation.
    fn leave(&self, consumer: &GroupConsumer) {
        consumer.unsubscribe();
        let deadline = Instant::now() + self.drain_timeout + LEAVE_TIMEOUT;
        while consumer.assignment().is_ok_and(|list| list.count() > 0) && Instant::now() < deadline {
            self.glance(consumer);
        }
        self.serve(consumer, LEAVE_TIMEOUT);
    }

    /// One sentence for all batches that cannot be read.
    fn show_halts(&self) {
        let is_damaged = |halt: &Halt| matches!(halt.why, Why::Damaged(_));
        let damaged: Vec<Halt> = self.halts.all().into_iter().filter(is_damaged).collect();
        let Some(first) = damaged.first() else { return self.health.clear(WaitReason::Partitions) };
        let Why::Damaged(reason) = &first.why else { return };
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

    fn damaged(&self, consumer: &GroupConsumer, halt: &Halt) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&halt.topic, halt.partition);
        let done = if halt.stage == Stage::New {
            // The library would fetch the same batch again without a pause.
            self.halts.later(halt, Stage::Resting, TRY_AGAIN);
            consumer.pause(&list)
        } else {
            self.halts.later(halt, Stage::Again, Duration::ZERO);
            let _ = self.take_up(consumer, halt, halt.at, false);
            consumer.resume(&list)
        };
        if let Err(error) = done {
            tracing::debug!(%error, halt.topic, halt.partition, "a partition cannot be paused or resumed");
        }
    }

    /// A partition that nobody led when it was assigned begins where `start` says, once somebody does.
    fn place_late(&self, consumer: &GroupConsumer, halt: &Halt) -> Moved {
        let (topic, partition) = (halt.topic.as_str(), halt.partition);
        let ask =
            |place| admin::list_offsets(consumer.client(), &[(topic, partition, place)], CHECK_INTERVAL);
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
            self.halts.later(halt, Stage::New, ASK_AGAIN);
            return Moved::Done;
        };
        let moved = self.take_up(consumer, halt, offset, true);
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        if let Err(error) = consumer.resume(&list) {
            tracing::debug!(%error, topic, partition, "a partition cannot be resumed");
        }
        moved
    }

    fn lost(&self, consumer: &GroupConsumer, halt: &Halt) -> Result<Moved> {
        let (first, end) = match self.bounds(consumer, &halt.topic, halt.partition) {
            Ok(bounds) => bounds,
            Err(code) => {
                self.halts.later(halt, Stage::New, ASK_AGAIN);
                return self.not_told(code, &halt.topic).map_or(Ok(Moved::Done), Err);
            }
        };
        let anew = match self.made_anew(consumer, halt) {
            Ok(anew) => anew,
            Err(code) => {
                self.halts.later(halt, Stage::New, ASK_AGAIN);
                return self.not_told(code, &halt.topic).map_or(Ok(Moved::Done), Err);
            }
        };
        // Where it is there after all, a follower that was behind had answered.
        let lost = anew.is_some() || !(first.offset..=end.offset).contains(&Some(halt.at));
        let mut offset = Some(halt.at);
        if lost {
            let ends_at = end.offset.unwrap_or(0);
            let error = match &anew {
                Some(_) => self.say_made_anew(&halt.topic, halt.partition, halt.at, ends_at),
                None => self.say_lost(halt, &first, ends_at),
            };
            offset = self.after_loss(consumer, Lost { at: halt.at, first, end }, error)?;
        }
        let Some(offset) = offset else {
            self.halts.later(halt, Stage::New, ASK_AGAIN);
            return Ok(Moved::Done);
        };
        Ok(self.take_up_as(consumer, halt, offset, lost, anew.as_ref()))
    }

    /// The first record with its time, and the end.
    fn bounds(
        &self,
        consumer: &GroupConsumer,
        topic: &str,
        partition: i32,
    ) -> Result<(ListedOffset, ListedOffset), RDKafkaErrorCode> {
        let ask = |place| {
            let found =
                admin::list_offsets(consumer.client(), &[(topic, partition, place)], REQUEST_TIMEOUT)?;
            found.into_iter().next().ok_or(RDKafkaErrorCode::UnknownPartition)
        };
        let (mut first, end) = (ask(OffsetQuery::Earliest)?, ask(OffsetQuery::Latest)?);
        // The first record with a time is the oldest one, unless it has none.
        first.timestamp_ms = ask(OffsetQuery::Timestamp(0))?.timestamp_ms;
        Ok((first, end))
    }

    /// Where to go on after a loss, as `on_lost_offsets` says; `None` when the cluster does not tell.
    fn after_loss(&self, consumer: &GroupConsumer, lost: Lost, error: Error) -> Result<Option<i64>> {
        let Lost { at, first, end } = lost;
        let (topic, partition) = (first.topic.clone(), first.partition);
        let place = match self.on_lost {
            OnLostOffsets::Stop => return Err(error),
            OnLostOffsets::Earliest => first,
            OnLostOffsets::Latest => end,
            OnLostOffsets::Timestamp(moment) => {
                let since = [(&*topic, partition, OffsetQuery::Timestamp(moment.unix_ms))];
                match admin::list_offsets(consumer.client(), &since, REQUEST_TIMEOUT) {
                    Ok(found) => found.into_iter().find(|found| found.offset.is_some()).unwrap_or(end),
                    Err(code) => return self.not_told(code, &topic).map_or(Ok(None), Err),
                }
            }
        };
        let (reason, offset, policy) = (error.says(), place.offset, self.on_lost);
        // Those that are gone, and those that are there and left out.
        let skipped_records_max = offset.map(|offset| (offset - at).max(0));
        let goes_on_with = place.timestamp_ms.and_then(time_of);
        tracing::warn!(
            topic,
            partition,
            offset,
            skipped_records_max,
            goes_on_with,
            ?policy,
            reason,
            "going on behind what is lost"
        );
        Ok(offset)
    }

    fn say_lost(&self, halt: &Halt, first: &ListedOffset, end: i64) -> Error {
        let oldest = first.offset.unwrap_or(end);
        let diagnosis: &Diagnosis = if halt.at < oldest { &OFFSET_DELETED } else { &OFFSET_BEYOND_END };
        let time = first.timestamp_ms.and_then(time_of);
        let time_of_first = time.as_ref().map_or(String::new(), |time| format!(", of {time}"));
        let read =
            self.halts.time_us(&name_of(&halt.topic, halt.partition)).and_then(|us| time_of(us / 1_000));
        let read = read.map_or(String::new(), |time| format!(", later than {time}"));
        diagnosis.error(
            ErrorKind::Config,
            &[
                ("partition", &halt.partition),
                ("topic", &halt.topic),
                ("from", &halt.at),
                ("offset", &halt.at),
                ("to", &(oldest - 1)),
                ("end", &end),
                ("records", &(if halt.at < oldest { oldest - halt.at } else { halt.at - end })),
                ("first", &oldest),
                ("time_of_first", &time_of_first),
                ("read", &read),
                ("pipeline", &self.pipeline),
                ("time", &time.as_deref().unwrap_or(SOME_TIME)),
            ],
        )
    }

    /// The offset from which a partition goes on that the group had one for and has none any more, or one of a topic that was
    /// made anew.
    pub(crate) fn forgotten(
        &self,
        consumer: &GroupConsumer,
        topic: &str,
        partition: i32,
        had: i64,
        made_anew: bool,
    ) -> Result<Option<i64>> {
        let (first, end) = match self.bounds(consumer, topic, partition) {
            Ok(bounds) => bounds,
            Err(code) => return self.not_told(code, topic).map_or(Ok(None), Err),
        };
        let forgotten = || {
            OFFSETS_FORGOTTEN.error(
                ErrorKind::Config,
                &[
                    ("group", &self.group),
                    ("offset", &had),
                    ("partition", &partition),
                    ("topic", &topic),
                    ("pipeline", &self.pipeline),
                    ("time", &SOME_TIME),
                ],
            )
        };
        let error = match made_anew {
            true => self.say_made_anew(topic, partition, had, end.offset.unwrap_or(0)),
            false => forgotten(),
        };
        self.after_loss(consumer, Lost { at: had, first, end }, error)
    }

    /// The cluster did not answer: what is refused is an error, the rest is waited for.
    fn not_told(&self, code: RDKafkaErrorCode, topic: &str) -> Option<Error> {
        if let Some(error) = self.denied(code, Some(topic)) {
            return Some(error);
        }
        if !is_passing(code) {
            tracing::debug!(%code, topic, "the cluster does not tell where a partition ends");
        }
        None
    }

    /// Gives one partition up, drained, and takes it over again from an offset; `commit` stores that one at once.
    fn take_up(&self, consumer: &GroupConsumer, halt: &Halt, offset: i64, commit: bool) -> Moved {
        self.take_up_as(consumer, halt, offset, commit, None)
    }

    /// The same; `anew` is the id of the topic where it was made anew.
    fn take_up_as(
        &self,
        consumer: &GroupConsumer,
        halt: &Halt,
        offset: i64,
        commit: bool,
        anew: Option<&Arc<str>>,
    ) -> Moved {
        let (topic, partition) = (halt.topic.as_str(), halt.partition);
        let name: Partition = name_of(topic, partition);
        batch_queue::detach(consumer, topic, partition);
        self.handoff.revoke(std::slice::from_ref(&name), false);
        self.drain(consumer);
        let committed = self.handoff.committed_of(&name);
        self.handoff.pause();
        self.handoff.forget(std::slice::from_ref(&name));
        if !matches!(halt.why, Why::Damaged(_)) {
            self.halts.forget(std::slice::from_ref(&name));
        }
        let ours = consumer.assignment().is_ok_and(|list| list.find_partition(topic, partition).is_some());
        let moved = if ours {
            if let Some(queue) = self.queue() {
                queue.attach(topic, partition);
            }
            let moved = reposition(consumer, topic, partition, offset, || self.queue());
            // What was read before is drained, and stored under the old id.
            if let Some(id) = anew {
                self.begin_life(topic, partition, id);
            }
            self.handoff.own(topic, partition, committed);
            if commit {
                self.begin_at(topic, partition, offset);
            }
            moved
        } else {
            Moved::Done
        };
        self.handoff.resume();
        self.commit(consumer);
        moved
    }
}

/// Moves the library's place in a partition. After an offset out of range it does not seek: then the partition is taken
/// from it and given back, which the eager group protocols allow for all partitions together only.
fn reposition(
    consumer: &GroupConsumer,
    topic: &str,
    partition: i32,
    offset: i64,
    queue: impl Fn() -> Option<std::sync::Arc<batch_queue::BatchQueue<Member>>>,
) -> Moved {
    if consumer.seek(topic, partition, Offset::Offset(offset), SEEK_TIMEOUT).is_ok() {
        return Moved::Done;
    }
    if matches!(consumer.rebalance_protocol(), RebalanceProtocol::Eager) {
        return Moved::Rejoin;
    }
    let mut list = TopicPartitionList::new();
    if list.add_partition_offset(topic, partition, Offset::Offset(offset)).is_err() {
        return Moved::Rejoin;
    }
    let taken = consumer.incremental_unassign(&list);
    // The library stops the partition in its own time and takes our queue from it then, so the queue may be attached only
    // behind that. Orders to one partition are carried out in turn: this one is refused, behind the stop.
    let _ = consumer.seek(topic, partition, Offset::Offset(offset), SEEK_TIMEOUT);
    if let Some(queue) = queue() {
        queue.attach(topic, partition);
    }
    match taken.and_then(|()| consumer.incremental_assign(&list)) {
        Ok(()) => Moved::Done,
        Err(error) => {
            tracing::debug!(%error, topic, partition, "a partition cannot be moved alone");
            Moved::Rejoin
        }
    }
}

fn time_of(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}
