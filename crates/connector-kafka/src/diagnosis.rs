//! The table of everything that can be wrong with a cluster, a group, a topic or a record: one entry a trouble, with
//! the sentence, why it happens and what to do. Messages at run time, `aqueduct check --connect` and the page
//! `docs/kafka/errors.md` are all made of it, so that they say the same.

use std::fmt::Display;

use aqueduct_api::{Error, ErrorKind};

/// One trouble.
#[derive(Debug)]
pub struct Diagnosis {
    /// Its name in the page, and in tests: `topic-missing`.
    pub id: &'static str,
    /// The sentence, lower case, without a full stop; `{topic}` and the like are filled in.
    pub says: &'static str,
    /// For the page: how it comes about, in a sentence or two.
    pub why: &'static str,
    /// What to do, in one line; the same braces.
    pub remedy: &'static str,
    /// For the page: what a running pipeline does about it.
    pub reaction: Reaction,
}

/// What a running pipeline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// It waits and is not ready; it goes on by itself when the trouble is over.
    Waits,
    /// It stops, and starts again with growing pauses.
    Restarts,
    /// It stops and stays down until somebody changes something.
    Stops,
    /// The record is set aside as `errors.on_bad_record` says.
    SetsAside,
}

/// All of them, in the order of the page.
pub const ALL: &[&Diagnosis] = &[&TOPIC_MISSING];

/// A topic that is not there.
pub(crate) const TOPIC_MISSING: Diagnosis = Diagnosis {
    id: "topic-missing",
    says: "topic `{topic}` does not exist on the cluster {brokers}",
    why: "The name is wrong, the topic was never made or was deleted, or another cluster is meant. A broker also says so of a topic that this user may not describe.",
    remedy: "create it, or correct the name",
    reaction: Reaction::Waits,
};

impl Diagnosis {
    /// The error, with the sentence filled in.
    pub(crate) fn error(&self, kind: ErrorKind, values: &[(&str, &dyn Display)]) -> Error {
        Error::new(kind, self.sentence(values)).remedy(fill(self.remedy, values))
    }

    /// The sentence alone.
    pub(crate) fn sentence(&self, values: &[(&str, &dyn Display)]) -> String {
        fill(self.says, values)
    }
}

fn fill(text: &str, values: &[(&str, &dyn Display)]) -> String {
    values
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), &value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_filled_in() {
        let error = TOPIC_MISSING.error(ErrorKind::Transient, &[("topic", &"a"), ("brokers", &"b:9092")]);
        assert_eq!(
            error.to_string(),
            "topic `a` does not exist on the cluster b:9092; create it, or correct the name"
        );
    }
}
