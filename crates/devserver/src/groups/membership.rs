//! What a member may ask of its group: join, sync, heartbeat, leave.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::answers::{Joined, Reply, Synced};
use super::group::{Group, Member, Phase};

/// What one member may bring along; what a group holds is bounded by it.
const METADATA_BYTES_MAX: usize = 256 * 1024;
const SESSION_TIMEOUT_MAX: Duration = Duration::from_secs(30 * 60);

/// A request to join. Everything in it is a copy: a slice would keep the whole request in memory.
#[derive(Debug)]
pub(crate) struct Join {
    /// Empty for a member that is new.
    pub(crate) member_id: String,
    /// The id to be given to a new member.
    pub(crate) new_id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client: String,
    pub(crate) host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) protocol_type: String,
    /// Name and metadata, the best liked first.
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// Whether a new member is told its id first and has to come back with it (KIP-394).
    pub(crate) id_first: bool,
    /// Whether the client understands an answer that asks its leader to assign nothing (KIP-814).
    pub(crate) may_skip_assignment: bool,
}

/// A request for the member's assignment; the leader brings all of them.
#[derive(Debug)]
pub(crate) struct Sync {
    pub(crate) member_id: String,
    pub(crate) instance: Option<String>,
    pub(crate) generation: i32,
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    pub(crate) assignments: Vec<(String, Bytes)>,
}

impl Group {
    /// A member joins, or joins again. The answer comes when the rebalance is through.
    pub(crate) fn join(&mut self, join: Join, now: Instant, reply: Reply<Joined>) {
        self.touch(now);
        if let Err(error) = self.check_join(&join) {
            _ = reply.send(Joined::failed(error, join.member_id));
            return;
        }
        let known = join.instance.as_ref().and_then(|instance| self.id_of(instance));
        match (join.member_id.is_empty(), known) {
            (true, Some(old)) => self.rejoin_static(&old, join, now, reply),
            (true, None) if join.id_first && join.instance.is_none() => {
                self.promised.insert(join.new_id.clone(), now + join.session_timeout);
                _ = reply.send(Joined::failed(ResponseError::MemberIdRequired, join.new_id));
            }
            (true, None) => self.admit(join.new_id.clone(), join, now, reply),
            (false, _) => match self.promised.remove(&join.member_id) {
                Some(_) => self.admit(join.member_id.clone(), join, now, reply),
                None => self.rejoin(join, now, reply),
            },
        }
    }

    /// A member asks for its assignment. The answer comes when the leader has divided the partitions.
    pub(crate) fn sync(&mut self, sync: Sync, now: Instant, reply: Reply<Synced>) {
        let checked = self.check_member(&sync.member_id, sync.instance.as_deref(), sync.generation);
        let differs = |asked: &Option<String>, have: &str| asked.as_ref().is_some_and(|asked| asked != have);
        let error = match (checked, self.phase) {
            (Err(error), _) => Some(error),
            (Ok(()), Phase::Empty) => Some(ResponseError::UnknownMemberId),
            (Ok(()), Phase::PreparingRebalance) => Some(ResponseError::RebalanceInProgress),
            _ if differs(&sync.protocol_type, &self.protocol_type)
                || differs(&sync.protocol, &self.protocol) =>
            {
                Some(ResponseError::InconsistentGroupProtocol)
            }
            _ => None,
        };
        if let Some(error) = error {
            _ = reply.send(Synced::failed(error));
            return;
        }
        self.keep_alive(&sync.member_id, now);
        if self.phase == Phase::CompletingRebalance {
            if let Some(member) = self.members.get_mut(&sync.member_id) {
                member.syncing = Some(reply);
            }
            if sync.member_id == self.leader {
                self.assign(sync.assignments, now);
            }
        } else {
            _ = reply.send(self.synced(&sync.member_id));
        }
    }

