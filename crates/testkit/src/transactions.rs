//! A sink that keeps the offsets: data and positions reach the world together or not at all, and only from the process that
//! took the epoch last. What a killed process had in hand stays behind and may still arrive, as from one that was frozen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::{
    Batch, Durable, Error, ErrorKind, Offsets, Proof, Rejected, Result, Sink, Transactional, Written,
};
use async_trait::async_trait;
use tokio::sync::Notify;

use crate::world::{Expected, Transaction, World, coordinates, expected};

impl World {
    /// All of it becomes durable, or nothing: invariant 10.
    fn commit(&self, transaction: &Transaction) -> Result<()> {
        let (epoch, generation) = {
            let state = self.state();
            (state.epoch, state.generation)
        };
        if transaction.epoch != epoch {
            return Err(Error::fatal("fenced: another process has taken over"));
        }
        if transaction.generation.is_some_and(|shown| shown != generation) {
            return Err(Error::transient("partitions have changed hands: the transaction is undone"));
        }
        transaction.records.iter().for_each(|(index, offset)| self.durable(*index, *offset));
        self.store(&transaction.offsets);
        let mut state = self.state();
        let ahead = state.partitions.iter().enumerate().filter_map(|(index, partition)| {
            let mut ahead = partition.done.range(partition.stored..);
            let offset = ahead.find(|offset| expected(index, **offset) == Expected::Passes)?;
            Some(format!(
                "invariant 10: {offset} of {} is durable, but {} is stored",
                partition.name, partition.stored
            ))
        });
        let ahead: Vec<String> = ahead.collect();
        state.violations.extend(ahead);
        Ok(())
    }

    /// A commit that was under way when its process died arrives, as long as nobody has taken over.
    fn arrive(&self) {
        let under_way = self.state().frozen.take_if(|frozen| frozen.asked);
        if let Some(transaction) = under_way {
            // Partitions may have changed hands before.
            self.commit(&transaction).ok();
        }
    }

    /// The process of an earlier life wakes up and commits what it has in hand.
    pub fn wake(&self) {
        let Some(transaction) = self.state().frozen.take() else {
            return;
        };
        if self.commit(&transaction).is_err_and(|error| error.kind() == ErrorKind::Fatal) {
            self.state().fenced += 1;
        }
    }
}

/// Keeps what it is given until it is told to commit; fails before that, or after, or takes its time.
pub struct WorldTransactions {
    world: World,
    wakeup: Arc<Notify>,
    epoch: u64,
    kept: Vec<Kept>,
    /// The offsets of the commit that is under way.
    asked: Option<Offsets>,
    /// The generation that was shown last.
    generation: Option<u64>,
}

/// A batch, and whether it was reported as ready.
struct Kept {
    batch: Arc<Batch>,
    ready: bool,
}

impl WorldTransactions {
    /// The only lane, which notifies `wakeup` now and then. It writes as the one before it until it takes its epoch.
    pub fn open(world: &World, wakeup: &Arc<Notify>) -> Self {
        let (epoch, wakeup) = (world.state().epoch, Arc::clone(wakeup));
        Self { world: world.clone(), wakeup, epoch, kept: Vec::new(), asked: None, generation: None }
    }

    /// Reports the next batches as ready, so many of them, with what they have of refused records.
    fn report(&mut self, count: usize) -> Written {
        let (mut ids, mut rejected) = (Vec::new(), Vec::new());
        for kept in self.kept.iter_mut().filter(|kept| !kept.ready).take(count) {
            kept.ready = true;
            ids.push(kept.batch.id);
            for record in &kept.batch.records {
                let (index, offset) = coordinates(record);
                if expected(index, offset) == Expected::Rejected {
                    let error = Error::bad_record("refused by the sink");
                    rejected.push(Rejected { record: record.clone(), error });
                }
            }
        }
        Written { durable: Durable::Batches(ids), rejected }
    }

    fn report_some(&mut self) -> Written {
        let count = self.world.state().dice.roll(3) as usize;
        self.report(count)
    }

