//! What a place for objects has to offer, and how it waits out trouble that passes.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};

use aqueduct_api::{Condition, ErrorKind, Result};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Duration, sleep};
use tracing::{info, warn};

use crate::digest::Digest;
use crate::footer::Footprint;

/// How much of the end of an object [`Store::find`] brings: room for a footer with the longest topic and
/// pipeline.
pub const TAIL_BYTES: usize = 2048;

/// A place where objects stand under names. Trouble that passes is waited out inside (see [`persist`]), so an
/// error of any of these calls is final.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Looks an object up.
    async fn find(&self, name: &str) -> Result<Option<Found>>;

    /// A piece of an object, from this byte on: empty at its end. How long a piece is, is up to the store, and bounded.
    async fn read(&self, name: &str, from: u64) -> Result<Bytes>;

    /// Removes what a run that died has left half-way.
    async fn sweep(&self, leftovers: &Leftovers<'_>) -> Result<()>;

    /// Begins an object. Nobody sees it before it is finished.
    async fn begin(&self, name: &str, footprint: &Footprint) -> Result<Box<dyn Upload>>;
}

/// An object on its way. Dropped, it leaves nothing that a reader could see.
#[async_trait]
pub trait Upload: Send + Sync {
    /// Takes these bytes, and leaves their buffer empty.
    async fn write(&mut self, bytes: &mut Vec<u8>) -> Result<()>;

    /// Makes it visible and durable, unless an object of that name exists.
    async fn finish(self: Box<Self>, footprint: &Footprint) -> Result<Finished>;

    /// Bytes it holds in memory.
    fn buffered(&self) -> usize;
}

/// An object that stands in the store.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its length.
    pub bytes: u64,
    /// Its last [`TAIL_BYTES`], or all of it.
    pub tail: Bytes,
}

/// The outcome of [`Upload::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It stands there now.
    Created,
    /// An object of that name stood there already, and is left as it was.
    Refused,
}

/// Objects half-way that no living writer needs: those of one group from one offset on. A group has one writer, and it
/// finishes objects in order; whoever begins at this offset is that writer now. Their names agree in all but the start
/// offset, to the last byte: what else begins so may be the live work of another partition.
#[derive(Clone, Copy, Debug)]
pub struct Leftovers<'a> {
    /// Whose they are.
    pub pipeline: &'a str,
    /// What the names begin with; 20 digits of the start offset follow.
    pub head: &'a str,
    /// What the names end in.
    pub tail: &'a str,
    /// The least start offset.
    pub from: i64,
}

impl Leftovers<'_> {
    /// Whether this name is one of them.
    pub fn covers(&self, name: &str) -> bool {
        self.offset_between(self.head, name, self.tail).is_some()
    }

    /// The start offset in a name, or in a level of it, between these two; `None` where it is not one of theirs.
    pub fn offset_between(&self, head: &str, name: &str, tail: &str) -> Option<i64> {
        let digits = name.strip_prefix(head)?.strip_suffix(tail)?;
        let whole = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|start| whole && *start >= self.from)
    }

    /// The name of the one that begins there.
    pub fn name(&self, start_offset: i64) -> String {
        object_name(self.head, start_offset, self.tail)
    }
}

/// The name of an object: what is around its start offset, which has 20 digits so that names sort.
pub(crate) fn object_name(head: &str, start_offset: i64, tail: &str) -> String {
    format!("{head}{start_offset:020}{tail}")
}

/// Stands for the object of this name and pipeline where a name of its own would be too long: 32 hexadecimal digits.
pub fn mark(pipeline: &str, name: &str) -> String {
    let mut digest = Digest::new();
    [pipeline, "\n", name].into_iter().for_each(|text| digest.update(text.as_bytes()));
    digest.hex()
}

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Repeats an attempt for as long as it fails in a way that passes, with growing pauses, and says meanwhile
/// what is being waited for. Any other error is final.
pub async fn persist<T, F>(condition: &Condition, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut pause = PAUSE_MIN;
    let mut waited = false;
    loop {
        match attempt().await {
            Err(error) if error.kind() == ErrorKind::Transient => {
                waited = true;
                if condition.waiting(error.to_string()) {
                    warn!(%error, "waiting");
                }
            }
            outcome => {
                if waited && condition.clear() {
                    info!("no longer waiting");
                }
                return outcome;
            }
        }
        // Between half the pause and all of it: many that wait for one server do not come back at once.
        let jitter = RandomState::new().build_hasher().finish() as u32;
        sleep(pause / 2 + pause.mul_f64(f64::from(jitter) / f64::from(u32::MAX)) / 2).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqueduct_api::Error;

    #[tokio::test(start_paused = true)]
    async fn waits_and_says_for_what() {
        let condition = Condition::default();
        let mut tries = 0;
        let outcome = persist(&condition, || {
            tries += 1;
            let (tries, reason) = (tries, condition.reason());
            async move {
                assert_eq!(reason.as_deref(), (tries > 1).then_some("disk is full"));
                if tries < 4 { Err(Error::transient("disk is full")) } else { Ok(tries) }
            }
        });
        assert_eq!(outcome.await.unwrap(), 4);
        assert_eq!(condition.reason(), None);
    }

    #[test]
    fn leftovers_are_of_one_group_and_not_before_us() {
        let leftovers = Leftovers { pipeline: "p", head: "orders/3-", tail: ".jsonl", from: 100 };
        assert!(leftovers.covers("orders/3-00000000000000000100.jsonl"));
        assert!(leftovers.covers("orders/3-00000000000000000101.jsonl"));
        for other in [
            "orders/3-00000000000000000099.jsonl",
            "orders/33-00000000000000000100.jsonl",
            "orders/3-00000000000000000100.jsonl.gz",
            "orders/3-00000000000000000100",
            "orders/3-000000000000000000100.jsonl",
            "orders/3-+0000000000000000100.jsonl",
            "orders/3-1.jsonl",
            "orders/3-.jsonl",
        ] {
            assert!(!leftovers.covers(other), "{other}");
        }
    }

    #[test]
    fn leftovers_of_other_partitions_begin_alike() {
        let leftovers = Leftovers { pipeline: "p", head: "", tail: "-orders-1.txt", from: 5 };
        assert!(leftovers.covers(&leftovers.name(5)) && leftovers.covers(&leftovers.name(70)));
        for other in ["orders-2.txt", "orders-11.txt", "refunds-1.txt", "orders-1.txt.gz"] {
            assert!(!leftovers.covers(&format!("00000000000000000070-{other}")), "{other}");
        }
    }
}
