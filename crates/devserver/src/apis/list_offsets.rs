//! ListOffsets: the earliest, the latest, the newest by time, and the first at or after a time.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use crate::broker::{Broker, State};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const READ_COMMITTED: i8 = 1;

/// Offset and timestamp of what was asked for; -1 each where there is none.
pub(crate) fn list_offsets(
    broker: &Broker,
    version: i16,
    request: &ListOffsetsRequest,
) -> ListOffsetsResponse {
    let state = broker.lock();
    let committed = request.isolation_level == READ_COMMITTED;
    let leader_epoch = if version >= 4 { 0 } else { -1 };
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic
            .partitions
            .iter()
            .map(|asked| respond(&state, &topic.name, asked, committed).with_leader_epoch(leader_epoch));
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn respond(
    state: &State,
    topic: &str,
    asked: &ListOffsetsPartition,
    committed: bool,
) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
    let found = state.topics.log(topic, asked.partition_index).and_then(|log| match asked.timestamp {
        LATEST if committed => Ok((log.last_stable_offset(), -1)),
        LATEST => Ok((log.end(), -1)),
        EARLIEST => Ok((log.start(), -1)),
        MAX_TIMESTAMP => Ok(log.find_max_timestamp().unwrap_or((-1, -1))),
        timestamp if timestamp >= 0 => Ok(log.find_timestamp(timestamp).unwrap_or((-1, -1))),
        _ => Err(ResponseError::UnsupportedVersion),
    });
    match found {
        Ok((offset, timestamp)) => response.with_offset(offset).with_timestamp(timestamp),
        Err(error) => response.with_error_code(error.code()).with_offset(-1).with_timestamp(-1),
    }
}
