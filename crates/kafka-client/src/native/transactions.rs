//! Transactions: the membership of a consumer as they carry it. The wrapper has the calls, and does not
//! show what is in it.

use std::ffi::CStr;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::TopicPartitionList;

/// Group, generation and member, as they were when it was asked for.
pub struct GroupMetadata(*mut rd::rd_kafka_consumer_group_metadata_t);

// SAFETY: a copy that is ours alone.
unsafe impl Send for GroupMetadata {}
// SAFETY: it is only read from.
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    /// Of this consumer now; asks its main thread.
    pub fn of<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<Self> {
        // SAFETY: the client is alive; what comes is a copy and ours.
        let metadata = unsafe { rd::rd_kafka_consumer_group_metadata(consumer.client().native_ptr()) };
        (!metadata.is_null()).then_some(Self(metadata))
    }

    /// The generation of the group, or the epoch of the member, that the consumer has come to.
    pub fn generation(&self) -> i32 {
        // SAFETY: alive.
        unsafe { rd::rd_kafka_consumer_group_metadata_generation_id(self.0) }
    }

    /// Whether the group has taken the consumer in.
    pub fn is_member(&self) -> bool {
        // SAFETY: alive, and the name of the member lives as long.
        unsafe {
            let member = rd::rd_kafka_consumer_group_metadata_member_id(self.0);
            let generation = rd::rd_kafka_consumer_group_metadata_generation_id(self.0);
            generation >= 0 && !member.is_null() && !CStr::from_ptr(member).is_empty()
        }
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: ours, destroyed once.
        unsafe { rd::rd_kafka_consumer_group_metadata_destroy(self.0) };
    }
}

/// What became of a step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is made.
    Done,
    /// A retriable error: the same call has to be made again.
    Retriable(String),
    /// The transaction has to be aborted.
    Abortable(String),
    /// The producer cannot go on.
    Fatal(RDKafkaErrorCode, String),
}

/// What every call of a transaction answers.
fn step(error: *mut rd::rd_kafka_error_t) -> Step {
    if error.is_null() {
        return Step::Done;
    }
    // SAFETY: ours until it is destroyed below; its text is copied before.
    unsafe {
        let says = CStr::from_ptr(rd::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        let code: RDKafkaErrorCode = rd::rd_kafka_error_code(error).into();
        let step = if rd::rd_kafka_error_is_fatal(error) != 0 {
            Step::Fatal(code, says)
        } else if rd::rd_kafka_error_txn_requires_abort(error) != 0 {
            Step::Abortable(code.to_string())
        } else if rd::rd_kafka_error_is_retriable(error) != 0 || code == RDKafkaErrorCode::OperationTimedOut {
            Step::Retriable(says)
        } else {
            Step::Fatal(code, says)
        };
        rd::rd_kafka_error_destroy(error);
        step
    }
}

/// Takes the transactional id over: what an earlier producer of this id left open is aborted.
pub fn init<C: ClientContext>(producer: &Client<C>, timeout_ms: i32) -> Step {
    // SAFETY: the client is alive.
    step(unsafe { rd::rd_kafka_init_transactions(producer.native_ptr(), timeout_ms) })
}

/// Begins a transaction.
pub fn begin<C: ClientContext>(producer: &Client<C>) -> Step {
    // SAFETY: the client is alive.
    step(unsafe { rd::rd_kafka_begin_transaction(producer.native_ptr()) })
}

/// Adds offsets to the transaction that is open, in the name of a member of a group.
pub fn add_offsets<C: ClientContext>(
    producer: &Client<C>,
    offsets: &TopicPartitionList,
    metadata: &GroupMetadata,
    timeout_ms: i32,
) -> Step {
    // SAFETY: all are alive, and copied by the call.
    step(unsafe {
        let client = producer.native_ptr();
        rd::rd_kafka_send_offsets_to_transaction(client, offsets.ptr(), metadata.0, timeout_ms)
    })
}

/// Commits the transaction that is open.
pub fn commit<C: ClientContext>(producer: &Client<C>, timeout_ms: i32) -> Step {
    // SAFETY: the client is alive.
    step(unsafe { rd::rd_kafka_commit_transaction(producer.native_ptr(), timeout_ms) })
}

/// Aborts the transaction that is open, and purges what is queued.
pub fn abort<C: ClientContext>(producer: &Client<C>, timeout_ms: i32) -> Step {
    // SAFETY: the client is alive.
    step(unsafe { rd::rd_kafka_abort_transaction(producer.native_ptr(), timeout_ms) })
}
