//! One suite for every connector: what the contract asks of a source and of a sink, whatever stands behind it.
//! Each connector's own tests call it against the real server.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::Duplicates;
use aqueduct_api::{Batch, BatchId, Durable, Offsets, Payload, Polled, Record, Sink, Source, Written};
use async_trait::async_trait;

use crate::awkward::Awkward;

/// A sink under test, and the way to read what it holds.
#[async_trait]
pub trait SinkUnderTest: Send + Sync {
    /// Opens it as a process would that starts now.
    async fn open(&self) -> Box<dyn Sink>;

    /// The values that are durable there, by the partition of the record, each in the order in which they stand.
    async fn stored(&self) -> BTreeMap<i32, Vec<String>>;

    /// The topic that its records belong to.
    fn topic(&self) -> String;

    /// What it declares about records that come again.
    fn duplicates(&self) -> Duplicates;
}

/// Batches of one partition, and how many records the largest of them may have.
const BATCHES: usize = 20;
const BATCH_RECORDS_MAX: usize = 300;

/// Drives a sink through a life, a kill, and a life after it, with records of all shapes.
pub async fn sink(under_test: &dyn SinkUnderTest) {
    let topic = under_test.topic();
    let batch = |id| batch(&topic, id);
    flush_of_nothing(under_test).await;

    // A first life: batches of two partitions in turn; every batch is reported exactly once.
    let mut sink = under_test.open().await;
    let mut open = Vec::new();
    for id in 0..20 {
        let batch = batch(id);
        open.push(batch.id);
        reported(write(sink.as_mut(), &batch).await, &mut open);
    }
    reported(sink.flush().await.unwrap_or_else(|error| panic!("flush: {error}")), &mut open);
    assert!(open.is_empty(), "flush left batches unreported: {open:?}");
    let tick = sink.tick().await.unwrap_or_else(|error| panic!("tick: {error}"));
    assert!(
        matches!(&tick.durable, Durable::All) || tick.durable == Durable::Batches(vec![]),
        "reported twice"
    );
    drop(sink);
    check(&under_test.stored().await, 20, 1);

    // A second life is killed before it flushes: batches 20 to 29 are in doubt.
    let mut sink = under_test.open().await;
    for id in 20..30 {
        write(sink.as_mut(), &batch(id)).await;
    }
    drop(sink);

    // A third life gets them all again, as a source that was not released would give them.
    let mut sink = under_test.open().await;
    let mut open = Vec::new();
    for id in 20..40 {
        let batch = batch(id);
        open.push(batch.id);
        reported(write(sink.as_mut(), &batch).await, &mut open);
    }
    reported(sink.flush().await.unwrap_or_else(|error| panic!("flush: {error}")), &mut open);
    assert!(open.is_empty(), "flush left batches unreported: {open:?}");
    drop(sink);
    let copies = if under_test.duplicates() == Duplicates::Visible { 2 } else { 1 };
    check(&under_test.stored().await, 40, copies);
}

async fn flush_of_nothing(under_test: &dyn SinkUnderTest) {
    let mut sink = under_test.open().await;
    let written = sink.flush().await.unwrap_or_else(|error| panic!("flush of nothing: {error}"));
    assert!(written.rejected.is_empty());
    assert!(under_test.stored().await.is_empty(), "the place was not empty at the start");
}

