//! Who is who: Metadata, DescribeCluster and FindCoordinator. It is always the one node.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    DescribeClusterResponse, FindCoordinatorRequest, FindCoordinatorResponse, MetadataRequest,
    MetadataResponse,
};

use super::{Peer, text, topic_name};
use crate::broker::{Broker, CLUSTER_ID, NODE_ID};
use crate::topics::{Topic, Topics};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// The topics asked for, created where the client wants that; all of them when none is named.
pub(crate) fn metadata(
    broker: &Broker,
    peer: &Peer,
    version: i16,
    request: MetadataRequest,
) -> MetadataResponse {
    let topics = &mut broker.lock().topics;
    let may_create = version < 4 || request.allow_auto_topic_creation;
    let asked = request.topics.filter(|topics| version > 0 || !topics.is_empty());
    let described = match asked {
        None => topics.iter().map(|(name, topic)| describe(name, Ok(topic))).collect(),
        Some(asked) => {
            let partitions = may_create.then_some(broker.limits.auto_create_partitions);
            let names = asked.iter().filter_map(|topic| topic.name.as_ref());
            names.map(|name| describe(name, find(topics, name, partitions))).collect()
        }
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE_ID.into())
        .with_host(text(&peer.reached_at.ip().to_string()))
        .with_port(peer.reached_at.port().into());
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(CLUSTER_ID)))
        .with_controller_id(NODE_ID.into())
        .with_topics(described)
}

pub(crate) fn describe_cluster(peer: &Peer) -> DescribeClusterResponse {
    let broker = DescribeClusterBroker::default()
        .with_broker_id(NODE_ID.into())
        .with_host(text(&peer.reached_at.ip().to_string()))
        .with_port(peer.reached_at.port().into());
    DescribeClusterResponse::default()
        .with_cluster_id(text(CLUSTER_ID))
        .with_controller_id(NODE_ID.into())
        .with_brokers(vec![broker])
}

pub(crate) fn find_coordinator(
    peer: &Peer,
    version: i16,
    request: &FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let error_code = match request.key_type {
        GROUP | TRANSACTION => 0,
        _ => ResponseError::InvalidRequest.code(),
    };
    let (host, port) = (text(&peer.reached_at.ip().to_string()), peer.reached_at.port().into());
    if version < 4 {
        let response = FindCoordinatorResponse::default().with_node_id(NODE_ID.into()).with_host(host);
        return response.with_port(port).with_error_code(error_code);
    }
    let coordinators = request.coordinator_keys.iter().map(|key| {
        Coordinator::default()
            .with_key(key.clone())
            .with_node_id(NODE_ID.into())
            .with_host(host.clone())
            .with_port(port)
            .with_error_code(error_code)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

fn find<'a>(topics: &'a mut Topics, name: &str, partitions: Option<i32>) -> Result<&'a Topic, ResponseError> {
    if let (Err(_), Some(partitions)) = (topics.get(name), partitions) {
        topics.create(name, partitions, Default::default())?;
    }
    topics.get(name)
}

fn describe(name: &str, topic: Result<&Topic, ResponseError>) -> MetadataResponseTopic {
    let response = MetadataResponseTopic::default().with_name(Some(topic_name(name)));
    match topic {
        Err(error) => response.with_error_code(error.code()),
        Ok(topic) => response.with_partitions((0..topic.partitions.len()).map(partition).collect()),
    }
}

fn partition(index: usize) -> MetadataResponsePartition {
    MetadataResponsePartition::default()
        .with_partition_index(index as i32)
        .with_leader_id(NODE_ID.into())
        .with_leader_epoch(0)
        .with_replica_nodes(vec![NODE_ID.into()])
        .with_isr_nodes(vec![NODE_ID.into()])
}
