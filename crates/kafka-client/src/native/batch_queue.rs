//! Records by the hundred from a queue of librdkafka, and the calls beside it that the wrapper does not have.

use std::any::Any;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::Arc;

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;

/// A queue that partitions are forwarded to. It keeps its consumer alive: the library's queues must go first.
pub struct BatchQueue<C: ConsumerContext + 'static> {
    queue: *mut rd::rd_kafka_queue_t,
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: queues of librdkafka are locked inside; any thread may use one.
unsafe impl<C: ConsumerContext> Send for BatchQueue<C> {}
// SAFETY: as above.
unsafe impl<C: ConsumerContext> Sync for BatchQueue<C> {}

impl<C: ConsumerContext> BatchQueue<C> {
    /// An empty queue of this consumer.
    pub fn new(consumer: Arc<BaseConsumer<C>>) -> Self {
        // SAFETY: the client lives as long as `consumer`, which this value keeps.
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Self { queue, consumer }
    }

    /// Whose queue this is.
    pub fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// From now on records of this partition arrive here.
    pub fn attach(&self, topic: &str, partition: i32) {
        forward(&self.consumer, topic, partition, self.queue);
    }

    /// Waits up to `wait_ms` for a record and hands it to `each_record` with all that are there already, in order, until `each_record`
    /// says no. Says whether that was all there was.
    ///
    /// Each is given back to the library when it was called. The call that fills an array with records is not used: it
    /// counts the end of a partition, and an error, as a record at that offset, and when the library pauses the
    /// partition (in every rebalance) the next record is skipped (librdkafka 2.12, `rd_kafka_q_serve_rkmessages`).
    pub fn serve<F: FnMut(Message<'_>) -> bool>(&self, wait_ms: i32, visit: F) -> bool {
        let client = self.consumer.client().native_ptr();
        let mut callback = Callback { visit, client, stopped: false, panic: None };
        let opaque = ptr::from_mut(&mut callback).cast();
        // SAFETY: the queue is alive; `opaque` is what `each` takes it for, and is used during the call only.
        unsafe { rd::rd_kafka_consume_callback_queue(self.queue, wait_ms, Some(each::<F>), opaque) };
        if let Some(panic) = callback.panic {
            resume_unwind(panic);
        }
        !callback.stopped
    }
}

/// What is to be done with each record of one call.
struct Callback<F> {
    visit: F,
    client: *mut rd::rd_kafka_t,
    stopped: bool,
    panic: Option<Box<dyn Any + Send>>,
}

/// # Safety
/// To be called by the library, with a message of its own and with the address of a `Callback<F>` that nobody else uses.
unsafe extern "C" fn each<F: FnMut(Message<'_>) -> bool>(
    message: *mut rd::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: by contract; the message is valid until this returns.
    let (message, callback) = unsafe { (Message(&*message), &mut *opaque.cast::<Callback<F>>()) };
    let called = catch_unwind(AssertUnwindSafe(|| (callback.visit)(message)));
    if !matches!(called, Ok(true)) {
        callback.stopped = true;
        // SAFETY: the client is alive. What was not called stays in the queue, at its head.
        unsafe { rd::rd_kafka_yield(callback.client) };
    }
    // A panic must not go through the library.
    callback.panic = called.err();
}

impl<C: ConsumerContext> Drop for BatchQueue<C> {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed once, before the consumer.
        unsafe { rd::rd_kafka_queue_destroy(self.queue) };
    }
}

/// What a record without a time has in its place (KIP-32).
const NO_TIME_MS: i64 = -1;

/// One record, or an error in its place.
#[derive(Clone, Copy)]
pub struct Message<'a>(&'a rd::rd_kafka_message_t);

impl<'a> Message<'a> {
    /// The error in place of a record, with librdkafka's text.
    pub fn error(self) -> Option<(RDKafkaErrorCode, String)> {
        if self.0.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the message is valid; its text is a C string or null.
        let text = unsafe { text(rd::rd_kafka_message_errstr(self.0)) };
        Some((self.0.err.into(), text))
    }

    /// Equal for records of one topic, as long as one of its partitions is assigned: the library keeps the topic for that.
    pub fn topic_id(self) -> usize {
        self.0.rkt as usize
    }

