//! Which APIs and versions are spoken, and which function answers each. The versions end where topics get ids.

mod admin;
mod configs;
mod fetch;
mod groups;
mod list_offsets;
mod metadata;
mod offsets;
mod produce;
mod transactions;

use std::io;
use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use crate::broker::Broker;

const VERSIONS: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 11),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 0, 9),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 4),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 5),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 6),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::AddOffsetsToTxn, 0, 3),
    (ApiKey::EndTxn, 0, 3),
    (ApiKey::TxnOffsetCommit, 0, 3),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::DescribeCluster, 0, 1),
];

/// Something no sound client sends.
pub(crate) fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// One request whose header has been read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) body: Bytes,
}

/// Who asks.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The client's name for itself.
    pub(crate) client: String,
    pub(crate) host: String,
    /// The broker's address as this client sees it, and is told to come back to.
    pub(crate) reached_at: SocketAddr,
}

/// Answers one request; with nothing where the protocol wants none.
pub(crate) async fn answer(broker: &Broker, peer: &Peer, mut call: Call) -> io::Result<Option<BytesMut>> {
    let (api, version) = (call.api, call.version);
    let known = VERSIONS.iter().any(|(key, min, max)| *key == api && (*min..=*max).contains(&version));
    if api == ApiKey::ApiVersions {
        return api_versions(&mut call, known).map(Some);
    }
    if !known {
        return Err(invalid(format!("{api:?} in version {version}, which is not spoken here")));
    }
    let answer = match api {
        ApiKey::Produce => {
            return produce::produce(broker, call.read()?).map_or(Ok(None), |r| call.write(&r).map(Some));
        }
        ApiKey::Fetch => call.write(&fetch::fetch(broker, call.read()?).await),
        ApiKey::ListOffsets => call.write(&list_offsets::list_offsets(broker, version, &call.read()?)),
        ApiKey::Metadata => call.write(&metadata::metadata(broker, peer, version, call.read()?)),
        ApiKey::DescribeCluster => call.write(&metadata::describe_cluster(peer)),
        ApiKey::FindCoordinator => call.write(&metadata::find_coordinator(peer, version, &call.read()?)),
        ApiKey::OffsetCommit => call.write(&offsets::commit(broker, &call.read()?)),
        ApiKey::OffsetFetch => call.write(&offsets::fetch(broker, version, call.read()?)),
        ApiKey::OffsetDelete => call.write(&offsets::delete(broker, &call.read()?)),
        ApiKey::TxnOffsetCommit => call.write(&offsets::commit_in_transaction(broker, &call.read()?)),
        ApiKey::JoinGroup => call.write(&groups::join(broker, peer, version, call.read()?).await),
        ApiKey::SyncGroup => call.write(&groups::sync(broker, call.read()?).await),
        ApiKey::Heartbeat => call.write(&groups::heartbeat(broker, &call.read()?)),
        ApiKey::LeaveGroup => call.write(&groups::leave(broker, version, &call.read()?)),
        ApiKey::DescribeGroups => call.write(&groups::describe(broker, &call.read()?)),
        ApiKey::ListGroups => call.write(&groups::list(broker, &call.read()?)),
        ApiKey::DeleteGroups => call.write(&groups::delete(broker, &call.read()?)),
        ApiKey::CreateTopics => call.write(&admin::create_topics(broker, &call.read()?)),
        ApiKey::DeleteTopics => call.write(&admin::delete_topics(broker, call.read()?)),
        ApiKey::CreatePartitions => call.write(&admin::create_partitions(broker, call.read()?)),
        ApiKey::DeleteRecords => call.write(&admin::delete_records(broker, &call.read()?)),
        ApiKey::DescribeConfigs => call.write(&configs::describe(broker, call.read()?)),
        ApiKey::AlterConfigs => call.write(&configs::alter(broker, call.read()?)),
        ApiKey::IncrementalAlterConfigs => call.write(&configs::alter_incrementally(broker, call.read()?)),
        ApiKey::InitProducerId => call.write(&transactions::init_producer_id(broker, &call.read()?)),
        ApiKey::AddPartitionsToTxn => call.write(&transactions::add_partitions(broker, &call.read()?)),
        ApiKey::AddOffsetsToTxn => call.write(&transactions::add_offsets(broker, &call.read()?)),
        ApiKey::EndTxn => call.write(&transactions::end(broker, &call.read()?)),
        other => Err(invalid(format!("{other:?}, which is not spoken here"))),
    };
    answer.map(Some)
}

impl Call {
    fn read<R: Decodable>(&self) -> io::Result<R> {
        let (api, version) = (self.api, self.version);
        R::decode(&mut self.body.clone(), version).map_err(|error| {
            invalid(format!("a {api:?} request in version {version} that cannot be read: {error}"))
        })
    }

    fn write<R: Encodable + HeaderVersion>(&self, response: &R) -> io::Result<BytesMut> {
        let header = ResponseHeader::default().with_correlation_id(self.correlation_id);
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_u32(0);
        let (api, version) = (self.api, self.version);
        header
            .encode(&mut bytes, R::header_version(version))
            .and_then(|()| response.encode(&mut bytes, version))
            .map_err(|error| invalid(format!("no way to answer {api:?} in version {version}: {error}")))?;
        let length = u32::try_from(bytes.len() - 4).map_err(io::Error::other)?;
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        Ok(bytes)
    }
}

/// A client that asks in too new a version is told in the oldest which ones there are (KIP-511).
fn api_versions(call: &mut Call, known: bool) -> io::Result<BytesMut> {
    let key = |&(api, min, max): &(ApiKey, i16, i16)| {
        ApiVersion::default().with_api_key(api as i16).with_min_version(min).with_max_version(max)
    };
    let response = ApiVersionsResponse::default().with_api_keys(VERSIONS.iter().map(key).collect());
    if known {
        return call.write(&response);
    }
    call.version = 0;
    call.write(&response.with_error_code(ResponseError::UnsupportedVersion.code()))
}

/// The protocol's number for how it went.
fn code<T>(result: Result<T, ResponseError>) -> i16 {
    result.err().map_or(0, |error| error.code())
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}
