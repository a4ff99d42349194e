//! The accumulator before brokers that lose requests, responses and leadership, refuse records, and store each sequence of a
//! producer id once, as Kafka does: thousands of runs by seed. What is stored has to be what was given, in order and once.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use aqueduct_api::{Headers, Origin, Payload, Record};
use bytes::{Buf, Bytes};
use kafka_protocol::records::RecordBatchDecoder;
use tokio::time::Instant;

use super::accumulator::{Accumulator, Appended, Limits, PartitionIndex};
use super::partition::{BatchResult, Refusal};
use super::report::{DeliveryReport, DeliveryStatus};
use super::topic::TopicMetadata;
use crate::config::Compression;
use crate::wire::record_batch::{BatchEncoder, BatchSequence};

const PARTITIONS: usize = 3;
const NODES: i32 = 2;
const RECORDS: usize = 120;
const INVALID_RECORD: i16 = 87;
const INVALID_PRODUCER_EPOCH: i16 = 47;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}

/// One partition as the cluster has it.
#[derive(Default)]
struct Log {
    leader: i32,
    stored: Vec<usize>,
    /// Of each producer id its epoch and the last five batches, by base sequence and count.
    producers: HashMap<i64, (i16, VecDeque<(i32, i32)>)>,
}

struct Batch {
    index: PartitionIndex,
    sequence: BatchSequence,
    records: Vec<usize>,
}

/// A connection: requests and responses that are in flight.
#[derive(Default)]
struct Connection {
    requests: VecDeque<Vec<Batch>>,
    responses: VecDeque<Vec<(PartitionIndex, BatchSequence, BatchResult)>>,
}

