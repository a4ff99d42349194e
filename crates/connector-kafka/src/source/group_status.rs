//! The status of this member in its group: what it reports while it has no partitions, and the file by which members on the same
//! machine find out that its process is dead. Runs on the event thread.

use std::time::Duration;

use aqueduct_api::catalog::SourceContext;
use aqueduct_kafka_client::config::Sasl;
use aqueduct_kafka_client::native::member_id::member_id;
use aqueduct_kafka_client::native::transactions::GroupMetadata;
use aqueduct_kafka_client::wire::dialer::Dialer;
use aqueduct_kafka_client::wire::group::{self, Identity, Shared};
use aqueduct_kafka_client::{CHECK_INTERVAL, WaitReason};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::member::{GroupConsumer, Member};
use super::member_files::{Entry, MemberFile, MemberFiles, WRITE_AGAIN};
use crate::config::SourceConfig;

/// How long the removal of dead members may delay this one.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(3);
/// A broker computes the assignment of a KIP-848 group no more often than this by default
/// (`group.consumer.assignment.interval.ms`). A member that joins sooner gets its partitions with its next heartbeat, five seconds
/// later.
const ASSIGNMENT_INTERVAL: Duration = Duration::from_millis(1_100);
/// How often dead members are looked for while nothing is assigned.
const REMOVE_AGAIN: Duration = Duration::from_secs(5);
/// A rebalance takes a moment; only one that takes longer is reported.
const REBALANCE_USUAL: Duration = Duration::from_secs(3);
/// How often the group is asked why nothing is assigned.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// A broker may refuse to describe a KIP-848 group. After this its assignment is taken for empty.
const DESCRIBED_WITHIN: Duration = Duration::from_secs(10);
/// How often a member that stands by asks who has the partitions.
const STANDBY_AGAIN: Duration = Duration::from_secs(30);
/// A group that answers at all gives a member its id sooner than this.
const MEMBER_ID_WITHIN: Duration = Duration::from_millis(1_500);
/// How often the new member id is looked for.
pub(super) const NEW_MEMBER_POLL: Duration = Duration::from_millis(2);
/// How often the status is looked at once there is a member id.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);
const NOT_TAKEN_OUT: &str = "a member whose process is dead is not taken out of its group";
/// A request to leave the group is answered sooner than this, unless an earlier request on the same connection is not answered
/// yet.
const LEFT_WITHIN: Duration = Duration::from_secs(3);

/// See the file's header.
pub(crate) struct GroupStatus {
    dialer: Dialer,
    consumer_protocol: bool,
    tasks: usize,
    /// None for a static member, whose membership is to outlive its process; for one that joins no group; and where the member
    /// cannot be removed, because only the library can log in to the brokers.
    files: Option<MemberFiles>,
    file: Option<MemberFile>,
    entry: Entry,
    /// Since when it has no partitions, and whether it is still waiting for an assignment.
    since: Option<(bool, Instant)>,
    begun: Instant,
    look_at: Instant,
    write_at: Instant,
    remove_at: Instant,
    ask_at: Instant,
}

impl GroupStatus {
    /// Of a member that is about to join with these properties.
    pub(crate) fn new(config: &SourceConfig, client: &ClientConfig, context: &SourceContext) -> Self {
        let consumer_protocol = client.get("group.protocol") == Some("consumer");
        let joins = !config.is_assigned() && client.get("group.instance.id").is_none();
        let can_remove = !matches!(config.connection.sasl, Some(Sasl::Kerberos(_)));
        let files = (joins && can_remove).then(find_files).flatten();
        let lock_scope = files.as_ref().map(MemberFiles::lock_scope).unwrap_or_default();
        let now = Instant::now();
        Self {
            dialer: Dialer::new(&config.connection, client.get("client.id").unwrap_or("aqueduct")),
            consumer_protocol,
            tasks: context.tasks,
            files,
            file: None,
            entry: Entry {
                brokers: config.connection.brokers.0.clone(),
                group: client.get("group.id").unwrap_or_default().to_owned(),
                member: String::new(),
                consumer_protocol,
                lock_scope,
            },
            since: None,
            begun: now,
            look_at: now,
            write_at: now + WRITE_AGAIN,
            remove_at: now,
            ask_at: now,
        }
    }

