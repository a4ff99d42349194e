//! What a look at the real systems found, for `aqueduct check --connect`.

use std::fmt;

use crate::error::Error;

/// One line of the answer: what was looked at, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it is.
    pub verdict: Verdict,
    /// What was found, lower case, without a full stop: "topic `orders` can be read, 6 partitions".
    pub says: String,
    /// What to do about it, when it is not good.
    pub remedy: Option<String>,
}

/// How something is that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As the pipeline needs it.
    Good,
    /// The pipeline runs, and somebody should know this: a certificate that expires next week.
    Warning,
    /// The pipeline cannot run as it is.
    Bad,
}

impl Finding {
    /// As the pipeline needs it.
    pub fn good(says: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, says: says.into(), remedy: None }
    }

    /// The pipeline runs all the same.
    pub fn warning(says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, says: says.into(), remedy: Some(remedy.into()) }
    }

    /// The pipeline cannot run.
    pub fn bad(says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Bad, says: says.into(), remedy: Some(remedy.into()) }
    }
}

impl From<Error> for Finding {
    /// What went wrong while looking, in the words that a running pipeline would use.
    fn from(error: Error) -> Self {
        let remedy = error.what_to_do().map(str::to_owned);
        Self { verdict: Verdict::Bad, says: error.without_remedy(), remedy }
    }
}

impl fmt::Display for Finding {
    /// `sentence; remedy`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)?;
        self.remedy.as_ref().map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_its_words() {
        let error = Error::fatal("no way in").with("bucket", "lake").remedy("open the door");
        let finding = Finding::from(error);
        assert_eq!(
            (&*finding.says, finding.remedy.as_deref()),
            ("no way in (bucket=lake)", Some("open the door"))
        );
        assert_eq!(finding.to_string(), "no way in (bucket=lake); open the door");
    }
}
