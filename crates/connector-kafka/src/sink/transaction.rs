//! The sink of `delivery: exactly_once`: what it is given goes into a transaction, which is committed together with the
//! offsets of the source's group (KIP-98, KIP-447) or aborted and written again. The batches of the open transaction stay
//! here for that.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::{
    Batch, BatchId, Error, ErrorKind, Incarnations, Offsets, Proof, Rejected, Result, Sink, Transactional,
    Written,
};
use async_trait::async_trait;
use rdkafka::client::Client;
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::deliveries::{AbortReason, Outcome, delivery_id};
use super::librdkafka::Reports;
use super::topics_sink::TopicsSink;
use crate::config::SinkConfig;
use crate::diagnosis::TRANSACTION_UNDONE;
use crate::source::metadata;
use aqueduct_kafka_client::native::transactions::{self, GroupMetadata, Step};

/// How long one call of librdkafka may take before it is made again; a stop may have to wait for as long.
const CALL_MS_MAX: i32 = 1_000;

/// The same for an abort. Each call purges what is queued; what was in flight then and is not written is purged by the next.
const ABORT_MS_MAX: i32 = 100;

/// librdkafka's state in which a transaction is aborted and the application has not seen it.
const ABORTED_NOT_ACKED: &str = "AbortedNotAcked";

/// Smaller batches are not tried: a larger record is a batch of its own.
const BATCH_BYTES_MIN: usize = 1_024;

/// A call that has not come back by then never will.
const CALL_PATIENCE: Duration = Duration::from_secs(60);

/// What no other process has. A pipeline that starts again in this one takes its own id over, and with it undoes at once
/// what it had left open.
static PROCESS: LazyLock<String> = LazyLock::new(|| format!("{:016x}", RandomState::new().hash_one(())));

/// The transactional id of this task. Who may commit is decided by the group's generation and not by the id, so it need not
/// be the same after a restart.
pub(super) fn id(config: &SinkConfig, context: &SinkContext) -> String {
    format!("{}{}-{}", config.transactional_ids(&context.pipeline), *PROCESS, context.task)
}

/// See the file's header.
pub(crate) struct TransactionSink {
    inner: TopicsSink,
    phase: Phase,
    /// What the transaction is made of, in order.
    kept: Vec<TransactionBatch>,
    /// So many of them were reported as ready.
    ready: usize,
    /// Which of them a delivery id names.
    numbers: HashMap<usize, usize>,
}

/// A record, by its place in what is kept and its index there.
type RecordIndex = (usize, usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No transaction is open, and nothing waits for one.
    Idle,
    /// What is kept was sent.
    Open,
    /// The transaction has to be aborted.
    Abortable,
    /// It is aborted, and what is kept has to be written again.
    Aborted,
}

struct TransactionBatch {
    batch: Arc<Batch>,
    /// Records that were refused for good, by index; the error until it was reported.
    refused: BTreeMap<usize, Option<Error>>,
}

impl TransactionSink {
    pub(super) fn new(inner: TopicsSink) -> Self {
        Self { inner, phase: Phase::Idle, kept: Vec::new(), ready: 0, numbers: HashMap::new() }
    }

    /// A call of librdkafka that waits for a broker, on a thread that may block.
    async fn call(&self, call: impl FnOnce(&Client<Reports>) -> Step + Send + 'static) -> Result<Step> {
        let producer = Arc::clone(&self.inner.librdkafka.handle.producer);
        let step = tokio::task::spawn_blocking(move || call(producer.client()));
        let step = tokio::time::timeout(CALL_PATIENCE, step).await.map_err(|_| {
            Error::fatal("the Kafka client does not come back from a step of a transaction")
                .remedy("the pipeline starts again from its committed offsets; please report it")
        })?;
        let step =
            step.map_err(|error| Error::bug("a call of the Kafka client panicked").caused_by(error))?;
        if let Step::Retriable(_) = &step {
            // It has to be asked whether any broker answers.
            self.inner.librdkafka.handle.health.connection_failed();
        }
        Ok(step)
    }

