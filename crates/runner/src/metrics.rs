//! `/metrics`: what the stations counted, in OpenMetrics text, read at each scrape.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use aqueduct_engine::{PartitionStatus, Phase, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::process;
use crate::supervise::Member;

/// Of OpenMetrics 1.0, which Prometheus and its relatives read.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything, now.
pub(crate) fn page(members: Arc<[Arc<Member>]>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("aqueduct");
    registry.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    registry.register_collector(Box::new(Pipelines(members)));
    let mut process = Registry::default();
    process.register_collector(Box::new(Process));
    let mut text = String::new();
    prometheus_client::encoding::text::encode_registry(&mut text, &process)?;
    encode(&mut text, &registry)?;
    Ok(text)
}

type Counter = fn(&Status) -> &AtomicU64;

/// Names, help texts and readers of the counters of one pipeline.
const COUNTERS: [(&str, &str, Counter); 8] = [
    ("records_read", "Records read from the source", |status| &status.records_read),
    ("bytes_read", "Bytes of keys and values read from the source", |status| &status.bytes_read),
    ("records_written", "Records that the sink holds durably", |status| &status.records_written),
    ("records_dropped", "Records that a transform dropped", |status| &status.records_dropped),
    ("records_set_aside", "Records skipped or written as dead letters", |status| &status.records_set_aside),
    ("retries", "Polls, writes, flushes and stores tried again", |status| &status.retries),
    ("errors", "Errors that ended a run of the pipeline", |status| &status.errors),
    ("commits", "Times offsets were stored", |status| &status.commits),
];

struct Pipelines(Arc<[Arc<Member>]>);

impl fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pipelines", self.0.len())
    }
}

impl Collector for Pipelines {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (name, help, read) in COUNTERS {
            self.counter(&mut encoder, name, help, |member| read(&member.status).load(Relaxed))?;
        }
        self.counter(&mut encoder, "restarts", "Starts after a failure", |member| {
            member.restarts.load(Relaxed)
        })?;
        self.counter(&mut encoder, "commit_seconds", "Time spent storing offsets", |member| {
            member.status.commit_us.load(Relaxed) as f64 / 1e6
        })?;
        self.gauge(&mut encoder, "in_flight_batches", "Batches in memory", |member| {
            member.status.in_flight().0 as i64
        })?;
        self.gauge(&mut encoder, "in_flight_bytes", "Bytes of records in memory", |member| {
            member.status.in_flight().1 as i64
        })?;
        self.gauge(
            &mut encoder,
            "pipeline_up",
            "1 while the pipeline runs, also while it waits",
            |member| i64::from(member.status.phase() == Phase::Running),
        )?;
        self.gauge(
            &mut encoder,
            "pipeline_ready",
            "1 when the pipeline is not why /readyz refuses",
            |member| i64::from(member.not_ready().is_none()),
        )?;
        self.gauge(
            &mut encoder,
            "pipeline_alive",
            "1 when the pipeline is not why /livez refuses",
            |member| i64::from(member.not_alive().is_none()),
        )?;
        self.gauge(
            &mut encoder,
            "pipeline_slowed",
            "1 while something outside slows the pipeline down, a quota of the brokers for example",
            |member| i64::from(member.status.slowed_by().is_some()),
        )?;
        self.partitions(&mut encoder, "committed_offset", "Position stored last", |partition, _| {
            partition.committed.as_ref()?.parse().ok().map(|offset: i64| offset as f64)
        })?;
        self.partitions(
            &mut encoder,
            "lag_records",
            "Consumer lag: records between the position stored last and the end",
            |partition, _| partition.lag_records.map(|lag| lag as f64),
        )?;
        self.partitions(
            &mut encoder,
            "unread_records",
            "Of the lag, records between what was read and the end",
            |partition, _| partition.unread_records.map(|unread| unread as f64),
        )?;
        self.partitions(
            &mut encoder,
            "lag_seconds",
            "Age of the record read last while there is a lag, 0 without",
            lag_seconds,
        )
    }
}

impl Pipelines {
    fn counter<N>(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        read: impl Fn(&Member) -> N,
    ) -> fmt::Result
    where
        ConstCounter<N>: EncodeMetric,
    {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for member in self.0.iter() {
            let labels = [("pipeline", &*member.pipeline.name)];
            ConstCounter::new(read(member)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        read: impl Fn(&Member) -> i64,
    ) -> fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for member in self.0.iter() {
            let labels = [("pipeline", &*member.pipeline.name)];
            ConstGauge::new(read(member)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn partitions(
        &self,
        encoder: &mut DescriptorEncoder,
        name: &str,
        help: &str,
        read: impl Fn(&PartitionStatus, f64) -> Option<f64>,
    ) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for member in self.0.iter() {
            for (partition, status) in member.status.partitions() {
                let Some(value) = read(&status, now) else { continue };
                let labels = [("pipeline", &*member.pipeline.name), ("partition", &*partition)];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// A partition of which all is stored is not late, however old its last record is.
fn lag_seconds(partition: &PartitionStatus, now: f64) -> Option<f64> {
    match partition.lag_records? {
        0 => Some(0.0),
        _ => partition.read_time_us.map(|us| (now - us as f64 / 1e6).max(0.0)),
    }
}

/// Memory and CPU of the process, under the names that every Prometheus client library uses.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        if let Some(bytes) = process::resident_bytes() {
            let (name, help) = ("process_resident_memory_bytes", "Resident memory size in bytes");
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(bytes as i64).encode(metric)?;
        }
        if let Some(seconds) = process::cpu_seconds() {
            let (name, help) = ("process_cpu_seconds", "User and system CPU time spent in seconds");
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(seconds).encode(metric)?;
        }
        Ok(())
    }
}
