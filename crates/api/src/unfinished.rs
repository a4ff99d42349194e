//! What a source or a sink still has to do after it was dropped.

use std::time::Duration;

use tokio::sync::mpsc;

/// Kept by whatever works on behind a source or a sink that was dropped: a thread that leaves a consumer group, which takes a
/// request to a broker; a producer that may be sending still. The engine waits for it, bounded, before it says that the run
/// is over: else the process would end in between, or the next run would find the source half closed, and its records
/// before those of the last one (invariant 7).
#[derive(Clone, Debug, Default)]
pub struct Unfinished {
    // Only ever dropped.
    _held: Option<mpsc::Sender<()>>,
}

/// Waits for all of them.
#[derive(Debug)]
pub struct Finishing(mpsc::Receiver<()>);

impl Unfinished {
    /// One to hand out, and who waits for its copies.
    pub fn new() -> (Self, Finishing) {
        let (held, gone) = mpsc::channel(1);
        (Self { _held: Some(held) }, Finishing(gone))
    }
}

impl Finishing {
    /// Returns when no copy is left. False when the time was over first.
    pub async fn within(mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.0.recv()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_over_with_the_last_copy() {
        let (held, finishing) = Unfinished::new();
        let copy = held.clone();
        drop(held);
        let late = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(copy);
        });
        assert!(finishing.within(Duration::from_secs(30)).await);
        late.await.unwrap();
        let (_held, finishing) = Unfinished::new();
        assert!(!finishing.within(Duration::from_millis(20)).await);
    }
}
