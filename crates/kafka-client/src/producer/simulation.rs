//! The writer's state before brokers that lose requests, answers and leaders, refuse records, and take each number of a producer
//! once, as Kafka does: thousands of runs by seed. What is stored has to be what was given, in order and once.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use aqueduct_api::{Headers, Origin, Payload, Record};
use bytes::{Buf, Bytes};
use kafka_protocol::records::RecordBatchDecoder;
use tokio::time::Instant;

use super::accumulator::{Accumulator, Appended, Limits, PartitionIndex, TopicMetadata};
use super::partition::{BatchResult, Refusal};
use super::report::{DeliveryReport, DeliveryStatus};
use crate::config::Compression;
use crate::wire::record_batch::{BatchEncoder, BatchSequence};

const PARTITIONS: usize = 3;
const NODES: i32 = 2;
const RECORDS: usize = 120;
const INVALID_RECORD: i16 = 87;
const INVALID_PRODUCER_EPOCH: i16 = 47;

/// xorshift64*.
struct Dice(u64);

impl Dice {
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
    /// Of each producer its epoch and the last five batches, by first number and count.
    producers: HashMap<i64, (i16, VecDeque<(i32, i32)>)>,
}

struct Batch {
    index: PartitionIndex,
    sequence: BatchSequence,
    records: Vec<usize>,
}

/// A connection: requests and answers that are under way.
#[derive(Default)]
struct Wire {
    requests: VecDeque<Vec<Batch>>,
    answers: VecDeque<Vec<(PartitionIndex, BatchSequence, BatchResult)>>,
}

