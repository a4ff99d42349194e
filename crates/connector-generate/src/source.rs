//! The source `generate`: a batch of one partition at a time, partitions in turn.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{Block, KeepsOffsets, SourceConnector, SourceContext, SourceTraits};
use aqueduct_api::{
    Error, Headers, Lag, Offsets, Origin, Partition, Payload, Polled, Problem, Record, Result, Source,
};
use async_trait::async_trait;
use bytes::BytesMut;
use jiff::Timestamp;

use crate::config::Config;
use crate::order::{Clock, Customers, ORDER_BYTES, ORDER_BYTES_MAX};
use crate::pace::Pace;

impl Block for Config {
    const NAME: &'static str = "generate";
    const ABOUT: &'static str = "Makes up orders of a web shop, as JSON or as the sink's format has them; the same seed makes the same records.";
}

#[async_trait]
impl SourceConnector for Config {
    fn check(&self) -> Vec<Problem> {
        self.problems()
    }

    fn traits(&self) -> SourceTraits {
        SourceTraits {
            keeps_offsets: KeepsOffsets::Never,
            tasks_max: Some(self.partitions as usize),
            finite: self.count.is_some(),
            typed: true,
            transactions: Err("no sink keeps the offsets of made-up records"),
        }
    }

    fn describe(&self, _: &str) -> String {
        let count = self.count.map(|count| format!("{count} ")).unwrap_or_default();
        let rate = self.rate.map(|rate| format!(", {rate} a second")).unwrap_or_default();
        format!("generate {count}orders to {}, {} partitions{rate}", self.topic, self.partitions)
    }

    async fn open(&self, context: SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(Generator::new(self, &context)?))
    }
}

/// One task's share of the partitions.
struct Generator {
    topic: Arc<str>,
    partitions: u32,
    /// Partitions that have records left.
    lanes: Vec<Lane>,
    /// Partitions that end, with their ends and how far they are stored.
    finite: Vec<(Partition, u64, u64)>,
    /// Whose turn it is.
    turn: usize,
    batch_records_max: usize,
    pace: Option<Pace>,
    /// Values are wanted with their structure.
    typed: bool,
    /// Microseconds of event time per so many records.
    step_us: (u64, u64),
    clock: Clock,
}

/// One partition.
struct Lane {
    partition: u32,
    name: Partition,
    customers: Customers,
    /// The offset of the next record.
    next: u64,
    /// The offset after the last one.
    end: Option<u64>,
    /// The time of the record before all others of the topic, in microseconds since 1970.
    start_us: i64,
}

impl Generator {
    fn new(config: &Config, context: &SourceContext) -> Result<Self> {
        let resume = Resume::read(config, &context.resume)?;
        let customers = (0..).zip(Customers::shared_out(config.partitions, config.seed));
        let mine = customers.filter(|(partition, _)| *partition as usize % context.tasks == context.task);
        let lanes: Vec<Lane> = mine.map(|(partition, customers)| resume.lane(partition, customers)).collect();
        let end = |lane: &Lane| Some((Arc::clone(&lane.name), lane.end?, lane.next));
        let finite = lanes.iter().filter_map(end).collect();
        let share = lanes.len() as f64 / f64::from(config.partitions);
        Ok(Self {
            topic: config.topic.as_str().into(),
            partitions: config.partitions,
            turn: 0,
            batch_records_max: (context.batch_bytes_max / (ORDER_BYTES_MAX + 136))
                .clamp(1, context.batch_records_max.max(1)),
            pace: config.rate.filter(|_| share > 0.0).map(|rate| Pace::new(rate as f64 * share)),
            step_us: match (config.timestamp_step, config.rate) {
                (Some(step), _) => (step.0.as_micros() as u64, 1),
                (None, Some(rate)) => (1_000_000, rate),
                // Slower than any machine makes them, so that no record comes out of the future.
                (None, None) => (1, 20),
            },
            typed: context.typed,
            clock: Clock::default(),
            finite,
            lanes: lanes.into_iter().filter(|lane| lane.end.is_none_or(|end| lane.next < end)).collect(),
        })
    }

