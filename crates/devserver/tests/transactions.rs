//! Transactions and idempotence: what is committed is seen once, what is aborted never, who is fenced stays out.

#![allow(clippy::unwrap_used)]

mod probe;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    InitProducerIdRequest, ProduceRequest, ProduceResponse, TopicName, TransactionalId,
};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use probe::{Dev, PATIENCE, Raw, send, take, wait_until};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message, Offset, TopicPartitionList};

const UNCOMMITTED: &[(&str, &str)] = &[("isolation.level", "read_uncommitted")];

fn transactional(dev: &Dev, id: &str) -> BaseProducer {
    let producer = dev.producer(&[("transactional.id", id), ("transaction.timeout.ms", "60000")]);
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

fn values(messages: &[OwnedMessage]) -> Vec<&str> {
    messages.iter().map(|message| std::str::from_utf8(message.payload().unwrap()).unwrap()).collect()
}

fn strings<const N: usize>(values: [&str; N]) -> [String; N] {
    values.map(str::to_owned)
}

#[test]
fn the_committed_is_read_and_the_aborted_is_not() {
    let dev = Dev::with_topic("t", 1);
    let producer = transactional(&dev, "x");
    for (i, commit) in [true, false, true, false, false, true].into_iter().enumerate() {
        producer.begin_transaction().unwrap();
        send(&producer, "t", 0, strings([["a0", "a1", "a2", "a3", "a4", "a5"][i], "more"]));
        producer.flush(PATIENCE).unwrap();
        match commit {
            true => producer.commit_transaction(PATIENCE).unwrap(),
            false => producer.abort_transaction(PATIENCE).unwrap(),
        }
    }
    assert_eq!(values(&dev.read("t", 6, &[])), ["a0", "more", "a2", "more", "a5", "more"]);
    assert_eq!(dev.read("t", 12, UNCOMMITTED).len(), 12);
}

#[test]
fn nothing_behind_an_open_transaction_is_read_as_committed() {
    let dev = Dev::with_topic("t", 1);
    dev.produce("t", 0, strings(["before"]));
    let producer = transactional(&dev, "x");
    producer.begin_transaction().unwrap();
    send(&producer, "t", 0, strings(["open"]));
    producer.flush(PATIENCE).unwrap();
    dev.produce("t", 0, strings(["behind"]));
    let consumer = dev.consumer("g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    assert_eq!(values(&take(&consumer, 1)), ["before"]);
    assert_eq!(values(&dev.read("t", 3, UNCOMMITTED)), ["before", "open", "behind"]);
    producer.abort_transaction(PATIENCE).unwrap();
    assert_eq!(values(&take(&consumer, 1)), ["behind"]);
}

#[test]
fn a_successor_fences_and_aborts_what_was_open() {
    let dev = Dev::with_topic("t", 1);
    let old = transactional(&dev, "x");
    old.begin_transaction().unwrap();
    send(&old, "t", 0, strings(["lost"]));
    old.flush(PATIENCE).unwrap();
    let new = transactional(&dev, "x");
    new.begin_transaction().unwrap();
    send(&new, "t", 0, strings(["kept"]));
    new.commit_transaction(PATIENCE).unwrap();
    let error = old.commit_transaction(PATIENCE).unwrap_err();
    assert!(
        matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced)
        ),
        "{error:?}"
    );
    assert_eq!(values(&dev.read("t", 1, &[])), ["kept"]);
}

#[test]
fn a_transaction_open_for_too_long_is_aborted() {
    let dev = Dev::with_topic("t", 1);
    let producer = dev.producer(&[("transactional.id", "x"), ("transaction.timeout.ms", "1000")]);
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, "t", 0, strings(["late"]));
    producer.flush(PATIENCE).unwrap();
    dev.produce("t", 0, strings(["behind"]));
    assert_eq!(values(&dev.read("t", 1, &[])), ["behind"]);
    assert!(producer.commit_transaction(PATIENCE).is_err());
}

#[test]
fn offsets_commit_with_their_transaction_or_not_at_all() {
    let dev = Dev::with_topic("in", 1);
    dev.broker.create_topic("out", 1).unwrap();
    dev.produce("in", 0, (0..10).map(|i| i.to_string()));
    let consumer = dev.consumer("g", &[]);
    consumer.subscribe(&["in"]).unwrap();
    take(&consumer, 10);
    let producer = transactional(&dev, "x");
    let run = |offset: i64, commit: bool| {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset("in", 0, Offset::Offset(offset)).unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, "out", 0, [offset.to_string()]);
        producer.flush(PATIENCE).unwrap();
        let group = consumer.group_metadata().unwrap();
        producer.send_offsets_to_transaction(&offsets, &group, PATIENCE).unwrap();
        match commit {
            true => producer.commit_transaction(PATIENCE).unwrap(),
            false => producer.abort_transaction(PATIENCE).unwrap(),
        }
        committed(&consumer)
    };
    assert_eq!(run(4, true), Offset::Offset(4));
    assert_eq!(run(7, false), Offset::Offset(4));
    assert_eq!(run(9, true), Offset::Offset(9));
    assert_eq!(values(&dev.read("out", 2, &[])), ["4", "9"]);
}

fn committed(consumer: &BaseConsumer) -> Offset {
    let mut asked = TopicPartitionList::new();
    asked.add_partition("in", 0);
    consumer.committed_offsets(asked, PATIENCE).unwrap().elements()[0].offset()
}

