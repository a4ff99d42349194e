//! Commits of offsets. The engine's task commits what it has just released, the event thread repeats what failed and makes the
//! last commit of what is given up.

use std::time::Duration;

use aqueduct_api::{Error, ErrorKind};
use aqueduct_kafka_client::native::batch_queue;
use aqueduct_kafka_client::{WaitReason, code_of};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::handoff::{Commit, Ending, name_of};
use super::member::{GroupConsumer, Member, OffsetStorage};
use super::topic_id;
use crate::diagnosis::GROUP_HAS_MEMBERS;

/// How long the last commit of what is given up may take.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(5);

impl Member {
    /// Starts a commit of what is released, if there is any and none is under way.
    pub(crate) fn commit(&self, consumer: &GroupConsumer) {
        if !self.commits() {
            return;
        }
        let Some(commits) = self.handoff.begin_commit() else {
            return;
        };
        let mut list = TopicPartitionList::with_capacity(commits.len());
        for Commit { topic, partition, offset, .. } in &commits {
            let mut element = list.add_partition(topic, *partition);
            if let Some(id) = self.topic_id(topic, *partition) {
                element.set_metadata(topic_id::metadata(&id));
            }
            if element.set_offset(Offset::Offset(*offset)).is_err() {
                let error = Error::fatal("an offset to commit is negative").with("topic", topic);
                self.handoff.fail(error.with("partition", partition).with("offset", offset));
            }
        }
        if let Err(code) = batch_queue::commit(consumer, &list) {
            self.commit_done(Err(code), &TopicPartitionList::new());
        }
    }

    /// Commits until everything that is released is committed, or until the time is over: what is left then is read again by
    /// the next member that has the partition.
    pub(crate) fn commit_remaining(&self, consumer: &GroupConsumer, of_all: bool) {
        if !self.commits() {
            return;
        }
        let deadline = Instant::now() + LAST_COMMIT_TIMEOUT;
        while self.handoff.has_uncommitted(of_all) && self.handoff.ending() != Some(Ending::Abandon) {
            if Instant::now() > deadline || consumer.assignment_lost() {
                tracing::warn!(
                    group = self.group,
                    "the last offsets are not committed, their records will be read again"
                );
                return;
            }
            self.commit(consumer);
            self.poll_briefly(consumer);
        }
    }

    /// What became of a commit.
    pub(super) fn commit_done(&self, result: Result<(), RDKafkaErrorCode>, list: &TopicPartitionList) {
        let code_for = |commit: &Commit| match list.find_partition(&commit.topic, commit.partition) {
            Some(element) => element.error().err().map(|error| code_of(&error)),
            None => result.err(),
        };
        self.handoff
            .end_commit(|commit| code_for(commit).is_some() || (result.is_err() && list.count() == 0));
        match result {
            Ok(()) => {
                for element in list.elements().iter().filter(|element| element.error().is_ok()) {
                    if let Offset::Offset(offset) = element.offset() {
                        let name = name_of(element.topic(), element.partition());
                        self.cache_committed(name, offset);
                    }
                }
                self.health.clear(WaitReason::Group);
            }
            Err(RDKafkaErrorCode::UnknownMemberId) if self.offset_storage == OffsetStorage::UnjoinedGroup => {
                let says = GROUP_HAS_MEMBERS.error(ErrorKind::Transient, &[("group", &self.group)]);
                self.health.set(WaitReason::Group, says.to_string());
            }
            // The group rebalances: what is still assigned afterwards is committed then.
            Err(RDKafkaErrorCode::RebalanceInProgress | RDKafkaErrorCode::IllegalGeneration) => {}
            Err(code) => {
                let group = &self.group;
                if let Some(error) = self.denied(code, None) {
                    return self.handoff.fail(error);
                }
                let says = format!("offsets of group `{group}` are not committed ({code}): trying again");
                self.health.set(WaitReason::Group, says);
            }
        }
    }
}
