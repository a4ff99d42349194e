//! The source: topics read as a member of a consumer group, in batches of one partition.

mod batch_builder;
mod commit;
mod committed_cache;
mod data_thread;
mod drain;
mod event_thread;
mod group_status;
mod handoff;
mod known_partitions;
mod leaders;
mod lost_offsets;
mod member;
mod member_files;
mod ownership;
mod reachability;
mod rebalance;
mod recover;
mod settings;
mod start_offsets;
mod stopped;
mod topic_id;

use std::sync::{Arc, Weak};
use std::time::Duration;

use aqueduct_api::catalog::SourceContext;
use aqueduct_api::source::Lag;
use aqueduct_api::{Error, Offsets, Ownership, Partition, Polled, Records, Result, Source};
use aqueduct_kafka_client::native::batch_queue::watermarks;
use aqueduct_kafka_client::{ClientHealth, WaitReason};
use async_trait::async_trait;
use rdkafka::consumer::Consumer;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::Instant;

use self::batch_builder::Bounds;
use self::group_status::GroupStatus;
pub(crate) use self::handoff::name_of;
use self::handoff::{Batch, Ending, EngineSide, Next, PartitionState, Signal};
use self::member::{GroupConsumer, Member, OffsetStorage};
use self::ownership::GroupOwnership;
use self::settings::Subscription;
use self::stopped::StoppedPartitions;
pub(crate) use self::topic_id::metadata;
use crate::client::{REFRESH, consumer_config};
use crate::config::SourceConfig;

/// How long the last commits and leaving the group may take together.
const LEAVE_PATIENCE: Duration = Duration::from_secs(15);

/// A member of a consumer group.
pub(crate) struct TopicsSource {
    handoff: EngineSide,
    stopped: Arc<StoppedPartitions>,
    /// Weak, so that the event thread drops the last handle, which closes the consumer.
    consumer: Weak<GroupConsumer>,
    ended: Option<oneshot::Receiver<()>>,
    /// This member commits the offsets; otherwise the sink does in its transactions, or a store has them.
    commits: bool,
    /// The cluster and the group that have the offsets, unless a store has them.
    group: Option<(String, String)>,
    /// The partitions that were assigned until the source was closed.
    left: Vec<Partition>,
}

/// Joins the group in the background: a broker that is away is waited for, and the condition says so.
pub(crate) fn open(config: &SourceConfig, context: &SourceContext) -> Result<TopicsSource> {
    let group = config.group.clone().unwrap_or_else(|| context.pipeline.to_string());
    let client_id = format!("aqueduct-{}-{}", context.pipeline, context.task);
    let (engine, group_side, fetch) = handoff::sides();
    let health = ClientHealth::new(context.condition.clone(), &config.connection)?;
    health.set_quietly(
        WaitReason::Beginning,
        format!("{} does not say yet what there is to be read", config.connection.brokers.0),
    );
    let mut client = consumer_config(config, &group, &client_id)?;
    settings::set_group(&mut client, config, context);
    let refresh_ms = client.get(REFRESH).and_then(|ms| ms.parse().ok()).unwrap_or(30_000);
    let member = Member {
        handoff: group_side,
        stopped: Arc::default(),
        health,
        pipeline: context.pipeline.clone(),
        group,
        brokers: config.connection.brokers.0.clone(),
        start: config.start,
        on_lost: config.on_lost_offsets,
        offset_storage: OffsetStorage::of(config, context),
        incarnations: context.incarnations.clone(),
        known_partitions: Default::default(),
        drain_timeout: context.drain_timeout,
        data_queue: Default::default(),
        leave_error: Default::default(),
        leaders_answered_once: Default::default(),
        unknown_topics: Default::default(),
        awaiting_assignment: Default::default(),
    };
    let group_status = GroupStatus::new(config, &client, context);
    let stopped = member.stopped.clone();
    let commits = member.commits();
    let group = member.offsets_in_group().then(|| (member.brokers.clone(), member.group.clone()));
    let consumer: GroupConsumer = client
        .create_with_context(member)
        .map_err(|error| Error::config("the Kafka client refuses its settings").caused_by(error))?;
    let consumer = Arc::new(consumer);
    let weak = Arc::downgrade(&consumer);
    let bounds = Bounds { records_max: context.batch_records_max.max(1), bytes_max: context.batch_bytes_max };
    let subscription = Subscription::of(config, context);
    if matches!(subscription, Subscription::Topics(_)) {
        consumer.context().await_assignment();
    }
    let refresh = Duration::from_millis(refresh_ms);
    let ended = event_thread::start(
        consumer,
        fetch,
        subscription,
        refresh,
        bounds,
        (group_status, context.unfinished.clone()),
    )
    .map_err(|error| Error::transient("cannot start the threads of the Kafka source").caused_by(error))?;
    Ok(TopicsSource {
        handoff: engine,
        stopped,
        consumer: weak,
        ended: Some(ended),
        commits,
        group,
        left: Vec::new(),
    })
}

