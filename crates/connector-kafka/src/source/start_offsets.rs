//! Where reading begins in partitions that were just assigned: at what is stored for them, or where `start` says.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use aqueduct_api::{Error, ErrorKind, Result};
use aqueduct_kafka_client::admin::topic_ids;
use aqueduct_kafka_client::{REQUEST_TIMEOUT, WaitReason, code_of, is_passing};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::committed_cache;
use super::handoff::name_of;
use super::member::{GroupConsumer, Member, OffsetStorage};
use super::reachability;
use super::topic_id::id_in;
use crate::config::Start;
use crate::diagnosis::OFFSET_NONE;

/// Where a partition begins.
pub(crate) struct StartOffset {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Where to fetch from; not known yet while the partition has no leader.
    pub(crate) offset: Option<Offset>,
    /// What is stored for it.
    pub(crate) committed: Option<i64>,
    /// The start was looked up and may be another next time, so it is committed at once: a crash before the first acknowledged
    /// batch would otherwise skip what came in between.
    pub(crate) commit_now: Option<i64>,
}

/// Asks for the stored offsets, and asks the cluster where nothing is stored. Waits for a broker that is away; a partition is
/// left out when the source ends or loses its assignment meanwhile.
pub(crate) fn start_offsets(
    member: &Member,
    consumer: &GroupConsumer,
    list: &TopicPartitionList,
) -> Result<Vec<StartOffset>> {
    if list.count() == 0 {
        return Ok(Vec::new());
    }
    // Before the offsets: those of a topic that is recreated in between are deleted with it.
    let Some(ids) = ids(member, consumer, list)? else { return Ok(Vec::new()) };
    let Some(stored) = stored(member, consumer, list)? else {
        return Ok(Vec::new());
    };
    let mut starts = Vec::new();
    let mut unresolved = TopicPartitionList::new();
    for Stored { topic, partition, offset, id } in stored {
        let (name, now) = (name_of(&topic, partition), ids.get(&topic));
        let seen = committed_cache::get(&member.brokers, &member.group, &name);
        if let Some(now) = now {
            member.set_topic_id(&topic, partition, now);
        }
        let is_other = |id: &Option<Arc<str>>| id.is_some() && now.is_some() && id.as_ref() != now;
        if let Some(offset) = offset.filter(|_| !is_other(&id)) {
            member.cache_committed(name, offset);
            let (offset, committed) = (Some(Offset::Offset(offset)), Some(offset));
            starts.push(StartOffset { topic, partition, offset, committed, commit_now: None });
            continue;
        }
        let lost = match (offset, seen) {
            (Some(offset), _) => Some((offset, true)),
            (None, Some((offset, id))) if member.offsets_in_group() => Some((offset, is_other(&id))),
            _ => None,
        };
        if let Some((lost, recreated)) = lost {
            let offset = loop {
                match member.offset_after_loss(consumer, &topic, partition, lost, recreated)? {
                    None if member.handoff.ending().is_none() && !consumer.assignment_lost() => {
                        member.poll_briefly(consumer);
                    }
                    offset => break offset,
                }
            };
            let Some(at) = offset else { continue };
            let (offset, commit_now) = (Some(Offset::Offset(at)), Some(at));
            starts.push(StartOffset { topic, partition, offset, committed: None, commit_now });
            continue;
        }
        match member.start {
            Start::None => return Err(nothing_committed(member, &topic, partition)),
            Start::Latest if !member.known_partitions.is_new(&topic, partition) => {
                drop(unresolved.add_partition(&topic, partition).set_offset(Offset::End));
            }
            Start::Earliest | Start::Latest => {
                let offset = Some(Offset::Beginning);
                starts.push(StartOffset { topic, partition, offset, committed: None, commit_now: None });
            }
            Start::Timestamp(moment) => {
                // A time before 1970 is the beginning as well.
                let time = Offset::Offset(moment.unix_ms.max(0));
                drop(unresolved.add_partition(&topic, partition).set_offset(time));
            }
        }
    }
    starts.extend(resolve(member, consumer, unresolved)?);
    Ok(starts)
}

