//! The source: topics read as a member of a consumer group, handed out in batches of one partition.

mod batch_builder;
mod halts;
mod handoff;
mod leaders;
mod lives;
mod member;
mod member_files;
mod membership;
mod presence;
mod reach;
mod reading;
mod recover;
mod remembered;
mod settings;
mod start;
mod threads;

use std::sync::{Arc, Weak};
use std::time::Duration;

use aqueduct_api::catalog::SourceContext;
use aqueduct_api::source::Lag;
use aqueduct_api::{Error, Offsets, Ownership, Partition, Polled, Records, Result, Source};
use async_trait::async_trait;
use rdkafka::consumer::Consumer;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::time::Instant;

use self::batch_builder::Bounds;
use self::halts::Halts;
pub(crate) use self::handoff::name_of;
use self::handoff::{Batch, Ending, Given, Handoff, Signal};
pub(crate) use self::lives::metadata;
use self::member::{GroupConsumer, Keeping, Member};
use self::membership::Membership;
use self::presence::Presence;
use self::remembered::recall;
use self::settings::Reading;
use crate::client::{REFRESH, consumer_config};
use crate::config::SourceConfig;
use aqueduct_kafka_client::native::batch_queue::watermarks;
use aqueduct_kafka_client::{ClientHealth, WaitReason};

/// How long the last commits and leaving the group may take together.
const LEAVE_PATIENCE: Duration = Duration::from_secs(15);

/// A member of a consumer group.
pub(crate) struct TopicsSource {
    handoff: Arc<Handoff>,
    halts: Arc<Halts>,
    /// Weak: the event thread ends the consumer.
    consumer: Weak<GroupConsumer>,
    ended: Option<oneshot::Receiver<()>>,
    /// The group is told by this member; otherwise the sink commits, in its transactions, or a store keeps the offsets.
    commits: bool,
    /// The cluster and the group that keep the offsets, unless a store does.
    kept_by: Option<(String, String)>,
    /// What was ours until the end.
    left: Vec<Partition>,
}

/// Joins the group in the background: a broker that is away is waited for, and said by the condition.
pub(crate) fn open(config: &SourceConfig, context: &SourceContext) -> Result<TopicsSource> {
    let group = config.group.clone().unwrap_or_else(|| context.pipeline.to_string());
    let client_id = format!("aqueduct-{}-{}", context.pipeline, context.task);
    let handoff = Arc::new(Handoff::default());
    let health = ClientHealth::new(context.condition.clone(), &config.connection)?;
    health.set_quietly(
        WaitReason::Beginning,
        format!("{} does not say yet what there is to be read", config.connection.brokers.0),
    );
    let mut client = consumer_config(config, &group, &client_id)?;
    settings::set_group(&mut client, config, context);
    let refresh_ms = client.get(REFRESH).and_then(|ms| ms.parse().ok()).unwrap_or(30_000);
    let member = Member {
        handoff: handoff.clone(),
        halts: Arc::default(),
        health,
        pipeline: context.pipeline.clone(),
        group,
        brokers: config.connection.brokers.0.clone(),
        start: config.start,
        on_lost: config.on_lost_offsets,
        keeping: Keeping::of(config, context),
        incarnations: context.incarnations.clone(),
        known: Default::default(),
        drain_timeout: context.drain_timeout,
        data: Default::default(),
        parting: Default::default(),
        begun: Default::default(),
        unknown: Default::default(),
        awaited: Default::default(),
    };
    let presence = Presence::new(config, &client, context);
    let halts = member.halts.clone();
    let commits = member.commits();
    let kept_by = member.keeps().then(|| (member.brokers.clone(), member.group.clone()));
    let consumer: GroupConsumer = client
        .create_with_context(member)
        .map_err(|error| Error::config("the Kafka client refuses its settings").caused_by(error))?;
    let consumer = Arc::new(consumer);
    let weak = Arc::downgrade(&consumer);
    let bounds = Bounds { records_max: context.batch_records_max.max(1), bytes_max: context.batch_bytes_max };
    let reading = Reading::of(config, context);
    if matches!(reading, Reading::Shared(_)) {
        consumer.context().await_assignment();
    }
    let refresh = Duration::from_millis(refresh_ms);
    let ended = threads::start(consumer, reading, refresh, bounds, (presence, context.unfinished.clone()))
        .map_err(|error| Error::transient("cannot start the threads of the Kafka source").caused_by(error))?;
    Ok(TopicsSource {
        handoff,
        halts,
        consumer: weak,
        ended: Some(ended),
        commits,
        kept_by,
        left: Vec::new(),
    })
}

