//! Consumer groups: sharing out, rebalancing without loss, expelling the silent, committed offsets.

#![allow(clippy::unwrap_used)]

mod probe;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use probe::{Dev, PATIENCE, Raw, send, take, wait_until};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use tokio::time::Instant;

const PARTITIONS: i32 = 4;

/// A second member comes and goes while records are produced and read: each record is read by one of them, and with a
/// commit of what was read before it is given up, none is lost.
fn two_members_share(strategy: &str) {
    let dev = Dev::with_topic("t", PARTITIONS);
    let config = [("partition.assignment.strategy", strategy)];
    let mut seen: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    let mut poll = |consumer: &BaseConsumer| {
        while let Some(message) = consumer.poll(Duration::from_millis(20)) {
            let message = message.unwrap();
            *seen.entry((message.partition(), message.offset())).or_default() += 1;
            consumer.store_offset("t", message.partition(), message.offset()).unwrap();
        }
    };
    let own = |consumer: &BaseConsumer| consumer.assignment().unwrap().count();
    let producer = dev.producer(&[]);
    let produce = |count: usize| {
        (0..PARTITIONS).for_each(|p| send(&producer, "t", p, (0..count).map(|i| i.to_string())));
        rdkafka::producer::Producer::flush(&producer, PATIENCE).unwrap();
    };
    let member = || {
        let stored = [("enable.auto.commit", "true"), ("enable.auto.offset.store", "false")];
        let consumer = dev.consumer("g", &[&config[..], &stored[..]].concat());
        consumer.subscribe(&["t"]).unwrap();
        consumer
    };

    let first = member();
    produce(200);
    wait_until("the first has all", || {
        poll(&first);
        own(&first) == 4
    });
    let second = member();
    produce(200);
    wait_until("both share", || {
        poll(&first);
        poll(&second);
        own(&first) == 2 && own(&second) == 2
    });
    produce(200);
    for _ in 0..20 {
        poll(&first);
        poll(&second);
    }
    drop(second);
    produce(200);
    wait_until("the first has all again", || {
        poll(&first);
        own(&first) == 4
    });
    for _ in 0..50 {
        poll(&first);
    }
    for partition in 0..PARTITIONS {
        let offsets = seen.keys().filter(|(p, _)| *p == partition).map(|(_, offset)| *offset);
        assert_eq!(
            offsets.collect::<Vec<_>>(),
            (0..800).collect::<Vec<_>>(),
            "{strategy}, partition {partition}"
        );
    }
}

#[test]
fn two_members_share_by_range() {
    two_members_share("range");
}

#[test]
fn two_members_share_cooperatively() {
    two_members_share("cooperative-sticky");
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let dev = Dev::with_topic("t", PARTITIONS);
    let rebalances = Arc::new(AtomicUsize::new(0));
    let member = |instance: &str| {
        let config = dev.consumer_config("g", &[("group.instance.id", instance)]);
        let consumer =
            config.create_with_context::<_, BaseConsumer<_>>(Rebalances(Arc::clone(&rebalances))).unwrap();
        consumer.subscribe(&["t"]).unwrap();
        consumer
    };
    let own = |consumer: &BaseConsumer<Rebalances>| -> Vec<i32> {
        consumer.assignment().unwrap().elements().iter().map(|e| e.partition()).collect()
    };
    let both_have_two = |first: &BaseConsumer<_>, second: &BaseConsumer<_>| {
        first.poll(Duration::from_millis(20));
        second.poll(Duration::from_millis(20));
        own(first).len() == 2 && own(second).len() == 2
    };
    let (first, second) = (member("a"), member("b"));
    wait_until("both share", || both_have_two(&first, &second));
    let kept = own(&second);
    drop(second);
    rebalances.store(0, Ordering::Relaxed);
    let second = member("b");
    wait_until("the second is back", || both_have_two(&first, &second));
    assert_eq!(own(&second), kept);
    assert_eq!(rebalances.load(Ordering::Relaxed), 1, "only the second may have been given partitions");
}

