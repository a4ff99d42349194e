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

use super::outgoing::{Place, Shipment};
use super::partition::{End, Refusal};
use super::{Door, Guard, Shared, lock};
use crate::wire::link::{Link, other};
use crate::wire::record_batch::{BatchMaker, Stamp};

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
    batches: Vec<(Place, Stamp, StrBytes)>,
}

/// Runs until it is aborted.
pub(super) async fn serve(shared: Arc<Shared>, node: i32, door: Arc<Door>) {
    let _guard = Guard(Arc::clone(&shared));
    let mut pause = REDIAL_MIN;
    loop {
        let due = lock(&shared.outgoing).due(node);
        match due {
            None => {
                door.news.notified().await;
                continue;
            }
            Some(due) if due > Instant::now() => {
                tokio::select! {
                    biased;
                    () = door.news.notified() => {}
                    () = tokio::time::sleep_until(due) => {}
                }
                continue;
            }
            Some(_) => {}
        }
        let address = lock(&door.address).clone();
        let error = match shared.dialer.dial(&address).await {
            Ok(link) => {
                let begun = Instant::now();
                let end = Conversation::new(&shared, node, link, &door).run().await;
                let reports = lock(&shared.outgoing).lost(node, Instant::now());
                shared.tell(reports);
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
        shared.troubles.suspect();
        shared.look_again();
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(REDIAL_MAX);
    }
}

/// One connection, as long as it lasts.
struct Conversation<'a> {
    shared: &'a Shared,
    node: i32,
    door: &'a Door,
    link: Link,
    maker: BatchMaker,
    under_way: VecDeque<Request>,
    /// When something passed last, in either direction.
    active_at: Instant,
    look_at: Instant,
}

impl<'a> Conversation<'a> {
    fn new(shared: &'a Shared, node: i32, link: Link, door: &'a Door) -> Self {
        let (now, maker) = (Instant::now(), BatchMaker::new(shared.config.compression));
        Self { shared, node, door, link, maker, under_way: VecDeque::new(), active_at: now, look_at: now }
    }

    /// Ends well when its login is over or it is of no use, and nothing is under way.
    async fn run(mut self) -> io::Result<()> {
        let version = self.link.version::<ProduceRequest>(VERSIONS)?;
        loop {
            let now = Instant::now();
            let held_until = *lock(&self.door.held_until);
            let over = self.link.expires.is_some_and(|expires| expires <= now)
                || (self.under_way.is_empty() && now - self.active_at >= IDLE);
            if over && self.under_way.is_empty() {
                return Ok(());
            }
            let mut wake = self.watch(now, held_until)?;
            if !over && self.under_way.len() < REQUESTS_MAX {
                if held_until > now {
                    wake = wake.min(held_until);
                } else {
                    let (shipments, due) = {
                        let mut outgoing = lock(&self.shared.outgoing);
                        (outgoing.take(self.node, now), outgoing.due(self.node))
                    };
                    if !shipments.is_empty() {
                        self.send(shipments, version).await?;
                        continue;
                    }
                    wake = due.map_or(wake, |due| wake.min(due));
                }
            }
            tokio::select! {
                biased;
                answer = self.link.receive() => {
                    let mut answer = match answer {
                        // It closes what was not used for long.
                        Err(error) if self.under_way.is_empty() && error.kind() == io::ErrorKind::UnexpectedEof => {
                            return Ok(());
                        }
                        answer => answer?,
                    };
                    self.hear(ProduceResponse::decode(&mut answer, version).map_err(other)?);
                }
                () = self.door.leave.notified() => return Err(left()),
                () = self.door.news.notified() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    /// When to look next, at the latest. An answer that takes long may be due from a broker that leads no longer; one that is
    /// held back by a quota comes late without being late.
    fn watch(&mut self, now: Instant, held_until: Instant) -> io::Result<Instant> {
        let Some(oldest) = self.under_way.front() else {
            let idle = self.active_at + IDLE;
            return Ok(self.link.expires.map_or(idle, |expires| expires.min(idle)));
        };
        let since = oldest.sent.max(self.active_at).max(held_until);
        let silence = now.saturating_duration_since(since);
        if silence >= SILENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if silence >= LONG && now >= self.look_at {
            self.look_at = now + LONG;
            self.shared.look_again();
        }
        Ok(now + LONG)
    }

    async fn send(&mut self, shipments: Vec<Shipment>, version: i16) -> io::Result<()> {
        let mut topics: Vec<TopicProduceData> = Vec::new();
        let mut batches = Vec::with_capacity(shipments.len());
        for Shipment { place, topic, stamp, cargo } in shipments {
            let batch = cargo.batch(&mut self.maker, stamp)?;
            let data =
                PartitionProduceData::default().with_index(place.partition as i32).with_records(Some(batch));
            batches.push((place, stamp, topic.clone()));
            match topics.last_mut().filter(|last| last.name.0 == topic) {
                Some(last) => last.partition_data.push(data),
                None => topics.push(
                    TopicProduceData::default().with_name(TopicName(topic)).with_partition_data(vec![data]),
                ),
            }
        }
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(REPLICAS_MS).with_topic_data(topics);
        self.under_way.push_back(Request { sent: Instant::now(), batches });
        let begun = Instant::now();
        tokio::select! {
            biased;
            sent = self.link.send(&request, version) => sent?,
            () = self.door.leave.notified() => return Err(left()),
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
            let mut held_until = lock(&self.door.held_until);
            *held_until = (*held_until).max(now + Duration::from_millis(throttle_ms));
        }
        self.shared.throttled.took(throttle_ms);
        let Some(Request { batches, .. }) = self.under_way.pop_front() else { return };
        let mut reports = Vec::new();
        let mut again = false;
        {
            let mut outgoing = lock(&self.shared.outgoing);
            for (place, stamp, topic) in batches {
                let said = answer.responses.iter().find(|said| said.name.0 == topic).and_then(|said| {
                    said.partition_responses.iter().find(|it| it.index == place.partition as i32)
                });
                let end = said.map_or(End::Again, end_of);
                again |= end != End::Stored;
                reports.extend(outgoing.ended(place, stamp, end, now));
            }
        }
        if again {
            self.shared.look_again();
        }
        self.shared.tell(reports);
    }
}

fn left() -> io::Error {
    other("it leads what was sent to it no longer")
}

/// What the answer for a partition means for its batch.
fn end_of(said: &PartitionProduceResponse) -> End {
    const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
    const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
    match said.error_code {
        0 | DUPLICATE_SEQUENCE_NUMBER => End::Stored,
        OUT_OF_ORDER_SEQUENCE_NUMBER => End::OutOfOrder,
        code if ResponseError::try_from_code(code).is_some_and(|error| error.is_retriable()) => End::Again,
        code => {
            tracing::debug!(
                code,
                partition = said.index,
                says = said.error_message.as_deref(),
                "a batch is refused"
            );
            let guilty =
                said.record_errors.iter().filter_map(|error| usize::try_from(error.batch_index).ok());
            End::Refused(Refusal { code, guilty: guilty.collect() })
        }
    }
}
