//! Whether a registry may be believed that it does not know something. Karapace (5 and later) answers before it has read its
//! topic, and says of each schema that it has not come to yet that there is none: a good record would be a bad one, and
//! skipped or set aside (invariant 1).

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::time::sleep;

use super::{Node, parsed};
use crate::failure::{Cause, Failure, host};

/// Who does not even answer this is not waited for: it is asked beside the question that matters.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(2);

const TELLS: u8 = 1;
const NEVER_TELLS: u8 = 2;

/// Whether the registry of an address is one that tells whether it is ready, as Karapace does and nobody else. Zero until
/// that is known.
#[derive(Default)]
pub(super) struct Readiness(AtomicU8);

/// What Karapace says of itself.
#[derive(Deserialize)]
struct Health {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    schema_registry_ready: bool,
}

impl Readiness {
    /// The answer to a question; where it is that there is no such thing, only of a registry that is ready, and that had
    /// `lag` to hear of it.
    pub(super) async fn asked<'a, T>(
        &self,
        node: &'a Node,
        lag: Duration,
        ask: impl Fn() -> BoxFuture<'a, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        match ask().await {
            Err(unknown) if unknown.cause == Cause::Unknown => match self.ready(node).await? {
                // It may have become ready after it had answered.
                true => {
                    sleep(lag).await;
                    ask().await
                }
                false => Err(unknown),
            },
            answer => answer,
        }
    }

    /// Whether it says that it is ready; `false` where it does not say such things, or not now.
    async fn ready(&self, node: &Node) -> Result<bool, Failure> {
        if self.0.load(Ordering::Relaxed) == NEVER_TELLS {
            return Ok(false);
        }
        let health = parsed::<Health>(node.http.get(node.at("/_health")).timeout(HEALTH_TIME_MAX)).await;
        match health {
            Ok(Health { status }) => {
                self.0.store(TELLS, Ordering::Relaxed);
                if status.schema_registry_ready {
                    return Ok(true);
                }
                let says =
                    format!("the schema registry {} has not read its own schemas yet", host(&node.url));
                Err(Failure::new(Cause::Away, says))
            }
            // A gateway may answer so to a path that it does not know: only who told before is believed.
            Err(failure) if failure.cause == Cause::Away => match self.0.load(Ordering::Relaxed) {
                TELLS => Err(failure),
                _ => Ok(false),
            },
            Err(_) => {
                self.0.store(NEVER_TELLS, Ordering::Relaxed);
                Ok(false)
            }
        }
    }
}
