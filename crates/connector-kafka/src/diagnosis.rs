//! The table of everything that can be wrong with a cluster, a group, a topic or a record: one entry a trouble, with
//! the sentence, why it happens and what to do. Messages at run time, `aqueduct check --connect` and the page
//! `docs/kafka/errors.md` are all made of it, so that they say the same.

mod writing;

mod connecting;
mod reading;
mod transactions;

use std::fmt::{self, Display};

use aqueduct_api::{Error, ErrorKind, Finding, Problem};

pub(crate) use self::connecting::*;
pub(crate) use self::reading::*;
pub(crate) use self::transactions::*;

pub(crate) use self::writing::*;

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
    /// It goes on, more slowly, and stays ready.
    SlowsDown,
}

/// All of them, in the order of the page.
pub const ALL: &[&Diagnosis] = &[
    &TOPIC_MISSING,
    &TOPIC_NOT_CREATED,
    &TOPIC_NAME,
    &RECORD_TOO_LARGE,
    &RECORD_TIME,
    &RECORD_REFUSED,
    &PARTITION_WITHOUT_LEADER,
    &NOT_ENOUGH_REPLICAS,
    &NOT_ACKNOWLEDGED,
    &THROTTLED,
    &TRANSACTION_UNDONE,
    &PARTITIONS_LOST,
    &PRODUCER_FENCED,
    &TRANSACTION_TOO_LONG,
    &OFFSET_DELETED,
    &OFFSET_BEYOND_END,
    &OFFSETS_FORGOTTEN,
    &TOPIC_MADE_ANEW,
    &OFFSET_NONE,
    &BATCH_DAMAGED,
    &PARTITION_MISSING,
    &GROUP_HAS_MEMBERS,
    &GROUP_GIVES_NOTHING,
    &ADDRESS_UNKNOWN,
    &CONNECTION_REFUSED,
    &NO_ANSWER,
    &NO_BROKER,
    &ADVERTISED_UNREACHABLE,
    &TLS_EXPECTED,
    &TLS_UNEXPECTED,
    &NOT_KAFKA,
    &CONTROLLER_PORT,
    &CA_UNKNOWN,
    &BROKER_CERTIFICATE_EXPIRED,
    &BROKER_CERTIFICATE_EARLY,
    &BROKER_NAME_WRONG,
    &CERTIFICATE_REQUIRED,
    &CERTIFICATE_REFUSED,
    &TLS_FAILED,
    &SASL_REQUIRED,
    &SASL_UNEXPECTED,
    &MECHANISM_UNSUPPORTED,
    &LOGIN_REFUSED,
    &TOKEN_MISSING,
    &CREDENTIALS_REPLACED,
    &CLUSTER_REPLACED,
    &FILE_UNREADABLE,
    &NOT_PEM,
    &KEY_LOCKED,
    &KEY_MISMATCH,
    &CERTIFICATE_EXPIRED,
    &CERTIFICATE_EARLY,
    &TOPIC_DENIED,
    &GROUP_DENIED,
    &CLUSTER_DENIED,
    &TRANSACTIONAL_ID_DENIED,
];

/// A topic that is not there.
pub(crate) const TOPIC_MISSING: Diagnosis = Diagnosis {
    id: "topic-missing",
    says: "topic `{topic}` does not exist on the cluster {brokers}",
    why: "The name is wrong, the topic was never made or was deleted, or another cluster is meant. A broker also says so of a topic that this user may not describe.",
    remedy: "create it, or correct the name",
    reaction: Reaction::Waits,
};

/// One trouble as it came about: with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Its name in the table.
    pub(crate) id: &'static str,
    /// The sentence.
    pub(crate) says: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl Diagnosis {
    /// The trouble with everything filled in.
    pub(crate) fn told(&self, values: &[(&str, &dyn Display)]) -> Told {
        Told { id: self.id, says: fill(self.says, values), remedy: fill(self.remedy, values) }
    }

    /// The error, with the sentence filled in.
    pub(crate) fn error(&self, kind: ErrorKind, values: &[(&str, &dyn Display)]) -> Error {
        Error::new(kind, self.sentence(values)).remedy(fill(self.remedy, values))
    }

    /// The sentence alone.
    pub(crate) fn sentence(&self, values: &[(&str, &dyn Display)]) -> String {
        fill(self.says, values)
    }
}

impl Told {
    /// As an error.
    pub(crate) fn error(self, kind: ErrorKind) -> Error {
        Error::new(kind, self.says).remedy(self.remedy)
    }

    /// As a problem of the configuration.
    pub(crate) fn problem(self, path: impl Into<String>) -> Problem {
        Problem::new(path, self.says).remedy(self.remedy)
    }
}

impl From<Told> for Finding {
    fn from(told: Told) -> Self {
        Finding::bad(told.says, told.remedy)
    }
}

impl Display for Told {
    /// `sentence; remedy`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.says, self.remedy)
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
