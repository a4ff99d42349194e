//! Where in the file a value stands, and what messages call it.

use crate::place::Place;
use crate::tree::Node;

/// Where in the file a value stands and what it is called there.
#[derive(Clone)]
pub(crate) struct Spot {
    /// Its key: pointed at where the value is a block of several lines.
    pub(crate) key: Place,
    /// As the user would type it.
    pub(crate) path: String,
    /// What messages call it: `` `rotate` ``, or `a pipeline`.
    pub(crate) label: String,
}

impl Spot {
    pub(crate) fn new(key: Place, path: impl Into<String>, label: impl Into<String>) -> Self {
        Self { key, path: path.into(), label: label.into() }
    }

    pub(crate) fn field(&self, key: &str, at: Place) -> Self {
        let path = if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { key: at, path, label: format!("`{key}`") }
    }

    pub(crate) fn item(&self, index: usize, at: Place) -> Self {
        let name = self.label.trim_matches('`');
        Self { key: at, path: format!("{}[{index}]", self.path), label: format!("`{name}[{index}]`") }
    }

    /// A shared connection is reported where it is written.
    pub(crate) fn at_home(mut self, node: &Node) -> Self {
        if let Some(home) = &node.home {
            self.path = home.to_string();
            self.key = node.at;
        }
        self
    }
}
