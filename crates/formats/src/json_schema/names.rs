//! Names: those that references use, and those that types get.

use serde_json::Value as Json;

/// Deeper parts are not looked into.
const DEPTH_MAX: usize = 100;
/// What a name begins with that would begin with something else than a letter.
const FIRST: &str = "Record";

/// The part of a document that is marked with this name.
pub(super) fn marked<'a>(json: &'a Json, mark: &str, name: &str, depth: usize) -> Option<&'a Json> {
    if depth > DEPTH_MAX {
        return None;
    }
    let inside = |json: &'a Json| marked(json, mark, name, depth + 1);
    match json {
        Json::Object(map) if map.get(mark).and_then(Json::as_str) == Some(name) => Some(json),
        Json::Object(map) => map.values().find_map(inside),
        Json::Array(list) => list.iter().find_map(inside),
        _ => None,
    }
}

/// `Item` of `#/definitions/Item`, `item` of `http://shop/item.json`.
pub(super) fn last(path: &str) -> &str {
    let part = path.trim_end_matches('#').rsplit(['/', '#']).next().unwrap_or_default();
    part.strip_suffix(".json").unwrap_or(part)
}

pub(super) fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    text.split('.').all(is_part)
}

/// `line-items` as `LineItems`.
pub(super) fn camel(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or(String::new(), |first| format!("{}{}", first.to_ascii_uppercase(), letters.as_str()))
    };
    let camel: String = words.map(word).collect();
    if camel.starts_with(|first: char| first.is_ascii_alphabetic()) {
        camel
    } else {
        format!("{FIRST}{camel}")
    }
}
