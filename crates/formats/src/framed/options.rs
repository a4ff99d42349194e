//! What a file may say about schemas and subjects, the same for every language.

use std::path::PathBuf;
use std::sync::Arc;

use aqueduct_api::registry::Registering;
use aqueduct_api::{Part, Problem, Result, Side};
use schemars::JsonSchema;
use serde::Deserialize;

/// Under which subject a schema is registered and looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The topic with `-key` or `-value` behind it.
    #[default]
    TopicName,
    /// The full name of the record.
    RecordName,
    /// The topic, a dash, and the full name of the record.
    TopicRecordName,
    /// This one.
    Fixed(String),
}

/// The schema that values are brought into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaChoice {
    /// Their own, whatever it is.
    #[default]
    Own,
    /// The newest version of the subject, when it is first needed.
    Latest,
    /// This version of the subject.
    Version(u32),
    /// The schema of this id.
    Id(u32),
    /// The schema in this file, registered like any other.
    File(PathBuf),
}

/// What becomes of a field that the target does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFields {
    /// The record is a bad one.
    #[default]
    Error,
    /// It is left out.
    Drop,
}

/// All of it together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Framing {
    pub(crate) subject: Subject,
    pub(crate) target: SchemaChoice,
    pub(crate) register: bool,
    pub(crate) normalize: bool,
}

impl Framing {
    pub(crate) fn registering(&self) -> Registering {
        Registering { allowed: self.register, normalize: self.normalize }
    }

    /// Whether the target hangs on the topic.
    pub(crate) fn by_topic(&self) -> bool {
        matches!(self.target, SchemaChoice::Latest | SchemaChoice::Version(_))
            && !matches!(self.subject, Subject::Fixed(_) | Subject::RecordName)
    }
}

impl Subject {
    /// The subject for a topic and a record, whose name is asked for only where it is part of it.
    pub(crate) fn name(
        &self,
        topic: &str,
        part: Part,
        record: impl FnOnce() -> Result<Arc<str>>,
    ) -> Result<String> {
        Ok(match self {
            Subject::TopicName => format!("{topic}-{part}"),
            Subject::RecordName => record()?.to_string(),
            Subject::TopicRecordName => format!("{topic}-{}", record()?),
            Subject::Fixed(subject) => subject.clone(),
        })
    }

    /// A few words for `aqueduct plan`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Subject::TopicName => "subjects by topic".into(),
            Subject::RecordName => "subjects by record".into(),
            Subject::TopicRecordName => "subjects by topic and record".into(),
            Subject::Fixed(subject) => format!("subject {subject}"),
        }
    }
}

/// Options that mean nothing where a format only reads.
pub(crate) fn on_this_side(side: Side, framing: &Framing) -> Vec<Problem> {
    let mut problems = Vec::new();
    if side == Side::Source {
        for (name, set) in [("register", !framing.register), ("normalize", framing.normalize)] {
            if set {
                let says = format!("`{name}` is about writing, and a source only reads");
                problems.push(Problem::new(name, says).remedy("write it at the sink, or leave it out"));
            }
        }
    }
    let version_zero = matches!(framing.target, SchemaChoice::Version(0));
    if version_zero {
        problems.push(Problem::new("schema.version", "versions of a subject are counted from 1"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_named_as_other_clients_name_them() {
        let record = || Ok(Arc::from("shop.Order"));
        let name = |subject: Subject, part| subject.name("orders", part, record).unwrap_or_default();
        assert_eq!(name(Subject::TopicName, Part::Value), "orders-value");
        assert_eq!(name(Subject::TopicName, Part::Key), "orders-key");
        assert_eq!(name(Subject::RecordName, Part::Value), "shop.Order");
        assert_eq!(name(Subject::TopicRecordName, Part::Key), "orders-shop.Order");
        assert_eq!(name(Subject::Fixed("s".into()), Part::Key), "s");
    }
}
