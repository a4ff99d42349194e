//! Where reading begins in partitions that were just assigned: at what the group has committed, or where
//! `start` says.

use aqueduct_api::{Error, Result};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::member::{GroupConsumer, Member};
use crate::client::{ASK_TIMEOUT, Trouble, code_of, is_passing, refused};
use crate::config::Start;

/// A partition with its place.
pub(crate) struct Placed {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Where to fetch from.
    pub(crate) offset: Offset,
    /// What the group has.
    pub(crate) committed: Option<i64>,
    /// Resolved by a question that may be answered differently next time, so it is committed at once: a crash
    /// before the first settled batch would otherwise skip what came in between.
    pub(crate) commit_now: Option<i64>,
}

/// Asks the group, and the cluster where the group has nothing. Waits for a broker that is away; a partition
/// is left out when the source ends or loses its assignment meanwhile.
pub(crate) fn place(
    member: &Member,
    consumer: &GroupConsumer,
    list: &TopicPartitionList,
) -> Result<Vec<Placed>> {
    if list.count() == 0 {
        return Ok(Vec::new());
    }
    let ask = |list| consumer.committed_offsets(list, ASK_TIMEOUT);
    let what = format!("the offsets of group `{}`", member.group);
    let Some(committed) = insist(member, consumer, list, &what, ask)? else {
        return Ok(Vec::new());
    };
    let mut placed = Vec::new();
    let mut fresh = TopicPartitionList::new();
    for element in committed.elements() {
        let (topic, partition) = (element.topic().to_owned(), element.partition());
        if let Offset::Offset(offset) = element.offset() {
            let (offset, committed) = (Offset::Offset(offset), Some(offset));
            placed.push(Placed { topic, partition, offset, committed, commit_now: None });
            continue;
        }
        match member.start {
            Start::Earliest => {
                let offset = Offset::Beginning;
                placed.push(Placed { topic, partition, offset, committed: None, commit_now: None });
            }
            Start::None => return Err(nothing_committed(member, &topic, partition)),
            Start::Latest => drop(fresh.add_partition(&topic, partition).set_offset(Offset::End)),
            Start::Timestamp(moment) => {
                // A time before 1970 is the beginning as well.
                let time = Offset::Offset(moment.unix_ms.max(0));
                drop(fresh.add_partition(&topic, partition).set_offset(time));
            }
        }
    }
    placed.extend(resolve(member, consumer, fresh)?);
    Ok(placed)
}

/// Offsets for times and for ends. A time that no record has reached yet is the end.
fn resolve(member: &Member, consumer: &GroupConsumer, list: TopicPartitionList) -> Result<Vec<Placed>> {
    let mut placed = Vec::new();
    let mut list = list;
    for _ in 0..2 {
        if list.count() == 0 {
            break;
        }
        let ask = |list| consumer.offsets_for_times(list, ASK_TIMEOUT);
        let Some(answer) = insist(member, consumer, &list, "the offsets to start from", ask)? else {
            break;
        };
        list = TopicPartitionList::new();
        for element in answer.elements() {
            let (topic, partition) = (element.topic().to_owned(), element.partition());
            match element.offset() {
                Offset::Offset(at) => {
                    let (offset, commit_now) = (Offset::Offset(at), Some(at));
                    placed.push(Placed { topic, partition, offset, committed: None, commit_now });
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
    Ok(placed)
}

/// Asks until there is an answer for each partition; `None` when the source ends or loses its assignment
/// meanwhile.
fn insist(
    member: &Member,
    consumer: &GroupConsumer,
    list: &TopicPartitionList,
    what: &str,
    ask: impl Fn(TopicPartitionList) -> KafkaResult<TopicPartitionList>,
) -> Result<Option<TopicPartitionList>> {
    while member.handoff.ending().is_none() && !consumer.assignment_lost() {
        let code = match ask(list.clone()) {
            Ok(answer) => match answer.elements().iter().find_map(|element| element.error().err()) {
                None => {
                    member.troubles.clear(Trouble::Group);
                    return Ok(Some(answer));
                }
                Some(error) => code_of(&error),
            },
            Err(error) => code_of(&error),
        };
        if let Some(error) = refused(code, &format!("to ask for {what}")) {
            return Err(error);
        }
        if !is_passing(code) && code != RDKafkaErrorCode::UnknownTopicOrPartition {
            let cause = KafkaError::OffsetFetch(code);
            return Err(Error::fatal(format!("cannot ask for {what}")).caused_by(cause));
        }
        let says = format!("{} does not tell {what} ({code}): asking again", member.brokers);
        member.troubles.set(Trouble::Group, says);
        member.glance(consumer);
    }
    Ok(None)
}

fn nothing_committed(member: &Member, topic: &str, partition: i32) -> Error {
    let group = &member.group;
    Error::config(format!("group `{group}` has no offset for partition {partition} of `{topic}`, and `start` is none"))
        .remedy(format!(
            "set source.kafka.start to earliest, latest or a timestamp, or commit an offset: kafka-consumer-groups.sh --bootstrap-server {} --group {group} --topic {topic}:{partition} --reset-offsets --to-earliest --execute",
            member.brokers
        ))
}
