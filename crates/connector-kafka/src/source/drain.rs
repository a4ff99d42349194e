//! The drain of partitions that are revoked, before they are given up.

use aqueduct_api::ErrorKind;
use rdkafka::consumer::Consumer;
use tokio::time::Instant;

use super::member::{GroupConsumer, Member, OffsetStorage};
use crate::diagnosis::PARTITIONS_LOST;

impl Member {
    /// Waits, for `drain_timeout` at most, until the engine has drained what is revoked. Events are served meanwhile, so that
    /// what it releases is committed.
    pub(crate) fn drain(&self, consumer: &GroupConsumer) {
        let deadline = Instant::now() + self.drain_timeout;
        while !self.handoff.is_drain_over() && !consumer.assignment_lost() {
            if Instant::now() > deadline {
                tracing::warn!(group = self.group, "partitions are given up before they are drained");
                break;
            }
            self.commit(consumer);
            self.poll_briefly(consumer);
        }
        self.commit_remaining(consumer, false);
        if !self.handoff.is_drained() || consumer.assignment_lost() {
            self.fail_lost();
        }
    }

    /// Partitions are taken away while the engine may still be writing what was read of them. A transaction with that in it must
    /// not be committed under a generation that begins afterwards: others have the partitions then (invariants 9, 10). From
    /// here on the sink gets no proof of membership.
    pub(super) fn fail_lost(&self) {
        if self.offset_storage == OffsetStorage::SinkTransactions {
            self.handoff.fail_lost(PARTITIONS_LOST.error(ErrorKind::Fatal, &[("group", &self.group)]));
        }
    }
}