    /// Before the group is joined: dead members of this machine are removed from it.
    pub(crate) fn begin(&mut self) {
        let joined = self.remove_dead();
        if let Some(joined) = joined.filter(|joined| self.consumer_protocol && *joined < ASSIGNMENT_INTERVAL)
        {
            std::thread::sleep(ASSIGNMENT_INTERVAL - joined);
        }
        self.begun = Instant::now();
        self.file = self.files.as_ref().and_then(|files| match files.begin() {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::info!(%error, "no file says who is a member of the group: after a kill its session has to end");
                None
            }
        });
    }

    /// Whether the group is about to give this member its id. Until then nothing else is to be done, so that its file is written
    /// before the process can be killed.
    pub(crate) fn is_new(&self) -> bool {
        self.file.is_some() && self.entry.member.is_empty() && self.begun.elapsed() < MEMBER_ID_WITHIN
    }

    /// What is due from time to time.
    pub(crate) fn maintain(&mut self, consumer: &GroupConsumer) {
        let now = Instant::now();
        if now < self.look_at && self.since.is_none() && !self.is_new() {
            return;
        }
        self.look_at = now + STATUS_INTERVAL;
        self.note_member_id(consumer);
        if now >= self.write_at && !self.entry.member.is_empty() {
            self.write();
        }
        let member = consumer.context();
        if member.is_awaiting_assignment() {
            let since = self.without_partitions(true);
            if now >= self.remove_at {
                self.remove_dead();
            }
            self.check_awaited(consumer, since);
        } else if member.handoff.assigned().is_empty() && is_subscribed(consumer) {
            let since = self.without_partitions(false);
            if now >= self.ask_at && since.elapsed() >= CHECK_INTERVAL {
                self.ask_at = now + STANDBY_AGAIN;
                member.health.standing_by(Some(self.stands_by(consumer)));
            }
        } else if self.since.take().is_some() {
            // The modification time of the file says when the last assignment came.
            self.write();
            member.health.standing_by(None);
        }
    }

    /// Since when it is without partitions for this reason. The group is asked at once when that begins.
    fn without_partitions(&mut self, awaiting: bool) -> Instant {
        match self.since {
            Some((same, since)) if same == awaiting => since,
            _ => {
                self.ask_at = Instant::now();
                self.since.insert((awaiting, self.ask_at)).1
            }
        }
    }

    fn note_member_id(&mut self, consumer: &GroupConsumer) {
        let Some(member) = member_id(consumer).filter(|member| *member != self.entry.member) else { return };
        self.entry.member = member;
        self.write();
    }

    fn write(&mut self) {
        self.write_at = Instant::now() + WRITE_AGAIN;
        if let Some(Err(error)) = self.file.as_ref().map(|file| file.write(&self.entry)) {
            tracing::debug!(%error, "the file of a member is not written");
        }
    }

    /// No assignment has come yet: reports why, once that takes longer than usual.
    fn check_awaited(&mut self, consumer: &GroupConsumer, since: Instant) {
        let (now, member) = (Instant::now(), consumer.context());
        if now < self.ask_at
            || since.elapsed() < if self.consumer_protocol { CHECK_INTERVAL } else { REBALANCE_USUAL }
        {
            return;
        }
        self.ask_at = now + ASK_AGAIN;
        // The library does not report an assignment that is empty from the start.
        if self.consumer_protocol
            && GroupMetadata::of(consumer).is_some_and(|metadata| metadata.generation() > 0)
        {
            self.ask_at = now + CHECK_INTERVAL;
            match self.within(group::shared(&self.dialer, &self.entry.group, &self.entry.member)) {
                Ok(Shared { decided: true, of_member: 0, .. }) => return member.assignment_received(),
                Ok(_) => {}
                // A broker that does not describe the group, or not for this user, has given an assignment all the same.
                Err(_) if since.elapsed() < DESCRIBED_WITHIN => {}
                Err(_) => return member.assignment_received(),
            }
        }
        let found = self.members(consumer).map_or(String::new(), |(members, state)| {
            format!(", which has {} and is in state {state}", counted(members, "member"))
        });
        if member.is_awaiting_assignment() && since.elapsed() >= REBALANCE_USUAL {
            member.health.set(WaitReason::Assignment, member.no_assignment(&found));
        }
    }

    /// How many members the group has, and its state.
    fn members(&self, consumer: &GroupConsumer) -> Option<(usize, String)> {
        if self.consumer_protocol {
            let shared =
                self.within(group::shared(&self.dialer, &self.entry.group, &self.entry.member)).ok()?;
            return Some((shared.members, shared.state));
        }
        let list = consumer.client().fetch_group_list(Some(&self.entry.group), CHECK_INTERVAL).ok()?;
        let group = list.groups().first()?;
        Some((group.members().len(), group.state().to_owned())).filter(|(members, _)| *members > 0)
    }

    fn stands_by(&self, consumer: &GroupConsumer) -> String {
        let partitions = partitions(consumer);
        let shares = match (self.members(consumer), partitions) {
            (Some((members, _)), Some(partitions)) => {
                format!(" ({}, {})", counted(members, "member"), counted(partitions, "partition"))
            }
            _ => String::new(),
        };
        let remedy = match partitions {
            Some(partitions) if self.tasks > partitions => {
                format!("; `tasks` is {}, and no more than {partitions} can read", self.tasks)
            }
            _ => "; it takes over when another leaves".to_owned(),
        };
        format!("group `{}` has no partition for this member{shares}{remedy}", self.entry.group)
    }

    /// Removes members whose process is dead: they would keep their partitions until their session is over. Returns how long ago
    /// the last of them had joined or got partitions.
    fn remove_dead(&mut self) -> Option<Duration> {
        self.remove_at = Instant::now() + REMOVE_AGAIN;
        let mut joined = None;
        let files = self.files.as_ref()?;
        let deadline = Instant::now() + REMOVE_TIMEOUT;
        for dead in files.dead(&self.entry.brokers, &self.entry.group) {
            let member = dead.entry.member.clone();
            match self.until(deadline, group::leave(&self.dialer, &identity(&dead.entry))) {
                Ok(()) => {
                    tracing::info!(
                        group = self.entry.group,
                        member,
                        "a member whose process is dead was taken out of its group"
                    );
                    joined = joined.into_iter().chain(dead.age()).min();
                    dead.delete();
                }
                Err(error) if is_final(&error) => {
                    tracing::info!(group = self.entry.group, member, %error, "{NOT_TAKEN_OUT}: its session has to end");
                    dead.delete();
                }
                Err(error) => {
                    tracing::debug!(%error, member, "{NOT_TAKEN_OUT}");
                }
            }
        }
        joined
    }

    /// After the consumer is closed: `begun` is when its closing began.
    pub(crate) fn end(self, begun: Instant) {
        let Some(file) = &self.file else { return };
        // The library cannot leave while its request to join is not answered: both go over one connection.
        let left = begun.elapsed() < LEFT_WITHIN || self.entry.member.is_empty();
        let leave = || self.within(group::leave(&self.dialer, &identity(&self.entry)));
        match left || leave().map_or_else(|error| is_final(&error), |()| true) {
            true => self.file.map(MemberFile::delete).unwrap_or_default(),
            // The next member on this machine tries again.
            false => tracing::debug!(path = ?file, "the group does not answer a member that leaves"),
        }
    }

    fn within<T>(&self, work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
        self.until(Instant::now() + REMOVE_TIMEOUT, work)
    }

    fn until<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = std::io::Result<T>>,
    ) -> std::io::Result<T> {
        let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let done = tokio::time::timeout_at(deadline, work).await;
            done.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        })
    }
}