    /// Nothing of what is kept was committed: it is written again with the next flush.
    fn undo(&mut self) {
        self.asked = None;
        self.kept.iter_mut().for_each(|kept| kept.ready = false);
    }

    /// What is in hand. Offsets that nobody has asked for are those behind the records.
    fn transaction(&self) -> Transaction {
        let records = self.kept.iter().flat_map(|kept| kept.batch.records.iter().map(coordinates));
        let records: Vec<(usize, u64)> =
            records.filter(|(index, offset)| expected(*index, *offset) == Expected::Passes).collect();
        let offsets = self.asked.clone().unwrap_or_else(|| {
            let behind: BTreeMap<usize, u64> = records.iter().map(|(index, at)| (*index, at + 1)).collect();
            let named = |(index, at): (usize, u64)| (format!("topic/{index}").into(), at.to_string().into());
            behind.into_iter().map(named).collect()
        });
        let (epoch, generation) = (self.epoch, self.generation);
        Transaction { epoch, generation, records, offsets, asked: self.asked.is_some() }
    }

    async fn on_the_wire(&self) {
        let ms = self.world.state().dice.roll(10);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.world.dawdle().await;
    }
}

impl Drop for WorldTransactions {
    fn drop(&mut self) {
        if !self.kept.is_empty() {
            let transaction = self.transaction();
            self.world.state().frozen = Some(transaction);
        }
    }
}

#[async_trait]
impl Sink for WorldTransactions {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        self.world.dawdle().await;
        let faults = self.world.faults();
        if self.world.percent(faults) {
            return Err(Error::transient("nothing was taken"));
        }
        self.kept.push(Kept { batch: Arc::clone(batch), ready: false });
        if self.world.percent(20) {
            self.wakeup.notify_one();
        }
        Ok(if self.world.percent(40) { self.report_some() } else { Written::nothing() })
    }

    async fn tick(&mut self) -> Result<Written> {
        Ok(if self.world.percent(30) { self.report_some() } else { Written::nothing() })
    }

    async fn flush(&mut self) -> Result<Written> {
        self.world.dawdle().await;
        let faults = self.world.faults();
        if self.world.percent(faults) {
            return Err(Error::transient("not now"));
        }
        let written = self.report(usize::MAX);
        Ok(if self.world.percent(50) { Written { durable: Durable::All, ..written } } else { written })
    }

    fn transactional(&mut self) -> Option<&mut dyn Transactional> {
        Some(self)
    }
}

#[async_trait]
impl Transactional for WorldTransactions {
    async fn stored(&mut self) -> Result<Option<Offsets>> {
        self.on_the_wire().await;
        let faults = self.world.faults();
        if self.world.percent(faults) {
            return Err(Error::transient("the coordinator is away"));
        }
        if self.world.percent(50) {
            self.world.arrive();
        }
        let group = {
            let mut state = self.world.state();
            state.epoch += 1;
            self.epoch = state.epoch;
            state.manners.group
        };
        self.on_the_wire().await;
        // The offsets of a group are where its source looks for them.
        Ok((!group).then(|| self.world.stored()))
    }

    async fn commit(&mut self, offsets: &Offsets, proof: Option<Proof>) -> Result<()> {
        self.generation = proof.and_then(|proof| proof.downcast().ok()).map(|generation| *generation);
        self.asked = Some(offsets.clone());
        self.on_the_wire().await;
        let faults = self.world.faults();
        if self.world.percent(faults) {
            self.undo();
            return Err(Error::transient("nothing was committed"));
        }
        if self.world.percent(faults / 10) {
            return Err(Error::fatal("the connection is beyond repair"));
        }
        if let Err(error) = self.world.commit(&self.transaction()) {
            self.undo();
            return Err(error);
        }
        self.kept.clear();
        self.asked = None;
        // From here on a kill takes the answer, not the commit.
        self.on_the_wire().await;
        if self.world.percent(faults / 10) {
            return Err(Error::fatal("committed, and the answer lost"));
        }
        Ok(())
    }
}
