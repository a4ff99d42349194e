//! Secrets in a tree: what stands under a key that names one is hidden.

use crate::redaction::{only_a_reference, secret_key};
use crate::report::Report;
use crate::tree::{Kind, Node};

/// Hides every scalar that stands under a key that names a secret.
pub(crate) fn hide(node: &mut Node, below_secret: bool, report: &mut Report) {
    match &mut node.kind {
        Kind::Map(entries) => {
            for entry in entries {
                hide(&mut entry.value, below_secret || secret_key(&entry.key), report);
            }
        }
        Kind::List(items) => items.iter_mut().for_each(|item| hide(item, below_secret, report)),
        Kind::Text(_) | Kind::Number(_) if below_secret => {
            node.hidden = true;
            if !node.as_text().is_some_and(only_a_reference) {
                report.redact(node.at);
            }
        }
        _ => {}
    }
}
