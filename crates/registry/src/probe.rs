//! What `aqueduct check --connect` asks a registry: whether it can be reached and trusted, whether it lets us in, and what
//! it serves. Each finding has the words that a running pipeline would use.

use std::time::Duration;

use aqueduct_api::Finding;
use reqwest::Url;
use serde::de::IgnoredAny;
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::client::{Client, Node, login};
use crate::config::Config;
use crate::failure::{Cause, Failure, host};

/// Asks each address.
pub(crate) async fn probe(config: &Config, patience: Duration) -> Vec<Finding> {
    let client = match Client::new(config, patience) {
        Ok(client) => client,
        Err(error) => return vec![error.into()],
    };
    let mut looks = Vec::new();
    for node in client.nodes() {
        looks.push(look(node, config, patience).await);
    }
    let reached = looks.iter().any(|(_, failure)| failure.is_none());
    let finding = |failure: Failure| {
        let mut finding = Finding::from(failure.into_error());
        if reached {
            // Any of several is enough.
            finding.verdict = aqueduct_api::Verdict::Warning;
        }
        finding
    };
    looks.into_iter().flat_map(|(found, failure)| found.into_iter().chain(failure.map(finding))).collect()
}

/// What was found at an address, and what failed in the end.
async fn look(node: &Node, config: &Config, patience: Duration) -> (Vec<Finding>, Option<Failure>) {
    let mut found = Vec::new();
    let failure = ask(node, config, patience, &mut found).await.err();
    (found, failure)
}

async fn ask(
    node: &Node,
    config: &Config,
    patience: Duration,
    found: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let place = host(&node.url);
    let types: Result<Vec<String>, _> = node.get("/schemas/types").await;
    if let Err(failure) = &types
        && matches!(failure.cause, Cause::Away | Cause::Wrong)
    {
        return Err(failure.clone());
    }
    found.push(Finding::good(format!(
        "schema registry {place} answers at {}",
        addresses(&node.url, patience).await
    )));
    found.push(safety(config, &node.url));
    // The very request of a running pipeline: the list of types may be open to anybody.
    match node.get::<IgnoredAny>("/schemas/ids/1").await {
        Err(failure) if failure.cause != Cause::Unknown => return Err(failure),
        _ => found.push(Finding::good(format!("schema registry {place} lets us in as {}", login(config)))),
    }
    found.push(Finding::good(match types {
        Ok(types) => format!("schema registry {place} serves {}", types.join(", ")),
        Err(failure) if failure.cause == Cause::Absent => {
            format!(
                "schema registry {place} does not list the types of schemas that it serves: AVRO at least"
            )
        }
        Err(failure) => return Err(failure),
    }));
    Ok(())
}

async fn addresses(url: &Url, patience: Duration) -> String {
    let found = timeout(patience, lookup_host(host(url))).await;
    let mut addresses: Vec<String> = match found {
        Ok(Ok(found)) => found.map(|address| address.ip().to_string()).collect(),
        // It just answered, so this is a name server's hiccup.
        _ => vec!["an address that was resolved a moment ago".to_owned()],
    };
    addresses.dedup();
    addresses.join(", ")
}

fn safety(config: &Config, url: &Url) -> Finding {
    let place = host(url);
    if url.scheme() == "https" {
        let by = if config.tls.ca.is_some() {
            "the authority of `registry.tls.ca`"
        } else {
            "an authority of the system"
        };
        return Finding::good(format!("schema registry {place} has a certificate of {by} for this name"));
    }
    let secret = config.password.is_some() || config.token.is_some();
    let away = !matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if secret && away {
        let says = format!("schema registry {place} is sent our credentials without encryption");
        return Finding::warning(says, "write the address with https://");
    }
    Finding::good(format!("schema registry {place} is asked without encryption"))
}
