//! The offsets of a group, shown and altered by `aqueduct offsets`.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::{
    Error, ErrorKind, OffsetAdmin, OffsetSpec, Offsets, Partition, PartitionOffsets, Position, Result,
};
use aqueduct_kafka_client::admin::{self, ListedOffset, OffsetQuery};
use aqueduct_kafka_client::{Access, AdminContext, code_of, denial, is_passing, no_broker, no_topic};
use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use crate::client::consumer_config;
use crate::config::{SourceConfig, TopicSelection};
use crate::source::name_of;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Until a request that failed is made again.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// Members of a group that are named when it is in use.
const MEMBERS_NAMED_MAX: usize = 5;

/// The offsets of a group for the partitions that its pipeline reads.
pub(crate) struct GroupOffsets(Arc<Group>);

struct Group {
    consumer: BaseConsumer<AdminContext>,
    config: Arc<SourceConfig>,
    name: String,
}

/// Connects with the first request.
pub(crate) fn open(config: Arc<SourceConfig>, pipeline: &str) -> Result<GroupOffsets> {
    let name = config.group.clone().unwrap_or_else(|| pipeline.to_owned());
    let consumer = consumer_config(&config, &name, &format!("aqueduct-offsets-{pipeline}"))?
        .create_with_context(AdminContext::new(&config.connection))
        .map_err(|error| Error::config("the Kafka client refuses its settings").caused_by(error))?;
    Ok(GroupOffsets(Arc::new(Group { consumer, config, name })))
}

#[async_trait]
impl OffsetAdmin for GroupOffsets {
    async fn list(&mut self) -> Result<Vec<PartitionOffsets>> {
        let group = Arc::clone(&self.0);
        blocking(move || group.list()).await
    }

    async fn resolve(&mut self, partition: &Partition, target: &OffsetSpec) -> Result<Position> {
        let (group, partition, target) = (Arc::clone(&self.0), Arc::clone(partition), target.clone());
        blocking(move || group.resolve(&partition, &target)).await
    }

    async fn store(&mut self, moved: &Offsets) -> Result<()> {
        let (group, moved) = (Arc::clone(&self.0), moved.clone());
        blocking(move || group.store(&moved)).await
    }
}

impl Group {
    fn list(&self) -> Result<Vec<PartitionOffsets>> {
        let partitions = self.partitions()?;
        let stored = self.stored(&partitions)?;
        let (firsts, ends) =
            (self.all(&partitions, OffsetQuery::Earliest)?, self.all(&partitions, OffsetQuery::Latest)?);
        let at = |found: &[ListedOffset], topic: &str, partition: i32| {
            found.iter().find(|found| found.topic == topic && found.partition == partition)?.offset
        };
        let position = |offset: i64| -> Position { offset.to_string().into() };
        let offsets = |((topic, partition), stored): (&(String, i32), Option<i64>)| {
            let (first, end) = (at(&firsts, topic, *partition), at(&ends, topic, *partition));
            PartitionOffsets {
                partition: name_of(topic, *partition),
                stored: stored.map(position),
                first: first.map(position),
                end: end.map(position),
                lag_records: stored.zip(end).map(|(stored, end)| (end - stored).max(0)),
            }
        };
        Ok(partitions.iter().zip(stored).map(offsets).collect())
    }

    /// All that the pipeline reads, in order.
    fn partitions(&self) -> Result<Vec<(String, i32)>> {
        if self.config.is_assigned() {
            let named = self.config.partitions.iter();
            return Ok(named.flat_map(|(topic, of)| of.iter().map(|it| (topic.clone(), *it))).collect());
        }
        let brokers = &self.config.connection.brokers.0;
        let cluster = self
            .consumer
            .fetch_metadata(None, PATIENCE)
            .map_err(|error| Error::transient(no_broker(brokers)).caused_by(error))?;
        let topics: Vec<&str> = match &self.config.topics {
            TopicSelection::Named(names) => names.iter().map(String::as_str).collect(),
            TopicSelection::Matching(pattern) => {
                let names = cluster.topics().iter().map(|topic| topic.name());
                names.filter(|name| pattern.takes(name)).collect()
            }
        };
        let mut all = Vec::new();
        for name in topics {
            let known = cluster.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
            let Some(topic) = known else { return Err(no_topic(name, brokers, Some(&cluster))) };
            all.extend(topic.partitions().iter().map(|partition| (name.to_owned(), partition.id())));
        }
        all.sort();
        Ok(all)
    }

    fn stored(&self, partitions: &[(String, i32)]) -> Result<Vec<Option<i64>>> {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        let asked = format!("the offsets of group `{}`", self.name);
        let ask = || {
            let answer = self.consumer.committed_offsets(list.clone(), PATIENCE);
            answer.map_err(|error| code_of(&error))
        };
        let answer = retry(ask).map_err(|code| self.failed(code, &asked))?;
        let stored = |(topic, partition): &(String, i32)| {
            let offset = answer.find_partition(topic, *partition).map(|element| element.offset());
            if let Some(Offset::Offset(offset)) = offset { Some(offset) } else { None }
        };
        Ok(partitions.iter().map(stored).collect())
    }