/// Counts how often partitions are given or taken.
struct Rebalances(Arc<AtomicUsize>);

impl ClientContext for Rebalances {}

impl ConsumerContext for Rebalances {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn offsets_are_committed_fetched_and_resumed_from() {
    let dev = Dev::with_topic("t", 2);
    dev.produce("t", 0, (0..10).map(|i| i.to_string()));
    let consumer = dev.consumer("g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    take(&consumer, 10);
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("t", 0, Offset::Offset(6)).unwrap();
    offsets.find_partition("t", 0).unwrap().set_metadata("note");
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
    let mut asked = TopicPartitionList::new();
    asked.add_partition("t", 0);
    asked.add_partition("t", 1);
    let committed = consumer.committed_offsets(asked, PATIENCE).unwrap();
    let committed: Vec<_> =
        committed.elements().iter().map(|e| (e.offset(), e.metadata().to_owned())).collect();
    assert_eq!(committed, [(Offset::Offset(6), "note".to_owned()), (Offset::Invalid, String::new())]);
    drop(consumer);

    let consumer = dev.consumer("g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    assert_eq!(take(&consumer, 4)[0].offset(), 6);
    drop(consumer);
    let mut raw = Raw::connect(&dev);
    wait_until("the group is empty", || state(&mut raw, "g") == "Empty");
    let listed = raw.call(5, &ListGroupsRequest::default()).groups;
    assert_eq!((listed.len(), listed[0].group_id.as_str()), (1, "g"));
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("g"), group("none")]);
    let deleted: Vec<_> = raw.call(2, &delete).results.iter().map(|r| r.error_code.err()).collect();
    assert_eq!(deleted, [None, Some(ResponseError::GroupIdNotFound)]);
    assert_eq!(state(&mut raw, "g"), "Dead");
}

#[test]
fn a_silent_member_is_expelled_and_the_rebalance_goes_on() {
    let dev = Dev::with_topic("t", 2);
    let (mut first, mut second) = (Raw::connect(&dev), Raw::connect(&dev));
    let joined = join(&mut first, "", 500, 60_000);
    let (silent, generation) = (joined.member_id, joined.generation_id);
    assert_eq!(sync(&mut first, &silent, generation, &[(&silent, "all")]), Ok("all".into()));
    assert_eq!(heartbeat(&mut first, &silent, generation), None);

    let began = Instant::now();
    let joined = join(&mut second, "", 5_000, 60_000);
    let took = began.elapsed();
    assert!((300..3_000).contains(&took.as_millis()), "took {took:?}");
    assert_eq!((joined.generation_id, joined.members.len()), (generation + 1, 1));
    assert_eq!(heartbeat(&mut first, &silent, generation), Some(ResponseError::UnknownMemberId));
}

#[test]
fn a_member_that_does_not_join_again_in_time_is_left_behind() {
    let dev = Dev::with_topic("t", 2);
    let (mut first, mut second) = (Raw::connect(&dev), Raw::connect(&dev));
    let joined = join(&mut first, "", 60_000, 700);
    let (late, generation) = (joined.member_id, joined.generation_id);
    assert_eq!(sync(&mut first, &late, generation, &[(&late, "all")]), Ok("all".into()));
    let began = Instant::now();
    let joined = join(&mut second, "", 60_000, 700);
    assert!((600..3_000).contains(&began.elapsed().as_millis()), "took {:?}", began.elapsed());
    assert_eq!(joined.members.len(), 1);
    assert_eq!(heartbeat(&mut first, &late, generation), Some(ResponseError::UnknownMemberId));
}

#[test]
fn all_are_told_of_a_rebalance_and_the_leader_divides() {
    let dev = Dev::with_topic("t", 2);
    let (mut first, mut second) = (Raw::connect(&dev), Raw::connect(&dev));
    let joined = join(&mut first, "", 10_000, 10_000);
    let (one, generation) = (joined.member_id, joined.generation_id);
    assert_eq!(sync(&mut first, &one, generation, &[(&one, "all")]), Ok("all".into()));
    let (two, joined) = std::thread::scope(|scope| {
        let other = scope.spawn(|| join(&mut second, "", 10_000, 10_000));
        wait_until("the first is told", || {
            heartbeat(&mut first, &one, generation) == Some(ResponseError::RebalanceInProgress)
        });
        let joined = join(&mut first, &one, 10_000, 10_000);
        (other.join().unwrap().member_id, joined)
    });
    assert_eq!((joined.generation_id, joined.leader.as_str()), (generation + 1, one.as_str()));
    assert_eq!(joined.members.iter().map(|m| &m.member_id).collect::<BTreeSet<_>>(), [&one, &two].into());
    let now = joined.generation_id;
    assert_eq!(sync(&mut first, &one, generation, &[]), Err(ResponseError::IllegalGeneration));
    let divided = sync(&mut first, &one, now, &[(&one, "mine"), (&two, "yours")]);
    assert_eq!(divided, Ok("mine".into()));
    assert_eq!(sync(&mut second, &two, now, &[]), Ok("yours".into()));
    assert_eq!(state(&mut first, "g"), "Stable");

    let leave = LeaveGroupRequest::default().with_group_id(group("g")).with_member_id(two);
    assert_eq!(second.call(2, &leave).error_code, 0);
    assert_eq!(heartbeat(&mut first, &one, now), Some(ResponseError::RebalanceInProgress));
    let delete = DeleteGroupsRequest::default().with_groups_names(vec![group("g")]);
    assert_eq!(first.call(2, &delete).results[0].error_code.err(), Some(ResponseError::NonEmptyGroup));
}

/// Joins, coming back with the id that a new member is given first.
fn join(raw: &mut Raw, id: &str, session_ms: i32, rebalance_ms: i32) -> JoinGroupResponse {
    let protocol =
        JoinGroupRequestProtocol::default().with_name("range".into()).with_metadata(Bytes::from("topics"));
    let request = JoinGroupRequest::default()
        .with_group_id(group("g"))
        .with_session_timeout_ms(session_ms)
        .with_rebalance_timeout_ms(rebalance_ms)
        .with_member_id(StrBytes::from_string(id.to_owned()))
        .with_protocol_type("consumer".into())
        .with_protocols(vec![protocol]);
    let joined = raw.call(9, &request);
    match joined.error_code.err() {
        Some(ResponseError::MemberIdRequired) => join(raw, &joined.member_id, session_ms, rebalance_ms),
        error => {
            assert_eq!(error, None);
            joined
        }
    }
}

fn sync(
    raw: &mut Raw,
    id: &str,
    generation: i32,
    assignments: &[(&str, &str)],
) -> Result<Bytes, ResponseError> {
    let owned = |text: &str| StrBytes::from_string(text.to_owned());
    let assignments = assignments.iter().map(|(id, assignment)| {
        let assignment = Bytes::copy_from_slice(assignment.as_bytes());
        SyncGroupRequestAssignment::default().with_member_id(owned(id)).with_assignment(assignment)
    });
    let request = SyncGroupRequest::default()
        .with_group_id(group("g"))
        .with_generation_id(generation)
        .with_member_id(owned(id))
        .with_protocol_type(Some("consumer".into()))
        .with_protocol_name(Some("range".into()))
        .with_assignments(assignments.collect());
    let synced = raw.call(5, &request);
    synced.error_code.err().map_or(Ok(synced.assignment), Err)
}

fn heartbeat(raw: &mut Raw, id: &str, generation: i32) -> Option<ResponseError> {
    let request = HeartbeatRequest::default().with_group_id(group("g")).with_generation_id(generation);
    raw.call(4, &request.with_member_id(StrBytes::from_string(id.to_owned()))).error_code.err()
}

fn state(raw: &mut Raw, name: &'static str) -> String {
    let asked = DescribeGroupsRequest::default().with_groups(vec![group(name)]);
    raw.call(5, &asked).groups[0].group_state.to_string()
}

fn group(name: &'static str) -> GroupId {
    GroupId(name.into())
}