    fn over(&self, says: &str) -> Error {
        self.inner.librdkafka.classifier.fatal(says)
    }

    async fn begin(&mut self) -> Result<()> {
        let mut step = self.begin_once();
        // librdkafka may take the end of an abort for that of another step, and wait for another call.
        if matches!(&step, Step::Fatal(_, says) if says.contains(ABORTED_NOT_ACKED)) {
            self.insist(|producer| transactions::abort(producer, ABORT_MS_MAX)).await?;
            step = self.begin_once();
        }
        match step {
            Step::Done => {
                self.phase = Phase::Open;
                Ok(())
            }
            Step::Retriable(says) | Step::Abortable(says) => {
                self.phase = Phase::Abortable;
                Err(aborted(&says))
            }
            Step::Fatal(_, says) => Err(self.over(&says)),
        }
    }

    fn begin_once(&self) -> Step {
        transactions::begin(self.inner.librdkafka.handle.producer.client())
    }

    /// Gives the producer records of one batch that is kept, but for what is refused.
    async fn give(&mut self, at: usize, chosen: impl Fn(usize) -> bool) -> Result<()> {
        let batch = Arc::clone(&self.kept[at].batch);
        let number = self.inner.deliveries.open(&batch);
        self.numbers.insert(number, at);
        for (index, record) in batch.records.iter().enumerate() {
            let delivery_id = delivery_id(number, index);
            if chosen(index) && !self.kept[at].refused.contains_key(&index) {
                self.inner.send(record, delivery_id).await?;
            } else {
                self.inner.deliveries.complete(delivery_id, Outcome::Stored);
            }
        }
        self.inner.deliveries.all_sent(number);
        Ok(())
    }

    /// Waits for the outcomes of what was sent, or for the first that requires an abort: what is not sent by then is not sent.
    async fn all_complete(&self) -> Result<()> {
        while !self.inner.deliveries.all_complete() && !self.inner.deliveries.must_abort() {
            self.inner.deliveries.changed().await?;
        }
        self.inner.deliveries.check()
    }

    /// Notes which records of the transaction, or of a trial, were refused for good.
    fn note_refused(&mut self) {
        for (number, index, error) in self.inner.deliveries.take_rejected() {
            if let Some(kept) = self.numbers.get(&number).and_then(|at| self.kept.get_mut(*at)) {
                kept.refused.entry(index).or_insert(Some(error));
            }
        }
    }

    /// Undoes what is open; the candidates are known by their place in what is kept.
    async fn undo(&mut self) -> Result<AbortReason> {
        self.phase = Phase::Abortable;
        self.inner.librdkafka.classifier.alone.store(false, Ordering::Release);
        self.insist(|producer| transactions::abort(producer, ABORT_MS_MAX)).await?;
        // The call has waited for the delivery reports of what was sent, and of what was thrown away.
        self.inner.deliveries.check()?;
        self.note_refused();
        let AbortReason { retry_later, too_large, candidates, aborted } = self.inner.deliveries.clear();
        // One that was not taken after all is not kept.
        let known = |(number, index)| {
            let at = *self.numbers.get(&number)?;
            (at < self.kept.len()).then_some((at, index))
        };
        let [candidates, aborted] =
            [candidates, aborted].map(|all| all.into_iter().filter_map(known).collect());
        self.numbers.clear();
        self.phase = Phase::Aborted;
        Ok(AbortReason { retry_later, too_large, candidates, aborted })
    }

