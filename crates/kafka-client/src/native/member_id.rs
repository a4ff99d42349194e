//! The id under which the group knows a consumer. The wrapper has it only as a part of other things.

use std::ffi::CStr;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};

/// Of this consumer now, as soon as it has one; asks its main thread.
pub fn member_id<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<String> {
    // SAFETY: the client is alive; what comes is a C string of ours, copied and then given back to the allocator it is from.
    unsafe {
        let client = consumer.client().native_ptr();
        let text = rd::rd_kafka_memberid(client);
        if text.is_null() {
            return None;
        }
        let id = CStr::from_ptr(text).to_str().ok().filter(|id| !id.is_empty()).map(str::to_owned);
        rd::rd_kafka_mem_free(client, text.cast());
        id
    }
}
