//! Stations 3 to 6: decode, transform, set aside, and share out to the lanes by key.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_api::murmur2::murmur2;
use aqueduct_api::{Batch, ErrorKind, Payload, Record, Records, Result};
use aqueduct_ledger::planted::{Bug, planted};
use tokio::sync::mpsc;

use super::{FromPoll, ToLane};
use crate::ack::Ack;
use crate::budget::Permit;
use crate::chain::Chain;
use crate::set_aside::SetAside;
use crate::status::Status;

pub(crate) struct Process {
    pub(crate) chain: Chain,
    pub(crate) input: mpsc::Receiver<FromPoll>,
    pub(crate) lanes: Vec<mpsc::Sender<ToLane>>,
    pub(crate) set_aside: Arc<SetAside>,
    pub(crate) status: Arc<Status>,
    /// The sink keeps the offsets: nothing is acknowledged before it has them.
    pub(crate) transactional: bool,
}

impl Process {
    /// Runs until the poll station closes its channel, or until a record stops the pipeline; the lanes' channels close
    /// behind it.
    pub(crate) async fn run(mut self) -> Result<()> {
        let set_aside = Arc::clone(&self.set_aside);
        loop {
            let read = tokio::select! {
                biased;
                () = set_aside.stopped() => break,
                read = self.input.recv() => read,
            };
            match read {
                Some(FromPoll::Batch { records, ack, permit }) => self.process(records, ack, permit).await?,
                Some(FromPoll::Empty { ack }) => self.acknowledge(ack).await,
                Some(FromPoll::Flush) => {
                    for lane in &self.lanes {
                        send(lane, ToLane::Flush).await;
                    }
                }
                None => return Ok(()),
            }
        }
        // The poll station reads no more, and what it has read is left for the next start.
        self.input.close();
        while let Some(read) = self.input.recv().await {
            if let FromPoll::Batch { ack, .. } | FromPoll::Empty { ack } = read {
                ack.give_back();
            }
        }
        Ok(())
    }

    async fn process(&mut self, records: Records, ack: Ack, permit: Permit) -> Result<()> {
        let passed = self.chain.apply(records).await?;
        if let Some(error) = passed.stop {
            ack.give_back();
            self.set_aside.stop_with(error);
            return Ok(());
        }
        self.status.records_dropped.fetch_add(passed.dropped as u64, Ordering::Relaxed);
        // Set aside durably before the batch can be acknowledged (invariant 1).
        match self.set_aside.put(passed.bad).await {
            Err(error) if error.kind() == ErrorKind::BadRecord => {
                ack.give_back();
                self.set_aside.stop_with(error);
                return Ok(());
            }
            other => other?,
        }
        if passed.kept.is_empty() {
            if passed.dropped > 0 && planted(Bug::DroppedRecordLeaksAck) {
                std::mem::forget(ack);
                return Ok(());
            }
            self.acknowledge(ack).await;
            return Ok(());
        }
        if let [lane] = self.lanes.as_slice() {
            let batch = Batch::new(ack.batch(), passed.kept, Some(Arc::new(permit)));
            send(lane, ToLane::Batch { batch, ack }).await;
            return Ok(());
        }
        self.share_out(passed.kept.into_vec(), ack, permit).await;
        Ok(())
    }

    /// Nothing is left of the batch. A sink that keeps the offsets takes its positions into the next transaction
    /// (invariant 10).
    async fn acknowledge(&mut self, ack: Ack) {
        match self.lanes.as_slice() {
            [lane] if self.transactional && !planted(Bug::DroppedOutsideTransaction) => {
                send(lane, ToLane::Empty { ack }).await;
            }
            _ => ack.acknowledge(),
        }
    }

    /// Each lane gets its records, in order, and a share of the `Ack` (invariant 7).
    async fn share_out(&mut self, records: Vec<Record>, ack: Ack, permit: Permit) {
        let permit = Arc::new(permit);
        let mut shares: Vec<Vec<Record>> = self.lanes.iter().map(|_| Vec::new()).collect();
        for (index, record) in records.into_iter().enumerate() {
            let lane = if planted(Bug::LanesInTurn) { index } else { lane_of(&record) as usize };
            shares[lane % self.lanes.len()].push(record);
        }
        for (lane, records) in self.lanes.iter().zip(shares) {
            if records.is_empty() {
                continue;
            }
            let batch = Batch::new(ack.batch(), records.into(), Some(Arc::clone(&permit) as _));
            send(lane, ToLane::Batch { batch, ack: ack.share() }).await;
        }
        ack.acknowledge();
    }
}

/// A lane that takes nothing any more has stopped at a record: what it does not take is left for the next start.
async fn send(lane: &mpsc::Sender<ToLane>, work: ToLane) {
    if let Err(mpsc::error::SendError(ToLane::Batch { ack, .. } | ToLane::Empty { ack })) =
        lane.send(work).await
    {
        ack.give_back();
    }
}

/// Records of one key always take the same lane; records without a key keep the order of their partition.
fn lane_of(record: &Record) -> u32 {
    match &record.key {
        Payload::Raw(key) => murmur2(key),
        // No structure is left here: it has been encoded.
        Payload::Absent | Payload::Typed(_) => murmur2(&record.origin.partition.to_le_bytes()),
    }
}
