//! The connector `file`: lines, JSON lines, CSV or whole records from a file or standard input; whole records as lines of
//! JSON to a file or standard output.

mod appender;
mod config;
mod cut;
mod gathered;
mod input;
mod place;
mod renamed;
mod sink;
mod source;

use aqueduct_api::{Error, Result};

use config::STANDARD;
pub use config::{FileFormat, OffsetsOf, SinkConfig, SourceConfig};

/// Work that blocks, off the runtime's own threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::fatal("the work on a file died").caused_by(error))?
}
