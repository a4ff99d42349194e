//! A member of the group: takes partitions over, gives them up drained, and commits. Everything here runs on
//! the event thread, but for `commit`, which any thread may call.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aqueduct_api::{Error, ErrorKind, Incarnations, Offsets, Partition};
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::time::Instant;

use super::halts::{Halts, Why};
use super::handoff::{Commit, Ending, Handoff, name_of};
use super::lives;
use super::presence::Awaited;
use super::start::{Known, Placed, place};
use crate::config::{OnLostOffsets, Start};
use crate::diagnosis::{GROUP_HAS_MEMBERS, PARTITIONS_LOST};
use aqueduct_kafka_client::native::batch_queue::{self, BatchQueue};
use aqueduct_kafka_client::{Access, ClientHealth, WaitReason, code_of};

/// How long the last commit of what is given up may take.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one look at the group's events may take while something else is waited for.
const GLANCE: Duration = Duration::from_millis(20);

/// The consumer with this member as its context.
pub(crate) type GroupConsumer = BaseConsumer<Member>;

/// See the file's header.
pub(crate) struct Member {
    pub(crate) handoff: Arc<Handoff>,
    pub(crate) halts: Arc<Halts>,
    pub(crate) health: ClientHealth,
    pub(crate) pipeline: Arc<str>,
    pub(crate) group: String,
    pub(crate) brokers: String,
    pub(crate) start: Start,
    pub(crate) on_lost: OnLostOffsets,
    /// Where offsets are kept.
    pub(crate) keeping: Keeping,
    /// Which lives of topics are read.
    pub(crate) incarnations: Incarnations,
    /// How many partitions topics had when they were first seen.
    pub(crate) known: Known,
    pub(crate) drain_timeout: Duration,
    /// Where assigned partitions are forwarded to.
    pub(crate) data: Mutex<Weak<BatchQueue<Member>>>,
    /// What the source fails with once it has left the group.
    pub(crate) parting: Mutex<Option<Error>>,
    /// The leaders of all that was assigned have answered once.
    pub(crate) begun: AtomicBool,
    /// Topics that the cluster does not know, as the library tells it.
    pub(crate) unknown: Mutex<bool>,
    /// What the group has not given yet.
    pub(crate) awaited: Awaited,
}

/// Where the offsets of a source are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// By the group, which is joined.
    Joined,
    /// In the name of the group, which nobody joins.
    Named,
    /// By the group, which is joined, and where the transactions of the sink put them.
    InTransactions,
    /// By an offset store, which had these.
    Elsewhere(Offsets),
}

impl Member {
    /// The error for a right that is missing; `None` for every other code.
    pub(crate) fn denied(&self, code: RDKafkaErrorCode, topic: Option<&str>) -> Option<Error> {
        self.health.denied(code, "", self.access(topic))
    }

    fn access<'a>(&'a self, topic: Option<&'a str>) -> Access<'a> {
        Access { operation: "Read", topic, group: Some(&self.group) }
    }

    /// Starts a commit of what is released, if there is any and none is under way.
    pub(crate) fn commit(&self, consumer: &GroupConsumer) {
        if !self.commits() {
            return;
        }
        let Some(commits) = self.handoff.next_commit() else {
            return;
        };
        let mut list = TopicPartitionList::with_capacity(commits.len());
        for Commit { topic, partition, offset, .. } in &commits {
            let mut element = list.add_partition(topic, *partition);
            if let Some(id) = self.id_of(topic, *partition) {
                element.set_metadata(lives::metadata(&id));
            }
            if element.set_offset(Offset::Offset(*offset)).is_err() {
                let error = Error::fatal("an offset to commit is negative").with("topic", topic);
                self.handoff.fail(error.with("partition", partition).with("offset", offset));
            }
        }
        if let Err(code) = batch_queue::commit(consumer, &list) {
            self.committed(Err(code), &TopicPartitionList::new());
        }
    }

