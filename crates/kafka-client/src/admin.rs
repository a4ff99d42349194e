//! Admin requests that librdkafka's wrapper lacks: offsets with their timestamps, and the members of a group. Pointers of
//! librdkafka stay inside; what is returned is owned.
#![allow(unsafe_code)]

pub mod acls;
mod request;
mod topic_ids;

use std::ffi::CString;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

use self::request::{request, text};
pub use self::topic_ids::topic_ids;

/// An offset of a partition, as ListOffsets asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The oldest record that is there.
    Earliest,
    /// After the newest.
    Latest,
    /// The first record of that time or later, in milliseconds since 1970.
    Timestamp(i64),
}

/// An offset of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// `None` where no record is that late.
    pub offset: Option<i64>,
    /// Of the record there, when a time was asked for.
    pub timestamp_ms: Option<i64>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its `client.id`.
    pub client_id: String,
    /// Its address.
    pub host: String,
}

/// ListOffsets, from the leaders of these partitions; uncommitted records count.
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
    let event =
        request(client, Operation::RD_KAFKA_ADMIN_OP_LISTOFFSETS, timeout, |client, options, queue| {
            // SAFETY: all four live until the response has come.
            unsafe { rd::rd_kafka_ListOffsets(client, list, options, queue) };
        });
    // SAFETY: ours, destroyed once.
    unsafe { rd::rd_kafka_topic_partition_list_destroy(list) };
    let event = event?;
    // SAFETY: the event is the response to this very call; what is read borrows from it and is copied.
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

/// The members of the group, under either group protocol; none for a group that does not exist.
pub fn members<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    timeout: Duration,
) -> Result<Vec<GroupMember>, RDKafkaErrorCode> {
    let Ok(group) = CString::new(group) else { return Ok(Vec::new()) };
    let mut names = [group.as_ptr()];
    let operation = Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let event = request(client, operation, timeout, |client, options, queue| {
        // SAFETY: all live until the response has come.
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
