//! Records by the hundred from a queue of librdkafka, and the four calls beside it that the wrapper does not have.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;

use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;

/// A queue that partitions are forwarded to. It keeps its consumer alive: the library's queues must go first.
pub(crate) struct BatchQueue<C: ConsumerContext + 'static> {
    queue: *mut rd::rd_kafka_queue_t,
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: queues of librdkafka are locked inside; any thread may use one.
unsafe impl<C: ConsumerContext> Send for BatchQueue<C> {}
// SAFETY: as above.
unsafe impl<C: ConsumerContext> Sync for BatchQueue<C> {}

impl<C: ConsumerContext> BatchQueue<C> {
    /// An empty queue of this consumer.
    pub(crate) fn new(consumer: Arc<BaseConsumer<C>>) -> Self {
        // SAFETY: the client lives as long as `consumer`, which this value keeps.
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        Self { queue, consumer }
    }

    /// Whose queue this is.
    pub(crate) fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// From now on records of this partition arrive here.
    pub(crate) fn attach(&self, topic: &str, partition: i32) {
        forward(&self.consumer, topic, partition, self.queue);
    }

    /// Waits up to `wait_ms` for a record and takes it with all that are there already, `records_max` at
    /// most.
    pub(crate) fn take<'a>(&self, room: &'a mut Room, records_max: usize, wait_ms: i32) -> Messages<'a> {
        room.0.clear();
        room.0.reserve(records_max);
        // A call returns when the room is full or the time is over, so the wait is for the first record only.
        for (count_max, wait_ms) in [(1, wait_ms), (records_max.saturating_sub(1), 0)] {
            let taken = room.0.len();
            // SAFETY: the room has capacity for `records_max` pointers, of which `taken` are set; the call
            // writes at most `count_max` behind them and says how many.
            let count = unsafe {
                let room = room.0.as_mut_ptr().add(taken);
                rd::rd_kafka_consume_batch_queue(self.queue, wait_ms, room, count_max)
            };
            // SAFETY: that many were set.
            unsafe { room.0.set_len(taken + usize::try_from(count).unwrap_or(0)) };
            if count < 1 {
                break;
            }
        }
        Messages(&mut room.0)
    }
}

impl<C: ConsumerContext> Drop for BatchQueue<C> {
    fn drop(&mut self) {
        // SAFETY: made in `new`, destroyed once, before the consumer.
        unsafe { rd::rd_kafka_queue_destroy(self.queue) };
    }
}

/// Room for the pointers of one call, used again by the next.
#[derive(Default)]
pub(crate) struct Room(Vec<*mut rd::rd_kafka_message_t>);

/// The records of one call; given back to the library when dropped.
pub(crate) struct Messages<'a>(&'a mut Vec<*mut rd::rd_kafka_message_t>);

impl Messages<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, in the order in which they arrived.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        // SAFETY: the pointers are the library's and valid until `drop`.
        self.0.iter().map(|message| unsafe { Message(&**message) })
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        for message in self.0.drain(..) {
            // SAFETY: ours since the call that gave it, destroyed once.
            unsafe { rd::rd_kafka_message_destroy(message) };
        }
    }
}

/// What a record without a time has in its place (KIP-32).
const NO_TIME_MS: i64 = -1;

/// One record, or an error in its place.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a>(&'a rd::rd_kafka_message_t);

impl<'a> Message<'a> {
    /// What went wrong instead of a record, with the library's own words.
    pub(crate) fn error(self) -> Option<(RDKafkaErrorCode, String)> {
        if self.0.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: the message is valid; its text is a C string or null.
        let text = unsafe { text(rd::rd_kafka_message_errstr(self.0)) };
        Some((self.0.err.into(), text))
    }

    /// Equal for records of one topic, as long as the messages of a call are held.
    pub(crate) fn topic_id(self) -> usize {
        self.0.rkt as usize
    }

    /// The topic's name.
    pub(crate) fn topic(self) -> &'a str {
        if self.0.rkt.is_null() {
            return "";
        }
        // SAFETY: the topic lives as long as the message; Kafka allows ASCII names only.
        unsafe { CStr::from_ptr(rd::rd_kafka_topic_name(self.0.rkt)) }.to_str().unwrap_or_default()
    }

    /// The partition.
    pub(crate) fn partition(self) -> i32 {
        self.0.partition
    }

    /// The offset.
    pub(crate) fn offset(self) -> i64 {
        self.0.offset
    }

    /// The key, if there is one.
    pub(crate) fn key(self) -> Option<&'a [u8]> {
        bytes(self.0.key, self.0.key_len)
    }

    /// The value, if there is one.
    pub(crate) fn value(self) -> Option<&'a [u8]> {
        bytes(self.0.payload, self.0.len)
    }

    /// Bytes of key and value.
    pub(crate) fn payload_bytes(self) -> usize {
        self.0.key_len + self.0.len
    }

    /// Whether this is no record, and says that the partition is read up to [`Self::offset`] with nothing left: the end,
    /// or where the oldest transaction begins that is still open. Markers, aborted records and what was compacted away
    /// are behind it then.
    pub(crate) fn is_end(self) -> bool {
        self.0.err == Code::RD_KAFKA_RESP_ERR__PARTITION_EOF
    }

    /// Milliseconds since 1970, if the record has a time: -1 in Kafka is none.
    pub(crate) fn timestamp_ms(self) -> Option<i64> {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid and `kind` is written.
        let timestamp = unsafe { rd::rd_kafka_message_timestamp(self.0, &mut kind) };
        let has_time = kind != rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        (has_time && timestamp != NO_TIME_MS).then_some(timestamp)
    }

    /// Hands each header to `visit`, in order. The library parses them at the first question, out of a buffer that it makes
    /// for it, and gives no cheaper way to learn that there are none. A name ends for it at a zero byte.
    ///
    /// # Errors
    /// When they cannot be read: they are damaged, or more than the 100,000 that the library takes.
    pub(crate) fn headers(self, mut visit: impl FnMut(&str, Option<&[u8]>)) -> Result<(), RDKafkaErrorCode> {
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
            visit(&unsafe { CStr::from_ptr(name) }.to_string_lossy(), bytes(value, length));
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
pub(crate) fn detach<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: &str, partition: i32) {
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
/// The wrapper's own asynchronous commit tells nobody how it ended.
pub(crate) fn commit<C: ConsumerContext>(
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

/// The oldest offset and the one after the newest, as the last fetch saw them: nobody is asked.
pub(crate) fn watermarks<C: ConsumerContext>(
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
