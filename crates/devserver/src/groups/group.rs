//! One group: its phases and how it goes from one to the next, by the classic protocol
//! (<https://kafka.apache.org/protocol>, KIP-62, KIP-345, KIP-394). Members divide the partitions among themselves,
//! so every assignor works.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, info};

use super::answers::{Joined, Synced};
use super::committed::Offsets;

/// How long the first member of a group waits for others, so that they need no second rebalance.
const FIRST_REBALANCE_DELAY: Duration = Duration::from_millis(100);

/// Where a group stands; the names shown are those of Kafka.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Phase {
    Empty,
    /// Members are asked to join again.
    PreparingRebalance,
    /// All have joined; the leader's assignment is awaited.
    CompletingRebalance,
    Stable,
}

/// One consumer group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(super) phase: Phase,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) members: BTreeMap<String, Member>,
    /// Ids given out to members that have not come back with them yet (KIP-394), and until when they may.
    pub(super) promised: BTreeMap<String, Instant>,
    pub(super) offsets: Offsets,
    /// When the present rebalance goes on without those that are missing.
    deadline: Instant,
    /// The first rebalance of a group waits for its deadline although all known members are there.
    first: bool,
    touched: Instant,
}

/// One member of a group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) instance: Option<String>,
    pub(crate) client: String,
    pub(crate) host: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
    pub(super) joining: Option<oneshot::Sender<Joined>>,
    pub(super) syncing: Option<oneshot::Sender<Synced>>,
    pub(super) session_ends: Instant,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

impl Default for Group {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            phase: Phase::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            promised: BTreeMap::new(),
            offsets: Offsets::default(),
            deadline: now,
            first: false,
            touched: now,
        }
    }
}

impl Group {
    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    pub(crate) fn protocol(&self) -> &str {
        &self.protocol
    }

    pub(crate) fn members(&self) -> &BTreeMap<String, Member> {
        &self.members
    }

    pub(crate) fn members_len(&self) -> usize {
        self.members.len() + self.promised.len()
    }

    pub(crate) fn touched(&self) -> Instant {
        self.touched
    }

    /// Whether nobody uses the group, so that it may be forgotten when there are too many.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase == Phase::Empty && self.promised.is_empty() && !self.offsets.in_transaction()
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.touched = now;
    }

    /// Lets time act on this group.
    pub(super) fn tick(&mut self, name: &str, now: Instant) {
        self.promised.retain(|_, until| *until > now);
        let silent = |member: &Member| {
            member.joining.is_none() && member.syncing.is_none() && member.session_ends <= now
        };
        let expelled: Vec<String> =
            self.members.iter().filter(|(_, m)| silent(m)).map(|(id, _)| id.clone()).collect();
        for member in expelled {
            info!(group = name, member, "member was silent for its session timeout, expelled");
            self.remove(&member, now);
        }
        if self.phase == Phase::CompletingRebalance && now >= self.deadline {
            let missing: Vec<String> =
                self.members.iter().filter(|(_, m)| m.syncing.is_none()).map(|(id, _)| id.clone()).collect();
            for member in missing {
                info!(group = name, member, "member did not ask for its assignment in time, expelled");
                self.remove(&member, now);
            }
        }
        self.try_complete(now);
    }

    /// Takes a member out; the others rebalance.
    pub(super) fn remove(&mut self, id: &str, now: Instant) -> bool {
        if self.members.remove(id).is_none() {
            return false;
        }
        if matches!(self.phase, Phase::Stable | Phase::CompletingRebalance) {
            self.prepare_rebalance(now);
        }
        self.try_complete(now);
        true
    }

    /// Asks all members to join again.
    pub(super) fn prepare_rebalance(&mut self, now: Instant) {
        self.first = self.phase == Phase::Empty;
        let longest = self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default();
        self.deadline = now + if self.first { FIRST_REBALANCE_DELAY } else { longest };
        self.phase = Phase::PreparingRebalance;
        for member in self.members.values_mut() {
            if let Some(syncing) = member.syncing.take() {
                member.session_ends = now + member.session_timeout;
                _ = syncing.send(Synced::failed(ResponseError::RebalanceInProgress));
            }
        }
    }

    /// Begins the next generation when all members are there or the time is over.
    pub(super) fn try_complete(&mut self, now: Instant) {
        let all_joined = self.members.values().all(|member| member.joining.is_some());
        if self.phase != Phase::PreparingRebalance || (now < self.deadline && (self.first || !all_joined)) {
            return;
        }
        self.members.retain(|_, member| member.joining.is_some());
        self.generation += 1;
        self.touched = now;
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.protocol.clear();
            self.leader.clear();
            return;
        }
        self.phase = Phase::CompletingRebalance;
        self.protocol = self.vote();
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        let longest = self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default();
        self.deadline = now + longest;
        debug!(generation = self.generation, members = self.members.len(), "group joined");
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.session_ends = now + member.session_timeout;
                if let Some(joining) = member.joining.take() {
                    _ = joining.send(joined);
                }
            }
        }
    }

    /// The answer to a member's join in the present generation; the leader gets all members to divide among.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let members = self.members.iter().filter(|_| id == self.leader);
        Joined {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member_id: id.to_owned(),
            members: members.map(|(id, m)| (id.clone(), m.instance.clone(), self.metadata(m))).collect(),
            skip_assignment: false,
        }
    }

    /// A member's metadata under the group's protocol, empty before there is one.
    pub(crate) fn metadata(&self, member: &Member) -> Bytes {
        let chosen = member.protocols.iter().find(|(name, _)| *name == self.protocol);
        chosen.map_or_else(Bytes::new, |(_, metadata)| metadata.clone())
    }

    /// Whether all members (but for the one of that id) know one of these protocols.
    pub(super) fn shares_protocol(&self, id: &str, protocols: &[(String, Bytes)]) -> bool {
        let others = || self.members.iter().filter(|(other, _)| *other != id).map(|(_, member)| member);
        protocols.iter().any(|(name, _)| others().all(|member| member.knows(name)))
    }

    /// The protocol most members like best among those that all know.
    fn vote(&self) -> String {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        let known_to_all = |name: &str| self.members.values().all(|member| member.knows(name));
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| known_to_all(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        votes
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map_or_else(String::new, |(name, _)| name.to_owned())
    }
}

impl Member {
    fn knows(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }
}
