//! Takes a member out of its group in its stead: for one whose process is dead, and cannot say so itself.

use std::io;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, FindCoordinatorRequest, GroupId,
    LeaveGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::address::address;
use super::connection::{BrokerConnection, other};
use super::dialer::Dialer;

/// One coordinator by its key.
const COORDINATOR_VERSIONS: std::ops::RangeInclusive<i16> = 0..=3;
/// Several members by their ids (KIP-345).
const LEAVE_VERSIONS: std::ops::RangeInclusive<i16> = 3..=5;
const DESCRIBE_VERSIONS: std::ops::RangeInclusive<i16> = 0..=1;
const HEARTBEAT_VERSIONS: std::ops::RangeInclusive<i16> = 0..=1;
/// The epoch of a member that leaves (KIP-848).
const LEAVES: i32 = -1;
/// A coordinator that is moving, or loads its groups, is asked again after this.
const AGAIN: Duration = Duration::from_millis(200);

/// A member of a group.
pub struct Identity<'a> {
    /// The group.
    pub group: &'a str,
    /// Its id in it.
    pub member: &'a str,
    /// It joined by the protocol of KIP-848.
    pub consumer_protocol: bool,
}

/// Says for the member that it leaves. One that the group does not know any more has left.
///
/// # Errors
/// What failed, in words for the log; of the kind `Unsupported` where it is of no use to try again.
pub async fn leave(dialer: &Dialer, who: &Identity<'_>) -> io::Result<()> {
    loop {
        let answer = match ask(dialer, who).await? {
            None | Some(ResponseError::UnknownMemberId | ResponseError::GroupIdNotFound) => return Ok(()),
            Some(error) => error,
        };
        if !answer.is_retriable() {
            let says = format!("the coordinator of the group says: {answer}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, says));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn ask(dialer: &Dialer, who: &Identity<'_>) -> io::Result<Option<ResponseError>> {
    let mut connection = match coordinator(dialer, who.group).await? {
        Ok(address) => dialer.dial(&address).await?,
        Err(error) => return Ok(Some(error)),
    };
    let code = if who.consumer_protocol {
        heartbeat(&mut connection, who).await?
    } else {
        farewell(&mut connection, who).await?
    };
    Ok(ResponseError::try_from_code(code))
}

/// How a group of KIP-848 is shared out.
pub struct Shared {
    /// What it is at.
    pub state: String,
    /// How many members it has.
    pub members: usize,
    /// All of it is decided: nobody joined or left since.
    pub decided: bool,
    /// How many partitions are meant for one of them, also those that others have not given up yet.
    pub of_member: usize,
}

/// Asks how the group is shared out, and what is meant for a member.
///
/// # Errors
/// What failed, in words for the log.
pub async fn shared(dialer: &Dialer, group: &str, member: &str) -> io::Result<Shared> {
    let address = coordinator(dialer, group).await?.map_err(other)?;
    let mut connection = dialer.dial(&address).await?;
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(group))]);
    let answer = connection.request(&request, DESCRIBE_VERSIONS).await?;
    let group = answer.groups.first().ok_or_else(|| other("an answer without the group"))?;
    if let Some(error) = ResponseError::try_from_code(group.error_code) {
        return Err(other(error));
    }
    let ours = group.members.iter().find(|known| &*known.member_id == member);
    let of_member = ours.map_or(0, |ours| {
        ours.target_assignment.topic_partitions.iter().map(|topic| topic.partitions.len()).sum()
    });
    let decided = group.assignment_epoch >= group.group_epoch;
    Ok(Shared { state: group.group_state.to_string(), members: group.members.len(), decided, of_member })
}

/// Where the coordinator of the group listens.
async fn coordinator(dialer: &Dialer, group: &str) -> io::Result<Result<String, ResponseError>> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for broker in dialer.bootstrap() {
        let mut connection = match dialer.dial(&broker).await {
            Ok(connection) => connection,
            Err(error) => {
                last = error;
                continue;
            }
        };
        let request = FindCoordinatorRequest::default().with_key(text(group));
        let answer = connection.request(&request, COORDINATOR_VERSIONS).await?;
        return Ok(match ResponseError::try_from_code(answer.error_code) {
            Some(error) => Err(error),
            None => Ok(address(&answer.host, answer.port)),
        });
    }
    Err(last)
}

async fn farewell(connection: &mut BrokerConnection, who: &Identity<'_>) -> io::Result<i16> {
    let reason = Some(StrBytes::from_static_str("its process is dead"));
    let member = MemberIdentity::default().with_member_id(text(who.member)).with_reason(reason);
    let request =
        LeaveGroupRequest::default().with_group_id(GroupId(text(who.group))).with_members(vec![member]);
    let answer = connection.request(&request, LEAVE_VERSIONS).await?;
    let of_member = answer.members.first().map_or(0, |member| member.error_code);
    Ok(if answer.error_code != 0 { answer.error_code } else { of_member })
}

async fn heartbeat(connection: &mut BrokerConnection, who: &Identity<'_>) -> io::Result<i16> {
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(who.group)))
        .with_member_id(text(who.member))
        .with_member_epoch(LEAVES);
    Ok(connection.request(&request, HEARTBEAT_VERSIONS).await?.error_code)
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
