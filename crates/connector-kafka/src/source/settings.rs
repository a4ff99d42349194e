//! What a source makes of its configuration: the properties of its group, and which partitions this task reads.

use std::time::Duration;

use aqueduct_api::catalog::SourceContext;
use rdkafka::ClientConfig;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::member::OffsetStorage;
use crate::config::{Assignor, GroupProtocol, SourceConfig, TopicSelection};

/// What a task reads.
#[derive(Clone, Debug)]
pub(crate) enum Subscription {
    /// What the group assigns to it of these topics.
    Topics(TopicSelection),
    /// These partitions, without a group.
    Partitions {
        /// In order.
        partitions: Vec<(String, i32)>,
        /// How often their offsets are committed although nothing moves.
        recommit_every: Duration,
    },
}

impl Subscription {
    /// Of one task: named partitions are divided among the tasks.
    pub(crate) fn of(config: &SourceConfig, context: &SourceContext) -> Self {
        if !config.is_assigned() {
            return Subscription::Topics(config.topics.clone());
        }
        let all = config.partitions.iter().flat_map(|(topic, of)| of.iter().map(|it| (topic.clone(), *it)));
        let partitions = all.skip(context.task).step_by(context.tasks.max(1)).collect();
        Subscription::Partitions { partitions, recommit_every: config.recommit_every.0 }
    }
}

impl OffsetStorage {
    /// Of this source.
    pub(crate) fn of(config: &SourceConfig, context: &SourceContext) -> Self {
        match config.is_assigned() {
            true if context.has_store => OffsetStorage::Store(context.resume.clone()),
            true => OffsetStorage::UnjoinedGroup,
            false if context.kept_by_sink => OffsetStorage::SinkTransactions,
            false => OffsetStorage::Group,
        }
    }
}

/// The properties of a member of the group; all set here win over those of `client`.
pub(crate) fn set_group(client: &mut ClientConfig, config: &SourceConfig, context: &SourceContext) {
    if config.group_protocol == GroupProtocol::Consumer {
        client.set("group.protocol", "consumer");
        // The broker decides on these, and the library refuses to have them set.
        for name in ["partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms"] {
            client.remove(name);
        }
    }
    if let Some(assignor) = config.assignor {
        client.set("partition.assignment.strategy", Assignor::as_str(assignor));
    }
    if let Some(instance) = &config.instance_id {
        // Two members of one name would fence each other.
        let task = context.task;
        let name = if context.tasks > 1 { format!("{instance}-{task}") } else { instance.clone() };
        client.set("group.instance.id", name);
    }
    if let Some(rack) = &config.rack {
        client.set("client.rack", rack);
    }
    // With the end of a partition the library reports its position, which may be behind the last record.
    client.set("enable.partition.eof", "true");
    // The library does not check checksums unless this is set; the Java client does.
    if client.get("check.crcs").is_none() {
        client.set("check.crcs", "true");
    }
}

/// The list of partitions that librdkafka takes.
pub(crate) fn list_of(partitions: &[(String, i32)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    list
}
