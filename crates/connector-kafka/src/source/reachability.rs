//! Whether the brokers that are needed can be reached at their advertised addresses. The library waits for them without a report,
//! and that one broker answers the first requests says nothing of the others.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_kafka_client::WaitReason;
use aqueduct_kafka_client::native::batch_queue::watermarks;
use rdkafka::metadata::Metadata;
use tokio::time::Instant;

use super::handoff::PartitionState;
use super::member::{GroupConsumer, Member};

/// A preflight of the brokers follows when they have not answered after this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Until the next preflight; longer each time as long as nothing is found.
const PREFLIGHT_AGAIN: Duration = Duration::from_secs(3);
const PREFLIGHT_AGAIN_MAX: Duration = Duration::from_secs(60);

/// See the file's header.
pub(super) struct Reachability {
    /// Since when an answer is missing.
    since: Option<Instant>,
    preflight_at: Instant,
    pause: Duration,
}

impl Reachability {
    /// No answer has come yet.
    pub(super) fn new() -> Self {
        Self { since: None, preflight_at: Instant::now(), pause: PREFLIGHT_AGAIN }
    }

    /// Reports what the last preflight has found; returns whether another is due. `suspected`: a connection failed.
    pub(super) fn due(&mut self, member: &Member, consumer: &GroupConsumer, suspected: bool) -> bool {
        let health = &member.health;
        if report(member) {
            self.pause = PREFLIGHT_AGAIN;
            self.preflight_at = Instant::now() + self.pause;
        }
        if member.leaders_answered(consumer) {
            (self.since, self.pause) = (None, PREFLIGHT_AGAIN);
        } else {
            self.since.get_or_insert_with(Instant::now);
        }
        let missing = self.since.is_some_and(|since| since.elapsed() > ANSWER_TIMEOUT);
        let wanted = missing || suspected || health.has(WaitReason::Advertised);
        wanted && Instant::now() >= self.preflight_at
    }

    /// Starts a preflight of the leaders of what is assigned. Without an assignment any broker may be the one that is needed.
    pub(super) fn preflight(&mut self, member: &Member, cluster: &Metadata) {
        let assigned = member.handoff.assigned();
        let leader = |topic: &str, partition: i32| {
            let topic = cluster.topics().iter().find(|seen| seen.name() == topic)?;
            Some(topic.partitions().iter().find(|seen| seen.id() == partition)?.leader())
        };
        let leaders: Vec<i32> =
            assigned.iter().filter_map(|(_, it)| leader(&it.topic, it.partition)).collect();
        member.health.check_advertised(if assigned.is_empty() { None } else { Some(&leaders) });
        self.preflight_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PREFLIGHT_AGAIN_MAX);
    }
}

impl Member {
    /// Whether the leaders of all that is assigned have answered; a member without partitions waits for none. The first time the
    /// condition that says so is cleared.
    pub(crate) fn leaders_answered(&self, consumer: &GroupConsumer) -> bool {
        let assigned = self.handoff.assigned();
        let answered = |it: &PartitionState| watermarks(consumer, &it.topic, it.partition).is_some();
        let stands_by = self.joins_group() && assigned.is_empty() && !self.is_awaiting_assignment();
        let all = stands_by || !assigned.is_empty() && assigned.iter().all(|(_, it)| answered(it));
        if all && !self.leaders_answered_once.swap(true, Ordering::AcqRel) {
            self.health.clear_quietly(WaitReason::Beginning);
        }
        all
    }

    /// The same, until they have answered for the first time.
    pub(crate) fn check_first_answers(&self, consumer: &GroupConsumer) {
        if !self.leaders_answered_once.load(Ordering::Acquire) {
            self.leaders_answered(consumer);
        }
    }
}

/// Reports what a preflight has found; true when a broker cannot be reached.
fn report(member: &Member) -> bool {
    match member.health.advertised.found() {
        Some(Some(diagnosed)) => member.health.set(WaitReason::Advertised, diagnosed.to_string()),
        Some(None) => member.health.clear(WaitReason::Advertised),
        None => return false,
    }
    member.health.has(WaitReason::Advertised)
}

/// For the time in which the event thread repeats a request and does nothing else: starts a preflight of all brokers, and reports
/// what the last one has found.
pub(super) fn preflight_all(member: &Member) {
    report(member);
    member.health.check_advertised(None);
}