struct World {
    dice: Dice,
    accumulator: Accumulator,
    topic: usize,
    logs: Vec<Log>,
    wires: BTreeMap<i32, Wire>,
    /// Requests of connections that are gone, which the broker had read.
    ghosts: VecDeque<(i32, Vec<Batch>)>,
    producers: i64,
    now: Instant,
    /// The topic was seen whole once.
    known: bool,
    /// How many partitions there are, and whether that changes in this run.
    partitions: usize,
    changes: bool,
    /// Stored in the topic before it was made anew.
    before: Vec<usize>,
    /// A topic was made anew between two batches that were under way.
    broken: bool,
    given: usize,
    open: BTreeSet<usize>,
    returned: BTreeSet<usize>,
    /// There was no room for all that comes again: nothing new is given before.
    coming_again: bool,
    refused: BTreeSet<usize>,
    poison_in: usize,
    tells_guilty: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let limits = Limits {
            batch_bytes: 60 + dice.below(400),
            linger: Duration::ZERO,
            unanswered_bytes_max: 300 + dice.below(5_000),
        };
        let mut accumulator = Accumulator::new(limits);
        let topic = accumulator.topic("t");
        let mut logs = Vec::new();
        logs.resize_with(PARTITIONS, Log::default);
        let (poison_in, tells_guilty) = ([20, 1_000_000][dice.below(2)], dice.one_in(2));
        Self {
            dice,
            accumulator,
            topic,
            logs,
            wires: (0..NODES).map(|node| (node, Wire::default())).collect(),
            ghosts: VecDeque::new(),
            producers: 0,
            now: Instant::now() + Duration::from_secs(1),
            known: false,
            partitions: PARTITIONS,
            changes: false,
            before: Vec::new(),
            broken: false,
            given: 0,
            open: BTreeSet::new(),
            returned: BTreeSet::new(),
            coming_again: false,
            refused: BTreeSet::new(),
            poison_in,
            tells_guilty,
        }
    }

    fn is_poison(&self, number: usize) -> bool {
        number.wrapping_mul(7_919) % self.poison_in == 1
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(20);
        match self.dice.below(13) {
            // The sink goes on with what it is giving when something was returned.
            0..=3 if self.given < RECORDS && !self.coming_again => {
                if self.give(self.given) {
                    self.given += 1;
                }
            }
            4 | 5 => {
                let node = self.dice.below(NODES as usize) as i32;
                self.send(node);
            }
            6 | 7 => {
                let node = self.dice.below(NODES as usize) as i32;
                self.serve(node);
            }
            8 | 9 => {
                let node = self.dice.below(NODES as usize) as i32;
                let answers = self.wires.get_mut(&node).unwrap().answers.pop_front();
                for (index, sequence, end) in answers.into_iter().flatten() {
                    let reports = self.accumulator.ended(index, sequence, end, self.now);
                    self.tell(reports);
                }
            }
            10 if self.dice.one_in(8) => {
                let node = self.dice.below(NODES as usize) as i32;
                self.lose(node);
            }
            10 => {
                for batch in self
                    .ghosts
                    .pop_front()
                    .into_iter()
                    .flat_map(|(node, request)| request.into_iter().map(move |it| (node, it)))
                    .collect::<Vec<_>>()
                {
                    self.append(batch.0, &batch.1);
                }
            }
            11 if self.dice.one_in(8) => {
                let at = self.dice.below(PARTITIONS);
                self.logs[at].leader = self.dice.below(NODES as usize) as i32;
            }
            12 if self.changes && self.dice.one_in(60) => self.make_anew(),
            12 => self.look(),
            _ => self.again(),
        }
    }

    /// The topic is another one from now on, with as many partitions or others, or is gone for a while; what stood in it is kept apart.
    fn make_anew(&mut self) {
        self.partitions = self.dice.below(PARTITIONS + 1);
        for log in &mut self.logs {
            log.producers.clear();
            self.before.append(&mut log.stored);
        }
        // No request is under way for that long: one that came to the old topic and the next to the new one would be a broker's word
        // against another's.
        (0..NODES).for_each(|node| self.lose(node));
        self.ghosts.clear();
        // Longer than is doubted.
        self.now += Duration::from_secs(4);
        if self.partitions == 0 && self.dice.one_in(2) {
            self.partitions = PARTITIONS;
        }
        // It may stay so, and all has to find its way there.
        self.changes = self.partitions == 0 || !self.dice.one_in(3);
    }

    fn give(&mut self, number: usize) -> bool {
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
            // As the sink's judge has it: later.
            Appended::Refused(_) => {
                self.accumulator.block(self.topic);
                self.returned.insert(number);
                true
            }
        }
    }

    /// As the sink does it: when all is answered, what was returned comes again in its order.
    fn again(&mut self) {
        if self.returned.is_empty() || !self.open.is_empty() {
            return;
        }
        self.accumulator.unblock();
        for number in std::mem::take(&mut self.returned) {
            if !self.returned.is_empty() || !self.give(number) {
                self.returned.insert(number);
            }
        }
        self.coming_again = !self.returned.is_empty();
    }

    fn send(&mut self, node: i32) {
        let wire = self.wires.get_mut(&node).unwrap();
        if wire.requests.len() + wire.answers.len() >= 5 {
            return;
        }
        let mut encoder = BatchEncoder::new(Compression::None);
        let drained = self.accumulator.take(node, self.now);
        let batches: Vec<Batch> = drained
            .into_iter()
            .map(|batch| {
                let sequence = batch.sequence;
                let bytes = batch.contents.batch(&mut encoder, sequence).unwrap();
                Batch { index: batch.index, sequence, records: numbers_in(bytes) }
            })
            .collect();
        if !batches.is_empty() {
            wire.requests.push_back(batches);
        }
    }

    /// The broker takes its oldest request.
    fn serve(&mut self, node: i32) {
        let Some(batches) = self.wires.get_mut(&node).unwrap().requests.pop_front() else { return };
        let mut answers = Vec::new();
        for batch in batches {
            let end = self.append(node, &batch);
            answers.push((batch.index, batch.sequence, end));
        }
        self.wires.get_mut(&node).unwrap().answers.push_back(answers);
    }

    fn append(&mut self, node: i32, batch: &Batch) -> BatchResult {
        let poison: Vec<usize> =
            (0..batch.records.len()).filter(|index| self.is_poison(batch.records[*index])).collect();
        let (early, late) = (self.dice.one_in(15), self.dice.one_in(15));
        let log = &mut self.logs[batch.index.partition];
        if log.leader != node || early || batch.index.partition >= self.partitions {
            return BatchResult::Again;
        }
        if !poison.is_empty() {
            let invalid_records = if self.tells_guilty { poison } else { Vec::new() };
            return BatchResult::Refused(Refusal { code: INVALID_RECORD, invalid_records });
        }
        let (first, count) = (batch.sequence.base_sequence, batch.records.len() as i32);
        let epoch = batch.sequence.producer_epoch;
        // Of a producer that is not known any first number is taken.
        let (known_epoch, known) =
            log.producers.entry(batch.sequence.producer_id).or_insert((epoch, VecDeque::new()));
        if epoch < *known_epoch {
            return BatchResult::Refused(Refusal {
                code: INVALID_PRODUCER_EPOCH,
                invalid_records: Vec::new(),
            });
        }
        if epoch > *known_epoch && first != 0 {
            return BatchResult::OutOfOrder;
        }
        if epoch > *known_epoch {
            (*known_epoch, *known) = (epoch, VecDeque::new());
        }
        if known.contains(&(first, count)) {
            return BatchResult::Stored;
        }
        if known.back().is_some_and(|(last, count)| last + count != first) {
            return BatchResult::OutOfOrder;
        }
        known.push_back((first, count));
        if known.len() > 5 {
            known.pop_front();
        }
        log.stored.extend(&batch.records);
        if late { BatchResult::Again } else { BatchResult::Stored }
    }

    fn lose(&mut self, node: i32) {
        let Wire { requests, .. } = std::mem::take(self.wires.get_mut(&node).unwrap());
        if self.dice.one_in(2) {
            self.ghosts.extend(requests.into_iter().map(|request| (node, request)));
        }
        let reports = self.accumulator.lost(node, self.now);
        self.tell(reports);
    }

    fn look(&mut self) {
        if self.accumulator.needs_producer_id() {
            self.producers += 1;
            self.accumulator.name((self.producers, 0));
        }
        let mut leaders: Vec<_> =
            self.logs.iter().take(self.partitions).map(|log| Some(log.leader)).collect();
        if !self.known {
            self.known = true;
        } else if self.dice.one_in(10) {
            // A broker that lags behind.
            leaders.truncate(self.dice.below(PARTITIONS));
        }
        if leaders.is_empty() {
            let reports = self.accumulator.seen("t", TopicMetadata::Missing, self.now);
            return self.tell(reports);
        }
        let reports = self.accumulator.seen("t", TopicMetadata::Leaders(leaders), self.now);
        self.tell(reports);
        // Their tasks hear of it a moment later.
        for node in self.accumulator.former_leaders() {
            if self.dice.one_in(2) {
                self.lose(node);
            }
        }
    }

    fn tell(&mut self, reports: Vec<DeliveryReport>) {
        for DeliveryReport { delivery_ids, status, .. } in reports {
            // The pipeline starts again from its stored offsets.
            self.broken |= status == DeliveryStatus::OutOfOrderSequence;
            for delivery_id in delivery_ids {
                assert!(self.open.remove(&delivery_id), "{delivery_id} is answered once");
                match status {
                    DeliveryStatus::Refused { alone: true, .. } => {
                        assert!(self.is_poison(delivery_id));
                        self.refused.insert(delivery_id);
                    }
                    // The sink would send a group of these; one at a time is the smallest.
                    DeliveryStatus::Refused { code: INVALID_RECORD, .. } if self.is_poison(delivery_id) => {
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
        self.broken || self.given == RECORDS && self.open.is_empty() && self.returned.is_empty()
    }
}

fn numbers_in(mut bytes: Bytes) -> Vec<usize> {
    let decoded = RecordBatchDecoder::decode(&mut bytes).unwrap();
    assert!(!bytes.has_remaining());
    let number = |value: &Bytes| std::str::from_utf8(value).unwrap().trim_end_matches('x').parse().unwrap();
    decoded.records.iter().map(|record| number(record.value.as_ref().unwrap())).collect()
}

fn run(seed: u64, changes: bool) -> World {
    let mut world = World::new(seed);
    world.changes = changes;
    let mut steps = 0;
    while !world.is_done() {
        world.step();
        steps += 1;
        assert!(steps < 100_000, "seed {seed} never ends");
        if changes && steps > 20_000 {
            (world.changes, world.partitions) = (false, world.partitions.max(1));
        }
    }
    assert!(changes || !world.broken, "seed {seed}: the broker has lost nothing");
    assert!(world.broken || world.accumulator.unanswered_bytes() == 0, "seed {seed}");
    world
}

#[test]
fn whatever_brokers_do_each_record_is_stored_once_and_in_order() {
    for seed in 1..=8_000 {
        let world = run(seed, false);
        let mut all = BTreeSet::new();
        for log in &world.logs {
            let mut last: HashMap<usize, usize> = HashMap::new();
            for number in &log.stored {
                assert!(all.insert(*number), "seed {seed}: {number} is stored twice");
                let before = last.insert(number % 5, *number);
                assert!(before < Some(*number), "seed {seed}: {number} stands behind {before:?}");
            }
        }
        let expected: BTreeSet<usize> = (0..RECORDS).filter(|number| !world.is_poison(*number)).collect();
        assert_eq!(all, expected, "seed {seed}");
        assert_eq!(world.refused.len(), RECORDS - expected.len(), "seed {seed}");
    }
}

/// What was answered before its topic was deleted is deleted with it. Of what comes after, nothing is lost.
#[test]
fn a_topic_that_is_made_anew_gets_all_that_was_not_answered() {
    let mut broken = 0;
    for seed in 1..=3_000 {
        let world = run(seed, true);
        if world.broken {
            broken += 1;
            continue;
        }
        let stored = world.logs.iter().flat_map(|log| &log.stored).chain(&world.before);
        let all: BTreeSet<usize> = stored.copied().collect();
        let expected: BTreeSet<usize> = (0..RECORDS).filter(|number| !world.is_poison(*number)).collect();
        assert_eq!(all, expected, "seed {seed}");
        for log in &world.logs {
            let last: BTreeMap<usize, usize> =
                log.stored.iter().enumerate().map(|(at, number)| (*number, at)).collect();
            for key in 0..5 {
                let places: Vec<usize> =
                    last.iter().filter(|(number, _)| *number % 5 == key).map(|(_, at)| *at).collect();
                assert!(places.is_sorted(), "seed {seed}: key {key} is out of order");
            }
        }
    }
    assert!(broken < 900, "{broken} runs begin anew");
}
