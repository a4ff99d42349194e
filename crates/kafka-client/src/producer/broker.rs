//! The task of one broker: sends produce requests, at most five in flight, and handles the responses.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::{Decodable, StrBytes};
use tokio::time::Instant;

use super::accumulator::{DrainedBatch, PartitionIndex};
use super::partition::{BatchResult, Refusal};
use super::shared::{BrokerHandle, PanicGuard, Shared, lock};
use crate::wire::connection::{BrokerConnection, other};
use crate::wire::record_batch::{BatchEncoder, BatchSequence};

/// A broker recognises as many of the last batches of a producer id, for each partition.
const IN_FLIGHT_MAX: usize = 5;
/// From record batches of version 2 on, and before topics have ids instead of names.
const VERSIONS: std::ops::RangeInclusive<i16> = 3..=9;
/// How long the broker may wait for its replicas.
const REPLICAS_MS: i32 = 10_000;
/// How long a response may take before the connection is closed.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// After how long without a response metadata is refreshed, and how often.
const SLOW_RESPONSE: Duration = Duration::from_secs(2);
/// An idle connection is closed after so long, before a firewall drops it without a word.
const IDLE_MAX: Duration = Duration::from_secs(180);
/// Until a broker is connected to again; twice as long each time.
const RECONNECT_BACKOFF_MIN: Duration = Duration::from_millis(100);
const RECONNECT_BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A produce request without a response.
struct InFlightRequest {
    sent_at: Instant,
    batches: Vec<(PartitionIndex, BatchSequence, StrBytes)>,
}

