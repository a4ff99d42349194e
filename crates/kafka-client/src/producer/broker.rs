//! The task of one broker: sends it what is due, as many requests at a time as keep their order, and hears its answers.

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

/// So many requests at a time: so many batches of a producer a broker remembers for each partition, to know them again.
const REQUESTS_MAX: usize = 5;
/// From format 2 of batches on, and before topics have ids instead of names.
const VERSIONS: std::ops::RangeInclusive<i16> = 3..=9;
/// How long the broker may wait for its replicas.
const REPLICAS_MS: i32 = 10_000;
/// How long an answer may take before the broker is taken for gone.
const SILENCE: Duration = Duration::from_secs(15);
/// After how long without an answer the cluster is asked who leads, and how often.
const LONG: Duration = Duration::from_secs(2);
/// What was not used for so long is closed before something in between forgets it without a word.
const IDLE: Duration = Duration::from_secs(180);
/// Until a broker is dialled again; twice as long each time.
const REDIAL_MIN: Duration = Duration::from_millis(100);
const REDIAL_MAX: Duration = Duration::from_secs(2);

/// What one request carries.
struct Request {
    sent: Instant,
    batches: Vec<(PartitionIndex, BatchSequence, StrBytes)>,
}

/// Runs until it is aborted.
pub(super) async fn serve(shared: Arc<Shared>, node: i32, handle: Arc<BrokerHandle>) {
    let _guard = PanicGuard(Arc::clone(&shared));
    let mut pause = REDIAL_MIN;
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
                let begun = Instant::now();
                let end = Session::new(&shared, node, connection, &handle).run().await;
                let reports = lock(&shared.accumulator).lost(node, Instant::now());
                shared.report(reports);
                if begun.elapsed() >= LONG {
                    pause = REDIAL_MIN;
                }
                match end {
                    Ok(()) if begun.elapsed() >= LONG => continue,
                    Ok(()) => other("the connection was of use for a moment only"),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        tracing::debug!(broker = address, node, %error, "cannot write to a broker");
        shared.health.connection_failed();
        shared.refresh_metadata();
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REDIAL_MAX);
    }
}

/// One connection, as long as it lasts.
struct Session<'a> {
    shared: &'a Shared,
    node: i32,
    handle: &'a BrokerHandle,
    connection: BrokerConnection,
    encoder: BatchEncoder,
    in_flight: VecDeque<Request>,
    /// When something passed last, in either direction.
    active_at: Instant,
    look_at: Instant,
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
            look_at: now,
        }
    }

    /// Ends well when its login is over or it is of no use, and nothing is under way.
    async fn run(mut self) -> io::Result<()> {
        let version = self.connection.version::<ProduceRequest>(VERSIONS)?;
        loop {
            let now = Instant::now();
            let throttled_until = *lock(&self.handle.throttled_until);
            let over = self.connection.expires.is_some_and(|expires| expires <= now)
                || (self.in_flight.is_empty() && now - self.active_at >= IDLE);
            if over && self.in_flight.is_empty() {
                return Ok(());
            }
            let mut wake = self.watch(now, throttled_until)?;
            if !over && self.in_flight.len() < REQUESTS_MAX {
                if throttled_until > now {
                    wake = wake.min(throttled_until);
                } else {
                    let (drained, due) = {
                        let mut accumulator = lock(&self.shared.accumulator);
                        (accumulator.take(self.node, now), accumulator.due(self.node))
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
                answer = self.connection.receive() => {
                    let mut answer = match answer {
                        // It closes what was not used for long.
                        Err(error) if self.in_flight.is_empty() && error.kind() == io::ErrorKind::UnexpectedEof => {
                            return Ok(());
                        }
                        answer => answer?,
                    };
                    self.hear(ProduceResponse::decode(&mut answer, version).map_err(other)?);
                }
                () = self.handle.close.notified() => return Err(left()),
                () = self.handle.wake.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// When to look next, at the latest. An answer that takes long may be due from a broker that leads no longer; one that is
    /// blocked back by a quota comes late without being late.
    fn watch(&mut self, now: Instant, throttled_until: Instant) -> io::Result<Instant> {
        let Some(oldest) = self.in_flight.front() else {
            let idle = self.active_at + IDLE;
            return Ok(self.connection.expires.map_or(idle, |expires| expires.min(idle)));
        };
        let since = oldest.sent.max(self.active_at).max(throttled_until);
        let silence = now.saturating_duration_since(since);
        if silence >= SILENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if silence >= LONG && now >= self.look_at {
            self.look_at = now + LONG;
            self.shared.refresh_metadata();
        }
        Ok(now + LONG)
    }

    async fn send(&mut self, drained: Vec<DrainedBatch>, version: i16) -> io::Result<()> {
        let mut topics: Vec<TopicProduceData> = Vec::new();
        let mut batches = Vec::with_capacity(drained.len());
        for DrainedBatch { index, topic, sequence, contents } in drained {
            let batch = contents.batch(&mut self.encoder, sequence)?;
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
        self.in_flight.push_back(Request { sent: Instant::now(), batches });
        let begun = Instant::now();
        tokio::select! {
            biased;
            sent = self.connection.send(&request, version) => sent?,
            () = self.handle.close.notified() => return Err(left()),
        }
        if begun.elapsed() >= LONG {
            // It took, and nobody listened meanwhile.
            self.active_at = Instant::now();
        }
        Ok(())
    }

    fn hear(&mut self, answer: ProduceResponse) {
        let now = Instant::now();
        let throttle_ms = answer.throttle_time_ms.max(0) as u64;
        self.active_at = now;
        {
            let mut throttled_until = lock(&self.handle.throttled_until);
            *throttled_until = (*throttled_until).max(now + Duration::from_millis(throttle_ms));
        }
        self.shared.callback.throttled(throttle_ms);
        let Some(Request { batches, .. }) = self.in_flight.pop_front() else { return };
        let mut reports = Vec::new();
        let mut again = false;
        {
            let mut accumulator = lock(&self.shared.accumulator);
            for (index, sequence, topic) in batches {
                let said = answer.responses.iter().find(|said| said.name.0 == topic).and_then(|said| {
                    said.partition_responses.iter().find(|it| it.index == index.partition as i32)
                });
                let end = said.map_or(BatchResult::Again, end_of);
                again |= end != BatchResult::Stored;
                reports.extend(accumulator.ended(index, sequence, end, now));
            }
        }
        if again {
            self.shared.refresh_metadata();
        }
        self.shared.report(reports);
    }
}

fn left() -> io::Error {
    other("it leads what was sent to it no longer")
}

/// What the answer for a partition means for its batch.
fn end_of(said: &PartitionProduceResponse) -> BatchResult {
    const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
    const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    match said.error_code {
        0 | DUPLICATE_SEQUENCE_NUMBER => BatchResult::Stored,
        OUT_OF_ORDER_SEQUENCE_NUMBER => BatchResult::OutOfOrder,
        code if ResponseError::try_from_code(code).is_some_and(|error| error.is_retriable()) => {
            BatchResult::Again
        }
        code => {
            tracing::debug!(
                code,
                partition = said.index,
                says = said.error_message.as_deref(),
                "a batch is refused"
            );
            let invalid_records =
                said.record_errors.iter().filter_map(|error| usize::try_from(error.batch_index).ok());
            BatchResult::Refused(Refusal { code, invalid_records: invalid_records.collect() })
        }
    }
}