    fn all(&self, partitions: &[(String, i32)], query: OffsetQuery) -> Result<Vec<ListedOffset>> {
        let wanted: Vec<(&str, i32, OffsetQuery)> =
            partitions.iter().map(|(topic, partition)| (topic.as_str(), *partition, query)).collect();
        retry(|| admin::list_offsets(self.consumer.client(), &wanted, PATIENCE))
            .map_err(|code| self.failed(code, "where partitions begin and end"))
    }

    fn resolve(&self, name: &Partition, target: &OffsetSpec) -> Result<Position> {
        let partition = parse(name)?;
        let one = |query| -> Result<Option<i64>> {
            let found = self.all(std::slice::from_ref(&partition), query)?;
            Ok(found.first().and_then(|found| found.offset))
        };
        let unknown =
            || Error::transient("the cluster does not say where the partition ends").with("partition", name);
        let first = one(OffsetQuery::Earliest)?.ok_or_else(unknown)?;
        let end = one(OffsetQuery::Latest)?.ok_or_else(unknown)?;
        let offset = match target {
            OffsetSpec::Earliest => first,
            OffsetSpec::Latest => end,
            OffsetSpec::Time(ms) => one(OffsetQuery::Timestamp(*ms))?.unwrap_or(end),
            OffsetSpec::By(records) => {
                let stored = self.stored(std::slice::from_ref(&partition))?[0].ok_or_else(|| {
                    Error::config("nothing is stored, so there is nothing to move on from")
                        .with("partition", name)
                        .remedy("name a place: earliest, latest, a time or an offset")
                })?;
                stored.saturating_add(*records)
            }
            OffsetSpec::At(position) => position.parse().map_err(|_| {
                Error::config(format!("`{position}` is not an offset")).with("partition", name)
            })?,
        };
        Ok(offset.clamp(first, end).to_string().into())
    }

    /// One request: the coordinator commits all of it or nothing, and nothing while the group has members.
    fn store(&self, moved: &Offsets) -> Result<()> {
        let members = retry(|| admin::members(self.consumer.client(), &self.name, PATIENCE))
            .map_err(|code| self.failed(code, &format!("the members of group `{}`", self.name)))?;
        if !members.is_empty() {
            return Err(self.in_use(&members));
        }
        let mut list = TopicPartitionList::with_capacity(moved.len());
        for (name, position) in moved {
            let ((topic, partition), offset) = (parse(name)?, position.parse());
            let offset = offset.map_err(|_| Error::config(format!("`{position}` is not an offset")))?;
            list.add_partition_offset(&topic, partition, Offset::Offset(offset))
                .map_err(|error| Error::config(format!("{offset} is not an offset")).caused_by(error))?;
        }
        let failed = |code| match code {
            RDKafkaErrorCode::UnknownMemberId | RDKafkaErrorCode::RebalanceInProgress => self.in_use(&[]),
            code => self.failed(code, &format!("to store offsets of group `{}`", self.name)),
        };
        self.consumer.commit(&list, CommitMode::Sync).map_err(|error| failed(code_of(&error)))
    }

    fn in_use(&self, members: &[admin::GroupMember]) -> Error {
        let mut who: Vec<String> = members
            .iter()
            .take(MEMBERS_NAMED_MAX)
            .map(|member| format!("{} on {}", member.client_id, member.host))
            .collect();
        if members.len() > MEMBERS_NAMED_MAX {
            who.push(format!("{} more", members.len() - MEMBERS_NAMED_MAX));
        }
        let who = if who.is_empty() { "somebody just joined".to_owned() } else { who.join(", ") };
        Error::config(format!("group `{}` is in use: {who}", self.name)).remedy(
            "stop the pipeline everywhere; a member that was killed is forgotten after its session_timeout",
        )
    }

    fn failed(&self, code: RDKafkaErrorCode, asked: &str) -> Error {
        let access = Access { operation: "Read", topic: None, group: Some(&self.name) };
        let denied = denial(&self.config.connection, code, "", access);
        denied.map(|diagnosed| diagnosed.error(ErrorKind::Fatal)).unwrap_or_else(|| {
            Error::transient(format!("{} does not tell {asked}", self.config.connection.brokers.0))
                .caused_by(KafkaError::OffsetFetch(code))
        })
    }
}

/// Asks again while the coordinator of the group, or the leader of a partition, is being elected.
fn retry<T>(ask: impl Fn() -> Result<T, RDKafkaErrorCode>) -> Result<T, RDKafkaErrorCode> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Err(code) if is_passing(code) && Instant::now() < deadline => std::thread::sleep(ASK_AGAIN),
            answer => return answer,
        }
    }
}

/// A partition by its name in offsets: `orders/3`.
fn parse(name: &str) -> Result<(String, i32)> {
    let parts =
        name.rsplit_once('/').and_then(|(topic, number)| Some((topic.to_owned(), number.parse().ok()?)));
    parts.ok_or_else(|| Error::config(format!("`{name}` is not a partition; write it as in orders/3")))
}

async fn blocking<T: Send + 'static>(ask: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(ask)
        .await
        .map_err(|error| Error::fatal("the question to the cluster died").caused_by(error))?
}