#[test]
fn an_idempotent_batch_sent_twice_is_appended_once() {
    let dev = Dev::with_topic("t", 1);
    let mut raw = Raw::connect(&dev);
    let id = raw
        .call(
            4,
            &InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(1_000),
        )
        .producer_id
        .0;
    let mut send = |epoch: i16, sequence: i32| produce(&mut raw, &batch(id, epoch, sequence, 3));
    for round in 0..7 {
        assert_eq!(send(0, round * 3), Ok(i64::from(round) * 3));
    }
    assert_eq!(send(0, 18), Ok(18), "the last one again");
    assert_eq!(send(0, 6), Ok(6), "the fifth from the end again");
    assert_eq!(send(0, 3), Err(ResponseError::OutOfOrderSequenceNumber), "too long ago to be remembered");
    assert_eq!(send(0, 24), Err(ResponseError::OutOfOrderSequenceNumber), "a gap");
    assert_eq!(send(1, 5), Err(ResponseError::OutOfOrderSequenceNumber), "a new epoch begins at zero");
    assert_eq!(send(1, 0), Ok(21));
    assert_eq!(send(0, 21), Err(ResponseError::InvalidProducerEpoch));
    assert_eq!(dev.read("t", 24, &[]).len(), 24);
}

#[test]
fn broken_batches_are_refused() {
    let dev = Dev::with_topic("t", 1);
    let mut raw = Raw::connect(&dev);
    let sound = batch(-1, -1, -1, 3);
    let change = |at: usize| {
        let mut bytes = sound.to_vec();
        bytes[at] ^= 1;
        Bytes::from(bytes)
    };
    let mut send = |bytes: &Bytes| produce(&mut raw, bytes);
    assert_eq!(send(&change(sound.len() - 1)), Err(ResponseError::CorruptMessage), "the checksum is wrong");
    assert_eq!(send(&change(11)), Err(ResponseError::CorruptMessage), "the length is wrong");
    assert_eq!(send(&change(16)), Err(ResponseError::UnsupportedForMessageFormat), "another magic");
    assert_eq!(send(&sound.slice(..40)), Err(ResponseError::CorruptMessage), "cut short");
    assert_eq!(send(&Bytes::new()), Err(ResponseError::CorruptMessage));
    let transactional = change(22);
    assert_eq!(send(&transactional), Err(ResponseError::CorruptMessage));
    assert_eq!(send(&sound), Ok(0));
}

#[test]
fn a_write_outside_its_transaction_is_refused() {
    let dev = Dev::with_topic("t", 2);
    let mut raw = Raw::connect(&dev);
    let init = InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId("x".into())));
    let id = raw.call(4, &init.with_transaction_timeout_ms(1_000)).producer_id.0;
    let records = [record(id, 0, 0, 0, true)];
    let mut request = produce_request(&encode(&records));
    assert_eq!(respond(raw.call(11, &request)), Err(ResponseError::InvalidTxnState));
    request.transactional_id = Some(TransactionalId("x".into()));
    assert_eq!(respond(raw.call(11, &request)), Err(ResponseError::InvalidTxnState));
}

#[test]
fn senseless_bytes_end_the_connection_and_nothing_else() {
    let limits =
        aqueduct_devserver::Limits { request_bytes_max: 1 << 20, connections_max: 3, ..Default::default() };
    let dev = Dev::start(limits);
    let connect = || Raw::connect(&dev);
    assert!(connect().hangs_up_on(b"GET / HTTP/1.1\r\n\r\n"));
    assert!(connect().hangs_up_on(&[0x16, 3, 1, 2, 0, 1, 0, 1]), "TLS");
    assert!(connect().hangs_up_on(&[0, 0x20, 0, 0]), "over the limit");
    assert!(connect().hangs_up_on(&[0, 0, 0, 2, 0, 0]), "too short");
    assert!(connect().hangs_up_on(&[0, 0, 0, 10, 0, 0, 0, 99, 0, 0, 0, 1, 0, 0]), "an unknown version");
    assert!(connect().hangs_up_on(&[0, 0, 0, 14, 0, 3, 0, 9, 0, 0, 0, 1, 0, 0, 0, 9, 9, 9]), "a torn body");
    let held: Vec<Raw> = (0..3).map(|_| connect()).collect();
    std::thread::sleep(Duration::from_millis(100));
    assert!(connect().hangs_up_on(&[]), "one connection too many");
    drop(held);
    wait_until("there is room again", || {
        let consumer = dev.consumer("g", &[]);
        consumer.fetch_metadata(None, Duration::from_millis(500)).is_ok()
    });
}

fn record(producer_id: i64, epoch: i16, sequence: i32, offset: i64, transactional: bool) -> Record {
    Record {
        transactional,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id,
        producer_epoch: epoch,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence,
        timestamp: 1_000 + offset,
        key: None,
        value: Some(Bytes::from("value")),
        headers: Default::default(),
    }
}

fn encode(records: &[Record]) -> Bytes {
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, records, &options).unwrap();
    bytes.freeze()
}

fn batch(producer_id: i64, epoch: i16, sequence: i32, count: i32) -> Bytes {
    let records: Vec<_> =
        (0..count).map(|i| record(producer_id, epoch, sequence + i, i.into(), false)).collect();
    encode(&records)
}

fn produce_request(batch: &Bytes) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(batch.clone()));
    let topic =
        TopicProduceData::default().with_name(TopicName("t".into())).with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(-1)
        .with_timeout_ms(1_000)
        .with_topic_data(vec![topic])
}

fn produce(raw: &mut Raw, batch: &Bytes) -> Result<i64, ResponseError> {
    respond(raw.call(11, &produce_request(batch)))
}

fn respond(response: ProduceResponse) -> Result<i64, ResponseError> {
    let partition = &response.responses[0].partition_responses[0];
    partition.error_code.err().map_or(Ok(partition.base_offset), Err)
}
