//! Partitions that nobody leads: the library waits for them in silence and reads the others on, so the cluster is asked now
//! and then, and oftener when a broker is suspected to be gone.

use std::time::Duration;

use aqueduct_api::ErrorKind;
use rdkafka::metadata::Metadata;
use tokio::time::Instant;

use super::member::Member;
use crate::diagnosis::PARTITION_WITHOUT_LEADER;
use aqueduct_kafka_client::WaitReason;

/// How often the cluster is asked when all seems well.
const LOOK_SELDOM: Duration = Duration::from_secs(30);
/// How often while a partition has no leader, and after a connection failed.
const LOOK_OFTEN: Duration = Duration::from_secs(2);
/// How long after that: the cluster itself takes `broker.session.timeout.ms` (9 s) to see that a broker is gone.
const SUSPICION: Duration = Duration::from_secs(20);

/// When to ask.
pub(super) struct Leaders {
    looked_at: Instant,
    suspicious_until: Instant,
}

impl Leaders {
    /// Nothing is suspected.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { looked_at: now, suspicious_until: now }
    }

    /// Whether the cluster has to be asked now. `suspected`: a connection failed since the last question.
    pub(super) fn due(&mut self, member: &Member, suspected: bool) -> bool {
        let now = Instant::now();
        if suspected {
            self.suspicious_until = now + SUSPICION;
        }
        let often = now < self.suspicious_until || member.health.has(WaitReason::Leaders);
        now >= self.looked_at + if often { LOOK_OFTEN } else { LOOK_SELDOM }
    }

    /// Says which of our partitions have no leader, or that all have one.
    pub(super) fn compare(&mut self, member: &Member, cluster: &Metadata) {
        self.looked_at = Instant::now();
        let leads = |topic: &str, partition: i32| {
            let topic = cluster.topics().iter().find(|seen| seen.name() == topic)?;
            Some(topic.partitions().iter().find(|seen| seen.id() == partition)?.leader() >= 0)
        };
        let mut lost: Vec<(String, i32)> = member
            .handoff
            .owned()
            .into_iter()
            .map(|(_, owned)| (owned.topic, owned.partition))
            .filter(|(topic, partition)| leads(topic, *partition) == Some(false))
            .collect();
        lost.sort_unstable();
        let Some((topic, partition)) = lost.first() else { return member.health.clear(WaitReason::Leaders) };
        let says = PARTITION_WITHOUT_LEADER
            .error(ErrorKind::Transient, &[("topic", topic), ("partition", partition)]);
        let more = match lost.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more partitions)"),
        };
        member.health.set(WaitReason::Leaders, format!("{says}{more}"));
    }
}