/// What is stored for a partition.
struct Stored {
    topic: String,
    partition: i32,
    offset: Option<i64>,
    /// The id of the topic that the offset belongs to, where that was stored too.
    id: Option<Arc<str>>,
}

/// What is stored for each of these partitions; `None` when the source ends meanwhile.
fn stored(
    member: &Member,
    consumer: &GroupConsumer,
    list: &TopicPartitionList,
) -> Result<Option<Vec<Stored>>> {
    let mut all = Vec::new();
    if let OffsetStorage::Store(offsets) = &member.offset_storage {
        for element in list.elements() {
            let (topic, partition) = (element.topic().to_owned(), element.partition());
            let position = offsets.get(&name_of(&topic, partition));
            let offset = position.map(|position| position.parse()).transpose().map_err(|_| {
                Error::config("a stored position is not an offset")
                    .with("partition", name_of(&topic, partition))
            })?;
            // A store has no ids; this process knows those of what it has stored itself.
            let seen = committed_cache::get(&member.brokers, &member.group, &name_of(&topic, partition));
            let id = seen.filter(|(at, _)| Some(*at) == offset).and_then(|(_, id)| id);
            all.push(Stored { topic, partition, offset, id });
        }
        return Ok(Some(all));
    }
    let ask = |list| consumer.committed_offsets(list, REQUEST_TIMEOUT);
    let what = format!("the offsets of group `{}`", member.group);
    let Some(committed) = ask_until_answered(member, consumer, list, &what, ask)? else {
        return Ok(None);
    };
    for element in committed.elements() {
        let (topic, partition) = (element.topic().to_owned(), element.partition());
        let offset = if let Offset::Offset(offset) = element.offset() { Some(offset) } else { None };
        all.push(Stored { topic, partition, offset, id: id_in(element.metadata()) });
    }
    Ok(Some(all))
}

/// The ids of all topics, as far as the cluster has any; `None` when the source ends meanwhile.
fn ids(
    member: &Member,
    consumer: &GroupConsumer,
    list: &TopicPartitionList,
) -> Result<Option<HashMap<String, Arc<str>>>> {
    let elements = list.elements();
    let topics: BTreeSet<&str> = elements.iter().map(|element| element.topic()).collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    while member.handoff.ending().is_none() && !consumer.assignment_lost() {
        match topic_ids(consumer.client(), &topics, REQUEST_TIMEOUT) {
            Ok(ids) => {
                member.health.clear(WaitReason::Group);
                return Ok(Some(ids.into_iter().map(|(topic, id)| (topic, id.into())).collect()));
            }
            Err(code) if is_passing(code) => {
                let says = format!("{} does not describe its topics ({code}): asking again", member.brokers);
                member.health.set(WaitReason::Group, says);
                reachability::preflight_all(member);
                member.poll_briefly(consumer);
            }
            // The broker is too old, or does not allow it: topics are read without their ids.
            Err(code) => {
                tracing::debug!(%code, "no ids of topics");
                return Ok(Some(HashMap::new()));
            }
        }
    }
    Ok(None)
}

