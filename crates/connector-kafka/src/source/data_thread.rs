//! The data thread: takes the records that librdkafka has fetched, and makes batches of them.

use std::sync::atomic::Ordering;

use aqueduct_kafka_client::is_passing;
use aqueduct_kafka_client::native::batch_queue::{BatchQueue, Message};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::batch_builder::{BatchBuilder, Bounds};
use super::handoff::{Batch, FetchSide, name_of};
use super::member::Member;
use super::stopped::StopReason;

/// How long the data thread waits for a record; a rebalance waits as long at most.
const DATA_WAIT_MS: i32 = 100;

/// Runs until the source ends.
pub(super) fn run(queue: &BatchQueue<Member>, handoff: &FetchSide, bounds: Bounds) {
    let mut reader = Reader { queue, handoff, bounds, average: (0, 0) };
    // There are batches of which a poll that waits does not know: until it is woken, nothing else is waited for.
    let mut unflushed = false;
    while handoff.begin_fetch() {
        let (builders, emptied) = reader.read(if unflushed { 0 } else { DATA_WAIT_MS });
        let name = |builder: &BatchBuilder| {
            let (topic, partition) = builder.topic_partition();
            name_of(topic, partition)
        };
        let assignments = handoff.end_fetch(builders.iter().map(name));
        for (builder, from) in builders.into_iter().zip(assignments) {
            if let (Some(from), Some(next)) = (from, builder.next()) {
                handoff.push(Batch { from, next, records: builder.finish() });
                unflushed = true;
            }
        }
        if unflushed && emptied {
            handoff.flush();
            unflushed = false;
        }
    }
}

struct Reader<'a> {
    queue: &'a BatchQueue<Member>,
    handoff: &'a FetchSide,
    bounds: Bounds,
    /// Records and bytes of a batch of the last call, on average: the next batches are allocated with room for as much.
    average: (usize, usize),
}

impl Reader<'_> {
    /// Waits for a record, and takes it with those that are there already, as much as one batch may hold. Returns whether the
    /// queue was emptied.
    fn read(&mut self, wait_ms: i32) -> (Vec<BatchBuilder>, bool) {
        let mut builders: Vec<BatchBuilder> = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        let member = self.queue.consumer().context();
        let emptied = self.queue.serve(wait_ms, |message| {
            bytes += add(member, self.handoff, &mut builders, message, self.bounds, self.average);
            records += 1;
            records < self.bounds.records_max && bytes < self.bounds.bytes_max
        });
        let full = builders.iter().filter(|builder| builder.size().0 > 0).count();
        let sum =
            builders.iter().map(BatchBuilder::size).fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        if let (Some(records), Some(bytes)) = (sum.0.checked_div(full), sum.1.checked_div(full)) {
            self.average = (records, bytes);
        }
        (builders, emptied)
    }
}

/// Adds a message to the batch of its partition; returns how many bytes of it were kept.
fn add(
    member: &Member,
    handoff: &FetchSide,
    builders: &mut Vec<BatchBuilder>,
    message: Message<'_>,
    bounds: Bounds,
    average: (usize, usize),
) -> usize {
    // Only the newest batch of its partition: an earlier one may still have room, but the record would overtake those in
    // between (invariant 7).
    let newest = builders.iter().rposition(|builder| builder.is_of(message));
    if message.is_end() {
        let at = newest.unwrap_or_else(|| {
            builders.push(BatchBuilder::new(message, 0, 0));
            builders.len() - 1
        });
        builders[at].end_at(message.offset());
        return 0;
    }
    if let Some((code, says)) = message.error() {
        read_error(member, handoff, message, code, &says);
        return 0;
    }
    let at = newest.filter(|at| builders[*at].has_room(message, bounds)).unwrap_or_else(|| {
        builders.push(BatchBuilder::new(message, average.0, average.1));
        builders.len() - 1
    });
    builders[at].add(message).unwrap_or_else(|code| {
        let says = format!("the headers of the record cannot be read ({code})");
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        member.stopped.stop(topic, partition, offset, StopReason::Damaged(says));
        0
    })
}

/// The library reports an error of a partition in place of a record. A transient one is left alone, any other stops the
/// partition.
fn read_error(
    member: &Member,
    handoff: &FetchSide,
    message: Message<'_>,
    code: RDKafkaErrorCode,
    says: &str,
) {
    use RDKafkaErrorCode as Code;
    let stopped = &member.stopped;
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    tracing::debug!(topic, partition, offset, %code, says, "a partition reports");
    match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
            stopped.stop(topic, partition, offset, StopReason::OffsetOutOfRange);
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            member.unknown_topics.store(true, Ordering::Release);
        }
        code if is_passing(code) => {}
        code => match member.denied(code, Some(topic)) {
            Some(error) => handoff.fail(error),
            None => stopped.stop(topic, partition, offset, StopReason::Damaged(says.to_owned())),
        },
    }
}