struct Simulation {
    random: Random,
    accumulator: Accumulator,
    topic: usize,
    logs: Vec<Log>,
    connections: BTreeMap<i32, Connection>,
    /// Requests of closed connections that the broker had read.
    delayed: VecDeque<(i32, Vec<Batch>)>,
    producers: i64,
    now: Instant,
    /// Complete metadata came once.
    has_metadata: bool,
    /// How many partitions there are, and whether that changes in this run.
    partitions: usize,
    changes: bool,
    /// Stored in the topic before it was made anew.
    before: Vec<usize>,
    /// A topic was made anew between two batches that were in flight.
    out_of_order: bool,
    given: usize,
    open: BTreeSet<usize>,
    returned: BTreeSet<usize>,
    /// There was no room for all that is given again: nothing new is given before.
    resending: bool,
    refused: BTreeSet<usize>,
    invalid_every: usize,
    names_invalid: bool,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let limits = Limits {
            batch_bytes: 60 + random.below(400),
            linger: Duration::ZERO,
            unanswered_bytes_max: 300 + random.below(5_000),
        };
        let mut accumulator = Accumulator::new(limits);
        let topic = accumulator.topic("t");
        let mut logs = Vec::new();
        logs.resize_with(PARTITIONS, Log::default);
        let (invalid_every, names_invalid) = ([20, 1_000_000][random.below(2)], random.one_in(2));
        Self {
            random,
            accumulator,
            topic,
            logs,
            connections: (0..NODES).map(|node| (node, Connection::default())).collect(),
            delayed: VecDeque::new(),
            producers: 0,
            now: Instant::now() + Duration::from_secs(1),
            has_metadata: false,
            partitions: PARTITIONS,
            changes: false,
            before: Vec::new(),
            out_of_order: false,
            given: 0,
            open: BTreeSet::new(),
            returned: BTreeSet::new(),
            resending: false,
            refused: BTreeSet::new(),
            invalid_every,
            names_invalid,
        }
    }

    fn is_invalid(&self, number: usize) -> bool {
        number.wrapping_mul(7_919) % self.invalid_every == 1
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(20);
        match self.random.below(13) {
            // The sink goes on with its batch when something was returned.
            0..=3 if self.given < RECORDS && !self.resending => {
                if self.send_record(self.given) {
                    self.given += 1;
                }
            }
            4 | 5 => {
                let node = self.random.below(NODES as usize) as i32;
                self.send(node);
            }
            6 | 7 => {
                let node = self.random.below(NODES as usize) as i32;
                self.append_request(node);
            }
            8 | 9 => {
                let node = self.random.below(NODES as usize) as i32;
                let responses = self.connections.get_mut(&node).unwrap().responses.pop_front();
                for (index, sequence, result) in responses.into_iter().flatten() {
                    let reports = self.accumulator.completed(index, sequence, result, self.now);
                    self.take_reports(reports);
                }
            }
            10 if self.random.one_in(8) => {
                let node = self.random.below(NODES as usize) as i32;
                self.disconnect(node);
            }
            10 => {
                for batch in self
                    .delayed
                    .pop_front()
                    .into_iter()
                    .flat_map(|(node, request)| request.into_iter().map(move |it| (node, it)))
                    .collect::<Vec<_>>()
                {
                    self.append(batch.0, &batch.1);
                }
            }
            11 if self.random.one_in(8) => {
                let at = self.random.below(PARTITIONS);
                self.logs[at].leader = self.random.below(NODES as usize) as i32;
            }
            12 if self.changes && self.random.one_in(60) => self.recreate_topic(),
            12 => self.refresh(),
            _ => self.resend(),
        }
    }

    /// The topic is another one from now on, with as many partitions or others, or is gone for a while; what stood in it is kept apart.
    fn recreate_topic(&mut self) {
        self.partitions = self.random.below(PARTITIONS + 1);
        for log in &mut self.logs {
            log.producers.clear();
            self.before.append(&mut log.stored);
        }
        // No request is in flight for that long, so none goes to the old topic with the next one going to the new topic.
        (0..NODES).for_each(|node| self.disconnect(node));
        self.delayed.clear();
        // Longer than a missing partition is waited for.
        self.now += Duration::from_secs(4);
        if self.partitions == 0 && self.random.one_in(2) {
            self.partitions = PARTITIONS;
        }
        // It may stay so, and all has to be written there.
        self.changes = self.partitions == 0 || !self.random.one_in(3);
    }

    fn send_record(&mut self, number: usize) -> bool {
        let key = Payload::Raw(Bytes::from(format!("k{}", number % 5)));
        // From small beside a batch to larger than one.
        let pad = [700, 150, 40, 3].get(number * 31 % 21).copied().unwrap_or(0);
        let mut headers = Headers::default();
        if number % 6 == 1 {
            headers.push("h", None);
            headers.push("h", Some(Bytes::new()));
        }
        let record = Record {
            topic: "t".into(),
            origin: Origin::default(),
            key,
            value: Payload::Raw(Bytes::from(format!("{number}{}", "x".repeat(pad)))),
            headers,
            timestamp_us: [None, Some(0), Some(1_767_225_600_000_000), Some(5)][number % 4],
        };
        match self.accumulator.append(self.topic, &record, number) {
            Appended::Accepted | Appended::AcceptedWake(_) => {
                self.open.insert(number);
                true
            }
            Appended::Returned => {
                self.returned.insert(number);
                true
            }
            Appended::Full | Appended::NoLeaders { .. } => false,
            // As the sink does it: sent again later.
            Appended::Refused(_) => {
                self.accumulator.block(self.topic);
                self.returned.insert(number);
                true
            }
        }
    }

    /// As the sink does it: when all has its report, what was returned is given again in its order.
    fn resend(&mut self) {
        if self.returned.is_empty() || !self.open.is_empty() {
            return;
        }
        self.accumulator.unblock();
        for number in std::mem::take(&mut self.returned) {
            if !self.returned.is_empty() || !self.send_record(number) {
                self.returned.insert(number);
            }
        }
        self.resending = !self.returned.is_empty();
    }

    fn send(&mut self, node: i32) {
        let connection = self.connections.get_mut(&node).unwrap();
        if connection.requests.len() + connection.responses.len() >= 5 {
            return;
        }
        let mut encoder = BatchEncoder::new(Compression::None);
        let drained = self.accumulator.drain(node, self.now);
        let batches: Vec<Batch> = drained
            .into_iter()
            .map(|batch| {
                let sequence = batch.sequence;
                let bytes = batch.contents.encode(&mut encoder, sequence).unwrap();
                Batch { index: batch.index, sequence, records: numbers_in(bytes) }
            })
            .collect();
        if !batches.is_empty() {
            connection.requests.push_back(batches);
        }
    }

    /// The broker handles its oldest request.
    fn append_request(&mut self, node: i32) {
        let Some(batches) = self.connections.get_mut(&node).unwrap().requests.pop_front() else { return };
        let mut responses = Vec::new();
        for batch in batches {
            let result = self.append(node, &batch);
            responses.push((batch.index, batch.sequence, result));
        }
        self.connections.get_mut(&node).unwrap().responses.push_back(responses);
    }

    fn append(&mut self, node: i32, batch: &Batch) -> BatchResult {
        let invalid: Vec<usize> =
            (0..batch.records.len()).filter(|index| self.is_invalid(batch.records[*index])).collect();
        let (early, late) = (self.random.one_in(15), self.random.one_in(15));
        let log = &mut self.logs[batch.index.partition];
        if log.leader != node || early || batch.index.partition >= self.partitions {
            return BatchResult::Retry;
        }
        if !invalid.is_empty() {
            let invalid_records = if self.names_invalid { invalid } else { Vec::new() };
            return BatchResult::Refused(Refusal { code: INVALID_RECORD, invalid_records });
        }
        let (first, count) = (batch.sequence.base_sequence, batch.records.len() as i32);
        let epoch = batch.sequence.producer_epoch;
        // Of a producer id that is not known any base sequence is taken.
        let (known_epoch, known) =
            log.producers.entry(batch.sequence.producer_id).or_insert((epoch, VecDeque::new()));
        if epoch < *known_epoch {
            return BatchResult::Refused(Refusal {
                code: INVALID_PRODUCER_EPOCH,
                invalid_records: Vec::new(),
            });
        }
        if epoch > *known_epoch && first != 0 {
            return BatchResult::OutOfOrderSequence;
        }
        if epoch > *known_epoch {
            (*known_epoch, *known) = (epoch, VecDeque::new());
        }
        if known.contains(&(first, count)) {
            return BatchResult::Stored;
        }
        if known.back().is_some_and(|(last, count)| last + count != first) {
            return BatchResult::OutOfOrderSequence;
        }
        known.push_back((first, count));
        if known.len() > 5 {
            known.pop_front();
        }
        log.stored.extend(&batch.records);
        if late { BatchResult::Retry } else { BatchResult::Stored }
    }

    fn disconnect(&mut self, node: i32) {
        let Connection { requests, .. } = std::mem::take(self.connections.get_mut(&node).unwrap());
        if self.random.one_in(2) {
            self.delayed.extend(requests.into_iter().map(|request| (node, request)));
        }
        let reports = self.accumulator.disconnected(node, self.now);
        self.take_reports(reports);
    }

    fn refresh(&mut self) {
        if self.accumulator.needs_producer_id() {
            self.producers += 1;
            self.accumulator.set_producer_id((self.producers, 0));
        }
        let mut leaders: Vec<_> =
            self.logs.iter().take(self.partitions).map(|log| Some(log.leader)).collect();
        if !self.has_metadata {
            self.has_metadata = true;
        } else if self.random.one_in(10) {
            // A broker with old metadata.
            leaders.truncate(self.random.below(PARTITIONS));
        }
        if leaders.is_empty() {
            let reports = self.accumulator.update_metadata("t", TopicMetadata::Missing, self.now);
            return self.take_reports(reports);
        }
        let reports = self.accumulator.update_metadata("t", TopicMetadata::Leaders(leaders), self.now);
        self.take_reports(reports);
        // Their tasks are woken a moment later.
        for node in self.accumulator.former_leaders() {
            if self.random.one_in(2) {
                self.disconnect(node);
            }
        }
    }

    fn take_reports(&mut self, reports: Vec<DeliveryReport>) {
        for DeliveryReport { delivery_ids, status, .. } in reports {
            // The pipeline starts again from its stored offsets.
            self.out_of_order |= status == DeliveryStatus::OutOfOrderSequence;
            for delivery_id in delivery_ids {
                assert!(self.open.remove(&delivery_id), "{delivery_id} is answered once");
                match status {
                    DeliveryStatus::Refused { alone: true, .. } => {
                        assert!(self.is_invalid(delivery_id));
                        self.refused.insert(delivery_id);
                    }
                    // The sink would send a group of these; one at a time is the smallest.
                    DeliveryStatus::Refused { code: INVALID_RECORD, .. } if self.is_invalid(delivery_id) => {
                        self.refused.insert(delivery_id);
                    }
                    DeliveryStatus::Refused { .. } | DeliveryStatus::Returned => {
                        self.returned.insert(delivery_id);
                    }
                    _ => {}
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.out_of_order || self.given == RECORDS && self.open.is_empty() && self.returned.is_empty()
    }
}

fn numbers_in(mut bytes: Bytes) -> Vec<usize> {
    let decoded = RecordBatchDecoder::decode(&mut bytes).unwrap();
    assert!(!bytes.has_remaining());
    let number = |value: &Bytes| std::str::from_utf8(value).unwrap().trim_end_matches('x').parse().unwrap();
    decoded.records.iter().map(|record| number(record.value.as_ref().unwrap())).collect()
}

fn run(seed: u64, changes: bool) -> Simulation {
    let mut simulation = Simulation::new(seed);
    simulation.changes = changes;
    let mut steps = 0;
    while !simulation.is_done() {
        simulation.step();
        steps += 1;
        assert!(steps < 100_000, "seed {seed} never ends");
        if changes && steps > 20_000 {
            (simulation.changes, simulation.partitions) = (false, simulation.partitions.max(1));
        }
    }
    assert!(changes || !simulation.out_of_order, "seed {seed}: the broker has lost nothing");
    assert!(simulation.out_of_order || simulation.accumulator.unanswered_bytes() == 0, "seed {seed}");
    simulation
}

#[test]
fn whatever_brokers_do_each_record_is_stored_once_and_in_order() {
    for seed in 1..=8_000 {
        let simulation = run(seed, false);
        let mut all = BTreeSet::new();
        for log in &simulation.logs {
            let mut last: HashMap<usize, usize> = HashMap::new();
            for number in &log.stored {
                assert!(all.insert(*number), "seed {seed}: {number} is stored twice");
                let before = last.insert(number % 5, *number);
                assert!(before < Some(*number), "seed {seed}: {number} stands behind {before:?}");
            }
        }
        let expected: BTreeSet<usize> =
            (0..RECORDS).filter(|number| !simulation.is_invalid(*number)).collect();
        assert_eq!(all, expected, "seed {seed}");
        assert_eq!(simulation.refused.len(), RECORDS - expected.len(), "seed {seed}");
    }
}

/// What was answered before its topic was deleted is deleted with it. Of what comes after, nothing is lost.
#[test]
fn a_topic_that_is_made_anew_gets_all_that_was_not_answered() {
    let mut out_of_order = 0;
    for seed in 1..=3_000 {
        let simulation = run(seed, true);
        if simulation.out_of_order {
            out_of_order += 1;
            continue;
        }
        let stored = simulation.logs.iter().flat_map(|log| &log.stored).chain(&simulation.before);
        let all: BTreeSet<usize> = stored.copied().collect();
        let expected: BTreeSet<usize> =
            (0..RECORDS).filter(|number| !simulation.is_invalid(*number)).collect();
        assert_eq!(all, expected, "seed {seed}");
        for log in &simulation.logs {
            let last: BTreeMap<usize, usize> =
                log.stored.iter().enumerate().map(|(at, number)| (*number, at)).collect();
            for key in 0..5 {
                let places: Vec<usize> =
                    last.iter().filter(|(number, _)| *number % 5 == key).map(|(_, at)| *at).collect();
                assert!(places.is_sorted(), "seed {seed}: key {key} is out of order");
            }
        }
    }
    assert!(out_of_order < 900, "{out_of_order} runs begin anew");
}
