//! `aqueduct schema`: a JSON Schema of pipeline files for editors, from the config types.

use crate::{Exit, catalog};

/// Prints it.
pub(crate) fn run() -> Exit {
    // The alternate form is indented; a JSON value always prints.
    println!("{:#}", aqueduct_spec::json_schema(&catalog::catalog()));
    Exit::Good
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::Value;

    use super::*;

    /// Every `oneOf` in which a text has two places: editors mark such a text as wrong.
    fn twice(of: &Value, path: &str, found: &mut Vec<String>) {
        let mut seen = HashSet::new();
        for branch in of["oneOf"].as_array().into_iter().flatten() {
            let texts = branch["enum"].as_array().into_iter().flatten().chain(branch.get("const"));
            found.extend(texts.filter(|text| !seen.insert(*text)).map(|text| format!("{path}: {text}")));
        }
        match of {
            Value::Object(keys) => {
                keys.iter().for_each(|(key, of)| twice(of, &format!("{path}/{key}"), found));
            }
            Value::Array(items) => items.iter().for_each(|of| twice(of, path, found)),
            _ => {}
        }
    }

    #[test]
    fn no_choice_is_there_twice() {
        let mut found = Vec::new();
        twice(&aqueduct_spec::json_schema(&catalog::catalog()), "", &mut found);
        assert_eq!(found, [""; 0]);
    }
}
