//! Topics that are deleted and created again under the same name. Their offsets begin at 0 again and name other records, and
//! the library reads on from where it was. The topic id tells the two topics apart: it is given to the sinks, and committed as the
//! metadata of each offset.

use std::collections::BTreeSet;
use std::sync::Arc;

use aqueduct_api::{Error, ErrorKind, Result};
use aqueduct_kafka_client::admin;
use aqueduct_kafka_client::{CHECK_INTERVAL, REQUEST_TIMEOUT};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::member::{GroupConsumer, Member};
use super::stopped::{StopReason, StoppedPartition};
use crate::diagnosis::TOPIC_MADE_ANEW;

/// What stands before the id in the metadata of a committed offset. Tools that alter a group's offsets leave the metadata out:
/// then the offset is taken as it is.
const LABEL: &str = "topic_id=";

/// The metadata to commit beside an offset.
pub(crate) fn metadata(id: &str) -> String {
    format!("{LABEL}{id}")
}

/// The id in the metadata of a committed offset, if we have put one there.
pub(crate) fn id_in(metadata: &str) -> Option<Arc<str>> {
    metadata.strip_prefix(LABEL).map(Arc::from)
}

impl Member {
    /// Stops the partitions of topics that have been recreated since they are read. Until that is noticed, records of the new
    /// topic may be read; their offsets are committed beside the id of the old one, so that a restart notices it as well.
    pub(crate) fn compare_topic_ids(&self, consumer: &GroupConsumer) {
        let assigned = self.handoff.assigned();
        let topics: BTreeSet<&str> = assigned.iter().map(|(_, it)| it.topic.as_str()).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let Ok(ids) = admin::topic_ids(consumer.client(), &topics, CHECK_INTERVAL) else { return };
        for (_, it) in &assigned {
            let known = self.topic_id(&it.topic, it.partition);
            if let (Some(known), Some(now)) = (known, ids.get(&it.topic))
                && *known != **now
            {
                self.stopped.stop(
                    &it.topic,
                    it.partition,
                    it.position().unwrap_or(0),
                    StopReason::TopicRecreated,
                );
            }
        }
    }

    /// The id of the topic now.
    pub(super) fn current_topic_id(
        &self,
        consumer: &GroupConsumer,
        topic: &str,
    ) -> Result<Option<Arc<str>>, RDKafkaErrorCode> {
        let ids = admin::topic_ids(consumer.client(), &[topic], REQUEST_TIMEOUT)?;
        Ok(ids.get(topic).map(|id| id.as_str().into()))
    }

    /// The id that the topic has now, where it was recreated since this partition is read.
    pub(super) fn recreated(
        &self,
        consumer: &GroupConsumer,
        stopped: &StoppedPartition,
    ) -> Result<Option<Arc<str>>, RDKafkaErrorCode> {
        let Some(known) = self.topic_id(&stopped.topic, stopped.partition) else { return Ok(None) };
        Ok(self.current_topic_id(consumer, &stopped.topic)?.filter(|now| *now != known))
    }

    /// The error for an offset of the topic that was there before.
    pub(super) fn recreated_error(&self, topic: &str, partition: i32, offset: i64, end: i64) -> Error {
        TOPIC_MADE_ANEW.error(
            ErrorKind::Config,
            &[
                ("offset", &offset),
                ("partition", &partition),
                ("topic", &topic),
                ("end", &end),
                ("pipeline", &self.pipeline),
                ("time", &"2026-01-31T12:00:00Z"),
            ],
        )
    }
}
