//! Producer ids and transactions over the wire.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse,
};
use tokio::time::Instant;

use super::code;
use crate::broker::{Broker, State};
use crate::transactions::Claim;

pub(crate) fn init_producer_id(broker: &Broker, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let given = init(&mut broker.lock(), request);
    broker.wake_readers(); // an abort may have moved the last stable offset
    match given {
        Ok((id, epoch)) => {
            InitProducerIdResponse::default().with_producer_id(id.into()).with_producer_epoch(epoch)
        }
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1),
    }
}

/// All partitions are entered, or none.
pub(crate) fn add_partitions(
    broker: &Broker,
    request: &AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let state = &mut *broker.lock();
    let claim = Claim {
        transactional_id: &request.v3_and_below_transactional_id,
        producer_id: request.v3_and_below_producer_id.0,
        epoch: request.v3_and_below_producer_epoch,
    };
    let topics = &request.v3_and_below_topics;
    let asked = || topics.iter().flat_map(|t| t.partitions.iter().map(|p| (t.name.to_string(), *p)));
    let all_known = asked().all(|(topic, partition)| state.topics.log(&topic, partition).is_ok());
    let added = match all_known {
        true => state.transactions.add(claim, asked(), None, Instant::now()),
        false => Err(ResponseError::OperationNotAttempted),
    };
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|&partition| {
            let result = state.topics.log(&topic.name, partition).map(|_| ()).and(added);
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(partition)
                .with_partition_error_code(code(result))
        });
        AddPartitionsToTxnTopicResult::default()
            .with_results_by_partition(partitions.collect())
            .with_name(topic.name.clone())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
}

pub(crate) fn add_offsets(broker: &Broker, request: &AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    let claim = Claim {
        transactional_id: &request.transactional_id,
        producer_id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let added = broker.lock().transactions.add(claim, [], Some(&request.group_id), Instant::now());
    AddOffsetsToTxnResponse::default().with_error_code(code(added))
}

pub(crate) fn end(broker: &Broker, request: &EndTxnRequest) -> EndTxnResponse {
    let claim = Claim {
        transactional_id: &request.transactional_id,
        producer_id: request.producer_id.0,
        epoch: request.producer_epoch,
    };
    let state = &mut *broker.lock();
    let touched = (&mut state.topics, &mut state.groups);
    let ended = state.transactions.end(claim, request.committed, Instant::now(), touched);
    broker.wake_readers();
    EndTxnResponse::default().with_error_code(code(ended))
}

fn init(state: &mut State, request: &InitProducerIdRequest) -> Result<(i64, i16), ResponseError> {
    let Some(id) = &request.transactional_id else {
        return Ok((state.transactions.producer_id(), 0));
    };
    let claimed = (request.producer_id.0 >= 0).then_some((request.producer_id.0, request.producer_epoch));
    let timeout = Duration::from_millis(u64::try_from(request.transaction_timeout_ms).unwrap_or(0));
    let touched = (&mut state.topics, &mut state.groups);
    state.transactions.begin_producer(id, claimed, timeout, Instant::now(), touched)
}
