//! Takes what librdkafka has fetched, and says of what it reports in place of records what is to be done.

use std::sync::{Arc, PoisonError, Weak};

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::halts::Why;
use super::handoff::Handoff;
use super::member::Member;
use super::pile::{Bounds, Pile};
use crate::batch_queue::{BatchQueue, Message, Room};
use crate::client::is_passing;

/// Records that are taken at once: few enough to be still in the cache when they are given back.
const CALL_RECORDS_MAX: usize = 128;

/// The reading end of a source. Records are taken by whoever polls: they are copied, made and used on one core, and
/// no thread is woken to hand them to another.
pub(crate) struct Intake {
    /// Weak: the event thread ends it, and the consumer after it.
    queue: Weak<BatchQueue<Member>>,
    bounds: Bounds,
    room: Room,
    /// Bytes of the largest pile of the call before.
    pile_bytes: usize,
}

impl Intake {
    /// Of this queue.
    pub(crate) fn new(queue: &Arc<BatchQueue<Member>>, bounds: Bounds) -> Self {
        Self { queue: Arc::downgrade(queue), bounds, room: Room::default(), pile_bytes: 0 }
    }

    /// Takes what is there, as much as one batch may hold, and leaves it with the hand-off. False when there was
    /// nothing; it does not wait.
    pub(crate) fn read(&mut self, handoff: &Handoff) -> bool {
        if !handoff.begin_read() {
            return false;
        }
        let piles = self.queue.upgrade().map(|queue| self.take(&queue, handoff)).unwrap_or_default();
        let any = !piles.is_empty();
        self.pile_bytes = piles.iter().map(Pile::bytes).max().unwrap_or(self.pile_bytes);
        handoff.end_read(piles);
        any
    }

    fn take(&mut self, queue: &BatchQueue<Member>, handoff: &Handoff) -> Vec<Pile> {
        let bounds = self.bounds;
        let mut piles: Vec<Pile> = Vec::new();
        let mut left = bounds.records_max;
        while left > 0 {
            let asked = left.min(CALL_RECORDS_MAX);
            let messages = queue.take(&mut self.room, asked, 0);
            for message in messages.iter() {
                if let Some((code, says)) = message.error() {
                    read_error(queue.consumer().context(), handoff, message, code, &says);
                    continue;
                }
                match piles.iter_mut().rev().find(|pile| pile.takes(message, bounds)) {
                    Some(pile) => pile.add(message),
                    None => {
                        let mut pile = Pile::new(message, bounds, self.pile_bytes);
                        pile.add(message);
                        piles.push(pile);
                    }
                }
            }
            if messages.len() < asked {
                break;
            }
            left -= asked;
        }
        piles
    }
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
        Code::PartitionEOF => {}
        code if is_passing(code) => {}
        code => match member.denied(code, Some(topic)) {
            Some(error) => handoff.fail(error),
            None => halts.halt(topic, partition, offset, Why::Damaged(says.to_owned())),
        },
    }
}