/// Runs until it is aborted.
pub(super) async fn serve(shared: Arc<Shared>, node: i32, handle: Arc<BrokerHandle>) {
    let _guard = PanicGuard(Arc::clone(&shared));
    let mut backoff = RECONNECT_BACKOFF_MIN;
    loop {
        let due = lock(&shared.accumulator).due(node);
        match due {
            None => {
                handle.wake.notified().await;
                continue;
            }
            Some(due) if due > Instant::now() => {
                tokio::select! {
                    biased;
                    () = handle.wake.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                }
                continue;
            }
            Some(_) => {}
        }
        let address = lock(&handle.address).clone();
        let error = match shared.dialer.dial(&address).await {
            Ok(connection) => {
                let connected_at = Instant::now();
                let end = Session::new(&shared, node, connection, &handle).run().await;
                let reports = lock(&shared.accumulator).disconnected(node, Instant::now());
                shared.report(reports);
                if connected_at.elapsed() >= SLOW_RESPONSE {
                    backoff = RECONNECT_BACKOFF_MIN;
                }
                match end {
                    Ok(()) if connected_at.elapsed() >= SLOW_RESPONSE => continue,
                    Ok(()) => other("the connection was of use for a moment only"),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        tracing::debug!(broker = address, node, %error, "cannot write to a broker");
        shared.health.connection_failed();
        shared.refresh_metadata();
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(RECONNECT_BACKOFF_MAX);
    }
}

/// One connection to the broker.
struct Session<'a> {
    shared: &'a Shared,
    node: i32,
    handle: &'a BrokerHandle,
    connection: BrokerConnection,
    encoder: BatchEncoder,
    in_flight: VecDeque<InFlightRequest>,
    /// When something was last sent or received.
    active_at: Instant,
    refresh_at: Instant,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, node: i32, connection: BrokerConnection, handle: &'a BrokerHandle) -> Self {
        let (now, encoder) = (Instant::now(), BatchEncoder::new(shared.compression));
        Self {
            shared,
            node,
            handle,
            connection,
            encoder,
            in_flight: VecDeque::new(),
            active_at: now,
            refresh_at: now,
        }
    }

    /// Ends without an error when its login has expired or it is idle, and nothing is in flight.
    async fn run(mut self) -> io::Result<()> {
        let version = self.connection.version::<ProduceRequest>(VERSIONS)?;
        loop {
            let now = Instant::now();
            let throttled_until = *lock(&self.handle.throttled_until);
            let expired = self.connection.expires.is_some_and(|expires| expires <= now)
                || (self.in_flight.is_empty() && now - self.active_at >= IDLE_MAX);
            if expired && self.in_flight.is_empty() {
                return Ok(());
            }
            let mut wake = self.next_check(now, throttled_until)?;
            if !expired && self.in_flight.len() < IN_FLIGHT_MAX {
                if throttled_until > now {
                    wake = wake.min(throttled_until);
                } else {
                    let (drained, due) = {
                        let mut accumulator = lock(&self.shared.accumulator);
                        (accumulator.drain(self.node, now), accumulator.due(self.node))
                    };
                    if !drained.is_empty() {
                        self.send(drained, version).await?;
                        continue;
                    }
                    wake = due.map_or(wake, |due| wake.min(due));
                }
            }
            tokio::select! {
                biased;
                response = self.connection.receive() => {
                    let mut response = match response {
                        // The broker closes idle connections, too (connections.max.idle.ms).
                        Err(error) if self.in_flight.is_empty() && error.kind() == io::ErrorKind::UnexpectedEof => {
                            return Ok(());
                        }
                        response => response?,
                    };
                    self.handle_response(ProduceResponse::decode(&mut response, version).map_err(other)?);
                }
                () = self.handle.close.notified() => return Err(not_leader()),
                () = self.handle.wake.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// When to check again, at the latest. A response that takes long may be due from a broker that leads no longer; one that is
    /// delayed by a quota is not late.
    fn next_check(&mut self, now: Instant, throttled_until: Instant) -> io::Result<Instant> {
        let Some(oldest) = self.in_flight.front() else {
            let idle = self.active_at + IDLE_MAX;
            return Ok(self.connection.expires.map_or(idle, |expires| expires.min(idle)));
        };
        let since = oldest.sent_at.max(self.active_at).max(throttled_until);
        let waited = now.saturating_duration_since(since);
        if waited >= RESPONSE_TIMEOUT {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if waited >= SLOW_RESPONSE && now >= self.refresh_at {
            self.refresh_at = now + SLOW_RESPONSE;
            self.shared.refresh_metadata();
        }
        Ok(now + SLOW_RESPONSE)
    }

    async fn send(&mut self, drained: Vec<DrainedBatch>, version: i16) -> io::Result<()> {
        let mut topics: Vec<TopicProduceData> = Vec::new();
        let mut batches = Vec::with_capacity(drained.len());
        for DrainedBatch { index, topic, sequence, contents } in drained {
            let batch = contents.encode(&mut self.encoder, sequence)?;
            let data =
                PartitionProduceData::default().with_index(index.partition as i32).with_records(Some(batch));
            batches.push((index, sequence, topic.clone()));
            match topics.last_mut().filter(|last| last.name.0 == topic) {
                Some(last) => last.partition_data.push(data),
                None => topics.push(
                    TopicProduceData::default().with_name(TopicName(topic)).with_partition_data(vec![data]),
                ),
            }
        }
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(REPLICAS_MS).with_topic_data(topics);
        self.in_flight.push_back(InFlightRequest { sent_at: Instant::now(), batches });
        let begun = Instant::now();
        tokio::select! {
            biased;
            sent = self.connection.send(&request, version) => sent?,
            () = self.handle.close.notified() => return Err(not_leader()),
        }
        if begun.elapsed() >= SLOW_RESPONSE {
            // Responses were not read meanwhile.
            self.active_at = Instant::now();
        }
        Ok(())
    }

    fn handle_response(&mut self, response: ProduceResponse) {
        let now = Instant::now();
        let throttle_ms = response.throttle_time_ms.max(0) as u64;
        self.active_at = now;
        {
            let mut throttled_until = lock(&self.handle.throttled_until);
            *throttled_until = (*throttled_until).max(now + Duration::from_millis(throttle_ms));
        }
        self.shared.callback.throttled(throttle_ms);
        let Some(InFlightRequest { batches, .. }) = self.in_flight.pop_front() else { return };
        let mut reports = Vec::new();
        let mut refresh = false;
        {
            let mut accumulator = lock(&self.shared.accumulator);
            for (index, sequence, topic) in batches {
                let partition = response.responses.iter().find(|of| of.name.0 == topic).and_then(|of| {
                    of.partition_responses.iter().find(|it| it.index == index.partition as i32)
                });
                let result = partition.map_or(BatchResult::Retry, batch_result);
                refresh |= result != BatchResult::Stored;
                reports.extend(accumulator.completed(index, sequence, result, now));
            }
        }
        if refresh {
            self.shared.refresh_metadata();
        }
        self.shared.report(reports);
    }
}

fn not_leader() -> io::Error {
    other("it leads what was sent to it no longer")
}

/// What the response for a partition means for its batch.
fn batch_result(response: &PartitionProduceResponse) -> BatchResult {
    const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
    const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    match response.error_code {
        0 | DUPLICATE_SEQUENCE_NUMBER => BatchResult::Stored,
        OUT_OF_ORDER_SEQUENCE_NUMBER => BatchResult::OutOfOrderSequence,
        code if ResponseError::try_from_code(code).is_some_and(|error| error.is_retriable()) => {
            BatchResult::Retry
        }
        code => {
            tracing::debug!(
                code,
                partition = response.index,
                says = response.error_message.as_deref(),
                "a batch is refused"
            );
            let invalid_records =
                response.record_errors.iter().filter_map(|error| usize::try_from(error.batch_index).ok());
            BatchResult::Refused(Refusal { code, invalid_records: invalid_records.collect() })
        }
    }
}
