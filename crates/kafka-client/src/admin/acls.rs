//! What ACLs allow this user to do with topics and groups.
#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_AclOperation_t as Acl;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

use super::request::{request, text};

/// What this user may do with one topic or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizedOperations {
    /// ACL operation `Read`.
    pub read: bool,
    /// ACL operation `Write`.
    pub write: bool,
}

/// A topic as this user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: usize,
    /// What this user may do with it.
    pub rights: AuthorizedOperations,
}

/// A topic that was described, or its name and the error.
pub type Described = Result<Topic, (String, RDKafkaErrorCode)>;

/// Describes topics; for each that cannot be described, why.
pub fn topics<C: ClientContext>(
    client: &Client<C>,
    names: &[String],
    timeout: Duration,
) -> Result<Vec<Described>, RDKafkaErrorCode> {
    let names: Vec<CString> = names.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: the names live on; the collection copies them, and is ours until it is destroyed below.
    let wanted =
        unsafe { rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let event =
        request(client, Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout, |client, options, queue| {
            // SAFETY: all live until the response has come; the options are ours, and nobody else reads them now.
            unsafe {
                with_rights(options);
                rd::rd_kafka_DescribeTopics(client, wanted, options, queue);
            }
        });
    // SAFETY: ours, destroyed once.
    unsafe { rd::rd_kafka_TopicCollection_destroy(wanted) };
    let event = event?;
    // SAFETY: the event is the response to this very call; what is read borrows from it and is copied.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let all = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let one = |index| {
            let topic = *all.add(index);
            let name = text(rd::rd_kafka_TopicDescription_name(topic));
            if let Some(code) = code_of(rd::rd_kafka_TopicDescription_error(topic)) {
                return Err((name, code));
            }
            let mut partitions = 0;
            rd::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
            let mut count = 0;
            let granted = rd::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
            Ok(Topic { name, partitions, rights: rights(granted, count) })
        };
        Ok((0..count).map(one).collect())
    }
}

/// What this user may do with a group, which need not exist.
pub fn group<C: ClientContext>(
    client: &Client<C>,
    name: &str,
    timeout: Duration,
) -> Result<AuthorizedOperations, RDKafkaErrorCode> {
    let name = CString::new(name).map_err(|_| RDKafkaErrorCode::InvalidGroupId)?;
    let mut names = [name.as_ptr()];
    let operation = Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    let event = request(client, operation, timeout, |client, options, queue| {
        // SAFETY: as above.
        unsafe {
            with_rights(options);
            rd::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), 1, options, queue);
        }
    })?;
    // SAFETY: as above.
    unsafe {
        let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event.0);
        let mut count = 0;
        let groups = rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
        if count == 0 {
            return Err(RDKafkaErrorCode::InvalidGroupId);
        }
        if let Some(code) = code_of(rd::rd_kafka_ConsumerGroupDescription_error(*groups)) {
            return Err(code);
        }
        let mut count = 0;
        let granted = rd::rd_kafka_ConsumerGroupDescription_authorized_operations(*groups, &raw mut count);
        Ok(rights(granted, count))
    }
}

/// # Safety
/// The options are alive and not in use.
unsafe fn with_rights(options: *const rd::rd_kafka_AdminOptions_t) {
    const YES: c_int = 1;
    // SAFETY: by contract; the error, if there is one, is ours.
    unsafe {
        let error = rd::rd_kafka_AdminOptions_set_include_authorized_operations(options.cast_mut(), YES);
        if !error.is_null() {
            rd::rd_kafka_error_destroy(error);
        }
    }
}

/// # Safety
/// Null or a list of that length. A broker too old to tell is taken to allow everything.
unsafe fn rights(granted: *const Acl, count: usize) -> AuthorizedOperations {
    if granted.is_null() {
        return AuthorizedOperations { read: true, write: true };
    }
    // SAFETY: by contract.
    let granted = unsafe { std::slice::from_raw_parts(granted, count) };
    let has = |wanted: Acl| {
        granted
            .iter()
            .any(|acl| *acl as u32 == wanted as u32 || *acl as u32 == Acl::RD_KAFKA_ACL_OPERATION_ALL as u32)
    };
    AuthorizedOperations {
        read: has(Acl::RD_KAFKA_ACL_OPERATION_READ),
        write: has(Acl::RD_KAFKA_ACL_OPERATION_WRITE),
    }
}

/// # Safety
/// Null or an error that is alive.
unsafe fn code_of(error: *const rd::rd_kafka_error_t) -> Option<RDKafkaErrorCode> {
    if error.is_null() {
        return None;
    }
    // SAFETY: by contract.
    match unsafe { rd::rd_kafka_error_code(error) } {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => None,
        code => Some(code.into()),
    }
}
