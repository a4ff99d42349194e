//! Why nothing is acknowledged: producers retry without a word, so the cluster is asked after a while.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::{Batch, Condition, ErrorKind};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::metadata::{Metadata, MetadataPartition};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::deliveries::Deliveries;
use super::topic_name::topic_of;
use crate::config::SinkConfig;
use crate::diagnosis::{NOT_ACKNOWLEDGED, NOT_ENOUGH_REPLICAS, PARTITION_WITHOUT_LEADER, THROTTLED};
use aqueduct_kafka_client::{AdminContext, ClientHealth, REQUEST_TIMEOUT, WaitReason, admin_client};

/// After how long without an acknowledgement the cluster is asked why.
const SILENCE: Duration = Duration::from_secs(3);
/// After how long it is said even if the cluster sees no reason.
const LONG_SILENCE: Duration = Duration::from_secs(20);
/// How often the cluster is asked while it lasts.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// So many topics of the oldest batch are looked at.
const TOPICS_MAX: usize = 20;

/// Watches for acknowledgements that do not come.
pub(crate) struct Watch {
    inquiry: Arc<Inquiry>,
    runtime: Handle,
    ask_at: Instant,
}

/// Finds out why. It does not hold the producer, which has to be dropped soon after the sink.
struct Inquiry {
    config: Arc<SinkConfig>,
    health: Arc<ClientHealth>,
    deliveries: Arc<Deliveries>,
    running: AtomicBool,
}

impl Watch {
    pub(crate) fn new(
        config: Arc<SinkConfig>,
        health: Arc<ClientHealth>,
        deliveries: Arc<Deliveries>,
    ) -> Self {
        let inquiry = Inquiry { config, health, deliveries, running: AtomicBool::new(false) };
        Self { inquiry: Arc::new(inquiry), runtime: Handle::current(), ask_at: Instant::now() }
    }

    /// Has the cluster asked what it is short of when nothing was acknowledged for a while, and takes back what it said.
    /// Returns at once: the reports that are waited for come by this thread.
    pub(crate) fn check(&mut self) {
        let inquiry = &self.inquiry;
        if inquiry.silence().is_none() {
            inquiry.health.clear(WaitReason::Acknowledgements);
        } else if Instant::now() >= self.ask_at && !inquiry.running.swap(true, Ordering::AcqRel) {
            self.ask_at = Instant::now() + ASK_AGAIN;
            let (inquiry, runtime) = (inquiry.clone(), self.runtime.clone());
            self.runtime.spawn_blocking(move || {
                inquiry.ask(&runtime);
                inquiry.running.store(false, Ordering::Release);
            });
        }
    }
}

impl Inquiry {
    /// The oldest batch, and how long nothing was acknowledged, when it is too long.
    fn silence(&self) -> Option<(Arc<Batch>, Duration)> {
        let (batch, since) = self.deliveries.oldest()?;
        Some((batch, since.elapsed())).filter(|(_, time)| *time >= SILENCE)
    }

    fn ask(&self, runtime: &Handle) {
        let Some((batch, time)) = self.silence() else { return };
        // A client of its own: a broker answers requests of one connection in order, after the producer's records.
        let admin = admin_client(&self.config.connection, &self.config.client).ok();
        let reason = admin.and_then(|admin| {
            self.topics_of(&batch).iter().find_map(|topic| short_of(topic, &admin, runtime))
        });
        let reason = reason.or_else(|| self.health.unreachable());
        let long =
            || (time >= LONG_SILENCE).then(|| NOT_ACKNOWLEDGED.error(ErrorKind::Transient, &[]).to_string());
        // A reason that is over is shown until the first acknowledgement.
        if let Some(says) = reason.or_else(long)
            && self.silence().is_some()
        {
            self.health.set(WaitReason::Acknowledgements, says);
        }
    }

    fn topics_of(&self, batch: &Batch) -> BTreeSet<String> {
        let mut made = String::new();
        let name = |record| topic_of(&self.config.topic, record, &mut made).ok().map(str::to_owned);
        let all: BTreeSet<String> = batch.records.iter().filter_map(name).collect();
        all.into_iter().take(TOPICS_MAX).collect()
    }
}