    /// The next records of the lane whose turn it is, and of no other.
    fn batch(&mut self, records_max: usize) -> Polled {
        self.turn %= self.lanes.len();
        let lane = &mut self.lanes[self.turn];
        let left = lane.end.map_or(u64::MAX, |end| end - lane.next);
        let count = (records_max.min(self.batch_records_max) as u64).min(left) as usize;

        let mut memory = BytesMut::with_capacity(count * ORDER_BYTES);
        let mut records = Vec::with_capacity(count);
        for offset in lane.next..lane.next + count as u64 {
            // Over all partitions, so that the records of a topic have consecutive numbers and times.
            let index = offset * u64::from(self.partitions) + u64::from(lane.partition);
            let (step_us, per) = self.step_us;
            let timestamp_us = lane.start_us.saturating_add_unsigned(index.saturating_mul(step_us) / per);
            let (key, value) = if self.typed {
                let (key, row) = lane.customers.row(index + 1, offset, timestamp_us, &mut memory);
                (key, Payload::Typed(row))
            } else {
                let created_at = self.clock.at(timestamp_us);
                let key = lane.customers.order(index + 1, offset, created_at, &mut memory);
                (key, memory.split().freeze().into())
            };
            records.push(Record {
                topic: Arc::clone(&self.topic),
                origin: Origin { partition: lane.partition as i32, offset: offset as i64 },
                key: key.into(),
                value,
                headers: Headers::default(),
                timestamp_us: Some(timestamp_us),
            });
        }
        lane.next += count as u64;
        let resume_at = Offsets::from([(Arc::clone(&lane.name), position(lane.next, lane.start_us).into())]);
        if lane.end == Some(lane.next) {
            self.lanes.remove(self.turn);
        } else {
            self.turn += 1;
        }
        Polled::Batch { records: records.into(), resume_at }
    }
}

#[async_trait]
impl Source for Generator {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        if self.lanes.is_empty() {
            return Ok(Polled::End);
        }
        let due = match &mut self.pace {
            None => usize::MAX,
            Some(pace) => pace.due(wait).await,
        };
        if due == 0 {
            return Ok(Polled::Idle);
        }
        let polled = self.batch(due);
        if let (Some(pace), Polled::Batch { records, .. }) = (&mut self.pace, &polled) {
            pace.given(records.len());
        }
        Ok(polled)
    }

    /// Nothing is kept here; how far the store has come is remembered for the lag.
    async fn release(&mut self, offsets: &Offsets) -> Result<()> {
        for (name, _, stored) in &mut self.finite {
            if let Some((next, _)) = offsets.get(name).and_then(|at| read_position(at)) {
                *stored = next;
            }
        }
        Ok(())
    }

    fn lag(&self) -> Vec<Lag> {
        let lag = |(name, end, stored): &(Partition, u64, u64)| {
            let lane = self.lanes.iter().find(|lane| lane.name == *name);
            let (records, unread) =
                (end.saturating_sub(*stored), lane.map_or(0, |lane| end.saturating_sub(lane.next)));
            Lag { partition: Arc::clone(name), records: records as i64, unread: unread as i64 }
        };
        self.finite.iter().map(lag).collect()
    }
}

/// Where to begin: what the configuration says, and what an earlier run left.
struct Resume<'a> {
    config: &'a Config,
    stored: &'a Offsets,
    start_us: i64,
}

impl<'a> Resume<'a> {
    fn read(config: &'a Config, stored: &'a Offsets) -> Result<Self> {
        let mut earlier_us = None;
        for (partition, at) in stored {
            let Some((_, start_us)) = read_position(at) else {
                return Err(Error::config(format!("`{at}` is no position of a generated partition"))
                    .with("partition", partition)
                    .remedy("delete the stored offsets of this pipeline to begin anew"));
            };
            earlier_us = Some(start_us);
        }
        let now_us = || Timestamp::now().as_microsecond();
        let start_us = config.start_us().or(earlier_us).unwrap_or_else(now_us);
        Ok(Self { config, stored, start_us })
    }

    fn lane(&self, partition: u32, customers: Customers) -> Lane {
        let Config { topic, partitions, count, .. } = self.config;
        let name: Partition = format!("{topic}/{partition}").into();
        Lane {
            partition,
            customers,
            next: self.stored.get(&name).and_then(|at| read_position(at)).map_or(0, |(next, _)| next),
            // The first partitions have one more where the count does not divide.
            end: count.map(|count| {
                let partitions = u64::from(*partitions);
                count / partitions + u64::from(u64::from(partition) < count % partitions)
            }),
            start_us: self.start_us,
            name,
        }
    }
}

/// The start is kept with the offset: a source that was started "now" makes the same records when it resumes.
fn position(next: u64, start_us: i64) -> String {
    format!("{next}@{start_us}")
}

fn read_position(at: &str) -> Option<(u64, i64)> {
    let (next, start_us) = at.split_once('@')?;
    Some((next.parse().ok()?, start_us.parse().ok()?))
}
