//! The event thread. It serves the group whatever the engine does, so that a pipeline that waits for hours stays a member. It also
//! starts the data thread, and waits for its end before it leaves the group.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aqueduct_api::{Error, ErrorKind, Unfinished};
use aqueduct_kafka_client::native::batch_queue::BatchQueue;
use aqueduct_kafka_client::{CHECK_INTERVAL, WaitReason, is_passing, no_topic};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::batch_builder::Bounds;
use super::data_thread;
use super::group_status::{GroupStatus, NEW_MEMBER_POLL};
use super::handoff::{Ending, FetchSide};
use super::leaders::Leaders;
use super::member::GroupConsumer;
use super::reachability::Reachability;
use super::recover::Restart;
use super::settings::{Subscription, list_of};
use crate::config::{Start, TopicSelection};
use crate::diagnosis::PARTITION_MISSING;

/// How long the event thread waits for an event before it looks for other work.
const EVENT_WAIT: Duration = Duration::from_millis(100);

/// How often it is checked whether topics were recreated: the library reads on in the middle of the new ones.
const TOPIC_IDS_INTERVAL: Duration = Duration::from_secs(10);

/// Starts both threads; the receiver is closed when both have ended and the group is left.
pub(crate) fn start(
    consumer: Arc<GroupConsumer>,
    fetch: FetchSide,
    subscription: Subscription,
    refresh: Duration,
    bounds: Bounds,
    (group_status, unfinished): (GroupStatus, Unfinished),
) -> Result<oneshot::Receiver<()>, std::io::Error> {
    let (ended, end) = oneshot::channel();
    let queue = Arc::new(BatchQueue::new(consumer.clone()));
    let member = consumer.context().clone();
    *member.data_queue.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&queue);
    let data = std::thread::Builder::new()
        .name("kafka-data".into())
        .spawn(move || data_thread::run(&queue, &fetch, bounds))?;
    std::thread::Builder::new().name("kafka-events".into()).spawn(move || {
        let now = Instant::now();
        let (subscribed, leaders, reachability) = (Vec::new(), Leaders::new(), Reachability::new());
        EventThread {
            consumer,
            subscription,
            subscribed,
            refresh,
            check_at: now,
            pattern_at: now,
            leaders,
            reachability,
            topic_ids_at: now + TOPIC_IDS_INTERVAL,
            recommit_at: now,
            group_status,
        }
        .run(data);
        drop((ended, unfinished));
    })?;
    Ok(end)
}

struct EventThread {
    consumer: Arc<GroupConsumer>,
    subscription: Subscription,
    subscribed: Vec<String>,
    /// When the cluster is checked next.
    check_at: Instant,
    /// How often new topics of a pattern are looked for, and when next.
    refresh: Duration,
    pattern_at: Instant,
    leaders: Leaders,
    reachability: Reachability,
    /// When it is checked next whether topics were recreated.
    topic_ids_at: Instant,
    /// When all offsets are committed once more, where no group is joined.
    recommit_at: Instant,
    group_status: GroupStatus,
}

impl EventThread {
    fn run(mut self, data: JoinHandle<()>) {
        let consumer = self.consumer.clone();
        let member = consumer.context();
        self.group_status.begin();
        match &self.subscription {
            Subscription::Topics(TopicSelection::Named(names)) => self.subscribe(names.clone()),
            Subscription::Topics(TopicSelection::Matching(_)) => {}
            Subscription::Partitions { partitions, .. } => {
                // The library does not report a partition that does not exist, so the metadata is checked.
                member.unknown_topics.store(true, Ordering::Release);
                member.assign(&consumer, &list_of(partitions));
            }
        }
        while member.handoff.ending().is_none() {
            self.learn_partitions();
            if self.group_status.is_new() {
                member.poll_events(&consumer, NEW_MEMBER_POLL);
                self.group_status.maintain(&consumer);
                continue;
            }
            member.poll_events(&consumer, EVENT_WAIT);
            self.group_status.maintain(&consumer);
            if member.recover(&consumer) == Restart::Rejoin {
                self.rejoin();
            }
            member.check_first_answers(&self.consumer);
            self.recommit();
            member.commit(&consumer);
            if Instant::now() >= self.check_at {
                self.check_cluster();
            }
            if data.is_finished() && member.handoff.ending().is_none() {
                member.handoff.fail(Error::fatal("the data thread of the Kafka source ended"));
                break;
            }
        }
        if data.join().is_err() {
            tracing::error!("the data thread of a Kafka source panicked");
        }
        if member.handoff.ending() == Some(Ending::Leave) {
            member.commit_remaining(&consumer, true);
        }
        // These are the last handles of the consumer: it is closed and leaves the group here, which may take a moment.
        let begun = Instant::now();
        let Self { group_status, consumer: own, .. } = self;
        drop((own, consumer));
        group_status.end(begun);
    }

    /// Before anything is assigned, remembers which partitions there are, where it makes a difference.
    fn learn_partitions(&self) {
        let member = self.consumer.context();
        if member.start == Start::Latest
            && !member.known_partitions.is_learned()
            && let Ok(cluster) = self.consumer.fetch_metadata(None, CHECK_INTERVAL)
        {
            member.known_partitions.learn(&cluster);
        }
    }

    /// Leaves the group and joins it anew: under its protocol no partition can be moved alone.
    fn rejoin(&mut self) {
        self.consumer.unsubscribe();
        let topics = std::mem::take(&mut self.subscribed);
        self.subscribe(topics);
    }

