//! The task for metadata and producer ids. It starts the tasks of the brokers.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    InitProducerIdRequest, MetadataRequest, MetadataResponse, ProducerId, TopicName,
};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::shared::{BrokerHandle, PanicGuard, Shared, lock};
use super::topic::TopicMetadata;
use crate::wire::address::address;
use crate::wire::connection::{BrokerConnection, other};

/// Topics by name, and none is created by the request.
const METADATA_VERSIONS: std::ops::RangeInclusive<i16> = 4..=9;
const PRODUCER_ID_VERSIONS: std::ops::RangeInclusive<i16> = 0..=4;
/// How long the response to a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Metadata is refreshed after so long: partitions may have been added.
const REFRESH: Duration = Duration::from_secs(60);
/// The same while some leader is unknown.
const REFRESH_INCOMPLETE: Duration = Duration::from_millis(250);
/// After so many refreshes that came this close to each other the next broker is asked: the metadata of this one may be old.
const REFRESHES_MAX: u32 = 5;
const REFRESHES_WITHIN: Duration = Duration::from_secs(3);
/// No two requests come closer.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
/// After a failure; twice as long each time.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Runs until it is aborted, and with it the tasks of the brokers.
pub(super) async fn serve(shared: Arc<Shared>) {
    let _guard = PanicGuard(Arc::clone(&shared));
    let mut tasks = JoinSet::new();
    let (mut connection, mut next, mut backoff) = (None, 0, BACKOFF_MIN);
    let mut refresh_at = Instant::now() + REFRESH;
    let (mut refreshes, mut refreshed_at) = (0, Instant::now());
    loop {
        let needs_producer_id = lock(&shared.accumulator).needs_producer_id();
        let due = Instant::now() >= refresh_at;
        let stale = shared.metadata_stale.swap(false, Ordering::AcqRel) || due;
        if !needs_producer_id && !stale {
            tokio::select! {
                biased;
                () = shared.metadata_needed.notified() => {}
                () = tokio::time::sleep_until(refresh_at) => {}
            }
            continue;
        }
        let requested = async {
            let connection = any_broker(&shared, &mut connection, &mut next).await?;
            let requests = async {
                let at =
                    if stale { refresh(&shared, connection, &mut tasks, due).await? } else { refresh_at };
                if needs_producer_id {
                    init_producer_id(&shared, connection).await?;
                }
                Ok::<_, io::Error>(at)
            };
            let responses = tokio::time::timeout(REQUEST_TIMEOUT, requests).await;
            responses.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        match requested.await {
            Ok(at) => {
                (refresh_at, backoff) = (at, BACKOFF_MIN);
                if stale {
                    refreshes = if refreshed_at.elapsed() < REFRESHES_WITHIN { refreshes + 1 } else { 0 };
                    refreshed_at = Instant::now();
                }
                if refreshes >= REFRESHES_MAX {
                    (connection, refreshes) = (None, 0);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot ask the cluster");
                connection = None;
                if stale {
                    shared.metadata_stale.store(true, Ordering::Release);
                }
                shared.health.connection_failed();
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
        tokio::time::sleep(backoff).await;
    }
}

/// The connection to any broker; where there is none, one to the next broker.
async fn any_broker<'a>(
    shared: &Shared,
    connection: &'a mut Option<BrokerConnection>,
    next: &mut usize,
) -> io::Result<&'a mut BrokerConnection> {
    let connection = match connection
        .take()
        .filter(|connection| connection.expires.is_none_or(|expires| expires > Instant::now()))
    {
        Some(open) => connection.insert(open),
        None => {
            let mut brokers = shared.dialer.bootstrap();
            brokers.extend(lock(&shared.brokers).values().map(|handle| lock(&handle.address).clone()));
            *next += 1;
            let broker = brokers.get((*next - 1) % brokers.len()).map_or("", String::as_str);
            connection.insert(shared.dialer.dial(broker).await?)
        }
    };
    Ok(connection)
}

/// Fetches a producer id.
async fn init_producer_id(shared: &Shared, connection: &mut BrokerConnection) -> io::Result<()> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let response = connection.request(&request, PRODUCER_ID_VERSIONS).await?;
    if response.error_code != 0 {
        return Err(other(format!("no producer id: error {}", response.error_code)));
    }
    lock(&shared.accumulator).set_producer_id((response.producer_id.0, response.producer_epoch));
    shared.wake_all();
    Ok(())
}

/// Fetches metadata and passes it on; returns when to refresh it.
async fn refresh(
    shared: &Arc<Shared>,
    connection: &mut BrokerConnection,
    tasks: &mut JoinSet<()>,
    all: bool,
) -> io::Result<Instant> {
    let names = lock(&shared.accumulator).topics_to_refresh(all);
    let topic = |name| MetadataRequestTopic::default().with_name(Some(TopicName(name)));
    let request = MetadataRequest::default()
        .with_topics(Some(names.into_iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false);
    let response = connection.request(&request, METADATA_VERSIONS).await?;
    update_brokers(shared, &response, tasks);
    let now = Instant::now();
    let mut complete = true;
    let (reports, former_leaders) = {
        let mut accumulator = lock(&shared.accumulator);
        let mut reports = Vec::new();
        for topic in &response.topics {
            let (Some(name), Some(metadata)) = (&topic.name, topic_metadata(topic)) else {
                complete = false;
                continue;
            };
            complete &=
                matches!(&metadata, TopicMetadata::Leaders(leaders) if leaders.iter().all(Option::is_some));
            reports.extend(accumulator.update_metadata(name, metadata, now));
        }
        (reports, accumulator.former_leaders())
    };
    shared.report(reports);
    for node in former_leaders {
        if let Some(handle) = lock(&shared.brokers).get(&node) {
            handle.close.notify_one();
        }
    }
    shared.wake_all();
    shared.callback.progressed();
    Ok(now + if complete { REFRESH } else { REFRESH_INCOMPLETE })
}

/// Starts a task for each broker that is new, and gives the others their address where it has changed.
fn update_brokers(shared: &Arc<Shared>, response: &MetadataResponse, tasks: &mut JoinSet<()>) {
    for broker in &response.brokers {
        let address = address(&broker.host, broker.port);
        let mut brokers = lock(&shared.brokers);
        if let Some(handle) = brokers.get(&broker.node_id.0) {
            let mut known = lock(&handle.address);
            if *known != address {
                *known = address;
                handle.close.notify_one();
            }
            continue;
        }
        let throttled_until = Mutex::new(Instant::now());
        let handle = BrokerHandle {
            address: Mutex::new(address),
            throttled_until,
            wake: Notify::new(),
            close: Notify::new(),
        };
        let handle = Arc::new(handle);
        brokers.insert(broker.node_id.0, Arc::clone(&handle));
        tasks.spawn(super::broker::serve(Arc::clone(shared), broker.node_id.0, handle));
    }
}

/// `None` where the broker does not know at the moment.
fn topic_metadata(topic: &MetadataResponseTopic) -> Option<TopicMetadata> {
    const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    const INVALID_TOPIC_EXCEPTION: i16 = 17;
    const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
    match topic.error_code {
        0 => {
            let count = topic.partitions.iter().map(|partition| partition.partition_index + 1).max()?;
            let mut leaders = vec![None; usize::try_from(count).ok()?];
            for partition in &topic.partitions {
                let leader = partition.leader_id.0;
                if let Some(at) = leaders.get_mut(usize::try_from(partition.partition_index).ok()?) {
                    *at = (leader >= 0).then_some(leader);
                }
            }
            Some(TopicMetadata::Leaders(leaders))
        }
        UNKNOWN_TOPIC_OR_PARTITION => Some(TopicMetadata::Missing),
        code @ (INVALID_TOPIC_EXCEPTION | TOPIC_AUTHORIZATION_FAILED) => Some(TopicMetadata::Denied(code)),
        _ => None,
    }
}
