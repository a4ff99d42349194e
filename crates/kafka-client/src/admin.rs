//! Questions to a cluster that librdkafka's wrapper lacks: offsets with their timestamps, and the members of a group.
//! Pointers of the library stay inside; what comes out is owned.
#![allow(unsafe_code)]

pub mod acls;
mod topic_ids;

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

pub use self::topic_ids::topic_ids;

/// A place in a partition, as the broker is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The oldest record that is there.
    Earliest,
    /// After the newest.
    Latest,
    /// The first record of that time or later, in milliseconds since 1970.
    Timestamp(i64),
}

/// Where a partition has what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    pub topic: String,
    pub partition: i32,
    /// `None` where nothing is that late.
    pub offset: Option<i64>,
    /// Of the record there, when a time was asked for.
    pub timestamp_ms: Option<i64>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// What it calls itself.
    pub client_id: String,
    /// Its address.
    pub host: String,
}

/// Asks the leaders of these partitions. Uncommitted records count.
pub fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    wanted: &[(&str, i32, OffsetQuery)],
    timeout: Duration,
) -> Result<Vec<ListedOffset>, RDKafkaErrorCode> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    // SAFETY: the list is ours until it is destroyed below; the call copies it.
    let list = unsafe { rd::rd_kafka_topic_partition_list_new(wanted.len() as i32) };
    for (topic, partition, place) in wanted {
        let Ok(topic) = CString::new(*topic) else { continue };
        let offset = match place {
            OffsetQuery::Earliest => -2,
            OffsetQuery::Latest => -1,
            OffsetQuery::Timestamp(ms) => (*ms).max(0),
        };
        // SAFETY: the list is alive, the name a C string that is copied.
        unsafe { (*rd::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), *partition)).offset = offset };
    }
    let event = ask(client, Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout, |client, options, queue| {
        // SAFETY: all four live until the answer has come.
        unsafe { rd::rd_kafka_ListOffsets(client, list, options, queue) };
    });
    // SAFETY: ours, destroyed once.
    unsafe { rd::rd_kafka_topic_partition_list_destroy(list) };
    let event = event?;
    // SAFETY: the event is the answer to this very call; what is read borrows from it and is copied.
    unsafe {
        let result = rd::rd_kafka_event_ListOffsets_result(event.0);
        let mut count = 0;
        let infos = rd::rd_kafka_ListOffsets_result_infos(result, &mut count);
        let mut found = Vec::with_capacity(count);
        for index in 0..count {
            let info = *infos.add(index);
            let place = &*rd::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
            if place.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(place.err.into());
            }
            let timestamp = rd::rd_kafka_ListOffsetsResultInfo_timestamp(info);
            found.push(ListedOffset {
                topic: text(place.topic),
                partition: place.partition,
                offset: (place.offset >= 0).then_some(place.offset),
                timestamp_ms: (timestamp >= 0).then_some(timestamp),
            });
        }
        Ok(found)
    }
}

/// Who is in the group, under either group protocol; nobody in a group that does not exist.
pub fn members<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    timeout: Duration,
) -> Result<Vec<GroupMember>, RDKafkaErrorCode> {
    let Ok(group) = CString::new(group) else { return Ok(Vec::new()) };
    let mut names = [group.as_ptr()];
    let operation = Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let event = ask(client, operation, timeout, |client, options, queue| {
        // SAFETY: all live until the answer has come.
        unsafe { rd::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), 1, options, queue) };
    })?;
    // SAFETY: as above.
    unsafe {
        let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event.0);
        let mut count = 0;
        let groups = rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        let mut members = Vec::new();
        for index in 0..count {
            let group = *groups.add(index);
            let error = rd::rd_kafka_ConsumerGroupDescription_error(group);
            if !error.is_null() {
                match rd::rd_kafka_error_code(error) {
                    Code::RD_KAFKA_RESP_ERR_NO_ERROR | Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => {}
                    code => return Err(code.into()),
                }
            }
            for index in 0..rd::rd_kafka_ConsumerGroupDescription_member_count(group) {
                let member = rd::rd_kafka_ConsumerGroupDescription_member(group, index);
                let client_id = text(rd::rd_kafka_MemberDescription_client_id(member));
                let host = text(rd::rd_kafka_MemberDescription_host(member));
                members.push(GroupMember { client_id, host: host.trim_start_matches('/').to_owned() });
            }
        }
        Ok(members)
    }
}

/// An answer of the library, given back when dropped.
pub struct Event(pub(crate) *mut rd::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours since it was polled, destroyed once.
        unsafe { rd::rd_kafka_event_destroy(self.0) };
    }
}

/// Sends one question and waits for its answer.
pub fn ask<C: ClientContext>(
    client: &Client<C>,
    operation: Operation,
    timeout: Duration,
    send: impl FnOnce(*mut rd::rd_kafka_t, *const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
) -> Result<Event, RDKafkaErrorCode> {
    let wait_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let client = client.native_ptr();
    // SAFETY: the client is alive; options and queue are ours, used by the one call, and destroyed once after its answer
    // or the end of the wait: the library keeps references of its own while it needs them.
    let event = unsafe {
        let options = rd::rd_kafka_AdminOptions_new(client, operation);
        let queue = rd::rd_kafka_queue_new(client);
        rd::rd_kafka_AdminOptions_set_request_timeout(options, wait_ms, ptr::null_mut(), 0);
        send(client, options, queue);
        let event = rd::rd_kafka_queue_poll(queue, wait_ms.saturating_add(1_000));
        rd::rd_kafka_AdminOptions_destroy(options);
        rd::rd_kafka_queue_destroy(queue);
        event
    };
    if event.is_null() {
        return Err(RDKafkaErrorCode::OperationTimedOut);
    }
    let event = Event(event);
    // SAFETY: the event is valid.
    match unsafe { rd::rd_kafka_event_error(event.0) } {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(event),
        code => Err(code.into()),
    }
}

/// # Safety
/// Null or a C string.
pub unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}
