//! Offsets committed, in and out of transactions, fetched and deleted.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest,
    OffsetFetchResponse, TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::{code, text, topic_name};
use crate::broker::{Broker, State};
use crate::groups::{Committed, Group, Phase};
use crate::transactions::Claim;

/// As in Kafka's `offset.metadata.max.bytes`.
const METADATA_BYTES_MAX: usize = 4096;

pub(crate) fn commit(broker: &Broker, request: &OffsetCommitRequest) -> OffsetCommitResponse {
    let state = &mut *broker.lock();
    let asked = request
        .topics
        .iter()
        .flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), p.partition_index)));
    let asked: Vec<_> = asked.collect();
    let (id, instance) = (&request.member_id, request.group_instance_id.as_deref());
    let generation = request.generation_id_or_member_epoch;
    let mut group = match state.groups.get_mut(&request.group_id) {
        None if generation >= 0 => Err(ResponseError::IllegalGeneration),
        _ => state.groups.for_offsets(&request.group_id, asked.iter()),
    };
    let allowed = match &mut group {
        Ok(group) => group.check_commit(id, instance, generation, Instant::now()),
        Err(error) => Err(*error),
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let committed =
                committed(p.committed_offset, p.committed_leader_epoch, p.committed_metadata.as_ref());
            let stored =
                allowed.and_then(|()| state.topics.log(&topic.name, p.partition_index)).and(committed);
            let stored = stored.and_then(|committed| {
                let group = group.as_mut().map_err(|error| *error)?;
                group.commit((topic.name.to_string(), p.partition_index), committed);
                Ok(())
            });
            OffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(code(stored))
        });
        OffsetCommitResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(topic.name.clone())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

pub(crate) fn commit_in_transaction(
    broker: &Broker,
    request: &TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let state = &mut *broker.lock();
    let allowed = check_transaction(state, request);
    let producer_id = request.producer_id.0;
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let committed =
                committed(p.committed_offset, p.committed_leader_epoch, p.committed_metadata.as_ref());
            let key = (topic.name.to_string(), p.partition_index);
            let stored =
                allowed.and_then(|()| state.topics.log(&topic.name, p.partition_index)).and(committed);
            let stored = stored.and_then(|committed| {
                let group = state.groups.for_offsets(&request.group_id, [&key].into_iter())?;
                group.commit_in_transaction(producer_id, key.clone(), committed);
                Ok(())
            });
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(code(stored))
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default().with_partitions(partitions).with_name(topic.name.clone())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

pub(crate) fn fetch(broker: &Broker, version: i16, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let state = broker.lock();
    let stable = request.require_stable;
    if version < 8 {
        let asked =
            request.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
        let topics = fetch_group(state.groups.get(&request.group_id), asked, stable).into_iter().map(
            |(name, found)| {
                let partitions = found.into_iter().map(|found| {
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(found.partition)
                        .with_committed_offset(found.committed.offset)
                        .with_committed_leader_epoch(if version >= 5 {
                            found.committed.leader_epoch
                        } else {
                            -1
                        })
                        .with_metadata(Some(text(&found.committed.metadata)))
                        .with_error_code(found.error_code)
                });
                OffsetFetchResponseTopic::default().with_name(name).with_partitions(partitions.collect())
            },
        );
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let groups = request.groups.into_iter().map(|asked| {
        let topics =
            asked.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
        let topics = fetch_group(state.groups.get(&asked.group_id), topics, stable).into_iter().map(
            |(name, found)| {
                let partitions = found.into_iter().map(|found| {
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(found.partition)
                        .with_committed_offset(found.committed.offset)
                        .with_committed_leader_epoch(found.committed.leader_epoch)
                        .with_metadata(Some(text(&found.committed.metadata)))
                        .with_error_code(found.error_code)
                });
                OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions.collect())
            },
        );
        OffsetFetchResponseGroup::default().with_topics(topics.collect()).with_group_id(asked.group_id)
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

/// Deletes committed offsets (KIP-496). Whether a member still reads the topic is not looked into: a group with
/// members keeps its offsets.
pub(crate) fn delete(broker: &Broker, request: &OffsetDeleteRequest) -> OffsetDeleteResponse {
    let mut state = broker.lock();
    let group = match state.groups.get_mut(&request.group_id) {
        None => Err(ResponseError::GroupIdNotFound),
        Some(group) if group.phase() != Phase::Empty => Err(ResponseError::NonEmptyGroup),
        Some(group) => Ok(group),
    };
    let group = match group {
        Ok(group) => group,
        Err(error) => return OffsetDeleteResponse::default().with_error_code(error.code()),
    };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            group.forget(&(topic.name.to_string(), partition.partition_index));
            OffsetDeleteResponsePartition::default().with_partition_index(partition.partition_index)
        });
        let partitions = partitions.collect();
        OffsetDeleteResponseTopic::default().with_partitions(partitions).with_name(topic.name.clone())
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}

/// What is committed for one partition; offset -1 when nothing is.
struct Found {
    partition: i32,
    committed: Committed,
    error_code: i16,
}

/// The offsets asked for, or all there are.
fn fetch_group(
    group: Option<&Group>,
    asked: Option<Vec<(TopicName, Vec<i32>)>>,
    stable: bool,
) -> Vec<(TopicName, Vec<Found>)> {
    let find = |topic: &str, partition: i32| {
        let key = (topic.to_owned(), partition);
        let pending = stable && group.is_some_and(|group| group.is_pending(&key));
        let none = Committed { offset: -1, leader_epoch: -1, metadata: String::new() };
        let committed = group.and_then(|group| group.committed().get(&key)).filter(|_| !pending);
        let error_code = if pending { ResponseError::UnstableOffsetCommit.code() } else { 0 };
        Found { partition, committed: committed.cloned().unwrap_or(none), error_code }
    };
    if let Some(asked) = asked {
        let found = |(name, partitions): (TopicName, Vec<i32>)| {
            let found = partitions.into_iter().map(|partition| find(&name, partition)).collect();
            (name, found)
        };
        return asked.into_iter().map(found).collect();
    }
    let mut all: Vec<(TopicName, Vec<Found>)> = Vec::new();
    for (topic, partition) in group.into_iter().flat_map(|group| group.committed().keys()) {
        match all.last_mut() {
            Some((name, found)) if name.as_str() == topic => found.push(find(topic, *partition)),
            _ => all.push((topic_name(topic), vec![find(topic, *partition)])),
        }
    }
    all
}

fn check_transaction(state: &mut State, request: &TxnOffsetCommitRequest) -> Result<(), ResponseError> {
    let claim = Claim {
        transactional_id: &request.transactional_id,
        producer_id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    state.transactions.check_group(claim, &request.group_id)?;
    let (id, instance) = (&request.member_id, request.group_instance_id.as_deref());
    match state.groups.get_mut(&request.group_id) {
        Some(group) => group.check_transactional_commit(id, instance, request.generation_id, Instant::now()),
        None if request.generation_id >= 0 => Err(ResponseError::IllegalGeneration),
        None => Ok(()),
    }
}

fn committed(
    offset: i64,
    leader_epoch: i32,
    metadata: Option<&StrBytes>,
) -> Result<Committed, ResponseError> {
    let metadata = metadata.map_or_else(String::new, ToString::to_string);
    if metadata.len() > METADATA_BYTES_MAX {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok(Committed { offset, leader_epoch, metadata })
}
