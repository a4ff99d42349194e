//! The words for a value that does not fit: what was found, what to write instead, and nothing that is secret.

use aqueduct_api::config::{Duration, Size, Template};
use serde_json::Value;

use crate::pipeline::StopAfter;
use crate::place::Place;
use crate::shape::{Shape, required, shapes};
use crate::spot::Spot;
use crate::tree::{Kind, Node, plain_kind};

const SHOWN_CHARS_MAX: usize = 60;

/// The text of a scalar, if it may be shown.
pub(crate) fn shown(node: &Node) -> Option<String> {
    if node.hidden || node.fill.is_some() {
        return None;
    }
    let text = match &node.kind {
        Kind::Text(text) => text.clone(),
        Kind::Number(number) => number.to_string(),
        Kind::Bool(value) => value.to_string(),
        _ => return None,
    };
    (text.chars().count() <= SHOWN_CHARS_MAX && !text.contains('\n')).then_some(text)
}

/// Where a text that is not shown came from.
pub(crate) fn origin(node: &Node) -> String {
    match &node.fill {
        Some(fill) => fill.names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and "),
        None => "this key".to_owned(),
    }
}

/// `the text `abc``, `a list`, `what `${env:X}` holds`.
pub(crate) fn found(node: &Node) -> String {
    let from_outside = || format!("what {} holds", origin(node));
    match (&node.kind, shown(node)) {
        (Kind::Null, _) => "nothing".to_owned(),
        (Kind::List(_), _) => "a list".to_owned(),
        (Kind::Map(_), _) => "a map".to_owned(),
        _ if node.fill.is_some() => from_outside(),
        (Kind::Bool(value), _) => format!("`{value}`"),
        (Kind::Number(_), Some(text)) => format!("the number {text}"),
        (Kind::Number(_), None) => "a number".to_owned(),
        (_, Some(text)) => format!("the text `{text}`"),
        (_, None) => "text".to_owned(),
    }
}

/// What a text of that format has wrong, and what to do; `None` when it can be read.
pub(crate) fn read_as(format: &str, text: &str, node: &Node) -> Option<(String, Option<String>)> {
    let (name, error) = match format {
        "stop_after" => ("number of records in a time", text.parse::<StopAfter>().err()?),
        "duration" if is_digits(text) => ("duration", unitless::<Duration>(text)?),
        "size" if is_digits(text) => ("size", unitless::<Size>(text)?),
        "duration" => ("duration", text.parse::<Duration>().err()?),
        "size" => ("size", text.parse::<Size>().err()?),
        "template" => ("template", text.parse::<Template>().err()?),
        _ => return None,
    };
    // The text may have a `; ` of its own; the sentence begins after it.
    let after = error.find(text).filter(|_| !text.is_empty()).map_or(0, |at| at + text.len());
    let (says, remedy) = match error[after..].split_once("; ") {
        Some((says, remedy)) => (format!("{}{says}", &error[..after]), Some(remedy.to_owned())),
        None => (error.clone(), None),
    };
    if node.hidden || node.fill.is_some() {
        let remedy = remedy.filter(|_| name != "template");
        return Some((format!("what {} holds is not a {name}", origin(node)), remedy));
    }
    Some((says, remedy))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '_')
}

/// The message of a bare number where a unit is needed.
fn unitless<T: serde::de::DeserializeOwned>(text: &str) -> Option<String> {
    let number: u64 = text.replace('_', "").parse().unwrap_or(u64::MAX);
    serde_json::from_value::<T>(number.into()).err().map(|error| error.to_string())
}

/// What to write instead, where that can be guessed.
pub(crate) fn remedy(node: &Node, found: &[Shape], root: &Value) -> Option<String> {
    let takes = |wanted: fn(&Shape) -> bool| found.iter().any(wanted);
    let takes_text = takes(|shape| matches!(shape, Shape::Text(_)));
    match &node.kind {
        Kind::Text(text) if node.fill.is_none() => instead_of_text(node, text, found, root),
        Kind::Number(_) | Kind::Bool(_) if takes_text => Some(match shown(node) {
            Some(text) => format!("put it in quotes: \"{text}\""),
            None => "put it in quotes".to_owned(),
        }),
        Kind::Number(_) if takes(|shape| matches!(shape, Shape::Integer { .. })) => {
            Some("write a whole number, as in 10_000".to_owned())
        }
        Kind::Number(_) if takes(|shape| matches!(shape, Shape::Bool)) => {
            Some("write true or false".to_owned())
        }
        Kind::Map(entries) if takes_text && node.at.inline => match entries.as_slice() {
            [only] if matches!(only.value.kind, Kind::Null) => {
                Some(format!("text that begins with a brace has to be in quotes: \"{{{}}}\"", only.key))
            }
            _ => None,
        },
        Kind::Map(_) if !takes_text && takes(|shape| matches!(shape, Shape::List { .. })) => {
            Some("write it as a list: each item begins with `- `".to_owned())
        }
        Kind::List(items) if takes_text && items.len() == 1 => {
            Some("write it without the brackets".to_owned())
        }
        _ => None,
    }
}