#[async_trait]
impl Source for TopicsSource {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let deadline = Instant::now() + wait;
        self.handoff.begin_poll();
        loop {
            match self.handoff.next() {
                Some(Next::Batch(Batch { from, mut records, next })) => {
                    let next = self.stopped.cut(&from.partition, &mut records, next);
                    // Without records it moves the position only, past transaction markers and aborted records.
                    if !self.handoff.advance(&from, next) && records.is_empty() {
                        continue;
                    }
                    if let Some(consumer) = self.consumer.upgrade() {
                        consumer.context().check_first_answers(&consumer);
                    }
                    let resume_at = Offsets::from([(from.partition, next.to_string().into())]);
                    return Ok(Polled::Batch { records, resume_at });
                }
                Some(Next::Signal(Signal::Revoked(partitions))) => {
                    return Ok(Polled::Revoked { partitions });
                }
                Some(Next::Signal(Signal::StartsAt(name, offset))) => {
                    let resume_at = Offsets::from([(name, offset.to_string().into())]);
                    return Ok(Polled::Batch { records: Records::default(), resume_at });
                }
                Some(Next::Signal(Signal::Failed(error))) => return Err(error),
                None => {}
            }
            if tokio::time::timeout_at(deadline, self.handoff.ready()).await.is_err() {
                let mut ended = self.ended.as_mut();
                let alive = ended.as_mut().is_some_and(|ended| ended.try_recv() == Err(TryRecvError::Empty));
                let gone = || Error::fatal("the event thread of the Kafka source ended");
                return if alive { Ok(Polled::Idle) } else { Err(gone()) };
            }
        }
    }

    /// Returns when the commit is sent; the event thread repeats it if it fails.
    async fn release(&mut self, offsets: &Offsets) -> Result<()> {
        self.handoff.release(offsets)?;
        if !self.commits {
            self.handoff.committed_elsewhere();
            if let Some(consumer) = self.consumer.upgrade() {
                let moved = offsets.iter().filter_map(|(name, at)| Some((name, at.parse().ok()?)));
                moved.for_each(|(name, at)| consumer.context().cache_committed(name.clone(), at));
            }
        } else if let Some(consumer) = self.consumer.upgrade() {
            consumer.context().commit(&consumer);
        }
        Ok(())
    }

    fn stored(&self) -> Option<Offsets> {
        let (brokers, group) = self.group.as_ref()?;
        let assigned = self.handoff.assigned().into_iter().map(|(partition, _)| partition);
        let stored = assigned.chain(self.left.iter().cloned()).filter_map(|partition| {
            let (offset, _) = committed_cache::get(brokers, group, &partition)?;
            Some((partition, offset.to_string().into()))
        });
        Some(stored.collect())
    }

    fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        Some(Arc::new(GroupOwnership::of(&self.consumer)))
    }

    fn lag(&self) -> Vec<Lag> {
        let Some(consumer) = self.consumer.upgrade() else {
            return Vec::new();
        };
        let behind = |(partition, state): (_, PartitionState)| {
            let (low, high) = watermarks(&consumer, &state.topic, state.partition)?;
            let behind = |at: Option<i64>| high.saturating_sub(at.unwrap_or(low).max(low)).max(0);
            Some(Lag { partition, records: behind(state.committed()), unread: behind(state.position()) })
        };
        self.handoff.assigned().into_iter().filter_map(behind).collect()
    }

    async fn close(&mut self) -> Result<()> {
        self.left = self.handoff.assigned().into_iter().map(|(partition, _)| partition).collect();
        self.handoff.end(Ending::Leave);
        if let Some(ended) = self.ended.take() {
            // The sender is dropped, nothing is sent: both threads are done. A library that has lost its brokers may wait for them
            // for ever.
            if tokio::time::timeout(LEAVE_PATIENCE, ended).await.is_err() {
                tracing::warn!("the group cannot be left: its partitions are free when the session is over");
            }
        }
        Ok(())
    }
}

impl Drop for TopicsSource {
    fn drop(&mut self) {
        self.handoff.end(Ending::Abandon);
    }
}