    /// The topic's name.
    pub fn topic(self) -> &'a str {
        if self.0.rkt.is_null() {
            return "";
        }
        // SAFETY: the topic lives as long as the message; Kafka allows ASCII names only.
        unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(self.0.rkt)) }.to_str().unwrap_or_default()
    }

    /// The partition.
    pub fn partition(self) -> i32 {
        self.0.partition
    }

    /// The offset.
    pub fn offset(self) -> i64 {
        self.0.offset
    }

    /// The key, if there is one.
    pub fn key(self) -> Option<&'a [u8]> {
        bytes(self.0.key, self.0.key_len)
    }

    /// The value, if there is one.
    pub fn value(self) -> Option<&'a [u8]> {
        bytes(self.0.payload, self.0.len)
    }

    /// Bytes of key and value.
    pub fn payload_bytes(self) -> usize {
        self.0.key_len + self.0.len
    }

    /// Whether this is no record, and says that the partition is read up to [`Self::offset`] with nothing left: the end,
    /// or where the oldest transaction begins that is still open. Markers, aborted records and what was compacted away
    /// are behind it then.
    pub fn is_end(self) -> bool {
        self.0.err == Code::RD_KAFKA_RESP_ERR__PARTITION_EOF
    }

    /// Milliseconds since 1970, if the record has a time: -1 in Kafka is none.
    pub fn timestamp_ms(self) -> Option<i64> {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid and `kind` is written.
        let timestamp = unsafe { rd::rd_kafka_message_timestamp(self.0, &mut kind) };
        let has_time = kind != rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        (has_time && timestamp != NO_TIME_MS).then_some(timestamp)
    }

    /// Hands each header to `each_header`, in order. The library parses them at the first question, out of a buffer that it makes
    /// for it, and gives no cheaper way to learn that there are none. A name ends for it at a zero byte.
    ///
    /// # Errors
    /// When they cannot be read: they are damaged, or more than the 100,000 that the library takes.
    pub fn headers(self, mut each_header: impl FnMut(&str, Option<&[u8]>)) -> Result<(), RDKafkaErrorCode> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is valid; the list, if there is one, stays the message's.
        match unsafe { rd::rd_kafka_message_headers(self.0, &mut headers) } {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            Code::RD_KAFKA_RESP_ERR__NOENT => return Ok(()),
            code => return Err(code.into()),
        }
        for index in 0.. {
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list is valid; what is written points into the message.
            let code =
                unsafe { rd::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut length) };
            if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            // SAFETY: a name is a C string.
            each_header(&unsafe { CStr::from_ptr(name) }.to_string_lossy(), bytes(value, length));
        }
        Ok(())
    }
}

fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: the library gives a start with its length, valid as long as the message that the caller borrows
    // from.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), length) })
}

/// # Safety
/// Null or a C string.
unsafe fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: by contract.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}

/// Records of this partition arrive nowhere from now on; those that were forwarded and not taken are
/// discarded by the library once the partition is unassigned.
pub fn detach<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partition: i32) {
    forward(consumer, topic, partition, ptr::null_mut());
}

fn forward<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
    to: *mut rd::rd_kafka_queue_t,
) {
    let Ok(topic) = CString::new(topic) else { return };
    // SAFETY: the client is alive, the name a C string; the partition's queue is a reference of ours, given
    // back here; `to` is null or a live queue of the same client.
    unsafe {
        let queue =
            rd::rd_kafka_queue_get_partition(consumer.client().native_ptr(), topic.as_ptr(), partition);
        if !queue.is_null() {
            rd::rd_kafka_queue_forward(queue, to);
            rd::rd_kafka_queue_destroy(queue);
        }
    }
}

/// Starts a commit; its outcome comes to `ConsumerContext::commit_callback` of whoever polls the consumer.
/// The wrapper's own asynchronous commit does not report its outcome.
pub fn commit<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    offsets: &TopicPartitionList,
) -> Result<(), RDKafkaErrorCode> {
    let client = consumer.client().native_ptr();
    // SAFETY: client and list are alive; the list is copied by the call; the reference to the queue is given
    // back.
    let code = unsafe {
        let queue = rd::rd_kafka_queue_get_consumer(client);
        if queue.is_null() {
            return Err(RDKafkaErrorCode::UnknownGroup);
        }
        let code = rd::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, ptr::null_mut());
        rd::rd_kafka_queue_destroy(queue);
        code
    };
    if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR { Ok(()) } else { Err(code.into()) }
}

/// The oldest offset and the one after the newest, as the last fetch saw them, without a request.
pub fn watermarks<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Option<(i64, i64)> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the client is alive, the name a C string, and both numbers are written.
    let code = unsafe {
        let client = consumer.client().native_ptr();
        rd::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), partition, &mut low, &mut high)
    };
    (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some((low.max(0), high))
}