    /// A member says that it is alive, and is told of a rebalance.
    pub(crate) fn heartbeat(
        &mut self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.check_member(id, instance, generation)?;
        self.keep_alive(id, now);
        match self.phase {
            Phase::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// A member goes, named by its id or, if static, by its instance.
    pub(crate) fn leave(
        &mut self,
        id: &str,
        instance: Option<&str>,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let known = instance.and_then(|instance| self.id_of(instance));
        let id = match (id.is_empty(), known) {
            (true, Some(known)) => known,
            (false, Some(known)) if known != id => return Err(ResponseError::FencedInstanceId),
            _ => id.to_owned(),
        };
        if self.promised.remove(&id).is_some() || self.remove(&id, now) {
            Ok(())
        } else {
            Err(ResponseError::UnknownMemberId)
        }
    }

    /// Whether the request comes from a present member in the present generation.
    pub(super) fn check_member(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        let known = instance.and_then(|instance| self.id_of(instance));
        if known.is_some_and(|known| known != id) {
            Err(ResponseError::FencedInstanceId)
        } else if !self.members.contains_key(id) {
            Err(ResponseError::UnknownMemberId)
        } else if generation != self.generation {
            Err(ResponseError::IllegalGeneration)
        } else {
            Ok(())
        }
    }

    pub(super) fn keep_alive(&mut self, id: &str, now: Instant) {
        if let Some(member) = self.members.get_mut(id) {
            member.session_ends = now + member.session_timeout;
        }
    }

    fn check_join(&self, join: &Join) -> Result<(), ResponseError> {
        let metadata: usize = join.protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum();
        if join.session_timeout.is_zero() || join.session_timeout > SESSION_TIMEOUT_MAX {
            return Err(ResponseError::InvalidSessionTimeout);
        }
        if metadata > METADATA_BYTES_MAX {
            return Err(ResponseError::InvalidRequest);
        }
        let same_type = self.members.is_empty() || self.protocol_type == join.protocol_type;
        let replaces = join.instance.as_ref().and_then(|instance| self.id_of(instance));
        let own = replaces.as_ref().unwrap_or(&join.member_id);
        if join.protocol_type.is_empty() || !same_type || !self.shares_protocol(own, &join.protocols) {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn admit(&mut self, id: String, join: Join, now: Instant, reply: Reply<Joined>) {
        if self.members.is_empty() {
            self.protocol_type = join.protocol_type.clone();
        }
        self.members.insert(id, Member::new(join, now, reply));
        if self.phase != Phase::PreparingRebalance {
            self.prepare_rebalance(now);
        }
        self.try_complete(now);
    }

    fn rejoin(&mut self, join: Join, now: Instant, reply: Reply<Joined>) {
        let id = join.member_id.clone();
        let known = join.instance.as_ref().and_then(|instance| self.id_of(instance));
        let is_leader = id == self.leader;
        let Some(member) = self.members.get_mut(&id) else {
            let fenced = known.is_some();
            let error = if fenced { ResponseError::FencedInstanceId } else { ResponseError::UnknownMemberId };
            _ = reply.send(Joined::failed(error, id));
            return;
        };
        let same = member.protocols == join.protocols;
        member.update(join, now);
        // A leader joins again to divide anew; a follower without news has only missed the last answer.
        let missed = match self.phase {
            Phase::Stable => same && !is_leader,
            Phase::CompletingRebalance => same,
            Phase::Empty | Phase::PreparingRebalance => false,
        };
        if missed {
            _ = reply.send(self.joined(&id));
            return;
        }
        member.joining = Some(reply);
        if self.phase != Phase::PreparingRebalance {
            self.prepare_rebalance(now);
        }
        self.try_complete(now);
    }

    /// A static member that was restarted takes the place of what it was before (KIP-345).
    fn rejoin_static(&mut self, old: &str, join: Join, now: Instant, reply: Reply<Joined>) {
        let id = join.new_id.clone();
        let Some(mut member) = self.members.remove(old) else {
            return;
        };
        if let Some(joining) = member.joining.take() {
            _ = joining.send(Joined::failed(ResponseError::FencedInstanceId, old.to_owned()));
        }
        if let Some(syncing) = member.syncing.take() {
            _ = syncing.send(Synced::failed(ResponseError::FencedInstanceId));
        }
        let (same, may_skip) = (member.protocols == join.protocols, join.may_skip_assignment);
        let old_leader = self.leader.clone();
        if self.leader == old {
            self.leader = id.clone();
        }
        member.update(join, now);
        if same && self.phase == Phase::Stable {
            self.members.insert(id.clone(), member);
            let mut joined = self.joined(&id);
            joined.skip_assignment = may_skip && id == self.leader;
            if !may_skip {
                // An old client takes itself for a follower, and so does not divide again.
                (joined.leader, joined.members) = (old_leader, Vec::new());
            }
            _ = reply.send(joined);
            return;
        }
        member.joining = Some(reply);
        self.members.insert(id, member);
        if self.phase != Phase::PreparingRebalance {
            self.prepare_rebalance(now);
        }
        self.try_complete(now);
    }

    fn assign(&mut self, assignments: Vec<(String, Bytes)>, now: Instant) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.phase = Phase::Stable;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let synced = self.synced(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.session_ends = now + member.session_timeout;
                if let Some(syncing) = member.syncing.take() {
                    _ = syncing.send(synced);
                }
            }
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(id).map_or_else(Bytes::new, |member| member.assignment.clone()),
        }
    }

    fn id_of(&self, instance: &str) -> Option<String> {
        let of = |(_, member): &(&String, &Member)| member.instance.as_deref() == Some(instance);
        self.members.iter().find(of).map(|(id, _)| id.clone())
    }
}

impl Member {
    fn new(join: Join, now: Instant, reply: Reply<Joined>) -> Self {
        Self {
            session_ends: now + join.session_timeout,
            instance: join.instance,
            client: join.client,
            host: join.host,
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols,
            assignment: Bytes::new(),
            joining: Some(reply),
            syncing: None,
        }
    }

    fn update(&mut self, join: Join, now: Instant) {
        self.session_ends = now + join.session_timeout;
        (self.client, self.host) = (join.client, join.host);
        (self.session_timeout, self.rebalance_timeout) = (join.session_timeout, join.rebalance_timeout);
        self.protocols = join.protocols;
    }
}
