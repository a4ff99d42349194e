//! Topics created, deleted, grown and emptied.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::code;
use crate::broker::{Broker, State};

/// Stands for "up to the end" in DeleteRecords.
const HIGH_WATERMARK: i64 = -1;

pub(crate) fn create_topics(broker: &Broker, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let mut state = broker.lock();
    let partitions_default = broker.limits.auto_create_partitions;
    let topics = request.topics.iter().map(|topic| {
        let partitions = partitions(topic, partitions_default);
        let created =
            partitions.and_then(|partitions| create(&mut state, topic, partitions, request.validate_only));
        let result =
            CreatableTopicResult::default().with_name(topic.name.clone()).with_error_code(code(created));
        result.with_num_partitions(partitions.unwrap_or(-1)).with_replication_factor(1)
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

pub(crate) fn delete_topics(broker: &Broker, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let state = &mut *broker.lock();
    let responses = request.topic_names.into_iter().map(|name| {
        let deleted = state.topics.delete(&name);
        if deleted.is_ok() {
            state.groups.forget_topic(&name);
        }
        DeletableTopicResult::default().with_error_code(code(deleted)).with_name(Some(name))
    });
    let response = DeleteTopicsResponse::default().with_responses(responses.collect());
    broker.wake_readers();
    response
}

pub(crate) fn create_partitions(
    broker: &Broker,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut state = broker.lock();
    let results = request.topics.into_iter().map(|topic| {
        let grown = state.topics.grow(&topic.name, topic.count, request.validate_only);
        CreatePartitionsTopicResult::default().with_error_code(code(grown)).with_name(topic.name)
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

pub(crate) fn delete_records(broker: &Broker, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut state = broker.lock();
    let topics = request.topics.iter().map(|topic| {
        let mut delete = |asked: &DeleteRecordsPartition| {
            let result = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            let deleted = state.topics.change(&topic.name, asked.partition_index, |log| {
                let offset = if asked.offset == HIGH_WATERMARK { log.end() } else { asked.offset };
                if !(0..=log.end()).contains(&offset) {
                    return Err(ResponseError::OffsetOutOfRange);
                }
                log.truncate_to(offset);
                Ok(log.start())
            });
            match deleted {
                Ok(start) => result.with_low_watermark(start),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            }
        };
        let partitions = topic.partitions.iter().map(&mut delete).collect();
        DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions)
    });
    let response = DeleteRecordsResponse::default().with_topics(topics.collect());
    broker.wake_readers();
    response
}

/// How many partitions are asked for: by number, by a list of assignments, or -1 for the default (KIP-464).
fn partitions(topic: &CreatableTopic, default: i32) -> Result<i32, ResponseError> {
    if topic.replication_factor > 1 || topic.assignments.iter().any(|assigned| assigned.broker_ids.len() > 1)
    {
        return Err(ResponseError::InvalidReplicationFactor);
    }
    match (topic.num_partitions, topic.assignments.len()) {
        (-1, 0) => Ok(default),
        (-1, assigned) => i32::try_from(assigned).map_err(|_| ResponseError::InvalidPartitions),
        (asked, 0) => Ok(asked),
        _ => Err(ResponseError::InvalidRequest),
    }
}

fn create(
    state: &mut State,
    topic: &CreatableTopic,
    partitions: i32,
    only_check: bool,
) -> Result<(), ResponseError> {
    let settings = topic.configs.iter().map(|config| {
        let value = config.value.as_ref().ok_or(ResponseError::InvalidConfig)?;
        Ok((config.name.to_string(), value.to_string()))
    });
    let settings: BTreeMap<String, String> = settings.collect::<Result<_, ResponseError>>()?;
    if only_check {
        return state.topics.check(&topic.name, partitions, &settings).map(|_| ());
    }
    state.topics.create(&topic.name, partitions, settings)
}