#[async_trait]
impl Source for TopicsSource {
    async fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let deadline = Instant::now() + wait;
        self.handoff.polled();
        loop {
            match self.handoff.take() {
                Some(Given::Batch(Batch { from, mut records, next })) => {
                    let next = self.halts.cut(&from.name, &mut records, next);
                    // Without records it is a heartbeat: markers and aborted records are passed, not given.
                    if !self.handoff.gave(&from, next) && records.is_empty() {
                        continue;
                    }
                    if let Some(consumer) = self.consumer.upgrade() {
                        consumer.context().begin(&consumer);
                    }
                    let resume_at = Offsets::from([(from.name, next.to_string().into())]);
                    return Ok(Polled::Batch { records, resume_at });
                }
                Some(Given::Signal(Signal::Revoked(partitions))) => {
                    return Ok(Polled::Revoked { partitions });
                }
                Some(Given::Signal(Signal::Begins(name, offset))) => {
                    let resume_at = Offsets::from([(name, offset.to_string().into())]);
                    return Ok(Polled::Batch { records: Records::default(), resume_at });
                }
                Some(Given::Signal(Signal::Failed(error))) => return Err(error),
                None => {}
            }
            let news = tokio::time::timeout_at(deadline, self.handoff.ready.notified());
            if news.await.is_err() {
                let mut ended = self.ended.as_mut();
                let alive = ended.as_mut().is_some_and(|ended| ended.try_recv() == Err(TryRecvError::Empty));
                let gone = || Error::fatal("the event thread of the Kafka source ended");
                return if alive { Ok(Polled::Idle) } else { Err(gone()) };
            }
        }
    }

    /// Returns when the commit is on its way; the event thread sees to it that it arrives, and repeats it if
    /// not.
    async fn release(&mut self, offsets: &Offsets) -> Result<()> {
        self.handoff.release(offsets)?;
        if !self.commits {
            self.handoff.committed_elsewhere();
            if let Some(consumer) = self.consumer.upgrade() {
                let moved = offsets.iter().filter_map(|(name, at)| Some((name, at.parse().ok()?)));
                moved.for_each(|(name, at)| consumer.context().remember(name.clone(), at));
            }
        } else if let Some(consumer) = self.consumer.upgrade() {
            consumer.context().commit(&consumer);
        }
        Ok(())
    }

    fn stored(&self) -> Option<Offsets> {
        let (brokers, group) = self.kept_by.as_ref()?;
        let owned = self.handoff.owned().into_iter().map(|(partition, _)| partition);
        let kept = owned.chain(self.left.iter().cloned()).filter_map(|partition| {
            let (offset, _) = recall(brokers, group, &partition)?;
            Some((partition, offset.to_string().into()))
        });
        Some(kept.collect())
    }

    fn ownership(&self) -> Option<Arc<dyn Ownership>> {
        Some(Arc::new(Membership::of(&self.consumer)))
    }

    fn lag(&self) -> Vec<Lag> {
        let Some(consumer) = self.consumer.upgrade() else {
            return Vec::new();
        };
        let behind = |(partition, owned): (_, handoff::Owned)| {
            let (low, high) = watermarks(&consumer, &owned.topic, owned.partition)?;
            let behind = |at: Option<i64>| high.saturating_sub(at.unwrap_or(low).max(low)).max(0);
            Some(Lag { partition, records: behind(owned.stored()), unread: behind(owned.next()) })
        };
        self.handoff.owned().into_iter().filter_map(behind).collect()
    }

    async fn close(&mut self) -> Result<()> {
        self.left = self.handoff.owned().into_iter().map(|(partition, _)| partition).collect();
        self.handoff.end(Ending::Leave);
        if let Some(ended) = self.ended.take() {
            // It is dropped, never sent: either way both threads are done. A library that has lost its brokers may wait for
            // them for ever.
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
