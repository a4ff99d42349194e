//! Whether the brokers that are needed can be reached where the cluster says they are. The library waits for them in silence,
//! and a broker that answers the first questions says nothing of the others.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::metadata::Metadata;
use tokio::time::Instant;

use super::handoff::Owned;
use super::member::{GroupConsumer, Keeping, Member};
use aqueduct_kafka_client::WaitReason;
use aqueduct_kafka_client::native::batch_queue::watermarks;

/// A broker that has not answered after this is visited.
const PATIENCE: Duration = Duration::from_secs(1);
/// Until it is visited again; longer each time as long as nothing is found.
const VISIT_AGAIN: Duration = Duration::from_secs(3);
const VISIT_AGAIN_MAX: Duration = Duration::from_secs(60);

/// See the file's header.
pub(super) struct Reach {
    /// Since when something is missing.
    since: Option<Instant>,
    visit_at: Instant,
    pause: Duration,
}

impl Reach {
    /// Nothing was heard yet.
    pub(super) fn new() -> Self {
        Self { since: None, visit_at: Instant::now(), pause: VISIT_AGAIN }
    }

    /// Looks at what has been heard, and whether brokers have to be visited now. `suspected`: a connection failed.
    pub(super) fn due(&mut self, member: &Member, consumer: &GroupConsumer, suspected: bool) -> bool {
        let health = &member.health;
        if say(member) {
            self.pause = VISIT_AGAIN;
            self.visit_at = Instant::now() + self.pause;
        }
        if member.has_heard(consumer) {
            (self.since, self.pause) = (None, VISIT_AGAIN);
        } else {
            self.since.get_or_insert_with(Instant::now);
        }
        let missing = self.since.is_some_and(|since| since.elapsed() > PATIENCE);
        let wanted = missing || suspected || health.has(WaitReason::Advertised);
        wanted && Instant::now() >= self.visit_at
    }

    /// Visits who leads what was assigned; without that anybody may be the one who has to be asked for it.
    pub(super) fn visit(&mut self, member: &Member, cluster: &Metadata) {
        let owned = member.handoff.owned();
        let leader = |topic: &str, partition: i32| {
            let topic = cluster.topics().iter().find(|seen| seen.name() == topic)?;
            Some(topic.partitions().iter().find(|seen| seen.id() == partition)?.leader())
        };
        let leaders: Vec<i32> = owned.iter().filter_map(|(_, it)| leader(&it.topic, it.partition)).collect();
        member.health.check_advertised(if owned.is_empty() { None } else { Some(&leaders) });
        self.visit_at = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(VISIT_AGAIN_MAX);
    }
}

impl Member {
    /// Whether the leaders of all that was assigned have answered; one that stands by has nothing to hear. The first time the
    /// source is no longer waiting for it.
    pub(crate) fn has_heard(&self, consumer: &GroupConsumer) -> bool {
        let owned = self.handoff.owned();
        let heard = |it: &Owned| watermarks(consumer, &it.topic, it.partition).is_some();
        let joins = matches!(self.keeping, Keeping::Joined | Keeping::InTransactions);
        let stands_by = joins && owned.is_empty() && !self.is_awaiting();
        let all = stands_by || !owned.is_empty() && owned.iter().all(|(_, it)| heard(it));
        if all && !self.begun.swap(true, Ordering::AcqRel) {
            self.health.clear_quietly(WaitReason::Beginning);
        }
        all
    }

    /// The same until it is true for the first time.
    pub(crate) fn begin(&self, consumer: &GroupConsumer) {
        if !self.begun.load(Ordering::Acquire) {
            self.has_heard(consumer);
        }
    }
}

/// Says what a visit has found; true when a broker cannot be reached.
fn say(member: &Member) -> bool {
    match member.health.advertised.found() {
        Some(Some(told)) => member.health.set(WaitReason::Advertised, told.to_string()),
        Some(None) => member.health.clear(WaitReason::Advertised),
        None => return false,
    }
    member.health.has(WaitReason::Advertised)
}

/// While a question is asked again and again, and nothing else is looked at: visits all brokers, and says what was found the
/// last time.
pub(super) fn look(member: &Member) {
    say(member);
    member.health.check_advertised(None);
}
