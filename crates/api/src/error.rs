//! Errors by what the runner does about them.

use std::error::Error as StdError;
use std::fmt;

/// The result of everything in this contract.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A kind exists only where the runner acts differently. Whoever picks one says with it whether starting again from the
/// stored offsets can help: what was written behind them is written again each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The configuration, or what is kept on a disk, cannot work: the pipeline is not started again until somebody changes
    /// it.
    Config,
    /// The same call may succeed later: it is retried with backoff.
    Transient,
    /// This record will never pass, others may: it is set aside as `errors.on_bad_record` says. A pipeline that ends with it
    /// is not started again: the same record would come again.
    BadRecord,
    /// This run cannot go on, and another one may: the pipeline starts again from its stored offsets, as often as it takes.
    /// Where the error names a record (`topic`, `partition`, `offset`) and three runs fail at it in the same words, and
    /// neither was steady nor moved the partition's offsets, it stays down.
    Fatal,
    /// Must not happen: a panic, a promise that is broken inside. A race may be won the next time, so the pipeline starts
    /// again; one that fails in the same words three times, and neither ran steadily nor stored offsets in between, stays down.
    Bug,
}

/// What went wrong, where, and what to do about it. The place that knows the client library picks the kind; nobody
/// later guesses.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    says: String,
    remedy: Option<String>,
    context: Vec<(&'static str, String)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error that says, in lower case and without a full stop, what went wrong.
    pub fn new(kind: ErrorKind, says: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, says: says.into(), remedy: None, context: Vec::new(), source: None }))
    }

    /// The configuration cannot work.
    pub fn config(says: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, says)
    }

    /// Worth the same call again.
    pub fn transient(says: impl Into<String>) -> Self {
        Self::new(ErrorKind::Transient, says)
    }

    /// This record will never pass.
    pub fn bad_record(says: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadRecord, says)
    }

    /// Nothing further passes.
    pub fn fatal(says: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fatal, says)
    }

    /// Must not happen.
    pub fn bug(says: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, says).remedy("this is a bug: please report it with the log")
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// Adds a field: `topic`, `bucket`, `path`.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Adds the error below it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The same error as another kind: what is transient once is fatal when the tries are used up.
    #[must_use]
    pub fn into_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// What the runner does about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The sentence alone, without fields and remedy.
    pub fn says(&self) -> &str {
        &self.0.says
    }

    /// What to do about it, if known.
    pub fn what_to_do(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }

    /// All that it knows but what to do about it.
    pub fn without_remedy(&self) -> String {
        let whole = self.to_string();
        match self.what_to_do().and_then(|remedy| whole.strip_suffix(remedy)?.strip_suffix("; ")) {
            Some(said) => said.to_owned(),
            None => whole,
        }
    }

    /// The record that it names, or that one of its causes does: `orders/3@42`.
    pub fn record(&self) -> Option<String> {
        let field = |wanted| self.0.context.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        match (field("topic"), field("partition"), field("offset")) {
            (Some(topic), Some(partition), Some(offset)) => Some(format!("{topic}/{partition}@{offset}")),
            _ => self.source()?.downcast_ref::<Error>()?.record(),
        }
    }
}

impl fmt::Display for Error {
    /// `sentence: cause (field=value, field=value); remedy`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.says)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            // An error of ours has said its own causes already.
            cause = if error.is::<Error>() { None } else { error.source() };
        }
        for (index, (name, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { " (" } else { ", " })?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        if let Some(remedy) = &self.0.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_all_it_knows_in_one_line() {
        let io = std::io::Error::other("disk is full");
        let error = Error::fatal("cannot write the object")
            .with("path", "/lake/a")
            .with("bytes", 10)
            .caused_by(io)
            .remedy("free some space");
        assert_eq!(
            error.to_string(),
            "cannot write the object: disk is full (path=/lake/a, bytes=10); free some space"
        );
        assert_eq!(error.without_remedy(), "cannot write the object: disk is full (path=/lake/a, bytes=10)");
        assert_eq!(Error::fatal("no").without_remedy(), "no");
    }

    #[test]
    fn names_its_record_or_that_of_its_cause() {
        let inner = Error::bad_record("odd").with("topic", "a").with("partition", 3).with("offset", 42);
        let outer = Error::fatal("cannot go on").with("topic", "b").caused_by(inner);
        assert_eq!(outer.record().as_deref(), Some("a/3@42"));
        assert_eq!(Error::fatal("no").with("topic", "b").with("partition", 3).record(), None);
    }
}
