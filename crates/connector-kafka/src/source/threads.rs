//! The two threads of a source. The event thread serves the group whatever the engine does, so that a
//! pipeline that waits for hours stays a member; the data thread takes what librdkafka has fetched.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use aqueduct_api::{Error, ErrorKind, Unfinished};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::batch_builder::Bounds;
use super::handoff::Ending;
use super::leaders::Leaders;
use super::member::GroupConsumer;
use super::presence::{NAMED, Presence};
use super::reach::Reach;
use super::reading::read;
use super::recover::Moved;
use super::settings::{Reading, list_of};
use crate::config::{Start, TopicSelection};
use crate::diagnosis::PARTITION_MISSING;
use aqueduct_kafka_client::native::batch_queue::BatchQueue;
use aqueduct_kafka_client::{CHECK_INTERVAL, WaitReason, is_passing, no_topic};

/// How long the event thread waits for an event before it looks for other work.
const EVENT_WAIT: Duration = Duration::from_millis(100);

/// How often it is asked whether topics were made anew: the library reads on from the middle of the new ones.
const LIVES_AGAIN: Duration = Duration::from_secs(10);

/// Starts both; the answer comes when both have ended and the group is left.
pub(crate) fn start(
    consumer: Arc<GroupConsumer>,
    reading: Reading,
    refresh: Duration,
    bounds: Bounds,
    (presence, unfinished): (Presence, Unfinished),
) -> Result<oneshot::Receiver<()>, std::io::Error> {
    let (ended, end) = oneshot::channel();
    let queue = Arc::new(BatchQueue::new(consumer.clone()));
    let member = consumer.context().clone();
    *member.data.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&queue);
    let handoff = member.handoff.clone();
    let data = std::thread::Builder::new()
        .name("kafka-data".into())
        .spawn(move || read(&queue, &handoff, bounds))?;
    std::thread::Builder::new().name("kafka-events".into()).spawn(move || {
        let now = Instant::now();
        let (subscribed, leaders, reach) = (Vec::new(), Leaders::new(), Reach::new());
        Events {
            consumer,
            reading,
            subscribed,
            refresh,
            look_at: now,
            match_at: now,
            leaders,
            reach,
            lives_at: now + LIVES_AGAIN,
            commit_at: now,
            presence,
        }
        .run(data);
        drop((ended, unfinished));
    })?;
    Ok(end)
}

struct Events {
    consumer: Arc<GroupConsumer>,
    reading: Reading,
    subscribed: Vec<String>,
    /// How often new topics of a pattern are looked for.
    refresh: Duration,
    look_at: Instant,
    /// When they are looked for next.
    match_at: Instant,
    leaders: Leaders,
    reach: Reach,
    /// When it is asked whether topics are still the same.
    lives_at: Instant,
    /// When all offsets are committed once more, where no group is joined.
    commit_at: Instant,
    presence: Presence,
}