    /// Commits until nothing is left, or until the time is over: what is left then is read again by the next
    /// owner.
    pub(crate) fn commit_last(&self, consumer: &GroupConsumer, of_all: bool) {
        if !self.commits() {
            return;
        }
        let deadline = Instant::now() + LAST_COMMIT_TIMEOUT;
        while self.handoff.uncommitted(of_all) && self.handoff.ending() != Some(Ending::Abandon) {
            if Instant::now() > deadline || consumer.assignment_lost() {
                tracing::warn!(
                    group = self.group,
                    "the last offsets are not committed, their records will be read again"
                );
                return;
            }
            self.commit(consumer);
            self.glance(consumer);
        }
    }

    fn committed(&self, result: Result<(), RDKafkaErrorCode>, list: &TopicPartitionList) {
        let code_for = |commit: &Commit| match list.find_partition(&commit.topic, commit.partition) {
            Some(element) => element.error().err().map(|error| code_of(&error)),
            None => result.err(),
        };
        self.handoff.committed(|commit| code_for(commit).is_some() || (result.is_err() && list.count() == 0));
        match result {
            Ok(()) => {
                for element in list.elements().iter().filter(|element| element.error().is_ok()) {
                    if let Offset::Offset(offset) = element.offset() {
                        let name = name_of(element.topic(), element.partition());
                        self.remember(name, offset);
                    }
                }
                self.health.clear(WaitReason::Group);
            }
            Err(RDKafkaErrorCode::UnknownMemberId) if self.keeping == Keeping::Named => {
                let says = GROUP_HAS_MEMBERS.error(ErrorKind::Transient, &[("group", &self.group)]);
                self.health.set(WaitReason::Group, says.to_string());
            }
            // The group is on the move: what is still ours afterwards is committed then.
            Err(RDKafkaErrorCode::RebalanceInProgress | RDKafkaErrorCode::IllegalGeneration) => {}
            Err(code) => {
                let group = &self.group;
                if let Some(error) = self.denied(code, None) {
                    return self.handoff.fail(error);
                }
                let says = format!("offsets of group `{group}` are not committed ({code}): trying again");
                self.health.set(WaitReason::Group, says);
            }
        }
    }

    /// Whether the group keeps the offsets, whoever puts them there.
    pub(crate) fn keeps(&self) -> bool {
        !matches!(self.keeping, Keeping::Elsewhere(_))
    }

    /// Whether this member commits them.
    pub(crate) fn commits(&self) -> bool {
        matches!(self.keeping, Keeping::Joined | Keeping::Named)
    }

    /// What begins at an offset that may be found differently next time: it is stored at once, whoever stores.
    pub(crate) fn begin_at(&self, topic: &str, partition: i32, offset: i64) {
        self.handoff.begin_at(topic, partition, offset, !self.commits());
    }

