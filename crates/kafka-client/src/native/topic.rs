//! A topic as the producer knows it. Records that are given to it by this handle need no search by its name, which takes
//! a lock of the whole client for each, and no copy of the name.

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

use aqueduct_api::Record;
use rdkafka::bindings as rd;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

/// See the file's header. It keeps its producer alive: the library's topics must go first. What a record carries is a number, so
/// that its report takes nothing for a pointer.
pub struct Topic<C: ProducerContext<DeliveryOpaque = usize> + 'static> {
    name: String,
    topic: *mut rd::rd_kafka_topic_t,
    producer: Arc<BaseProducer<C>>,
    /// What one call takes, of which only the record's own parts change from call to call.
    parts: [rd::rd_kafka_vu_t; PARTS],
}

// The places of the parts. Headers come last, since most records have none: a call then takes one part less.
const TOPIC: usize = 0;
const FLAGS: usize = 1;
const VALUE: usize = 2;
const KEY: usize = 3;
const DELIVERY_ID: usize = 4;
const TIME: usize = 5;
const HEADERS: usize = 6;
const PARTS: usize = 7;

// SAFETY: handles of librdkafka's topics are locked inside; any thread may use one.
unsafe impl<C: ProducerContext<DeliveryOpaque = usize>> Send for Topic<C> {}
// SAFETY: nothing can be done with it by a shared reference.
unsafe impl<C: ProducerContext<DeliveryOpaque = usize>> Sync for Topic<C> {}

impl<C: ProducerContext<DeliveryOpaque = usize>> Topic<C> {
    /// The topic of that name; whether it exists is not asked.
    ///
    /// # Errors
    /// When it can be no name of a topic.
    pub fn new(producer: &Arc<BaseProducer<C>>, name: &str) -> Result<Self, RDKafkaErrorCode> {
        let invalid = RDKafkaErrorCode::InvalidTopic;
        let c_name = CString::new(name).map_err(|_| invalid)?;
        // SAFETY: the client is alive, the name a C string, and null asks for the client's own settings.
        let topic = unsafe {
            rd::rd_kafka_topic_new(producer.client().native_ptr(), c_name.as_ptr(), ptr::null_mut())
        };
        if topic.is_null() {
            return Err(invalid);
        }
        use rd::rd_kafka_vtype_t as Of;
        let part = |vtype| rd::rd_kafka_vu_t { vtype, u: rd::rd_kafka_vu_s__bindgen_ty_1 { _pad: [0; 64] } };
        let mut parts = [
            part(Of::RD_KAFKA_VTYPE_RKT),
            part(Of::RD_KAFKA_VTYPE_MSGFLAGS),
            part(Of::RD_KAFKA_VTYPE_VALUE),
            part(Of::RD_KAFKA_VTYPE_KEY),
            part(Of::RD_KAFKA_VTYPE_OPAQUE),
            part(Of::RD_KAFKA_VTYPE_TIMESTAMP),
            part(Of::RD_KAFKA_VTYPE_HEADERS),
        ];
        parts[TOPIC].u.rkt = topic;
        parts[FLAGS].u.i = rd::RD_KAFKA_MSG_F_COPY;
        Ok(Self { name: name.to_owned(), topic, producer: Arc::clone(producer), parts })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the producer a copy of a record; its report carries `delivery_id`.
    ///
    /// # Errors
    /// What the library says instead of taking it: its queue is full, it has given up, or the record can be sent nowhere.
    pub fn send(&mut self, record: &Record, delivery_id: usize) -> Result<(), RDKafkaErrorCode> {
        let bytes = |payload: &aqueduct_api::Payload| match payload.bytes() {
            None => rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: ptr::null_mut(), size: 0 },
            // It is only read from.
            Some(bytes) => rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
                ptr: bytes.as_ptr().cast_mut().cast::<c_void>(),
                size: bytes.len(),
            },
        };
        self.parts[VALUE].u.mem = bytes(&record.value);
        self.parts[KEY].u.mem = bytes(&record.key);
        self.parts[DELIVERY_ID].u.ptr = ptr::without_provenance_mut(delivery_id);
        self.parts[TIME].u.i64_ = time_ms(record.timestamp_us);
        let headers = headers_of(record);
        self.parts[HEADERS].u.headers = headers;
        let count = if headers.is_null() { HEADERS } else { PARTS };
        // SAFETY: client, topic and parts are alive; payloads are copied by the call; the headers are its own once it has
        // succeeded, and ours if not. An error is ours.
        unsafe {
            let error =
                rd::rd_kafka_produceva(self.producer.client().native_ptr(), self.parts.as_ptr(), count);
            if error.is_null() {
                return Ok(());
            }
            let fatal = rd::rd_kafka_error_is_fatal(error) != 0;
            let code = if fatal { Code::RD_KAFKA_RESP_ERR__FATAL } else { rd::rd_kafka_error_code(error) };
            rd::rd_kafka_error_destroy(error);
            if !headers.is_null() {
                rd::rd_kafka_headers_destroy(headers);
            }
            Err(code.into())
        }
    }
}

impl<C: ProducerContext<DeliveryOpaque = usize>> Drop for Topic<C> {
    fn drop(&mut self) {
        // SAFETY: made in `new`, given back once, before the producer.
        unsafe { rd::rd_kafka_topic_destroy(self.topic) };
    }
}

/// The library takes 0 for "now"; the first millisecond of 1970 is the nearest it can keep.
fn time_ms(timestamp_us: Option<i64>) -> i64 {
    match timestamp_us.map(|us| us.div_euclid(1_000)) {
        None => 0,
        Some(0) => 1,
        Some(ms) => ms,
    }
}

/// A list of the library's own; null for none.
fn headers_of(record: &Record) -> *mut rd::rd_kafka_headers_t {
    if record.headers.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: a new list; names and values are copied, each with its length.
    unsafe {
        let headers = rd::rd_kafka_headers_new(record.headers.len());
        for header in &record.headers {
            let (value, length) = match &header.value {
                None => (ptr::null(), 0),
                Some(value) => (value.as_ptr().cast::<c_void>(), value.len() as isize),
            };
            let name = (header.name.as_ptr().cast(), header.name.len() as isize);
            rd::rd_kafka_header_add(headers, name.0, name.1, value, length);
        }
        headers
    }
}
