//! The properties of librdkafka's consumers and producers.

use aqueduct_api::Error;
use aqueduct_kafka_client::{client_config, set_properties};
use rdkafka::ClientConfig;

use crate::config::{Isolation, SinkConfig, SourceConfig};

/// Memory that librdkafka may fill with records ahead of the engine (it counts uncompressed bytes, over all
/// partitions).
const PREFETCH_KIBIBYTES: &str = "16384";
/// The same as records, for each partition: a small one costs half a kilobyte beside its payload, which the bound in bytes
/// does not count.
const PREFETCH_RECORDS: &str = "30000";
/// One fetch response, compressed; it comes on top of what is prefetched already. The share of one partition in it
/// stays at the library's megabyte: a batch that is larger than the share comes only when it is the first of an answer
/// (KIP-74), and a producer in a hurry makes batches of up to a megabyte.
const FETCH_BYTES_MAX: &str = "2097152";
/// Memory for records that the broker has not acknowledged yet.
const UNACKNOWLEDGED_KIBIBYTES: &str = "32768";
/// The same as records: each costs some 200 bytes beside its payload.
const UNACKNOWLEDGED_RECORDS_MAX: &str = "40000";
/// The largest batch that a producer makes of small records; a larger record is a batch of its own.
const PRODUCER_BATCH_BYTES: &str = "1000000";

/// The property that says for how long the cluster waits for the end of a transaction, in milliseconds.
const TRANSACTION_TIMEOUT: &str = "transaction.timeout.ms";
/// Consumers of committed records wait for so long behind what a runner that was killed has left open. It must be longer
/// than `socket.timeout.ms`.
const TRANSACTION_MS_MAX: &str = "15000";
/// A transactional producer closes what it does not use for so long. When the coordinator of the group dies in the middle
/// of a commit, the library (2.12) waits for a connection to it that nobody will make any more, and looks for the new one
/// only when some connection comes or goes: now one does.
const IDLE_MS_MAX: &str = "5000";

/// The property that says how often the cluster's topics are looked at, in milliseconds.
pub(crate) const REFRESH: &str = "topic.metadata.refresh.interval.ms";

/// The properties of a consumer in `group`.
pub(crate) fn consumer_config(
    config: &SourceConfig,
    group: &str,
    client_id: &str,
) -> Result<ClientConfig, Error> {
    let mut client = client_config(&config.connection, client_id)?;
    // With the default of a second a reader a little slower than the fetcher falls to a tenth of its speed.
    client.set("fetch.queue.backoff.ms", "10");
    client.set("queued.max.messages.kbytes", PREFETCH_KIBIBYTES);
    client.set("queued.min.messages", PREFETCH_RECORDS);
    client.set("fetch.max.bytes", FETCH_BYTES_MAX);
    // Also how often new topics of a pattern are looked for.
    client.set(REFRESH, "30000");
    set_properties(&mut client, &[&config.connection.client, &config.client]);
    // The group protocol of KIP-848 leaves assignment and session to the broker, and refuses these two.
    if client.get("group.protocol") != Some("consumer") {
        if client.get("partition.assignment.strategy").is_none() {
            client.set("partition.assignment.strategy", "cooperative-sticky");
        }
        let session_ms = config.session_timeout.0.as_millis();
        client.set("session.timeout.ms", session_ms.to_string());
        if client.get("heartbeat.interval.ms").is_none() {
            // A third of it, as the Java client's documentation asks, and never more than a second: a member hears of a
            // rebalance with its next heartbeat, so this is what a partition waits for when its owner has left.
            client.set("heartbeat.interval.ms", (session_ms / 3).clamp(100, 1_000).to_string());
        }
    }
    client.set("group.id", group);
    client.set("enable.auto.commit", "false");
    client.set("enable.auto.offset.store", "false");
    client.set("auto.offset.reset", "error");
    client.set("isolation.level", config.isolation.as_str());
    Ok(client)
}

/// The properties of an idempotent producer, or of a transactional one.
pub(crate) fn producer_config(
    config: &SinkConfig,
    client_id: &str,
    transactional_id: Option<&str>,
) -> Result<ClientConfig, Error> {
    let mut client = client_config(&config.connection, client_id)?;
    client.set("queue.buffering.max.messages", UNACKNOWLEDGED_RECORDS_MAX);
    client.set("queue.buffering.max.kbytes", UNACKNOWLEDGED_KIBIBYTES);
    // The broker decides what is too large, with the limit of the topic; librdkafka's own limit would refuse what it takes.
    client.set("message.max.bytes", "100000000");
    client.set("batch.size", PRODUCER_BATCH_BYTES);
    // How long a topic that exists may be unknown to another broker, before that is an error.
    client.set("topic.metadata.propagation.max.ms", "10000");
    // For the throttling that is in it.
    client.set("statistics.interval.ms", "5000");
    if let Some(id) = transactional_id {
        client.set("transactional.id", id);
        client.set(TRANSACTION_TIMEOUT, TRANSACTION_MS_MAX);
        client.set("connections.max.idle.ms", IDLE_MS_MAX);
    }
    set_properties(&mut client, &[&config.connection.client, &config.client]);
    client.set("compression.type", config.compression.as_str());
    client.set("linger.ms", config.linger.0.as_millis().to_string());
    client.set("enable.idempotence", "true");
    client.set("acks", "all");
    // The library asks for that much between the two.
    let ms = |client: &ClientConfig, name| client.get(name).and_then(|ms| ms.parse::<u64>().ok());
    if let (Some(_), Some(transaction), Some(socket)) =
        (transactional_id, ms(&client, TRANSACTION_TIMEOUT), ms(&client, "socket.timeout.ms"))
        && socket + 100 > transaction
    {
        client.set("socket.timeout.ms", transaction.saturating_sub(100).to_string());
    }
    // In a transaction the library gives up what is not acknowledged when the transaction is over.
    if transactional_id.is_none() {
        client.set("message.timeout.ms", "0");
    }
    client.set("partitioner", "murmur2_random");
    // A topic is created as `on_missing_topic` says, whatever the broker's settings.
    client.set("allow.auto.create.topics", "false");
    Ok(client)
}

/// For `aqueduct plan`: `read_uncommitted` is worth saying, the default is not.
pub(crate) fn isolation_note(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "",
        Isolation::ReadUncommitted => ", read_uncommitted",
    }
}
