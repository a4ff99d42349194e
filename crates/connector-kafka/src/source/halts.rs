//! Partitions that cannot be read on: where each stops, and why. A state machine behind one lock; it calls no library.
//!
//! librdkafka may skip a batch that it cannot read and give out what comes behind it, so the records behind a halt are cut
//! off here, before they reach the engine: the partition ends at the halt until it is taken up again.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_api::{Partition, Records};
use tokio::time::Instant;

use super::handoff::name_of;

/// How long a batch that cannot be read is left alone.
pub(crate) const TRY_AGAIN: Duration = Duration::from_secs(20);

/// See the file's header.
#[derive(Default)]
pub(crate) struct Halts {
    stopped: Mutex<HashMap<Partition, Halt>>,
    /// The time of the record that was given out last.
    times_us: Mutex<HashMap<Partition, i64>>,
}

/// One partition that stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Halt {
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: i32,
    /// Everything before this offset is given out, nothing from it on.
    pub(crate) at: i64,
    /// What stands in the way.
    pub(crate) why: Why,
    /// How far the event thread has seen to it.
    pub(crate) stage: Stage,
    due: Instant,
}

/// How far a halt is seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nobody has.
    New,
    /// The partition is left alone for a while.
    Resting,
    /// It was taken up again, and nothing has come yet.
    Again,
}

/// What stands in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// There is no such offset.
    Lost,
    /// The topic was deleted and made anew.
    MadeAnew,
    /// Nobody leads the partition, so that nobody says where it begins.
    Unplaced,
    /// The batch there cannot be read, for this reason.
    Damaged(String),
}

impl Halts {
    /// The partition ends here. What is told again of a partition that stands still is no news.
    pub(crate) fn halt(&self, topic: &str, partition: i32, at: i64, why: Why) {
        let mut stopped = self.stopped();
        let halt = stopped.entry(name_of(topic, partition)).or_insert_with(|| Halt {
            topic: topic.to_owned(),
            partition,
            at,
            why: why.clone(),
            stage: Stage::New,
            due: Instant::now(),
        });
        if halt.stage == Stage::Again {
            *halt = Halt { at, why, stage: Stage::New, due: Instant::now(), ..halt.clone() };
        }
    }

    /// Cuts off what is behind a halt: the offset to go on from. Nothing behind it may be stored as done (invariant 1).
    pub(crate) fn cut(&self, name: &Partition, records: &mut Records, next: i64) -> i64 {
        if let Some(time) = records.last_timestamp_us() {
            self.times_us.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), time);
        }
        let mut stopped = self.stopped();
        let Some(halt) = stopped.get_mut(name).filter(|halt| halt.at < next) else { return next };
        if halt.stage == Stage::Again {
            stopped.remove(name);
            return next;
        }
        records.cut(halt.at);
        halt.at
    }

    /// What the event thread has to see to now.
    pub(crate) fn due(&self) -> Vec<Halt> {
        let now = Instant::now();
        let stopped = self.stopped();
        stopped.values().filter(|halt| halt.stage != Stage::Again && halt.due <= now).cloned().collect()
    }

    /// It is seen to again after that time.
    pub(crate) fn later(&self, halt: &Halt, stage: Stage, wait: Duration) {
        if let Some(halt) = self.stopped().get_mut(&name_of(&halt.topic, halt.partition)) {
            (halt.stage, halt.due) = (stage, Instant::now() + wait);
        }
    }

    /// These are not ours any more, or go on somewhere else.
    pub(crate) fn forget(&self, names: &[Partition]) {
        self.stopped().retain(|name, _| !names.contains(name));
    }

    /// All that stand still, in order.
    pub(crate) fn all(&self) -> Vec<Halt> {
        let mut all: Vec<Halt> = self.stopped().values().cloned().collect();
        all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        all
    }

    /// The time of the record that was given out last, in microseconds since 1970.
    pub(crate) fn time_us(&self, name: &Partition) -> Option<i64> {
        self.times_us.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    fn stopped(&self) -> MutexGuard<'_, HashMap<Partition, Halt>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqueduct_api::{Origin, Payload, Record};

    fn records(offsets: std::ops::Range<i64>) -> Records {
        let record = |offset| Record {
            topic: "t".into(),
            origin: Origin { partition: 0, offset },
            key: Payload::Absent,
            value: Payload::Absent,
            headers: Default::default(),
            timestamp_us: Some(offset),
        };
        offsets.map(record).collect()
    }

    #[test]
    fn nothing_behind_a_halt_is_given_out_until_it_is_tried_again() {
        let (halts, name) = (Halts::default(), name_of("t", 0));
        assert_eq!(halts.cut(&name, &mut records(0..5), 5), 5);
        halts.halt("t", 0, 8, Why::Damaged("x".into()));
        let mut batch = records(5..7);
        assert_eq!((halts.cut(&name, &mut batch, 7), batch.len()), (7, 2));
        let batch = records(7..8);
        let mut batch: Records = batch.into_iter().chain(records(10..12)).collect();
        assert_eq!((halts.cut(&name, &mut batch, 12), batch.len()), (8, 1));
        let mut batch = records(12..13);
        assert_eq!((halts.cut(&name, &mut batch, 13), batch.len()), (8, 0));

        let halt = halts.due().remove(0);
        halts.later(&halt, Stage::Resting, TRY_AGAIN);
        assert_eq!(halts.due(), []);
        halts.later(&halt, Stage::Again, Duration::ZERO);
        halts.halt("t", 0, 8, Why::Damaged("x".into()));
        assert_eq!(halts.due().len(), 1, "the same again");
        halts.later(&halt, Stage::Again, Duration::ZERO);
        let mut batch = records(8..13);
        assert_eq!((halts.cut(&name, &mut batch, 13), batch.len()), (13, 5));
        assert_eq!(halts.all(), []);
    }
}
