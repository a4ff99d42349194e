//! One admin request of librdkafka and its response.

use std::ffi::{CStr, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;

/// A response of librdkafka, destroyed when dropped.
pub(super) struct Event(pub(super) *mut rd::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours since it was polled, destroyed once.
        unsafe { rd::rd_kafka_event_destroy(self.0) };
    }
}

/// Sends one admin request and waits for its response.
pub(super) fn request<C: ClientContext>(
    client: &Client<C>,
    operation: Operation,
    timeout: Duration,
    send: impl FnOnce(*mut rd::rd_kafka_t, *const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
) -> Result<Event, RDKafkaErrorCode> {
    let wait_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let client = client.native_ptr();
    // SAFETY: the client is alive; options and queue are ours, used by the one call, and destroyed once after its response
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
pub(super) unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}