fn find_files() -> Option<MemberFiles> {
    match MemberFiles::find() {
        Ok(files) => Some(files),
        Err(error) => {
            tracing::info!(%error, "no file says who is a member of the group: after a kill its session has to end");
            None
        }
    }
}

/// Whether another try would be answered in the same way.
fn is_final(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Unsupported
}

fn identity(entry: &Entry) -> Identity<'_> {
    Identity { group: &entry.group, member: &entry.member, consumer_protocol: entry.consumer_protocol }
}

/// How many partitions the subscribed topics have.
fn partitions(consumer: &BaseConsumer<Member>) -> Option<usize> {
    let subscribed = consumer.subscription().ok()?;
    let subscribed: Vec<String> =
        subscribed.elements().iter().map(|element| element.topic().to_owned()).collect();
    let one = subscribed.first().map(String::as_str).filter(|_| subscribed.len() == 1);
    let cluster = consumer.fetch_metadata(one, CHECK_INTERVAL).ok()?;
    let topics = cluster.topics().iter().filter(|topic| subscribed.iter().any(|name| name == topic.name()));
    Some(topics.map(|topic| topic.partitions().len()).sum())
}

fn is_subscribed(consumer: &GroupConsumer) -> bool {
    consumer.subscription().is_ok_and(|list| list.count() > 0)
}

/// As in `1 member`, `2 members`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
