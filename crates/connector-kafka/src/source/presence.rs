//! How this member stands in its group: whether it has been given its partitions, what it says while it has none, and the
//! file by which others on this machine find out that its process is dead. Runs on the event thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_api::ErrorKind;
use aqueduct_api::catalog::SourceContext;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::member::{GroupConsumer, Member};
use super::member_files::{Entry, MemberFile, MemberFiles, WRITE_AGAIN};
use crate::config::SourceConfig;
use crate::diagnosis::GROUP_GIVES_NOTHING;
use aqueduct_kafka_client::config::Sasl;
use aqueduct_kafka_client::native::member_id::member_id;
use aqueduct_kafka_client::native::transactions::GroupMetadata;
use aqueduct_kafka_client::wire::dialer::Dialer;
use aqueduct_kafka_client::wire::group::{self, Identity, Shared};
use aqueduct_kafka_client::{CHECK_INTERVAL, WaitReason};

/// How long the dead may hold up the living.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(3);
/// A broker shares a group of KIP-848 out no oftener than this by default (`group.consumer.assignment.interval.ms`). Who joins
/// sooner is told with its next heartbeat, five seconds later.
const SHARED_OUT_EVERY: Duration = Duration::from_millis(1_100);
/// How often it is looked for dead members while nothing is assigned.
const REMOVE_AGAIN: Duration = Duration::from_secs(5);
/// A rebalance takes a moment; only beyond that is there something to say.
const USUAL: Duration = Duration::from_secs(3);
/// How often the group is asked why nothing is assigned.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// Under KIP-848 the broker may refuse to tell what it has meant for this member.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
/// How often one that stands by asks who has the partitions.
const STANDBY_AGAIN: Duration = Duration::from_secs(30);
/// A group that answers at all names a member sooner than this.
const NAMED_WITHIN: Duration = Duration::from_millis(1_500);
/// How often it is looked whether it has.
pub(super) const NAMED: Duration = Duration::from_millis(2);
/// How often the member id is looked at once there is one.
const LOOK: Duration = Duration::from_millis(100);
const NOT_TAKEN_OUT: &str = "a member whose process is dead is not taken out of its group";
/// A member that leaves is answered sooner than this, unless the group holds an earlier request of its connection back.
const LEAVES_WITHIN: Duration = Duration::from_secs(3);

/// Whether the group has given this member what it has for it, be it nothing. One that reads without a group waits for
/// nothing.
#[derive(Debug, Default)]
pub(crate) struct Awaited(AtomicBool);

impl Member {
    /// From now on the group owes an assignment.
    pub(crate) fn await_assignment(&self) {
        self.awaited.0.store(true, Ordering::Release);
        self.health.set_quietly(WaitReason::Assignment, self.gives_nothing(""));
    }

    /// Here it is.
    pub(crate) fn assignment_came(&self) {
        self.awaited.0.store(false, Ordering::Release);
        self.health.clear_quietly(WaitReason::Assignment);
    }

    /// Whether it still does.
    pub(crate) fn is_awaiting(&self) -> bool {
        self.awaited.0.load(Ordering::Acquire)
    }

    fn gives_nothing(&self, found: &str) -> String {
        let values: [(&str, &dyn std::fmt::Display); 2] = [("group", &self.group), ("found", &found)];
        GROUP_GIVES_NOTHING.error(ErrorKind::Transient, &values).to_string()
    }
}

/// See the file's header.
pub(crate) struct Presence {
    dialer: Dialer,
    consumer_protocol: bool,
    tasks: usize,
    /// Nowhere, for one whose membership is to outlive its process, or that joins no group, or where only the library speaks
    /// to the brokers.
    files: Option<MemberFiles>,
    file: Option<MemberFile>,
    entry: Entry,
    /// Since when it has no partitions, and whether the group still owes them.
    since: Option<(bool, Instant)>,
    begun: Instant,
    look_at: Instant,
    write_at: Instant,
    remove_at: Instant,
    ask_at: Instant,
}

