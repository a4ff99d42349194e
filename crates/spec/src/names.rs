//! The nearest known name, for every place where a name can be misspelled.

use strsim::damerau_levenshtein;

/// The known name that was most likely meant, if one is near enough.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', '.', ' '], "");
    let wanted = plain(name);
    let near = (wanted.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| {
            let other = plain(candidate);
            // A name that was written out too far or not far enough is near as well: `path_template`, `rotat`.
            let begins = wanted.len().min(other.len()) >= 4
                && (wanted.starts_with(&other) || other.starts_with(&wanted));
            let distance = damerau_levenshtein(&wanted, &other);
            (if begins { distance.min(near) } else { distance }, candidate)
        })
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `did you mean `topics`; options are `group`, `topics``
pub(crate) fn hint<'a>(name: &str, plural: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if known.is_empty() {
        return format!("there are no {plural} yet");
    }
    let list = format!("{plural} are {}", quoted(known.iter().copied(), "and"));
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list,
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
            ("max.records", None),
            ("path_template", Some("path")),
            ("rotat", Some("rotate")),
            ("gruop", Some("group")),
            ("zzz", None),
        ] {
            assert_eq!(nearest(name, known), near, "{name}");
        }
    }
}
