//! The data thread: takes what librdkafka has fetched, and makes batches of it.

use std::sync::PoisonError;

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::batch_builder::{BatchBuilder, Bounds};
use super::halts::Why;
use super::handoff::{Batch, Handoff, name_of};
use super::member::Member;
use aqueduct_kafka_client::is_passing;
use aqueduct_kafka_client::native::batch_queue::{BatchQueue, Message};

/// How long the data thread waits for a record; a rebalance waits as long at most.
const DATA_WAIT_MS: i32 = 100;

/// Runs until the source ends.
pub(super) fn read(queue: &BatchQueue<Member>, handoff: &Handoff, bounds: Bounds) {
    let mut take = Take { queue, handoff, bounds, usual: (0, 0) };
    // Batches that the poll has not been told of: until it is, there is no waiting.
    let mut untold = false;
    while handoff.begin_read() {
        let (piles, emptied) = take.some(if untold { 0 } else { DATA_WAIT_MS });
        let name = |builder: &BatchBuilder| {
            let (topic, partition) = builder.place();
            name_of(topic, partition)
        };
        let owners = handoff.end_read(piles.iter().map(name));
        for (builder, from) in piles.into_iter().zip(owners) {
            if let (Some(from), Some(next)) = (from, builder.next()) {
                handoff.push(Batch { from, next, records: builder.finish() });
                untold = true;
            }
        }
        if untold && emptied {
            handoff.tell();
            untold = false;
        }
    }
}

struct Take<'a> {
    queue: &'a BatchQueue<Member>,
    handoff: &'a Handoff,
    bounds: Bounds,
    /// Records and bytes of a batch of the last call, on average: those of the next are given room for as much.
    usual: (usize, usize),
}

impl Take<'_> {
    /// Waits for a record, and takes it with what is there already, as much as one batch may hold. Says whether that was
    /// all there is.
    fn some(&mut self, wait_ms: i32) -> (Vec<BatchBuilder>, bool) {
        let mut piles: Vec<BatchBuilder> = Vec::new();
        let (mut records, mut bytes) = (0, 0);
        let member = self.queue.consumer().context();
        let emptied = self.queue.serve(wait_ms, |message| {
            bytes += sort(member, self.handoff, &mut piles, message, self.bounds, self.usual);
            records += 1;
            records < self.bounds.records_max && bytes < self.bounds.bytes_max
        });
        let full = piles.iter().filter(|builder| builder.size().0 > 0).count();
        let sum = piles.iter().map(BatchBuilder::size).fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        if let (Some(records), Some(bytes)) = (sum.0.checked_div(full), sum.1.checked_div(full)) {
            self.usual = (records, bytes);
        }
        (piles, emptied)
    }
}

/// Puts a message where it belongs; says how many bytes were kept of it.
fn sort(
    member: &Member,
    handoff: &Handoff,
    piles: &mut Vec<BatchBuilder>,
    message: Message<'_>,
    bounds: Bounds,
    usual: (usize, usize),
) -> usize {
    // Only the newest batch of its partition: one before it may have room still, and would give the record out ahead of
    // those between (invariant 7).
    let newest = piles.iter().rposition(|builder| builder.is_of(message));
    if message.is_end() {
        let at = newest.unwrap_or_else(|| {
            piles.push(BatchBuilder::new(message, 0, 0));
            piles.len() - 1
        });
        piles[at].end_at(message.offset());
        return 0;
    }
    if let Some((code, says)) = message.error() {
        read_error(member, handoff, message, code, &says);
        return 0;
    }
    let at = newest.filter(|at| piles[*at].has_room(message, bounds)).unwrap_or_else(|| {
        piles.push(BatchBuilder::new(message, usual.0, usual.1));
        piles.len() - 1
    });
    piles[at].add(message).unwrap_or_else(|code| {
        let says = format!("the headers of the record cannot be read ({code})");
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        member.halts.halt(topic, partition, offset, Why::Damaged(says));
        0
    })
}

/// What a partition reports in place of a record. What it cannot get over stops this partition; what passes by itself is
/// left alone.
fn read_error(member: &Member, handoff: &Handoff, message: Message<'_>, code: RDKafkaErrorCode, says: &str) {
    use RDKafkaErrorCode as Code;
    let halts = &member.halts;
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    tracing::debug!(topic, partition, offset, %code, says, "a partition reports");
    match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
            halts.halt(topic, partition, offset, Why::Lost);
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            *member.unknown.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        code if is_passing(code) => {}
        code => match member.denied(code, Some(topic)) {
            Some(error) => handoff.fail(error),
            None => halts.halt(topic, partition, offset, Why::Damaged(says.to_owned())),
        },
    }
}
