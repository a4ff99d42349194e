//! How we say who we are to a broker: SASL PLAIN (RFC 4616), SCRAM (RFC 5802, RFC 7677), OAUTHBEARER (RFC 7628), in the
//! frames of KIP-152.

use std::io;
use std::time::Duration;

use super::link::{Link, other};
use crate::client::credentials::Credentials;
use crate::config::Connection;

/// Logs in with the mechanism of the connection. Says for how long the broker lets it hold (KIP-368), if not for ever.
///
/// # Errors
/// What failed, in words.
pub(super) async fn log_in(
    _link: &mut Link,
    _connection: &Connection,
    _credentials: &Credentials,
) -> io::Result<Option<Duration>> {
    Err(other("not built yet"))
}