impl Presence {
    /// Of a member that is about to join with these properties.
    pub(crate) fn new(config: &SourceConfig, client: &ClientConfig, context: &SourceContext) -> Self {
        let consumer_protocol = client.get("group.protocol") == Some("consumer");
        let joins = !config.is_assigned() && client.get("group.instance.id").is_none();
        let speaks = !matches!(config.connection.sasl, Some(Sasl::Kerberos(_)));
        let files = (joins && speaks).then(find).flatten();
        let place = files.as_ref().map(MemberFiles::place).unwrap_or_default();
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
                place,
            },
            since: None,
            begun: now,
            look_at: now,
            write_at: now + WRITE_AGAIN,
            remove_at: now,
            ask_at: now,
        }
    }

    /// Before the group is joined: those that died here are taken out of it.
    pub(crate) fn begin(&mut self) {
        let joined = self.remove_dead();
        if let Some(joined) = joined.filter(|joined| self.consumer_protocol && *joined < SHARED_OUT_EVERY) {
            std::thread::sleep(SHARED_OUT_EVERY - joined);
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

    /// Whether nothing else is to be done now: the group is about to name this member, and its file has to say so before it is
    /// killed.
    pub(crate) fn is_new(&self) -> bool {
        self.file.is_some() && self.entry.member.is_empty() && self.begun.elapsed() < NAMED_WITHIN
    }

    /// Now and then.
    pub(crate) fn keep(&mut self, consumer: &GroupConsumer) {
        let now = Instant::now();
        if now < self.look_at && self.since.is_none() && !self.is_new() {
            return;
        }
        self.look_at = now + LOOK;
        self.say_who(consumer);
        if now >= self.write_at && !self.entry.member.is_empty() {
            self.write();
        }
        let member = consumer.context();
        if member.is_awaiting() {
            let since = self.since(true);
            if now >= self.remove_at {
                self.remove_dead();
            }
            self.await_longer(consumer, since);
        } else if member.handoff.owned().is_empty() && joins(consumer) {
            let since = self.since(false);
            if now >= self.ask_at && since.elapsed() >= CHECK_INTERVAL {
                self.ask_at = now + STANDBY_AGAIN;
                member.health.standing_by(Some(self.stands_by(consumer)));
            }
        } else if self.since.take().is_some() {
            // The time of the file is that of the last assignment.
            self.write();
            member.health.standing_by(None);
        }
    }

    /// Since when it is without partitions in this way. The first question follows at once.
    fn since(&mut self, awaiting: bool) -> Instant {
        match self.since {
            Some((same, since)) if same == awaiting => since,
            _ => {
                self.ask_at = Instant::now();
                self.since.insert((awaiting, self.ask_at)).1
            }
        }
    }

    fn say_who(&mut self, consumer: &GroupConsumer) {
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

    fn await_longer(&mut self, consumer: &GroupConsumer, since: Instant) {
        let (now, member) = (Instant::now(), consumer.context());
        if now < self.ask_at || since.elapsed() < if self.consumer_protocol { CHECK_INTERVAL } else { USUAL }
        {
            return;
        }
        self.ask_at = now + ASK_AGAIN;
        // The library says nothing of an assignment that is empty from the first.
        if self.consumer_protocol
            && GroupMetadata::of(consumer).is_some_and(|metadata| metadata.generation() > 0)
        {
            self.ask_at = now + CHECK_INTERVAL;
            match self.within(group::shared(&self.dialer, &self.entry.group, &self.entry.member)) {
                Ok(Shared { decided: true, of_member: 0, .. }) => return member.assignment_came(),
                Ok(_) => {}
                // A broker that does not tell, or not us, gave an assignment all the same.
                Err(_) if since.elapsed() < TOLD_WITHIN => {}
                Err(_) => return member.assignment_came(),
            }
        }
        let found = self.members(consumer).map_or(String::new(), |(members, state)| {
            format!(", which has {} and is in state {state}", counted(members, "member"))
        });
        if member.is_awaiting() && since.elapsed() >= USUAL {
            member.health.set(WaitReason::Assignment, member.gives_nothing(&found));
        }
    }

    /// How many members the group has, and what it is at.
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

    /// Those whose process is dead would keep their partitions until their session is over. Says how long ago the last of
    /// those that were removed had joined or was given partitions.
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
                    dead.forget();
                }
                Err(error) if is_final(&error) => {
                    tracing::info!(group = self.entry.group, member, %error, "{NOT_TAKEN_OUT}: its session has to end");
                    dead.forget();
                }
                Err(error) => {
                    tracing::debug!(%error, member, "{NOT_TAKEN_OUT}");
                }
            }
        }
        joined
    }

    /// Once the library has left the group and is gone: `begun` is when it was asked to.
    pub(crate) fn end(self, begun: Instant) {
        let Some(file) = &self.file else { return };
        // It cannot leave while the group holds its request to join back: they go over one connection.
        let left = begun.elapsed() < LEAVES_WITHIN || self.entry.member.is_empty();
        let leave = || self.within(group::leave(&self.dialer, &identity(&self.entry)));
        match left || leave().map_or_else(|error| is_final(&error), |()| true) {
            true => self.file.map(MemberFile::delete).unwrap_or_default(),
            // Whoever comes next tries it.
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

fn find() -> Option<MemberFiles> {
    match MemberFiles::find() {
        Ok(files) => Some(files),
        Err(error) => {
            tracing::info!(%error, "no file says who is a member of the group: after a kill its session has to end");
            None
        }
    }
}

/// Whether whoever tries it next is told the same.
fn is_final(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::Unsupported
}

fn identity(entry: &Entry) -> Identity<'_> {
    Identity { group: &entry.group, member: &entry.member, consumer_protocol: entry.consumer_protocol }
}

/// How many partitions there are to share.
fn partitions(consumer: &BaseConsumer<Member>) -> Option<usize> {
    let subscribed = consumer.subscription().ok()?;
    let subscribed: Vec<String> =
        subscribed.elements().iter().map(|element| element.topic().to_owned()).collect();
    let one = subscribed.first().map(String::as_str).filter(|_| subscribed.len() == 1);
    let cluster = consumer.fetch_metadata(one, CHECK_INTERVAL).ok()?;
    let topics = cluster.topics().iter().filter(|topic| subscribed.iter().any(|name| name == topic.name()));
    Some(topics.map(|topic| topic.partitions().len()).sum())
}

fn joins(consumer: &GroupConsumer) -> bool {
    consumer.subscription().is_ok_and(|list| list.count() > 0)
}

/// As in `1 member`, `2 members`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
