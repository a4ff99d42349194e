//! What the ends of a pipeline read and write by name, for finding records that come back: a sink that writes what its own
//! source reads, pipelines in a round, two of them in one group.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use crate::config::{Piece, Template};

/// What a source reads.
#[derive(Clone)]
pub struct Reads {
    /// The addresses of its system. Two ends that share one of them are at the same system.
    pub system: BTreeSet<String>,
    /// Topics that are named one by one.
    pub named: Vec<String>,
    /// Whether a topic that is not named is read; `None` where all are named.
    pub pattern: Option<TakesTopic>,
    /// Under whose name it shares partitions and keeps its offsets.
    pub group: Option<String>,
    /// Partitions that are named one by one; empty for a member of the group.
    pub partitions: BTreeSet<(String, i32)>,
}

/// Whether a topic of this name is read.
pub type TakesTopic = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl Reads {
    /// Whether a topic of that name is read, now or once it is there.
    pub fn takes(&self, topic: &str) -> bool {
        self.named.iter().any(|named| named == topic)
            || self.pattern.as_ref().is_some_and(|takes| takes(topic))
    }
}

impl fmt::Debug for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reads")
            .field("system", &self.system)
            .field("named", &self.named)
            .finish_non_exhaustive()
    }
}

/// A system as it calls itself.
#[derive(Clone, Debug)]
pub struct System {
    /// The same wherever it is reached. Other systems may have the same one: many are made from an image with one id in it.
    pub id: String,
    /// What only this system has, such as the addresses that its servers advertise: two ends that have the id and one of
    /// these in common are at the same system.
    pub signs: Vec<String>,
    /// The topics that it has.
    pub topics: Vec<String>,
}

/// What a sink writes.
#[derive(Clone, Debug)]
pub struct Writes {
    /// See [`Reads::system`].
    pub system: BTreeSet<String>,
    /// The topic of each record.
    pub topic: Template,
    /// The option that says so: `topic`.
    pub option: &'static str,
}

impl Writes {
    /// Where a record of that topic is written to; `None` where the record itself has to be seen for it.
    pub fn topic_of(&self, topic: &str) -> Option<String> {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Topic => Some(topic.to_owned()),
            _ => None,
        };
        self.topic.pieces().iter().map(text).collect()
    }

    /// Whether the topic hangs on more of a record than its own topic.
    pub fn needs_record(&self) -> bool {
        self.topic_of("").is_none()
    }
}
