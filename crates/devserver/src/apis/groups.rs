//! Groups over the wire: joining, leaving, listing, describing. Everything that is kept is copied out of the request,
//! since a slice would hold on to all of it.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Peer, code, text};
use crate::broker::{Broker, State};
use crate::groups::{Group, Join, Joined, Reply, Sync, Synced};

pub(crate) async fn join(
    broker: &Broker,
    peer: &Peer,
    version: i16,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let member_id = request.member_id.to_string();
    let (reply, answer) = oneshot::channel();
    start_join(&mut broker.lock(), peer, version, &request, reply);
    // A member that is taken out while it waits gets no answer.
    let joined = answer.await.unwrap_or_else(|_| Joined::failed(ResponseError::UnknownMemberId, member_id));
    let members = joined.members.into_iter().map(|(id, instance, metadata)| {
        let instance = instance.filter(|_| version >= 5);
        JoinGroupResponseMember::default()
            .with_member_id(id.into())
            .with_group_instance_id(instance.map(StrBytes::from_string))
            .with_metadata(metadata)
    });
    let protocol = Some(joined.protocol.into());
    JoinGroupResponse::default()
        .with_error_code(joined.error.map_or(0, |error| error.code()))
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(joined.protocol_type.into()).filter(|_| version >= 7))
        .with_protocol_name(protocol)
        .with_leader(joined.leader.into())
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(joined.member_id.into())
        .with_members(members.collect())
}

pub(crate) async fn sync(broker: &Broker, request: SyncGroupRequest) -> SyncGroupResponse {
    let (reply, answer) = oneshot::channel();
    start_sync(&mut broker.lock(), &request, reply);
    let synced = answer.await.unwrap_or_else(|_| Synced::failed(ResponseError::UnknownMemberId));
    SyncGroupResponse::default()
        .with_error_code(synced.error.map_or(0, |error| error.code()))
        .with_protocol_type(Some(synced.protocol_type.into()))
        .with_protocol_name(Some(synced.protocol.into()))
        .with_assignment(synced.assignment)
}

pub(crate) fn heartbeat(broker: &Broker, request: &HeartbeatRequest) -> HeartbeatResponse {
    let (id, instance) = (&request.member_id, request.group_instance_id.as_deref());
    let alive = known(&mut broker.lock(), &request.group_id)
        .and_then(|group| group.heartbeat(id, instance, request.generation_id, Instant::now()));
    HeartbeatResponse::default().with_error_code(code(alive))
}

pub(crate) fn leave(broker: &Broker, version: i16, request: &LeaveGroupRequest) -> LeaveGroupResponse {
    let mut state = broker.lock();
    let mut leave = |id: &str, instance: Option<&str>| {
        let now = Instant::now();
        code(known(&mut state, &request.group_id).and_then(|group| group.leave(id, instance, now)))
    };
    if version < 3 {
        return LeaveGroupResponse::default().with_error_code(leave(&request.member_id, None));
    }
    let members = request.members.iter().map(|member: &MemberIdentity| {
        let error_code = leave(&member.member_id, member.group_instance_id.as_deref());
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(error_code)
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

pub(crate) fn describe(broker: &Broker, request: &DescribeGroupsRequest) -> DescribeGroupsResponse {
    let state = broker.lock();
    let groups = request.groups.iter().map(|name| {
        let described = DescribedGroup::default().with_group_id(name.clone());
        let Some(group) = state.groups.get(name) else {
            return described.with_group_state(text("Dead"));
        };
        let members = group.members().iter().map(|(id, member)| {
            DescribedGroupMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(member.instance.as_deref().map(text))
                .with_client_id(text(&member.client))
                .with_client_host(StrBytes::from_string(format!("/{}", member.host)))
                .with_member_metadata(group.metadata(member))
                .with_member_assignment(member.assignment.clone())
        });
        described
            .with_group_state(text(group.phase().name()))
            .with_protocol_type(text(group.protocol_type()))
            .with_protocol_data(text(group.protocol()))
            .with_members(members.collect())
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

pub(crate) fn list(broker: &Broker, request: &ListGroupsRequest) -> ListGroupsResponse {
    const TYPE: &str = "classic";
    let wanted = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let state = broker.lock();
    let groups = state.groups.iter().filter(|(_, group)| {
        wanted(&request.states_filter, group.phase().name()) && wanted(&request.types_filter, TYPE)
    });
    let groups = groups.map(|(name, group)| {
        ListedGroup::default()
            .with_group_id(GroupId(text(name)))
            .with_protocol_type(text(group.protocol_type()))
            .with_group_state(text(group.phase().name()))
            .with_group_type(text(TYPE))
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

pub(crate) fn delete(broker: &Broker, request: &DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut state = broker.lock();
    let results = request.groups_names.iter().map(|name| {
        let deleted = state.groups.delete(name);
        DeletableGroupResult::default().with_group_id(name.clone()).with_error_code(code(deleted))
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}

fn start_join(
    state: &mut State,
    peer: &Peer,
    version: i16,
    request: &JoinGroupRequest,
    reply: Reply<Joined>,
) {
    let session_timeout = millis(request.session_timeout_ms);
    let protocols = request.protocols.iter();
    let join = Join {
        member_id: request.member_id.to_string(),
        new_id: state.member_id(request.group_instance_id.as_deref().unwrap_or(&peer.client)),
        instance: request.group_instance_id.as_ref().map(ToString::to_string),
        client: peer.client.clone(),
        host: peer.host.clone(),
        session_timeout,
        // Before version 1 the one timeout was both (KIP-62).
        rebalance_timeout: if version == 0 { session_timeout } else { millis(request.rebalance_timeout_ms) },
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.map(|p| (p.name.to_string(), Bytes::copy_from_slice(&p.metadata))).collect(),
        id_first: version >= 4,
        may_skip_assignment: version >= 9,
    };
    match state.groups.for_member(&request.group_id, join.member_id.is_empty()) {
        Ok(group) => group.join(join, Instant::now(), reply),
        Err(error) => _ = reply.send(Joined::failed(error, join.member_id)),
    }
}

fn start_sync(state: &mut State, request: &SyncGroupRequest, reply: Reply<Synced>) {
    let assignments = request.assignments.iter();
    let sync = Sync {
        member_id: request.member_id.to_string(),
        instance: request.group_instance_id.as_ref().map(ToString::to_string),
        generation: request.generation_id,
        protocol_type: request.protocol_type.as_ref().map(ToString::to_string),
        protocol: request.protocol_name.as_ref().map(ToString::to_string),
        assignments: assignments
            .map(|a| (a.member_id.to_string(), Bytes::copy_from_slice(&a.assignment)))
            .collect(),
    };
    match known(state, &request.group_id) {
        Ok(group) => group.sync(sync, Instant::now(), reply),
        Err(error) => _ = reply.send(Synced::failed(error)),
    }
}

fn known<'a>(state: &'a mut State, name: &str) -> Result<&'a mut Group, ResponseError> {
    state.groups.get_mut(name).ok_or(ResponseError::UnknownMemberId)
}

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