async fn write(sink: &mut dyn Sink, batch: &Arc<Batch>) -> Written {
    for _ in 0..50 {
        match sink.write(batch).await {
            Ok(written) => return written,
            Err(error) => assert_eq!(error.kind(), aqueduct_api::ErrorKind::Transient, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the sink never took the batch");
}

fn reported(written: Written, open: &mut Vec<BatchId>) {
    assert!(written.rejected.is_empty(), "refused: {}", written.rejected[0].error);
    match written.durable {
        Durable::All => open.clear(),
        Durable::Batches(ids) => {
            for id in ids {
                let at = open.iter().position(|other| *other == id);
                open.remove(at.unwrap_or_else(|| panic!("{id:?} was reported, but is not open")));
            }
        }
    }
}

/// Values of sizes up to 400 KB, in a sink that may see them as text: a bucket writes JSON lines of them.
fn awkward() -> Awkward {
    Awkward::json(3, 400_000)
}

/// Batch `id` is the next of partition `id % 2`: of one record, of some, or of hundreds, with holes between.
fn batch(topic: &str, id: u64) -> Arc<Batch> {
    let (partition, awkward) = ((id % 2) as i32, awkward());
    let offsets = offsets(partition);
    let offsets = offsets.get(id as usize / 2).map_or(&[][..], Vec::as_slice);
    let records = offsets.iter().map(|offset| awkward.record(topic, partition, *offset));
    Batch::new(BatchId(id), records.collect(), None)
}

/// The offsets of each batch of a partition.
fn offsets(partition: i32) -> Vec<Vec<i64>> {
    let awkward = awkward();
    let mut all = awkward.offsets(partition, BATCHES * BATCH_RECORDS_MAX).into_iter();
    let mut batches = Vec::new();
    for index in 0..BATCHES {
        let count = awkward.batch_records(partition, index as i64).min(BATCH_RECORDS_MAX);
        batches.push(all.by_ref().take(count).collect());
    }
    batches
}

/// All records of the first `batches` batches stand there, each at most `copies` times, first copies in order.
fn check(stored: &BTreeMap<i32, Vec<String>>, batches: usize, copies: usize) {
    for partition in 0..2 {
        let found = stored.get(&partition).map_or(&[][..], Vec::as_slice);
        let expected: Vec<String> = offsets(partition)[..batches / 2]
            .iter()
            .flatten()
            .map(|offset| awkward().record("", partition, *offset).value)
            .map(|value| String::from_utf8_lossy(value.bytes().map_or(&[], |bytes| bytes)).into_owned())
            .collect();
        let mut counts: HashMap<&String, usize> = HashMap::new();
        let mut first_copies: Vec<&String> = Vec::new();
        for value in found {
            let count = counts.entry(value).or_default();
            *count += 1;
            if *count == 1 {
                first_copies.push(value);
            }
            assert!(*count <= copies, "{} stands there {count} times", start(value));
        }
        let starts =
            |values: &mut dyn Iterator<Item = &String>| values.map(|it| start(it)).collect::<Vec<_>>();
        assert_eq!(
            starts(&mut first_copies.iter().copied()),
            starts(&mut expected.iter()),
            "partition {partition}"
        );
        assert!(first_copies.into_iter().eq(&expected), "values of partition {partition} have changed");
    }
}

/// Enough of a value to know it by.
fn start(value: &str) -> String {
    value.chars().take(40).collect()
}

/// A source under test, over a place that holds a fixed number of records in one or more partitions.
#[async_trait]
pub trait SourceUnderTest: Send + Sync {
    /// Opens it to resume there; no batch may have more records than `batch_records_max`.
    async fn open(&self, resume: Offsets, batch_records_max: usize) -> Box<dyn Source>;

    /// How many records the place holds.
    fn count(&self) -> usize;
}

/// Drives a source: order, bounds, resuming in the middle, releasing twice.
pub async fn source(under_test: &dyn SourceUnderTest) {
    let mut source = under_test.open(Offsets::new(), 7).await;
    let (all, positions) = read(source.as_mut(), under_test.count(), 7).await;
    assert_eq!(all.len(), under_test.count());
    let mut last: BTreeMap<(Arc<str>, i32), i64> = BTreeMap::new();
    for record in &all {
        let before = last.insert((Arc::clone(&record.topic), record.origin.partition), record.origin.offset);
        assert!(
            before.is_none_or(|before| before < record.origin.offset),
            "offsets go back: {:?}",
            record.origin
        );
    }
    // Releasing is idempotent and may come late.
    let (resume, taken) = positions[positions.len() / 2].clone();
    for _ in 0..2 {
        source.release(&resume).await.unwrap_or_else(|error| panic!("release: {error}"));
    }
    source.close().await.unwrap_or_else(|error| panic!("close: {error}"));
    drop(source);

    // Another life resumes exactly behind what was released, and gives the very same records.
    let mut source = under_test.open(resume, 7).await;
    let (rest, _) = read(source.as_mut(), under_test.count() - taken, 7).await;
    let parts = |record: &Record| {
        let value = if let Payload::Raw(bytes) = &record.value { bytes.to_vec() } else { Vec::new() };
        (record.origin, value)
    };
    let mut expected: Vec<_> = all[taken..].iter().map(parts).collect();
    let mut found: Vec<_> = rest.iter().map(parts).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    source.close().await.unwrap_or_else(|error| panic!("close: {error}"));
}

/// Reads `count` records; also where to resume after each batch, with how many records were read by then.
async fn read(
    source: &mut dyn Source,
    count: usize,
    batch_records_max: usize,
) -> (Vec<Record>, Vec<(Offsets, usize)>) {
    let (mut all, mut positions, mut resume) = (Vec::new(), Vec::new(), Offsets::new());
    for _ in 0..2_000 {
        let polled =
            source.poll(Duration::from_millis(100)).await.unwrap_or_else(|error| panic!("poll: {error}"));
        match polled {
            Polled::Batch { records, resume_at } => {
                assert!(records.len() <= batch_records_max, "a batch of {}", records.len());
                all.extend(records);
                resume.extend(resume_at);
                positions.push((resume.clone(), all.len()));
            }
            Polled::End => break,
            Polled::Idle | Polled::Revoked { .. } if all.len() >= count => break,
            Polled::Idle => {}
            Polled::Revoked { partitions } => panic!("revoked {partitions:?} with nobody else there"),
        }
    }
    assert_eq!(all.len(), count, "not all came");
    (all, positions)
}