    /// Finds out why a transaction did not pass, so that the next one may. A size may be that of a request and not of a record, so the
    /// producer makes smaller ones, until those that are too large travel alone. Other records that were refused in
    /// company are tried in ever smaller groups, each in a transaction that is aborted.
    async fn resolve(&mut self) -> Result<()> {
        let AbortReason { retry_later, too_large, candidates, .. } = self.undo().await?;
        if let Some(error) = retry_later {
            self.inner.hold(&error).await;
            return Ok(());
        }
        if too_large && self.inner.librdkafka.classifier.alone_above > BATCH_BYTES_MIN {
            return self.make_smaller_batches().await;
        }
        let mut groups = vec![candidates];
        while let Some(mut group) = groups.pop() {
            let half = group.split_off(group.len() / 2);
            for half in [group, half].into_iter().filter(|half| !half.is_empty()) {
                groups.extend(Some(self.try_out(&half).await?).filter(|candidates| !candidates.is_empty()));
            }
        }
        Ok(())
    }

    async fn make_smaller_batches(&mut self) -> Result<()> {
        let batch_bytes_max = (self.inner.librdkafka.classifier.alone_above / 4).max(BATCH_BYTES_MIN);
        tracing::info!(
            pipeline = %self.inner.context.pipeline,
            batch_bytes_max,
            "a batch was refused for its size: smaller ones are made from now on; `client: {{ batch.size }}` below `max.message.bytes` of the topic spares the search"
        );
        self.inner.batch_bytes_max = Some(batch_bytes_max);
        self.inner.open_again()?;
        self.insist(|producer| transactions::init(producer, CALL_MS_MAX)).await
    }

    /// Sends these records and undoes it. Those that may still be the cause come back: all that were not written, if one of
    /// them was refused again in company.
    async fn try_out(&mut self, group: &[RecordIndex]) -> Result<Vec<RecordIndex>> {
        loop {
            self.begin().await?;
            // Whatever fails from here on, it is aborted.
            self.phase = Phase::Abortable;
            self.inner.librdkafka.classifier.alone.store(group.len() == 1, Ordering::Release);
            let known = self.refused();
            for chunk in group.chunk_by(|(one, _), (other, _)| one == other) {
                let chosen: HashSet<usize> = chunk.iter().map(|(_, index)| *index).collect();
                self.give(chunk[0].0, |index| chosen.contains(&index)).await?;
            }
            self.all_complete().await?;
            let must_abort = self.inner.deliveries.must_abort();
            let AbortReason { candidates, aborted, .. } = self.undo().await?;
            if !candidates.is_empty() || self.refused() > known {
                // Those that were aborted with them may still be the cause.
                let mut left = [candidates, aborted].concat();
                left.sort_unstable();
                return Ok(left);
            }
            if !must_abort {
                return Ok(Vec::new());
            }
            // It was aborted for another reason, and says nothing.
        }
    }

    /// Records that never pass, as far as it is known.
    fn refused(&self) -> usize {
        self.kept.iter().map(|kept| kept.refused.len()).sum()
    }

    /// Brings what is kept to the state in which only the commit is missing.
    async fn make_ready(&mut self) -> Result<()> {
        loop {
            match self.phase {
                Phase::Idle => return Ok(()),
                Phase::Abortable => self.resolve().await?,
                Phase::Aborted => {
                    self.begin().await?;
                    // Half of it is nothing: if this fails, it is aborted and begun anew.
                    self.phase = Phase::Abortable;
                    for at in 0..self.kept.len() {
                        self.give(at, |_| true).await?;
                    }
                    self.phase = Phase::Open;
                }
                Phase::Open => {
                    self.all_complete().await?;
                    if !self.inner.deliveries.must_abort() {
                        self.note_refused();
                        self.inner.passed();
                        return Ok(());
                    }
                    tracing::info!(batches = self.kept.len(), "a transaction is undone and written again");
                    self.phase = Phase::Abortable;
                }
            }
        }
    }

    /// Makes one step of a transaction, however long the brokers are away.
    async fn insist(
        &mut self,
        step: impl Fn(&Client<Reports>) -> Step + Clone + Send + 'static,
    ) -> Result<()> {
        loop {
            self.inner.deliveries.check()?;
            match self.call(step.clone()).await? {
                Step::Done => return Ok(()),
                Step::Retriable(says) => tracing::debug!(says, "a step of a transaction is not made yet"),
                Step::Abortable(says) => {
                    self.phase = Phase::Abortable;
                    return Err(aborted(&says));
                }
                Step::Fatal(_, says) => return Err(self.over(&says)),
            }
        }
    }
}