/// Offsets for times and for ends. A time that no record has reached yet is the end. A partition without a leader gets no
/// offset, so that the others need not wait for it.
fn resolve(member: &Member, consumer: &GroupConsumer, list: TopicPartitionList) -> Result<Vec<StartOffset>> {
    let (mut starts, mut leaderless) = (Vec::new(), Vec::new());
    let mut list = list;
    for _ in 0..2 {
        if list.count() == 0 {
            break;
        }
        let ask = |list| {
            let (led, without) = split_by_leader(consumer, list)?;
            leaderless = without;
            if led.count() == 0 { Ok(led) } else { consumer.offsets_for_times(led, REQUEST_TIMEOUT) }
        };
        let Some(answer) = ask_until_answered(member, consumer, &list, "the offsets to start from", ask)?
        else {
            break;
        };
        starts.extend(leaderless.drain(..).map(|(topic, partition)| StartOffset {
            topic,
            partition,
            offset: None,
            committed: None,
            commit_now: None,
        }));
        list = TopicPartitionList::new();
        for element in answer.elements() {
            let (topic, partition) = (element.topic().to_owned(), element.partition());
            match element.offset() {
                Offset::Offset(at) => {
                    let (offset, commit_now) = (Some(Offset::Offset(at)), Some(at));
                    starts.push(StartOffset { topic, partition, offset, committed: None, commit_now });
                }
                _ => drop(list.add_partition(&topic, partition).set_offset(Offset::End)),
            }
        }
    }
    if list.count() > 0 && member.handoff.ending().is_none() && !consumer.assignment_lost() {
        return Err(
            Error::fatal("the cluster does not say where partitions end").with("group", &member.group)
        );
    }
    Ok(starts)
}

/// The partitions with a leader, and those without: a request for all of them would not be answered for any.
fn split_by_leader(
    consumer: &GroupConsumer,
    list: TopicPartitionList,
) -> KafkaResult<(TopicPartitionList, Vec<(String, i32)>)> {
    let one = list.elements().first().map(|first| first.topic().to_owned());
    let one = one.filter(|topic| list.elements().iter().all(|element| element.topic() == topic));
    let cluster = consumer.fetch_metadata(one.as_deref(), REQUEST_TIMEOUT)?;
    let (mut led, mut leaderless) = (TopicPartitionList::new(), Vec::new());
    for element in list.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        let topics = cluster.topics().iter().filter(|known| known.name() == topic);
        let leader = topics
            .flat_map(|known| known.partitions())
            .find(|known| known.id() == partition)
            .map(|known| known.leader());
        match leader {
            // For a partition that is not in the metadata yet, the answer to the request says more.
            Some(0..) | None => led.add_partition_offset(topic, partition, element.offset())?,
            Some(_) => leaderless.push((topic.to_owned(), partition)),
        }
    }
    Ok((led, leaderless))
}

/// Asks until there is an answer for each partition; `None` when the source ends or loses its assignment meanwhile.
fn ask_until_answered(
    member: &Member,
    consumer: &GroupConsumer,
    list: &TopicPartitionList,
    what: &str,
    mut ask: impl FnMut(TopicPartitionList) -> KafkaResult<TopicPartitionList>,
) -> Result<Option<TopicPartitionList>> {
    while member.handoff.ending().is_none() && !consumer.assignment_lost() {
        let code = match ask(list.clone()) {
            Ok(answer) => match answer.elements().iter().find_map(|element| element.error().err()) {
                None => {
                    member.health.clear(WaitReason::Group);
                    return Ok(Some(answer));
                }
                Some(error) => code_of(&error),
            },
            Err(error) => code_of(&error),
        };
        if let Some(error) = member.denied(code, list.elements().first().map(|element| element.topic())) {
            return Err(error);
        }
        if !is_passing(code) && code != RDKafkaErrorCode::UnknownTopicOrPartition {
            let cause = KafkaError::OffsetFetch(code);
            return Err(Error::fatal(format!("cannot ask for {what}")).caused_by(cause));
        }
        let says = format!("{} does not tell {what} ({code}): asking again", member.brokers);
        member.health.set(WaitReason::Group, says);
        reachability::preflight_all(member);
        member.poll_briefly(consumer);
    }
    Ok(None)
}

fn nothing_committed(member: &Member, topic: &str, partition: i32) -> Error {
    OFFSET_NONE.error(
        ErrorKind::Config,
        &[
            ("group", &member.group),
            ("partition", &partition),
            ("topic", &topic),
            ("pipeline", &member.pipeline),
        ],
    )
}
