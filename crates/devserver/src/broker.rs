//! The broker's whole state behind one lock, and the signal that wakes waiting fetches.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::Limits;
use crate::clock::now_ms;
use crate::groups::Groups;
use crate::topics::Topics;
use crate::transactions::Transactions;

/// The one node of the cluster.
pub(crate) const NODE_ID: i32 = 1;
pub(crate) const CLUSTER_ID: &str = "aqueduct-dev-broker";

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) limits: Limits,
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

/// Everything that requests change. Nothing waits while it is locked.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) topics: Topics,
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    members_named: u64,
}

impl Broker {
    pub(crate) fn new(limits: Limits) -> Self {
        let state = State {
            topics: Topics::new(limits.memory_bytes_max, limits.partitions_max),
            groups: Groups::default(),
            transactions: Transactions::default(),
            members_named: 0,
        };
        Self { limits, state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of every change from now on that could let a waiting fetch go on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// There is something new to read.
    pub(crate) fn wake_readers(&self) {
        self.changed.send_replace(());
    }

    /// Lets time act on groups and transactions.
    pub(crate) fn tick(&self, now: Instant) {
        let state = &mut *self.lock();
        state.groups.tick(now);
        if state.transactions.tick(now, &mut state.topics, &mut state.groups) {
            self.wake_readers();
        }
    }
}

impl State {
    /// An id for a new group member, different from all of this run and of those before.
    pub(crate) fn member_id(&mut self, client: &str) -> String {
        self.members_named += 1;
        format!("{client}-{:x}-{}", now_ms(), self.members_named)
    }
}
