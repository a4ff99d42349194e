//! What proves to the sink that the partitions of its records are still assigned: the membership of the group, which a
//! transaction carries and the broker compares (KIP-447).

use std::sync::Weak;

use aqueduct_api::{Error, ErrorKind, Ownership, Proof, Result};
use aqueduct_kafka_client::native::transactions::GroupMetadata;
use rdkafka::consumer::Consumer;

use super::member::GroupConsumer;
use crate::diagnosis::PARTITIONS_LOST;

/// See the file's header.
pub(crate) struct GroupOwnership(Weak<GroupConsumer>);

impl GroupOwnership {
    pub(crate) fn of(consumer: &Weak<GroupConsumer>) -> Self {
        Self(consumer.clone())
    }
}

impl Ownership for GroupOwnership {
    /// The group's generation as this member knows it. Whether partitions were lost is checked after the generation was read: a
    /// member that has lost its partitions and joined anew has a generation that is valid, but not the one under which it read.
    fn proof(&self) -> Result<Proof> {
        let consumer = self.0.upgrade().ok_or_else(|| Error::fatal("the source ended early"))?;
        let member = consumer.context();
        let metadata = GroupMetadata::of(&consumer);
        if consumer.assignment_lost() || member.handoff.has_lost_partitions() {
            return Err(PARTITIONS_LOST.error(ErrorKind::Fatal, &[("group", &member.group)]));
        }
        // Without a generation the broker accepts a transaction unchecked, for the sake of old clients.
        match metadata.filter(GroupMetadata::is_member) {
            Some(metadata) => Ok(Box::new(metadata)),
            None => Err(Error::transient(format!("`{}` is not a member of its group yet", member.group))),
        }
    }
}
