//! Partitions without a leader: the library waits for them without a report and reads the others on, so the metadata is asked for
//! from time to time, and more often when a broker is suspected to be gone.

use std::time::Duration;

use aqueduct_api::ErrorKind;
use aqueduct_kafka_client::WaitReason;
use rdkafka::metadata::Metadata;
use tokio::time::Instant;

use super::member::Member;
use crate::diagnosis::PARTITION_WITHOUT_LEADER;

/// How often the leaders are checked as a rule.
const CHECK_USUALLY: Duration = Duration::from_secs(30);
/// How often while a partition has no leader, and after a connection failed.
const CHECK_OFTEN: Duration = Duration::from_secs(2);
/// How long after that: the cluster itself takes `broker.session.timeout.ms` (9 s) to see that a broker is gone.
const SUSPICION: Duration = Duration::from_secs(20);

/// When the leaders are to be checked.
pub(super) struct Leaders {
    checked_at: Instant,
    suspicious_until: Instant,
}

impl Leaders {
    /// Nothing is suspected.
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { checked_at: now, suspicious_until: now }
    }

    /// Whether they have to be checked now. `suspected`: a connection failed since the last time.
    pub(super) fn due(&mut self, member: &Member, suspected: bool) -> bool {
        let now = Instant::now();
        if suspected {
            self.suspicious_until = now + SUSPICION;
        }
        let often = now < self.suspicious_until || member.health.has(WaitReason::Leaders);
        now >= self.checked_at + if often { CHECK_OFTEN } else { CHECK_USUALLY }
    }

    /// Reports which assigned partitions have no leader, or that all have one.
    pub(super) fn compare(&mut self, member: &Member, cluster: &Metadata) {
        self.checked_at = Instant::now();
        let has_leader = |topic: &str, partition: i32| {
            let topic = cluster.topics().iter().find(|it| it.name() == topic)?;
            Some(topic.partitions().iter().find(|it| it.id() == partition)?.leader() >= 0)
        };
        let mut leaderless: Vec<(String, i32)> = member
            .handoff
            .assigned()
            .into_iter()
            .map(|(_, it)| (it.topic, it.partition))
            .filter(|(topic, partition)| has_leader(topic, *partition) == Some(false))
            .collect();
        leaderless.sort_unstable();
        let Some((topic, partition)) = leaderless.first() else {
            return member.health.clear(WaitReason::Leaders);
        };
        let says = PARTITION_WITHOUT_LEADER
            .error(ErrorKind::Transient, &[("topic", topic), ("partition", partition)]);
        let more = match leaderless.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more partitions)"),
        };
        member.health.set(WaitReason::Leaders, format!("{says}{more}"));
    }
}