    /// Where records are forwarded to, as long as the data thread takes them.
    pub(crate) fn queue(&self) -> Option<Arc<BatchQueue<Member>>> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Takes partitions over.
    pub(crate) fn assign(&self, consumer: &GroupConsumer, list: &TopicPartitionList) {
        let placed = match place(self, consumer, list) {
            Ok(placed) => placed,
            Err(error) => {
                self.part_with(error);
                Vec::new()
            }
        };
        let queue = self.queue();
        let mut positions = TopicPartitionList::with_capacity(placed.len());
        let mut unplaced = TopicPartitionList::new();
        self.handoff.pause();
        for Placed { topic, partition, offset, committed, commit_now } in &placed {
            let Some(queue) = &queue else { continue };
            let mut element = positions.add_partition(topic, *partition);
            if offset.is_none() {
                self.halts.halt(topic, *partition, 0, Why::Unplaced);
                unplaced.add_partition(topic, *partition);
            }
            if let Err(error) = element.set_offset(offset.unwrap_or(Offset::Beginning)) {
                self.handoff
                    .fail(Error::fatal("no offset to start from").with("topic", topic).caused_by(error));
            }
            queue.attach(topic, *partition);
            self.handoff.own(topic, *partition, *committed);
            if let Some(offset) = commit_now {
                self.begin_at(topic, *partition, *offset);
            }
        }
        self.handoff.resume();
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&positions),
            _ => consumer.assign(&positions),
        }
        // Not before somebody says where they begin; the halt drops what comes all the same.
        .and_then(|()| if unplaced.count() > 0 { consumer.pause(&unplaced) } else { Ok(()) });
        if let Err(error) = result {
            self.handoff.fail(
                Error::fatal("cannot take over partitions").with("group", &self.group).caused_by(error),
            );
        }
        self.assignment_came();
        tracing::info!(group = self.group, partitions = positions.count(), "partitions assigned");
        self.commit(consumer);
    }

    fn revoke(&self, consumer: &GroupConsumer, list: &TopicPartitionList) {
        let elements = list.elements();
        let names: Vec<Partition> =
            elements.iter().map(|element| name_of(element.topic(), element.partition())).collect();
        let lost = consumer.assignment_lost();
        if lost {
            // The group was not heard of for a whole session: somebody has to ask whether any broker answers.
            self.health.connection_failed();
            self.await_assignment();
        }
        if !names.is_empty() {
            for element in &elements {
                batch_queue::detach(consumer, element.topic(), element.partition());
            }
            self.handoff.revoke(&names, lost);
            if lost {
                self.lose();
            } else {
                self.drain(consumer);
            }
            self.handoff.pause();
            self.handoff.forget(&names);
            self.halts.forget(&names);
            self.handoff.resume();
        }
        let result = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(&taken_of(consumer, list)),
            _ => consumer.unassign(),
        };
        if let Err(error) = result {
            tracing::debug!(%error, group = self.group, "partitions were gone already");
        }
        tracing::info!(group = self.group, partitions = names.len(), lost, "partitions revoked");
    }

    /// Waits, bounded, until the engine has let go; events are served meanwhile, so releases are committed.
    pub(crate) fn drain(&self, consumer: &GroupConsumer) {
        let deadline = Instant::now() + self.drain_timeout;
        while !self.handoff.let_go() && !consumer.assignment_lost() {
            if Instant::now() > deadline {
                tracing::warn!(group = self.group, "partitions are given up before they are drained");
                break;
            }
            self.commit(consumer);
            self.glance(consumer);
        }
        self.commit_last(consumer, false);
        if !self.handoff.has_let_go() || consumer.assignment_lost() {
            self.lose();
        }
    }

    /// Partitions go while the engine may still be writing what was read of them. A transaction with that in it must not be
    /// committed under a membership that begins afterwards: others own them then (invariants 9, 10). From here on none is shown.
    fn lose(&self) {
        if self.keeping == Keeping::InTransactions {
            self.handoff.lose(PARTITIONS_LOST.error(ErrorKind::Fatal, &[("group", &self.group)]));
        }
    }

    /// Serves events for a moment. A record among them would be lost, and is an error.
    pub(crate) fn glance(&self, consumer: &GroupConsumer) {
        self.serve(consumer, GLANCE);
    }

    /// Serves events for that long.
    pub(crate) fn serve(&self, consumer: &GroupConsumer, wait: Duration) {
        match consumer.poll(wait) {
            None => {}
            Some(Ok(_)) => {
                self.handoff.fail(
                    Error::fatal("a record came among the events of the group").with("group", &self.group),
                );
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                let error =
                    Error::fatal(format!("the Kafka client gave up: {code}")).with("group", &self.group);
                self.handoff.fail(error);
            }
            // Heard of by `error` below.
            Some(Err(_)) => {}
        }
    }
}

/// Those of the list that were really taken over. The library refuses the whole list for one that was not, and then waits for
/// this answer for ever.
fn taken_of(consumer: &GroupConsumer, list: &TopicPartitionList) -> TopicPartitionList {
    let taken = consumer.assignment().unwrap_or_default();
    let mut ours = TopicPartitionList::new();
    for element in list.elements() {
        if taken.find_partition(element.topic(), element.partition()).is_some() {
            ours.add_partition(element.topic(), element.partition());
        }
    }
    ours
}

impl ClientContext for Member {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let Some(error) = self.health.client_log(level, facility, line) {
            self.handoff.fail(error);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = code_of(&error);
        if matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) {
            *self.unknown.lock().unwrap_or_else(PoisonError::into_inner) = true;
            return;
        }
        if let Some(error) = self.health.client_error(&error, reason, self.access(None)) {
            self.handoff.fail(error);
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.health.oauth_token()
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &GroupConsumer, what: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.revoke(consumer, list),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        self.committed(result.map_err(|error| code_of(&error)), offsets);
    }
}