/// Why this topic takes nothing, as far as the cluster can see.
fn short_of(topic: &str, admin: &AdminClient<AdminContext>, runtime: &Handle) -> Option<String> {
    let metadata = admin.inner().fetch_metadata(Some(topic), REQUEST_TIMEOUT).ok()?;
    let partitions = partitions(&metadata, topic);
    if let Some(lost) = partitions.iter().find(|partition| partition.leader() < 0) {
        let values: [(&str, &dyn Display); 2] = [("topic", &topic), ("partition", &lost.id())];
        return Some(PARTITION_WITHOUT_LEADER.error(ErrorKind::Transient, &values).to_string());
    }
    let weakest = partitions.iter().min_by_key(|partition| partition.isr().len())?;
    let (in_sync, replicas) = (weakest.isr().len(), weakest.replicas().len());
    let wanted = in_sync_wanted(topic, admin, runtime);
    // Without the right to describe the setting, a replica that lags is taken for the reason.
    if in_sync >= wanted.unwrap_or(replicas) {
        return None;
    }
    let wanted = wanted.map_or("more".to_owned(), |wanted| wanted.to_string());
    let values: [(&str, &dyn Display); 5] = [
        ("topic", &topic),
        ("partition", &weakest.id()),
        ("in_sync", &in_sync),
        ("replicas", &replicas),
        ("wanted", &wanted),
    ];
    Some(NOT_ENOUGH_REPLICAS.error(ErrorKind::Transient, &values).to_string())
}

fn in_sync_wanted(topic: &str, admin: &AdminClient<AdminContext>, runtime: &Handle) -> Option<usize> {
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let of = ResourceSpecifier::Topic(topic);
    let answer = runtime.block_on(admin.describe_configs([&of], &options)).ok()?;
    answer.into_iter().next()?.ok()?.get("min.insync.replicas")?.value.as_ref()?.parse().ok()
}

fn partitions<'a>(metadata: &'a Metadata, topic: &str) -> &'a [MetadataPartition] {
    metadata.topics().iter().find(|seen| seen.name() == topic).map_or(&[], |seen| seen.partitions())
}

/// How long brokers throttle the producers, from librdkafka's statistics, since its wrapper has no callback for it, and from
/// our own producer.
pub(crate) struct Throttled {
    condition: Condition,
    pipeline: Arc<str>,
    /// Of our own producer, since the last statistics.
    longest_ms: AtomicU64,
}

impl Throttled {
    pub(crate) fn new(context: &SinkContext) -> Self {
        let (condition, pipeline) = (context.condition.clone(), context.pipeline.clone());
        Self { condition, pipeline, longest_ms: AtomicU64::new(0) }
    }

    /// Takes librdkafka's statistics.
    pub(crate) fn statistics(&self, statistics: &[u8]) {
        self.say(
            longest_throttle_ms(&String::from_utf8_lossy(statistics))
                .max(self.longest_ms.swap(0, Ordering::AcqRel)),
        );
    }

    /// A broker throttled a request of our own producer.
    pub(crate) fn add(&self, throttle_ms: u64) {
        if throttle_ms > 0 {
            self.longest_ms.fetch_max(throttle_ms, Ordering::AcqRel);
        }
    }

    fn say(&self, longest_ms: u64) {
        let pipeline = &self.pipeline;
        let says = (longest_ms > 0).then(|| THROTTLED.error(ErrorKind::Transient, &[]).to_string());
        if !self.condition.slowed(says) {
            return;
        }
        if longest_ms > 0 {
            tracing::warn!(%pipeline, longest_ms, "the brokers slow this pipeline down by a quota");
        } else {
            tracing::info!(%pipeline, "the brokers no longer slow this pipeline down");
        }
    }
}

/// The longest time that a broker held a request back: `"throttle":{ "min":0, "max":125, ...`, once for each broker
/// (librdkafka, STATISTICS.md). The report holds a kilobyte for each partition, so it is not parsed as a whole.
fn longest_throttle_ms(statistics: &str) -> u64 {
    let of_broker = |part: &str| -> Option<u64> {
        let (_, max) = part.split_once("\"max\":")?;
        max.split([',', '}']).next()?.trim().parse().ok()
    };
    statistics.split("\"throttle\":").skip(1).filter_map(of_broker).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_broker_counts() {
        let window =
            |max: u64| format!(r#""throttle": {{ "min":0, "max":{max}, "avg":3, "sum":4, "cnt":5 }}"#);
        let report = format!(r#"{{"a":{{"rtt":{{"max":9}},{}}},"b":{{{}}}}}"#, window(7), window(125));
        assert_eq!(longest_throttle_ms(&report), 125);
        assert_eq!(longest_throttle_ms(r#"{"name":"x"}"#), 0);
    }
}
