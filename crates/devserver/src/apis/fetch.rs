//! Fetch: a long poll that ends when enough has come, something went wrong, or the time is over. Without fetch
//! sessions: every request names all its partitions.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::time::{Instant, sleep_until};

use crate::broker::{Broker, State};
use crate::log::Read;

/// The largest answer, whatever the client allows: as Kafka's `fetch.max.bytes`, in a smaller house.
const BYTES_MAX: usize = 16 << 20;
const WAIT_MAX: Duration = Duration::from_secs(60);
const READ_COMMITTED: i8 = 1;

/// What one look at the logs found.
#[derive(Default)]
struct Found {
    /// By topic, by partition.
    partitions: Vec<Vec<(PartitionData, Vec<Bytes>)>>,
    bytes: usize,
    failed: bool,
}

/// Reads, and waits for more where there is too little.
pub(crate) async fn fetch(broker: &Broker, request: FetchRequest) -> FetchResponse {
    if request.session_id != 0 {
        return FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code());
    }
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    let bytes_min = usize::try_from(request.min_bytes).unwrap_or(0).min(BYTES_MAX);
    let mut changes = broker.changes();
    let found = loop {
        let found = look(&broker.lock(), &request);
        if found.failed || found.bytes >= bytes_min || Instant::now() >= deadline {
            break found;
        }
        tokio::select! {
            biased;
            _ = changes.changed() => {}
            () = sleep_until(deadline) => {}
        }
    };
    let joined = |(data, batches): (PartitionData, Vec<Bytes>)| data.with_records(Some(join(batches)));
    let topics = request.topics.into_iter().zip(found.partitions).map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(joined).collect();
        FetchableTopicResponse::default().with_topic(topic.topic).with_partitions(partitions)
    });
    FetchResponse::default().with_responses(topics.collect())
}

fn look(state: &State, request: &FetchRequest) -> Found {
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(BYTES_MAX);
    let committed = request.isolation_level == READ_COMMITTED;
    let mut found = Found::default();
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let bytes_left = bytes_max.saturating_sub(found.bytes);
            let looked = look_at(state, &topic.topic, asked, committed, bytes_left, found.bytes == 0);
            let (data, read) = looked.unwrap_or_else(|error| {
                found.failed = true;
                let data = PartitionData::default().with_error_code(error.code()).with_high_watermark(-1);
                (data.with_last_stable_offset(-1).with_log_start_offset(-1), Read::default())
            });
            found.bytes += read.bytes;
            partitions.push((data.with_partition_index(asked.partition), read.batches));
        }
        found.partitions.push(partitions);
    }
    found
}

fn look_at(
    state: &State,
    topic: &str,
    asked: &FetchPartition,
    committed: bool,
    bytes_left: usize,
    first: bool,
) -> Result<(PartitionData, Read), ResponseError> {
    let log = state.topics.log(topic, asked.partition)?;
    if !(log.start()..=log.end()).contains(&asked.fetch_offset) {
        return Err(ResponseError::OffsetOutOfRange);
    }
    let bytes_max = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(bytes_left);
    let mut read = log.read(asked.fetch_offset, committed, bytes_max, first);
    let aborted = std::mem::take(&mut read.aborted).into_iter().map(|aborted| {
        AbortedTransaction::default()
            .with_producer_id(aborted.producer_id.into())
            .with_first_offset(aborted.first_offset)
    });
    let data = PartitionData::default()
        .with_high_watermark(log.end())
        .with_last_stable_offset(log.last_stable_offset())
        .with_log_start_offset(log.start())
        .with_aborted_transactions(committed.then(|| aborted.collect()));
    Ok((data, read))
}

fn join(mut batches: Vec<Bytes>) -> Bytes {
    if batches.len() == 1 {
        return batches.swap_remove(0);
    }
    let mut all = BytesMut::with_capacity(batches.iter().map(Bytes::len).sum());
    batches.iter().for_each(|batch| all.extend_from_slice(batch));
    all.freeze()
}
