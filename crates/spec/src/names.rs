//! The nearest known name, for every place where a name can be misspelled.

use strsim::damerau_levenshtein;

/// Nobody misspells a name into a longer text, and comparing one takes memory.
const MISSPELT_BYTES_MAX: usize = 200;

/// The known name that was most likely meant, if one is near enough.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > MISSPELT_BYTES_MAX {
        return None;
    }
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', '.', ' '], "");
    let wanted = plain(name);
    known
        .into_iter()
        .map(|candidate| {
            let other = plain(candidate);
            // A name that was written out too far or not far enough is near as well: `path_template`, `rotat`.
            let begins = wanted.len().min(other.len()) >= 4
                && (wanted.starts_with(&other) || other.starts_with(&wanted));
            let near = (wanted.chars().count().max(other.chars().count()) / 3).max(1);
            let distance = if same_words(name, candidate) { 0 } else { damerau_levenshtein(&wanted, &other) };
            (distance, begins || distance <= near, candidate)
        })
        .filter(|(_, near, _)| *near)
        .min_by_key(|(distance, _, _)| *distance)
        .map(|(_, _, candidate)| candidate)
}

/// `max_age` for `age_max`.
fn same_words(a: &str, b: &str) -> bool {
    let words = |text: &str| {
        let mut words: Vec<String> =
            text.to_lowercase().split(['-', '_', '.', ' ']).map(str::to_owned).collect();
        words.sort_unstable();
        words
    };
    words(a) == words(b)
}

/// `did you mean `topics`; options are `group`, `topics``
pub(crate) fn hint<'a>(name: &str, plural: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = nearest(name, known.iter().copied());
    suggest(near, plural, &known)
}

/// The same where the nearest name is already known.
pub(crate) fn suggest(near: Option<&str>, plural: &str, known: &[&str]) -> String {
    let list = format!("{plural} are {}", quoted(known.iter().copied(), "and"));
    match (near, known) {
        (_, []) if plural == "options" => "it has no options".to_owned(),
        (_, []) => format!("there are no {plural} yet"),
        (Some(near), [_]) => format!("did you mean `{near}`?"),
        (Some(near), _) => format!("did you mean `{near}`? {list}"),
        (None, _) => list,
    }
}

/// `` `a`, `b` and `c` ``
pub(crate) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>, last: &str) -> String {
    join(names.into_iter().map(|name| format!("`{name}`")).collect(), last)
}

/// `a, b or c`
pub(crate) fn join(mut words: Vec<String>, last: &str) -> String {
    match (words.pop(), words.is_empty()) {
        (None, _) => String::new(),
        (Some(only), true) => only,
        (Some(end), false) => format!("{} {last} {end}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["topics", "group", "start", "rotate", "path", "records_max"];
        for (name, near) in [
            ("topix", Some("topics")),
            ("topic", Some("topics")),
            ("Topics", Some("topics")),
            ("recordsMax", Some("records_max")),
            ("max.records", Some("records_max")),
            ("path_template", Some("path")),
            ("rotat", Some("rotate")),
            ("gruop", Some("group")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(name, known), near, "{name}");
        }
    }
}
