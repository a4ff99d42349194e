//! The task that asks the cluster: who leads what is written to, and for producer ids. It starts the tasks of the brokers.

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

use super::accumulator::TopicMetadata;
use super::broker;
use super::shared::{BrokerHandle, PanicGuard, Shared, lock};
use crate::wire::connection::{BrokerConnection, other};

/// Topics by name, and none made by asking for it.
const METADATA_VERSIONS: std::ops::RangeInclusive<i16> = 4..=9;
const PRODUCER_ID_VERSIONS: std::ops::RangeInclusive<i16> = 0..=4;
/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Leaders are asked for again after so long: partitions may have been added.
const REFRESH: Duration = Duration::from_secs(60);
/// While something is missing.
const REFRESH_SOON: Duration = Duration::from_millis(250);
/// After so many looks that came this close to each other the next broker is asked.
const LOOKS_MAX: u32 = 5;
const QUICK: Duration = Duration::from_secs(3);
/// No two questions come closer.
const PAUSE: Duration = Duration::from_millis(50);
/// After a failure; twice as long each time.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Runs until it is aborted, and with it the tasks of the brokers.
pub(super) async fn serve(shared: Arc<Shared>) {
    let _guard = PanicGuard(Arc::clone(&shared));
    let mut tasks = JoinSet::new();
    let (mut connection, mut next, mut pause) = (None, 0, PAUSE);
    let mut refresh_at = Instant::now() + REFRESH;
    let (mut looks, mut looked_at) = (0, Instant::now());
    loop {
        let nameless = lock(&shared.accumulator).needs_producer_id();
        let due = Instant::now() >= refresh_at;
        let stale = shared.metadata_stale.swap(false, Ordering::AcqRel) || due;
        if !nameless && !stale {
            tokio::select! {
                biased;
                () = shared.metadata_needed.notified() => {}
                () = tokio::time::sleep_until(refresh_at) => {}
            }
            continue;
        }
        let asked = async {
            let connection = at(&shared, &mut connection, &mut next).await?;
            let questions = async {
                let at = if stale { look(&shared, connection, &mut tasks, due).await? } else { refresh_at };
                if nameless {
                    name(&shared, connection).await?;
                }
                Ok::<_, io::Error>(at)
            };
            let asked = tokio::time::timeout(TIMEOUT, questions).await;
            asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        };
        match asked.await {
            Ok(at) => {
                (refresh_at, pause) = (at, PAUSE);
                if stale {
                    looks = if looked_at.elapsed() < QUICK { looks + 1 } else { 0 };
                    looked_at = Instant::now();
                }
                // Whoever has to be asked again and again may lag behind himself.
                if looks >= LOOKS_MAX {
                    (connection, looks) = (None, 0);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot ask the cluster");
                connection = None;
                if stale {
                    shared.metadata_stale.store(true, Ordering::Release);
                }
                shared.health.connection_failed();
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// The connection to any broker; the next one is tried where there is none.
async fn at<'a>(
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

/// Gets a producer id.
async fn name(shared: &Shared, connection: &mut BrokerConnection) -> io::Result<()> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let answer = connection.request(&request, PRODUCER_ID_VERSIONS).await?;
    if answer.error_code != 0 {
        return Err(other(format!("no producer id: error {}", answer.error_code)));
    }
    lock(&shared.accumulator).name((answer.producer_id.0, answer.producer_epoch));
    shared.wake_all();
    Ok(())
}

/// Asks who leads what, and passes it on; returns when to look again.
async fn look(
    shared: &Arc<Shared>,
    connection: &mut BrokerConnection,
    tasks: &mut JoinSet<()>,
    ever: bool,
) -> io::Result<Instant> {
    let names = lock(&shared.accumulator).names(ever);
    let topic = |name| MetadataRequestTopic::default().with_name(Some(TopicName(name)));
    let request = MetadataRequest::default()
        .with_topics(Some(names.into_iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false);
    let answer = connection.request(&request, METADATA_VERSIONS).await?;
    meet(shared, &answer, tasks);
    let now = Instant::now();
    let mut complete = true;
    let (reports, former_leaders) = {
        let mut accumulator = lock(&shared.accumulator);
        let mut reports = Vec::new();
        for topic in &answer.topics {
            let (Some(name), Some(seen)) = (&topic.name, seen(topic)) else {
                complete = false;
                continue;
            };
            complete &=
                matches!(&seen, TopicMetadata::Leaders(leaders) if leaders.iter().all(Option::is_some));
            reports.extend(accumulator.seen(name, seen, now));
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
    Ok(now + if complete { REFRESH } else { REFRESH_SOON })
}

/// Starts a task for each broker that is new, and tells the others of another address.
fn meet(shared: &Arc<Shared>, answer: &MetadataResponse, tasks: &mut JoinSet<()>) {
    for seen in &answer.brokers {
        let host = &seen.host;
        let address = if host.contains(':') {
            format!("[{host}]:{}", seen.port)
        } else {
            format!("{host}:{}", seen.port)
        };
        let mut brokers = lock(&shared.brokers);
        if let Some(handle) = brokers.get(&seen.node_id.0) {
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
        brokers.insert(seen.node_id.0, Arc::clone(&handle));
        tasks.spawn(broker::serve(Arc::clone(shared), seen.node_id.0, handle));
    }
}

/// `None` where the cluster cannot say at the moment.
fn seen(topic: &MetadataResponseTopic) -> Option<TopicMetadata> {
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
