//! What the library reports to this member of the group: partitions that are assigned and revoked, errors, and the results of
//! commits. Runs on the event thread, as the library calls back from its `poll` only.

use std::sync::atomic::Ordering;

use aqueduct_api::{Error, Partition};
use aqueduct_kafka_client::code_of;
use aqueduct_kafka_client::native::batch_queue;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::handoff::name_of;
use super::member::{GroupConsumer, Member};
use super::start_offsets::{StartOffset, start_offsets};
use super::stopped::StopReason;

impl Member {
    /// Takes partitions over.
    pub(crate) fn assign(&self, consumer: &GroupConsumer, list: &TopicPartitionList) {
        let starts = start_offsets(self, consumer, list).unwrap_or_else(|error| {
            self.fail_after_leaving(error);
            Vec::new()
        });
        let queue = self.data_queue();
        let mut positions = TopicPartitionList::with_capacity(starts.len());
        let mut leaderless = TopicPartitionList::new();
        self.handoff.pause();
        for StartOffset { topic, partition, offset, committed, commit_now } in &starts {
            let Some(queue) = &queue else { continue };
            let mut element = positions.add_partition(topic, *partition);
            if offset.is_none() {
                self.stopped.stop(topic, *partition, 0, StopReason::NoLeader);
                leaderless.add_partition(topic, *partition);
            }
            if let Err(error) = element.set_offset(offset.unwrap_or(Offset::Beginning)) {
                self.handoff
                    .fail(Error::fatal("no offset to start from").with("topic", topic).caused_by(error));
            }
            queue.attach(topic, *partition);
            self.handoff.assign(topic, *partition, *committed);
            if let Some(offset) = commit_now {
                self.start_at(topic, *partition, *offset);
            }
        }
        self.handoff.resume();
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&positions),
            _ => consumer.assign(&positions),
        }
        // Where they begin is not known yet. What the library reads before the pause is dropped, as they are stopped.
        .and_then(|()| if leaderless.count() > 0 { consumer.pause(&leaderless) } else { Ok(()) });
        if let Err(error) = result {
            self.handoff.fail(
                Error::fatal("cannot take over partitions").with("group", &self.group).caused_by(error),
            );
        }
        self.assignment_received();
        tracing::info!(group = self.group, partitions = positions.count(), "partitions assigned");
        self.commit(consumer);
    }

    fn revoke(&self, consumer: &GroupConsumer, list: &TopicPartitionList) {
        let elements = list.elements();
        let names: Vec<Partition> =
            elements.iter().map(|element| name_of(element.topic(), element.partition())).collect();
        let lost = consumer.assignment_lost();
        if lost {
            // The group has not answered for a whole session: perhaps no broker answers.
            self.health.connection_failed();
            self.await_assignment();
        }
        if !names.is_empty() {
            for element in &elements {
                batch_queue::detach(consumer, element.topic(), element.partition());
            }
            if lost {
                self.handoff.lose(&names);
                self.fail_lost();
            } else {
                self.handoff.revoke(&names);
                self.drain(consumer);
            }
            self.handoff.pause();
            self.handoff.give_up(&names);
            self.stopped.remove(&names);
            self.handoff.resume();
        }
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&assigned_of(consumer, list)),
            _ => consumer.unassign(),
        };
        if let Err(error) = result {
            tracing::debug!(%error, group = self.group, "partitions were gone already");
        }
        tracing::info!(group = self.group, partitions = names.len(), lost, "partitions revoked");
    }
}

/// Those of the list that are really assigned. The library refuses the whole list for one that is not, and then waits for this
/// answer for ever.
fn assigned_of(consumer: &GroupConsumer, list: &TopicPartitionList) -> TopicPartitionList {
    let assigned = consumer.assignment().unwrap_or_default();
    let mut found = TopicPartitionList::new();
    for element in list.elements() {
        if assigned.find_partition(element.topic(), element.partition()).is_some() {
            found.add_partition(element.topic(), element.partition());
        }
    }
    found
}

impl ClientContext for Member {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let Some(error) = self.health.client_log(level, facility, line) {
            self.handoff.fail(error);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = code_of(&error);
        if matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) {
            self.unknown_topics.store(true, Ordering::Release);
            return;
        }
        if let Some(error) = self.health.client_error(&error, reason, self.access(None)) {
            self.handoff.fail(error);
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.health.oauth_token()
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &GroupConsumer, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.revoke(consumer, list),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.commit_done(result.map_err(|error| code_of(&error)), offsets);
    }
}