    fn recommit(&mut self) {
        if let Subscription::Partitions { recommit_every, .. } = &self.subscription
            && Instant::now() >= self.recommit_at
        {
            self.recommit_at = Instant::now() + *recommit_every;
            self.consumer.context().handoff.recommit();
        }
    }

    fn subscribe(&mut self, mut topics: Vec<String>) {
        topics.sort_unstable();
        if topics == self.subscribed {
            return;
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        if let Err(error) = self.consumer.subscribe(&names) {
            let error = Error::fatal("cannot subscribe").with("topics", topics.join(",")).caused_by(error);
            return self.consumer.context().handoff.fail(error);
        }
        self.subscribed = topics;
    }

    /// Checks whether topics that were missing exist now, whether leaders can be reached, and which topics match a pattern.
    fn check_cluster(&mut self) {
        let member = self.consumer.context().clone();
        if let Some(error) = member.health.credentials_replaced(self.consumer.client()) {
            // The open connections still work: what was read is drained and committed first.
            member.fail_after_leaving(error);
        }
        let unknown = member.unknown_topics.swap(false, Ordering::AcqRel);
        let away = member.health.must_probe();
        if unknown || Instant::now() >= self.topic_ids_at {
            self.topic_ids_at = Instant::now() + TOPIC_IDS_INTERVAL;
            member.compare_topic_ids(&self.consumer);
        }
        self.check_at = Instant::now() + CHECK_INTERVAL;
        let leaders = self.leaders.due(&member, away);
        let preflight = self.reachability.due(&member, &self.consumer, away);
        let all = unknown
            || member.health.has(WaitReason::Topics)
            || matches!(self.subscription, Subscription::Topics(TopicSelection::Matching(_)))
                && Instant::now() >= self.pattern_at;
        if !all && !away && !leaders && !preflight {
            return;
        }
        let enough = !all && (self.subscribed.len() == 1 || !leaders && !preflight);
        let one = self.subscribed.first().map(String::as_str).filter(|_| enough);
        match self.consumer.fetch_metadata(one, CHECK_INTERVAL) {
            Ok(cluster) => {
                member.health.broker_answered();
                member.health.advertised.learn(&cluster);
                if preflight {
                    self.reachability.preflight(&member, &cluster);
                }
                if leaders {
                    self.leaders.compare(&member, &cluster);
                }
                if all {
                    self.check_topics(&cluster);
                }
            }
            // No topic or broker is missing: the next check asks again.
            Err(_) if !all && !away => {}
            Err(error) => {
                member.unknown_topics.fetch_or(unknown, Ordering::AcqRel);
                match error.rdkafka_error_code() {
                    Some(code) if is_passing(code) || code == RDKafkaErrorCode::UnsupportedFeature => {
                        member.health.no_broker_answered(self.consumer.client());
                    }
                    _ => {
                        let says =
                            format!("{} does not name its topics ({error}): asking again", member.brokers);
                        member.health.set(WaitReason::Brokers, says);
                    }
                }
            }
        }
    }

    /// Whether the topics that are read exist, and which topics match the pattern.
    fn check_topics(&mut self, cluster: &Metadata) {
        let member = self.consumer.context().clone();
        let exists =
            |name: &str| cluster.topics().iter().any(|topic| topic.name() == name && topic.error().is_none());
        match &self.subscription {
            Subscription::Partitions { partitions, .. } => self.check_partitions(cluster, partitions),
            Subscription::Topics(TopicSelection::Named(names)) => {
                match names.iter().find(|name| !exists(name)) {
                    Some(missing) => {
                        let error = no_topic(missing, &member.brokers, Some(cluster));
                        if !member.health.has(WaitReason::Topics) {
                            member.health.set(WaitReason::Topics, error.to_string());
                            member.handoff.fail(error);
                        }
                    }
                    None => member.health.clear(WaitReason::Topics),
                }
            }
            Subscription::Topics(TopicSelection::Matching(pattern)) => {
                let Ok(expression) = pattern.compile() else { return };
                let matching = |name: &&str| {
                    expression.is_match(name)
                        && !name.starts_with("__")
                        && !pattern.except.iter().any(|except| except == name)
                };
                let names: Vec<String> = cluster
                    .topics()
                    .iter()
                    .map(|topic| topic.name())
                    .filter(matching)
                    .map(str::to_owned)
                    .collect();
                if names.is_empty() {
                    let says = format!(
                        "no topic on {} matches `{}`: waiting for one; create it, or correct the pattern",
                        member.brokers, pattern.pattern
                    );
                    return member.health.set(WaitReason::Topics, says);
                }
                member.health.clear(WaitReason::Topics);
                self.pattern_at = Instant::now() + self.refresh;
                self.subscribe(names);
            }
        }
    }

    /// Whether the partitions that are named exist.
    fn check_partitions(&self, cluster: &Metadata, partitions: &[(String, i32)]) {
        let member = self.consumer.context();
        for (name, partition) in partitions {
            let found = cluster.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
            let error = match found.map(|topic| topic.partitions().len()) {
                None => no_topic(name, &member.brokers, Some(cluster)),
                Some(count) if *partition as usize >= count => PARTITION_MISSING.error(
                    ErrorKind::Transient,
                    &[("topic", name), ("count", &count), ("partition", partition)],
                ),
                Some(_) => continue,
            };
            if !member.health.has(WaitReason::Topics) {
                member.health.set(WaitReason::Topics, error.to_string());
                member.handoff.fail(error);
            }
            return;
        }
        member.health.clear(WaitReason::Topics);
    }
}
