//! What a member gets back from its group.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;

/// The answer to a join.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) error: Option<ResponseError>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member_id: String,
    pub(crate) members: Vec<(String, Option<String>, Bytes)>,
    pub(crate) skip_assignment: bool,
}

impl Joined {
    pub(crate) fn failed(error: ResponseError, member_id: String) -> Self {
        Self {
            error: Some(error),
            generation: -1,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            member_id,
            members: Vec::new(),
            skip_assignment: false,
        }
    }
}

/// The answer to a sync.
#[derive(Debug)]
pub(crate) struct Synced {
    pub(crate) error: Option<ResponseError>,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

impl Synced {
    pub(crate) fn failed(error: ResponseError) -> Self {
        Self {
            error: Some(error),
            protocol_type: String::new(),
            protocol: String::new(),
            assignment: Bytes::new(),
        }
    }
}

/// Where an answer is sent, at once or when the group has got that far.
pub(crate) type Reply<T> = oneshot::Sender<T>;
