//! A group: what shares objects, one after the other. One topic, one partition, one rendered path; and what is going on with it.

use tokio::sync::oneshot;

use crate::adopted::Adopted;
use crate::object::Object;
use crate::store::object_name;

/// See the file's header.
pub(crate) struct Group {
    /// Its partition, by its place among those of the layout.
    pub(crate) stream: usize,
    /// The names of its objects, before and behind the start offset.
    pub(crate) head: String,
    pub(crate) tail: String,
    pub(crate) state: State,
    /// Records and bytes of it in the batch that is being taken.
    pub(crate) incoming_records: u64,
    pub(crate) incoming_bytes: u64,
    /// Resolves when its last sealed object is finished. Objects of a group are finished in order: so those
    /// that stand in the store are always the first ones, and a replay finds each by the end of the one
    /// before.
    pub(crate) before: Option<oneshot::Receiver<()>>,
    /// Whether leftovers of runs that died were removed.
    pub(crate) swept: bool,
}

impl Group {
    /// One without an object yet.
    pub(crate) fn new(stream: usize, head: String, tail: String) -> Self {
        let (incoming_records, incoming_bytes) = (0, 0);
        let state = State::default();
        Self { stream, head, tail, state, incoming_records, incoming_bytes, before: None, swept: false }
    }

    /// The name of the object that begins at this offset.
    pub(crate) fn name(&self, start_offset: i64) -> String {
        object_name(&self.head, start_offset, &self.tail)
    }

    /// Whether forgetting it changes nothing.
    pub(crate) fn is_idle(&mut self) -> bool {
        let finished = self.before.as_mut().is_none_or(|before| before.try_recv().is_ok());
        if finished {
            self.before = None;
        }
        finished && matches!(self.state, State::Closed)
    }
}

/// What becomes of the next record of a group.
#[derive(Default)]
pub(crate) enum State {
    /// It begins an object.
    #[default]
    Closed,
    /// It stands in an object of an earlier run, or so it says.
    Adopted(Box<Adopted>),
    /// It is added to this one.
    Open(Box<Object>),
}

impl State {
    /// Takes the open object out, if there is one.
    pub(crate) fn take_open(&mut self) -> Option<Object> {
        match std::mem::take(self) {
            State::Open(object) => Some(*object),
            other => {
                *self = other;
                None
            }
        }
    }
}
