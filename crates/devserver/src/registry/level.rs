//! The compatibility levels, and what a new schema must read, and be read by, under each.

use super::document::Document;

/// What a subject demands of a new version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    name: &'static str,
    /// The new schema reads what the old one wrote.
    backward: bool,
    /// The old schema reads what the new one writes.
    forward: bool,
    /// Beside all versions, not only the latest.
    transitive: bool,
}

const fn level(name: &'static str, backward: bool, forward: bool, transitive: bool) -> Level {
    Level { name, backward, forward, transitive }
}

const LEVELS: [Level; 7] = [
    level("NONE", false, false, false),
    level("BACKWARD", true, false, false),
    level("BACKWARD_TRANSITIVE", true, false, true),
    level("FORWARD", false, true, false),
    level("FORWARD_TRANSITIVE", false, true, true),
    level("FULL", true, true, false),
    level("FULL_TRANSITIVE", true, true, true),
];

impl Default for Level {
    /// That of a new registry.
    fn default() -> Self {
        LEVELS[1]
    }
}

impl Level {
    pub(crate) fn named(name: &str) -> Option<Self> {
        LEVELS.into_iter().find(|level| level.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    /// What is wrong with `new` beside the older versions, which come by number. Later ones come first, and one is enough.
    pub(crate) fn objections(self, new: &Document, older: &[(u32, &Document)]) -> Vec<String> {
        let count = if self.transitive { older.len() } else { 1 };
        for (version, old) in older.iter().rev().take(count) {
            let mut found = self.beside(new, old);
            if !found.is_empty() {
                found.push(format!("{{oldSchemaVersion: {version}}}"));
                found.push(format!("{{compatibility: '{}'}}", self.name));
                return found;
            }
        }
        Vec::new()
    }

    fn beside(self, new: &Document, old: &Document) -> Vec<String> {
        if !self.backward && !self.forward {
            return Vec::new();
        }
        if new.language != old.language {
            let says =
                format!("a schema of type {} follows one of {}", new.language.name(), old.language.name());
            return vec![format!("{{errorType:'SCHEMA_TYPE_MISMATCH', description:'{says}'}}")];
        }
        let ways = [
            (self.backward, "the new schema cannot read what the old one wrote", new, old),
            (self.forward, "the old schema cannot read what the new one writes", old, new),
        ];
        let mut found = Vec::new();
        for (_, says, reader, writer) in ways.into_iter().filter(|way| way.0) {
            let reasons = reader.cannot_read(writer);
            found.extend(reasons.iter().map(|reason| {
                format!("{{errorType:'{}', description:'{says}: {reason}'}}", reason.rule.name())
            }));
        }
        found
    }
}
