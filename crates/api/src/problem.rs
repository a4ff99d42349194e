//! Something wrong in a configuration, said before anything is opened.

/// One problem of a connector's own configuration. The pipeline file adds its name, line and column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, below the connector's own block, as the user would type it: `topics[1]`, `rotate.age_max`; empty for
    /// the whole block.
    pub path: String,
    /// What is wrong, lower case, without a full stop.
    pub says: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Problem {
    /// A problem at `path`.
    pub fn new(path: impl Into<String>, says: impl Into<String>) -> Self {
        Self { path: path.into(), says: says.into(), remedy: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
