//! Produce: batches are checked and appended, one partition after another.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use crate::batch::Header;
use crate::broker::{Broker, State};
use crate::transactions::Claim;

/// Appends; no answer when the client wants none (`acks=0`).
pub(crate) fn produce(broker: &Broker, request: ProduceRequest) -> Option<ProduceResponse> {
    let transactional_id = request.transactional_id.as_ref().map(|id| id.as_str());
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for topic in request.topic_data {
        let mut state = broker.lock();
        let append = |partition: &PartitionProduceData| {
            let appended = match request.acks {
                -1..=1 => append(&mut state, transactional_id, &topic.name, partition),
                _ => Err(ResponseError::InvalidRequiredAcks),
            };
            respond(partition.index, appended)
        };
        let partitions = topic.partition_data.iter().map(append).collect();
        responses
            .push(TopicProduceResponse::default().with_partition_responses(partitions).with_name(topic.name));
    }
    broker.wake_readers();
    (request.acks != 0).then(|| ProduceResponse::default().with_responses(responses))
}

/// Base offset and the log's start.
fn append(
    state: &mut State,
    transactional_id: Option<&str>,
    topic: &str,
    partition: &PartitionProduceData,
) -> Result<(i64, i64), ResponseError> {
    let bytes = partition.records.as_deref().ok_or(ResponseError::InvalidRecord)?;
    let header = Header::check(bytes)?;
    if header.is_transactional() {
        let transactional_id = transactional_id.ok_or(ResponseError::InvalidTxnState)?;
        let claim = Claim { transactional_id, producer_id: header.producer_id, epoch: header.producer_epoch };
        state.transactions.check_partition(claim, &(topic.to_owned(), partition.index))?;
    }
    let base_offset = state.topics.append(topic, partition.index, header, bytes)?;
    Ok((base_offset, state.topics.log(topic, partition.index)?.start()))
}

fn respond(index: i32, appended: Result<(i64, i64), ResponseError>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index).with_log_append_time_ms(-1);
    match appended {
        Ok((base_offset, start)) => response.with_base_offset(base_offset).with_log_start_offset(start),
        Err(error) => response.with_error_code(error.code()).with_base_offset(-1).with_log_start_offset(-1),
    }
}
