//! The table of everything that can be wrong with a cluster, a group, a topic or a record: one entry a trouble, with
//! the sentence, why it happens and what to do. Messages at run time, `aqueduct check --connect` and the page
//! `docs/kafka/errors.md` are all made of it, so that they say the same.

pub mod connecting;

use std::fmt::{self, Display};

use aqueduct_api::{Error, ErrorKind, Finding, Problem};

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

/// One trouble as it came about: with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosed {
    /// Its name in the table.
    pub id: &'static str,
    /// The sentence.
    pub says: String,
    /// What to do.
    pub remedy: String,
}

impl Diagnosis {
    /// The trouble with everything filled in.
    pub fn fill(&self, values: &[(&str, &dyn Display)]) -> Diagnosed {
        Diagnosed { id: self.id, says: fill(self.says, values), remedy: fill(self.remedy, values) }
    }

    /// The error, with the sentence filled in.
    pub fn error(&self, kind: ErrorKind, values: &[(&str, &dyn Display)]) -> Error {
        Error::new(kind, self.sentence(values)).remedy(fill(self.remedy, values))
    }

    /// The sentence alone.
    pub fn sentence(&self, values: &[(&str, &dyn Display)]) -> String {
        fill(self.says, values)
    }
}

impl Diagnosed {
    /// As an error.
    pub fn error(self, kind: ErrorKind) -> Error {
        Error::new(kind, self.says).remedy(self.remedy)
    }

    /// As a problem of the configuration.
    pub fn problem(self, path: impl Into<String>) -> Problem {
        Problem::new(path, self.says).remedy(self.remedy)
    }
}

impl From<Diagnosed> for Finding {
    fn from(diagnosed: Diagnosed) -> Self {
        Finding::bad(diagnosed.says, diagnosed.remedy)
    }
}

impl Display for Diagnosed {
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
    use super::connecting::TOPIC_MISSING;
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
