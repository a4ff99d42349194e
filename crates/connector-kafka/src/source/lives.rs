//! Topics that are deleted and made anew. Their offsets begin at 0 again and name other records, and the library reads on from
//! where it was. The id of a topic tells its lives apart: it is said to the sinks, and kept beside each offset.

use std::collections::BTreeSet;
use std::sync::Arc;

use aqueduct_api::{Error, ErrorKind, Partition, Result};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::halts::{Halt, Why};
use super::member::{GroupConsumer, Member};
use crate::diagnosis::TOPIC_MADE_ANEW;
use aqueduct_kafka_client::admin;
use aqueduct_kafka_client::{CHECK_INTERVAL, REQUEST_TIMEOUT};

/// What stands before the id in the metadata of a committed offset. Whoever moves a group leaves it out, and is obeyed.
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
    /// The id of the topic as this partition of it is read.
    pub(crate) fn id_of(&self, topic: &str, partition: i32) -> Option<Arc<str>> {
        self.incarnations.of(&topic.into(), partition)
    }

    /// Looks whether topics that are read are others by now. What is told in between is of a topic that is there, and the
    /// offsets of it are stored beside the id of the one before.
    pub(crate) fn compare_lives(&self, consumer: &GroupConsumer) {
        let owned = self.handoff.owned();
        let topics: BTreeSet<&str> = owned.iter().map(|(_, it)| it.topic.as_str()).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let Ok(ids) = admin::topic_ids(consumer.client(), &topics, CHECK_INTERVAL) else { return };
        for (_, it) in &owned {
            let known = self.id_of(&it.topic, it.partition);
            if let (Some(known), Some(now)) = (known, ids.get(&it.topic))
                && *known != **now
            {
                self.halts.halt(&it.topic, it.partition, it.next().unwrap_or(0), Why::MadeAnew);
            }
        }
    }

    /// The id of the topic now.
    pub(super) fn id_now(
        &self,
        consumer: &GroupConsumer,
        topic: &str,
    ) -> Result<Option<Arc<str>>, RDKafkaErrorCode> {
        let ids = admin::topic_ids(consumer.client(), &[topic], REQUEST_TIMEOUT)?;
        Ok(ids.get(topic).map(|id| id.as_str().into()))
    }

    /// The topic is another one since this partition was read; its id where it is.
    pub(super) fn made_anew(
        &self,
        consumer: &GroupConsumer,
        halt: &Halt,
    ) -> Result<Option<Arc<str>>, RDKafkaErrorCode> {
        let Some(known) = self.id_of(&halt.topic, halt.partition) else { return Ok(None) };
        Ok(self.id_now(consumer, &halt.topic)?.filter(|now| *now != known))
    }

    /// The sentence for an offset of a topic that is gone.
    pub(super) fn say_made_anew(&self, topic: &str, partition: i32, offset: i64, end: i64) -> Error {
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

    /// From now on this partition of the topic with this id is read.
    pub(super) fn begin_life(&self, topic: &str, partition: i32, id: &Arc<str>) {
        self.incarnations.set(topic, partition, Arc::clone(id));
    }

    /// What this process has seen stored for a partition.
    pub(crate) fn remember(&self, name: Partition, offset: i64) {
        let id = name.rsplit_once('/').and_then(|(topic, of)| self.id_of(topic, of.parse().ok()?));
        super::remembered::remember(&self.brokers, &self.group, name, offset, id);
    }
}