impl Events {
    fn run(mut self, data: JoinHandle<()>) {
        let consumer = self.consumer.clone();
        let member = consumer.context();
        self.presence.begin();
        match &self.reading {
            Reading::Shared(TopicSelection::Named(names)) => self.subscribe(names.clone()),
            Reading::Shared(TopicSelection::Matching(_)) => {}
            Reading::Assigned { partitions, .. } => {
                // The library says nothing of a partition that is not there, so that is looked at.
                *member.unknown.lock().unwrap_or_else(PoisonError::into_inner) = true;
                member.assign(&consumer, &list_of(partitions));
            }
        }
        while member.handoff.ending().is_none() {
            self.learn();
            if self.presence.is_new() {
                member.serve(&consumer, NAMED);
                self.presence.keep(&consumer);
                continue;
            }
            member.serve(&consumer, EVENT_WAIT);
            self.presence.keep(&consumer);
            if member.recover(&consumer) == Moved::Rejoin {
                self.rejoin();
            }
            member.begin(&self.consumer);
            self.recommit();
            member.commit(&consumer);
            if Instant::now() >= self.look_at {
                self.look();
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
            member.commit_last(&consumer, true);
        }
        // The last handle: the group is left here, which may take a moment.
        let begun = Instant::now();
        let Self { presence, consumer: also, .. } = self;
        drop((also, consumer));
        presence.end(begun);
    }

    /// Remembers what there is before anything is assigned, where it makes a difference.
    fn learn(&self) {
        let member = self.consumer.context();
        if member.start == Start::Latest
            && !member.known.is_learned()
            && let Ok(cluster) = self.consumer.fetch_metadata(None, CHECK_INTERVAL)
        {
            member.known.learn(&cluster);
        }
    }

    /// The group is left and joined anew: under its protocol no partition can be moved alone.
    fn rejoin(&mut self) {
        self.consumer.unsubscribe();
        let topics = std::mem::take(&mut self.subscribed);
        self.subscribe(topics);
    }

    fn recommit(&mut self) {
        if let Reading::Assigned { recommit_every, .. } = &self.reading
            && Instant::now() >= self.commit_at
        {
            self.commit_at = Instant::now() + *recommit_every;
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

    /// Looks whether what is missing is there now, and for topics of a pattern.
    fn look(&mut self) {
        let member = self.consumer.context().clone();
        if let Some(error) = member.health.credentials_replaced(self.consumer.client()) {
            // The connections that are open still work: what was read is drained and committed first.
            member.part_with(error);
        }
        let unknown = std::mem::take(&mut *member.unknown.lock().unwrap_or_else(PoisonError::into_inner));
        let away = member.health.must_probe();
        if unknown || Instant::now() >= self.lives_at {
            self.lives_at = Instant::now() + LIVES_AGAIN;
            member.compare_lives(&self.consumer);
        }
        self.look_at = Instant::now() + CHECK_INTERVAL;
        let leaders = self.leaders.due(&member, away);
        let visit = self.reach.due(&member, &self.consumer, away);
        let all = unknown
            || member.health.has(WaitReason::Topics)
            || matches!(self.reading, Reading::Shared(TopicSelection::Matching(_)))
                && Instant::now() >= self.match_at;
        if !all && !away && !leaders && !visit {
            return;
        }
        let enough = !all && (self.subscribed.len() == 1 || !leaders && !visit);
        let one = self.subscribed.first().map(String::as_str).filter(|_| enough);
        match self.consumer.fetch_metadata(one, CHECK_INTERVAL) {
            Ok(cluster) => {
                member.health.broker_answered();
                member.health.advertised.learn(&cluster);
                if visit {
                    self.reach.visit(&member, &cluster);
                }
                if leaders {
                    self.leaders.compare(&member, &cluster);
                }
                if all {
                    self.compare(&cluster);
                }
            }
            // Nobody was in doubt.
            Err(_) if !all && !away => {}
            Err(error) => {
                *member.unknown.lock().unwrap_or_else(PoisonError::into_inner) |= unknown;
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

    fn compare(&mut self, cluster: &Metadata) {
        let member = self.consumer.context().clone();
        let exists =
            |name: &str| cluster.topics().iter().any(|topic| topic.name() == name && topic.error().is_none());
        match &self.reading {
            Reading::Assigned { partitions, .. } => self.compare_partitions(cluster, partitions),
            Reading::Shared(TopicSelection::Named(names)) => match names.iter().find(|name| !exists(name)) {
                Some(missing) => {
                    let error = no_topic(missing, &member.brokers, Some(cluster));
                    if !member.health.has(WaitReason::Topics) {
                        member.health.set(WaitReason::Topics, error.to_string());
                        member.handoff.fail(error);
                    }
                }
                None => member.health.clear(WaitReason::Topics),
            },
            Reading::Shared(TopicSelection::Matching(pattern)) => {
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
                self.match_at = Instant::now() + self.refresh;
                self.subscribe(names);
            }
        }
    }
}

impl Events {
    /// Whether the partitions that are named exist.
    fn compare_partitions(&self, cluster: &Metadata, partitions: &[(String, i32)]) {
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