fn instead_of_text(node: &Node, text: &str, found: &[Shape], root: &Value) -> Option<String> {
    let quoted = || Some("take the quotes away".to_owned());
    for shape in found {
        match (shape, plain_kind(text)) {
            (Shape::Bool, Kind::Bool(_)) => return quoted(),
            (Shape::Bool, _) => return Some("write true or false".to_owned()),
            (Shape::Integer { .. } | Shape::Number, Kind::Number(_)) => return quoted(),
            (Shape::Integer { .. } | Shape::Number, _) => {
                return Some("write digits, as in 10_000".to_owned());
            }
            (Shape::List { items: Some(items), .. }, _) if takes_text(items, root) => {
                return Some(match shown(node).filter(|text| !text.contains(',')) {
                    Some(text) => format!("write it as a list: [{text}]"),
                    None => "write it as a list: [a, b]".to_owned(),
                });
            }
            _ => {}
        }
    }
    let map = found.iter().find_map(as_map).filter(|map| !required(map).is_empty())?;
    let options: Vec<String> = required(map).iter().map(|option| format!("{option}: ...")).collect();
    Some(format!("write its options below it: {{ {} }}", options.join(", ")))
}

fn takes_text(schema: &Value, root: &Value) -> bool {
    shapes(schema, root).iter().any(|shape| matches!(shape, Shape::Text(_) | Shape::Any))
}

/// The map that a shape is.
pub(crate) fn as_map<'a>(shape: &Shape<'a>) -> Option<&'a Value> {
    if let Shape::Map(map) = shape { Some(map) } else { None }
}

/// The place, path and value that a problem's path names, as far as it is written in the file.
pub(crate) fn locate<'a>(node: &'a Node, spot: &Spot, problem: &str) -> (Place, String, &'a Node) {
    let mut path = node.home.as_deref().unwrap_or(&spot.path).to_owned();
    let (mut here, mut key, mut rest) = (node, spot.key, problem);
    loop {
        rest = rest.trim_start_matches('.');
        if rest.is_empty() {
            return (here.place(key), path, here);
        }
        let (step, next, at) = match &here.kind {
            Kind::List(items) => {
                let end = rest.find(']').map_or(rest.len(), |end| end + 1);
                let index = rest[..end].trim_matches(['[', ']']).parse::<usize>();
                let Some(item) = index.ok().and_then(|index| items.get(index)) else {
                    break;
                };
                (end, item, item.place(item.at))
            }
            Kind::Map(entries) => {
                let follows =
                    |key: &str| rest[key.len()..].is_empty() || rest[key.len()..].starts_with(['.', '[']);
                let named = entries.iter().filter(|e| rest.starts_with(e.key.as_str()) && follows(&e.key));
                let Some(entry) = named.max_by_key(|entry| entry.key.len()) else {
                    break;
                };
                (entry.key.len(), &entry.value, entry.at)
            }
            _ => break,
        };
        path = next.home.as_deref().map_or_else(|| joined(&path, &rest[..step]), str::to_owned);
        (here, key, rest) = (next, at, &rest[step..]);
    }
    // What the problem names is not written: its block is pointed at.
    let place = if matches!(here.kind, Kind::Map(_)) { key } else { here.place(key) };
    (place, joined(&path, rest), here)
}

fn joined(path: &str, step: &str) -> String {
    match (path.is_empty(), step.starts_with('[')) {
        (true, _) => step.to_owned(),
        (_, true) => format!("{path}{step}"),
        _ => format!("{path}.{step}"),
    }
}

/// Takes secrets out of a sentence that somebody else wrote: whole ones anywhere, and parts of the culprit's own text
/// where they are quoted.
pub(crate) fn scrub(says: &str, secrets: &[String], culprit: &Node) -> String {
    let mut says = says.to_owned();
    for secret in secrets.iter().filter(|secret| secret.len() >= 4) {
        says = says.replace(secret.as_str(), "***");
    }
    let own = culprit.as_text().filter(|text| secrets.iter().any(|secret| secret == text));
    let Some(own) = own else { return says };
    for quote in ['`', '"'] {
        let parts: Vec<&str> = says.split(quote).collect();
        let masked: Vec<&str> = parts
            .iter()
            .enumerate()
            .map(
                |(index, part)| {
                    if index % 2 == 1 && !part.is_empty() && own.contains(part) { "***" } else { part }
                },
            )
            .collect();
        says = masked.join(&quote.to_string());
    }
    says
}
