//! The ids of topics (KIP-516): a topic that is deleted and made anew under its name has another.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

use super::request::{request, text};

/// The ids of those of the topics that are there, as Kafka's tools print them. Brokers before 2.8 have none.
pub fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<HashMap<String, String>, RDKafkaErrorCode> {
    let names: Vec<CString> = topics.iter().filter_map(|topic| CString::new(*topic).ok()).collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    if pointers.is_empty() {
        return Ok(HashMap::new());
    }
    // SAFETY: the names are alive, and copied by the call; the collection is ours until it is destroyed below.
    let wanted =
        unsafe { rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()) };
    let operation = Operation::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let event = request(client, operation, timeout, |client, options, queue| {
        // SAFETY: all four live until the response has come.
        unsafe { rd::rd_kafka_DescribeTopics(client, wanted, options, queue) };
    });
    // SAFETY: ours, destroyed once.
    unsafe { rd::rd_kafka_TopicCollection_destroy(wanted) };
    let event = event?;
    // SAFETY: the event is the response to this very call; what is read borrows from it and is copied. An id is null where the
    // topic is not there, and its text is a C string.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut ids = HashMap::with_capacity(count);
        for index in 0..count {
            let topic = *topics.add(index);
            let id = rd::rd_kafka_TopicDescription_topic_id(topic);
            let none = id.is_null()
                || rd::rd_kafka_Uuid_most_significant_bits(id) == 0
                    && rd::rd_kafka_Uuid_least_significant_bits(id) == 0;
            if !none {
                let id = CStr::from_ptr(rd::rd_kafka_Uuid_base64str(id)).to_string_lossy().into_owned();
                ids.insert(text(rd::rd_kafka_TopicDescription_name(topic)), id);
            }
        }
        Ok(ids)
    }
}