#[async_trait]
impl Sink for TransactionSink {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        if self.phase == Phase::Idle {
            if self.inner.renew()? {
                self.insist(|producer| transactions::init(producer, CALL_MS_MAX)).await?;
            }
            self.begin().await?;
        }
        self.kept.push(TransactionBatch { batch: Arc::clone(batch), refused: BTreeMap::new() });
        // What is aborted is written again as a whole, with the next flush.
        if self.phase == Phase::Open
            && let Err(error) = self.give(self.kept.len() - 1, |_| true).await
        {
            self.kept.pop();
            self.phase = Phase::Abortable;
            return Err(error);
        }
        Ok(Written::nothing())
    }

    async fn flush(&mut self) -> Result<Written> {
        self.make_ready().await?;
        let ids: Vec<BatchId> = self.kept[self.ready..].iter().map(|kept| kept.batch.id).collect();
        self.ready = self.kept.len();
        let mut rejected = Vec::new();
        for TransactionBatch { batch, refused } in &mut self.kept {
            for (index, error) in refused {
                if let (Some(error), Some(record)) = (error.take(), batch.records.get(*index)) {
                    rejected.push(Rejected { record: record.clone(), error });
                }
            }
        }
        Ok(Written { rejected, ..Written::batches(ids) })
    }

    fn transactional(&mut self) -> Option<&mut dyn Transactional> {
        Some(self)
    }
}

#[async_trait]
impl Transactional for TransactionSink {
    /// The source's group has the offsets, in the same cluster.
    async fn stored(&mut self) -> Result<Option<Offsets>> {
        self.insist(|producer| transactions::init(producer, CALL_MS_MAX)).await?;
        Ok(None)
    }

    async fn commit(&mut self, offsets: &Offsets, proof: Option<Proof>) -> Result<()> {
        let proof = proof.and_then(|proof| proof.downcast::<GroupMetadata>().ok());
        let metadata = proof.ok_or_else(|| Error::bug("the source shows no membership of a group"))?;
        let list = list_of(offsets, &self.inner.context.incarnations)?;
        match self.phase {
            Phase::Idle => self.begin().await?,
            Phase::Open => {}
            Phase::Abortable | Phase::Aborted => return Err(aborted("it has to be aborted")),
        }
        let shared = Arc::new((list, *metadata));
        self.insist(move |producer| transactions::add_offsets(producer, &shared.0, &shared.1, CALL_MS_MAX))
            .await?;
        self.insist(|producer| transactions::commit(producer, CALL_MS_MAX)).await?;
        self.inner.deliveries.clear();
        self.kept.clear();
        self.numbers.clear();
        (self.ready, self.phase) = (0, Phase::Idle);
        Ok(())
    }
}

/// `topic/3` and the like, as the library takes it.
fn list_of(offsets: &Offsets, incarnations: &Incarnations) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (name, position) in offsets {
        let parsed = || {
            let (topic, partition) = name.rsplit_once('/')?;
            Some((topic, partition.parse::<i32>().ok()?, Offset::Offset(position.parse().ok()?)))
        };
        let wrong = || Error::bug("a position is not that of a Kafka partition").with("partition", name);
        let (topic, partition, offset) = parsed().ok_or_else(wrong)?;
        let mut element = list.add_partition(topic, partition);
        element.set_offset(offset).map_err(|error| wrong().caused_by(error))?;
        if let Some(id) = incarnations.of(&topic.into(), partition) {
            element.set_metadata(metadata(&id));
        }
    }
    Ok(list)
}

fn aborted(reason: &str) -> Error {
    TRANSACTION_UNDONE.error(ErrorKind::Transient, &[("reason", &reason)])
}
