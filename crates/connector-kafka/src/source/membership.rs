//! What the source shows for the partitions it has given records of: its membership of the group, which a transaction of
//! the sink carries and the broker compares (KIP-447).

use std::sync::Weak;

use aqueduct_api::{Error, ErrorKind, Ownership, Proof, Result};
use rdkafka::consumer::Consumer;

use super::member::GroupConsumer;
use crate::diagnosis::PARTITIONS_LOST;
use aqueduct_kafka_client::native::transactions::GroupMetadata;

/// See the file's header.
pub(crate) struct Membership(Weak<GroupConsumer>);

impl Membership {
    pub(crate) fn of(consumer: &Weak<GroupConsumer>) -> Self {
        Self(consumer.clone())
    }
}

impl Ownership for Membership {
    /// A snapshot of the group's generation as this member knows it. Asked before and after: a member that has lost its
    /// partitions and joined anew would show a generation that is valid, and not that under which it read.
    fn proof(&self) -> Result<Proof> {
        let consumer = self.0.upgrade().ok_or_else(|| Error::fatal("the source ended early"))?;
        let member = consumer.context();
        let metadata = GroupMetadata::of(&consumer);
        if consumer.assignment_lost() || member.handoff.has_lost() {
            return Err(PARTITIONS_LOST.error(ErrorKind::Fatal, &[("group", &member.group)]));
        }
        // Without a generation the broker takes a transaction unseen, for the sake of old clients.
        match metadata.filter(GroupMetadata::is_member) {
            Some(metadata) => Ok(Box::new(metadata)),
            None => Err(Error::transient(format!("`{}` is not a member of its group yet", member.group))),
        }
    }
}
