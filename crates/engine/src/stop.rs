//! The one signal that travels with the data: stop reading, finish what was read.

use tokio::sync::watch;

/// Asks a pipeline to stop in good order. Dropping it changes nothing.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// What a station listens to.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stopper {
    /// A signal that was not given yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Gives the signal; giving it again changes nothing.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// A listener.
    pub fn listener(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Default for Stopper {
    fn default() -> Self {
        Self::new()
    }
}

impl Stop {
    /// Whether it was given.
    pub fn requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is given; for ever if nobody is left to give it.
    pub async fn wait(&mut self) {
        if self.0.wait_for(|stopped| *stopped).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
