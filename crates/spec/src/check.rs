//! Walks a tree against the JSON Schema of a configuration, reports all that does not fit, and makes of it the JSON
//! that the configuration's own type reads.

use aqueduct_api::Problem;
use serde_json::{Map, Value};

use crate::mismatch::{self, as_map};
use crate::names;
use crate::report::{Finding, Report};
use crate::shape::{self, Shape, shapes};
use crate::spot::Spot;
use crate::tree::{Kind, Node, plain_kind};

/// The walk over one block.
pub(crate) struct Check<'a> {
    pub(crate) root: &'a Value,
    pub(crate) report: &'a mut Report,
    /// Texts that no message may show.
    pub(crate) secrets: Vec<String>,
}

/// Walks `node`, and hands the JSON to `configure` if all of it fits. `None` when anything was reported.
pub(crate) fn configured<T>(
    node: &Node,
    schema: &Value,
    spot: &Spot,
    report: &mut Report,
    configure: impl FnOnce(Value) -> Result<T, Vec<Problem>>,
) -> Option<(T, Value)> {
    let before = report.count();
    let mut check = Check { root: schema, report, secrets: Vec::new() };
    let json = check.value(node, schema, spot.clone());
    let secrets = std::mem::take(&mut check.secrets);
    if report.count() > before || broken(node) {
        return None;
    }
    match configure(json.clone()) {
        Ok(made) => Some((made, json)),
        Err(problems) => {
            for problem in problems {
                let (place, path, culprit) = mismatch::locate(node, spot, &problem.path);
                let scrub = |text: &str| mismatch::scrub(text, &secrets, culprit);
                let says = scrub(&problem.says);
                report.say(place, &path, says).remedy_if(problem.remedy.as_deref().map(scrub));
            }
            None
        }
    }
}

/// Something inside was reported when it was filled.
fn broken(node: &Node) -> bool {
    match &node.kind {
        Kind::Broken => true,
        Kind::List(items) => items.iter().any(broken),
        Kind::Map(entries) => entries.iter().any(|entry| broken(&entry.value)),
        _ => false,
    }
}

impl Check<'_> {
    /// The JSON of a value; what does not fit is reported and stands there as null.
    pub(crate) fn value(&mut self, node: &Node, schema: &Value, spot: Spot) -> Value {
        let spot = spot.at_home(node);
        let found = shapes(schema, self.root);
        // A path may be shown, the text that could stand in its place may not.
        let pem = found.iter().any(|shape| matches!(shape, Shape::Text("pem")));
        let pem_text = pem && node.as_text().is_some_and(|text| text.contains("-----BEGIN "));
        let secret = pem_text || found.iter().any(|shape| matches!(shape, Shape::Text("secret")));
        if secret && !node.hidden && matches!(node.kind, Kind::Text(_) | Kind::Number(_)) {
            if node.fill.is_none() {
                self.report.redact(node.at);
            }
            return self.value(&Node { hidden: true, ..node.clone() }, schema, spot);
        }
        let filled = node.fill.is_some() && (pem_text || !pem);
        if let Some(text) = node.as_text().filter(|_| node.hidden || filled) {
            self.secrets.push(text.to_owned());
            self.secrets.extend(node.fill.iter().flat_map(|fill| fill.values.clone()));
        }
        if found.iter().any(|shape| matches!(shape, Shape::Any)) {
            return json(node);
        }
        match &node.kind {
            Kind::Broken => Value::Null,
            Kind::Null if found.iter().any(|shape| matches!(shape, Shape::Null)) => Value::Null,
            // A block whose options are all left out, or commented out.
            Kind::Null if found.iter().all(is_map) && shape::needs_nothing(schema, self.root) => {
                found.first().and_then(as_map).map_or(Value::Null, |map| self.fields(node, map, &spot))
            }
            Kind::Bool(value) if found.iter().any(|shape| matches!(shape, Shape::Bool)) => {
                Value::Bool(*value)
            }
            Kind::Number(_) => self.number(node, schema, &found, &spot),
            Kind::Text(text) => self.text(node, text, schema, &found, &spot),
            Kind::List(items) => match found.iter().find(|shape| matches!(shape, Shape::List { .. })) {
                Some(Shape::List { items: of, items_min }) => self.list(node, items, *of, *items_min, &spot),
                _ => self.mismatch(node, schema, &found, &spot),
            },
            Kind::Map(_) => self.map(node, schema, &found, &spot),
            Kind::Null | Kind::Bool(_) => self.mismatch(node, schema, &found, &spot),
        }
    }

    fn list(
        &mut self,
        node: &Node,
        items: &[Node],
        of: Option<&Value>,
        items_min: u64,
        spot: &Spot,
    ) -> Value {
        if (items.len() as u64) < items_min {
            let says = format!("{} has no items and needs at least {items_min}", spot.label);
            self.say(node, spot, says);
        }
        let any = Value::Bool(true);
        let of = of.unwrap_or(&any);
        items
            .iter()
            .enumerate()
            .map(|(index, item)| self.value(item, of, spot.item(index, item.place(item.at))))
            .collect()
    }

    fn number(&mut self, node: &Node, schema: &Value, found: &[Shape], spot: &Spot) -> Value {
        let Kind::Number(number) = &node.kind else {
            return Value::Null;
        };
        for shape in found {
            match *shape {
                Shape::Number => return Value::Number(number.clone()),
                Shape::Integer { min, max } => {
                    let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
                    let Some(whole) = whole else { continue };
                    let bound = match (min, max) {
                        (Some(min), _) if whole < min => format!("at least {min}"),
                        (_, Some(max)) if whole > max => format!("at most {max}"),
                        _ => return Value::Number(number.clone()),
                    };
                    self.say(node, spot, format!("{} must be {bound}", spot.label));
                    return Value::Null;
                }
                Shape::Text(format @ ("duration" | "size" | "stop_after")) => {
                    if let Some((says, remedy)) = mismatch::read_as(format, &number.to_string(), node) {
                        self.say(node, spot, says).remedy_if(remedy);
                    }
                    return Value::Null;
                }
                _ => {}
            }
        }
        self.mismatch(node, schema, found, spot)
    }

    fn text(&mut self, node: &Node, text: &str, schema: &Value, found: &[Shape], spot: &Spot) -> Value {
        let mut named = false;
        for shape in found {
            match *shape {
                Shape::Name(name) if name == text => return Value::String(text.to_owned()),
                Shape::Variant { name, body, .. } if name == text => {
                    if !shape::needs_nothing(body, self.root) && !shapes(body, self.root).iter().any(is_map) {
                        let says =
                            format!("`{name}` stands alone and needs {}", shape::describe(body, self.root));
                        let remedy = format!("write `{}: {{ {name}: ... }}`", spot.label.trim_matches('`'));
                        self.say(node, spot, says).remedy(remedy);
                        return Value::Null;
                    }
                    let body = self.value(
                        &Node::new(node.at, Kind::Map(Vec::new())),
                        body,
                        spot.field(name, node.at),
                    );
                    return Value::Object(Map::from_iter([(name.to_owned(), body)]));
                }
                Shape::Name(_) | Shape::Variant { .. } => named = true,
                _ => {}
            }
        }
        if let Some(format) =
            found.iter().find_map(|shape| if let Shape::Text(f) = shape { Some(*f) } else { None })
        {
            if let Some((says, remedy)) = mismatch::read_as(format, text, node) {
                self.say(node, spot, says).remedy_if(remedy);
            }
            return Value::String(text.to_owned());
        }
        // A value from outside is text; where a number or a bool is wanted, it is read as if it stood in the file.
        if node.fill.as_ref().is_some_and(|fill| fill.whole)
            && let kind @ (Kind::Bool(_) | Kind::Number(_)) = plain_kind(text)
        {
            return self.value(&Node { kind, hidden: true, ..node.clone() }, schema, spot.clone());
        }
        if named {
            return self.unknown_name(node, text, found, spot);
        }
        self.mismatch(node, schema, found, spot)
    }

    fn unknown_name(&mut self, node: &Node, name: &str, found: &[Shape], spot: &Spot) -> Value {
        let known = || {
            found.iter().filter_map(|shape| match shape {
                Shape::Name(name) | Shape::Variant { name, .. } => Some(*name),
                _ => None,
            })
        };
        let says = match mismatch::shown(node) {
            Some(_) => format!("{} cannot be `{name}`", spot.label),
            None => format!("{} cannot be what {} holds", spot.label, mismatch::origin(node)),
        };
        let remedy = match mismatch::shown(node) {
            Some(_) => names::hint(name, "choices", known()),
            None => format!("choices are {}", names::quoted(known(), "and")),
        };
        self.say(node, spot, says).remedy(remedy);
        Value::Null
    }

    fn map(&mut self, node: &Node, schema: &Value, found: &[Shape], spot: &Spot) -> Value {
        let entries = node.entries();
        let variants =
            || found.iter().filter(|shape| matches!(shape, Shape::Name(_) | Shape::Variant { .. }));
        let known = |entry: &&crate::tree::Entry| {
            variants().any(
                |shape| matches!(shape, Shape::Name(n) | Shape::Variant { name: n, .. } if *n == entry.key),
            )
        };
        let plain = found.iter().filter_map(as_map).max_by_key(|map| {
            entries.iter().filter(|entry| map["properties"].get(&entry.key).is_some()).count()
        });
        if found.iter().any(|shape| matches!(shape, Shape::Variant { .. }))
            && (plain.is_none() || entries.first().as_ref().is_some_and(known))
        {
            return self.one_of(node, schema, found, spot);
        }
        match plain {
            Some(map) => self.fields(node, map, spot),
            None => self.mismatch(node, schema, found, spot),
        }
    }

    /// A map with one key, its kind.
    fn one_of(&mut self, node: &Node, schema: &Value, found: &[Shape], spot: &Spot) -> Value {
        let [entry, more @ ..] = node.entries() else {
            return self.mismatch(node, schema, found, spot);
        };
        if let Some(second) = more.first() {
            let says = format!("{} takes one choice, not `{}` and `{}`", spot.label, entry.key, second.key);
            let remedy =
                format!("write options of `{0}` below it: `{0}: {{ {1}: ... }}`", entry.key, second.key);
            self.report.say(second.at, &spot.path, says).remedy(remedy);
            return Value::Null;
        }
        // Options first: a name that may stand alone may also have them.
        let body = found.iter().find_map(|shape| match *shape {
            Shape::Variant { name, body, .. } if name == entry.key => Some(body),
            _ => None,
        });
        let spot_of = |name: &str| spot.field(name, entry.at);
        if let Some(body) = body {
            let body = self.value(&entry.value, body, spot_of(&entry.key));
            return Value::Object(Map::from_iter([(entry.key.clone(), body)]));
        }
        if found.iter().any(|shape| matches!(*shape, Shape::Name(name) if name == entry.key)) {
            if !matches!(entry.value.kind, Kind::Null) && !entry.value.entries().is_empty() {
                let says = format!("`{}` has no options", entry.key);
                self.say(&entry.value, &spot_of(&entry.key), says).remedy("write the name alone");
            }
            return Value::String(entry.key.clone());
        }
        let name = Node::text(entry.at, entry.key.as_str());
        self.unknown_name(&name, &entry.key, found, spot)
    }

    /// The fields of a map: unknown ones, missing ones, and each by its own schema.
    fn fields(&mut self, node: &Node, map: &Value, spot: &Spot) -> Value {
        let mut made = Map::new();
        let mut unknown = Vec::new();
        for entry in node.entries() {
            let field = spot.field(&entry.key, entry.at);
            let additional = &map["additionalProperties"];
            match map["properties"].get(&entry.key) {
                Some(schema) => {
                    made.insert(entry.key.clone(), self.value(&entry.value, schema, field));
                }
                None if additional.is_object() => {
                    made.insert(entry.key.clone(), self.value(&entry.value, additional, field));
                }
                None if additional == &Value::Bool(false) => unknown.push(entry),
                None => {
                    made.insert(entry.key.clone(), json(&entry.value));
                }
            }
        }
        let options =
            || map["properties"].as_object().into_iter().flat_map(|map| map.keys().map(String::as_str));
        let all: Vec<&str> = options().collect();
        let free: Vec<&str> = options().filter(|name| node.get(name).is_none()).collect();
        let mut meant = Vec::new();
        for entry in unknown {
            let near = names::nearest(&entry.key, free.iter().copied());
            meant.extend(near);
            let says = format!("{} has no option `{}`", spot.label, entry.key);
            let remedy = names::suggest(near, "options", &all);
            self.report.say(entry.at, &spot.field(&entry.key, entry.at).path, says).remedy(remedy);
        }
        for name in shape::required(map) {
            if node.get(name).is_none() && !meant.contains(&name) {
                let schema = &map["properties"][name];
                let about = match schema["description"].as_str() {
                    Some(doc) => doc.lines().next().unwrap_or(doc).trim_end_matches('.').to_owned(),
                    None => shape::describe(schema, self.root),
                };
                let says = format!("{} needs `{name}`", spot.label);
                let at = if spot.path.is_empty() { node.at } else { spot.key };
                self.report.say(at, &spot.path, says).remedy(format!("add `{name}: ...` ({about})"));
            }
        }
        Value::Object(made)
    }

    fn mismatch(&mut self, node: &Node, schema: &Value, found: &[Shape], spot: &Spot) -> Value {
        let expected = shape::describe(schema, self.root);
        let says = match mismatch::found(node) {
            found if found == "nothing" => format!("{} is empty and takes {expected}", spot.label),
            found => format!("{} takes {expected}, not {found}", spot.label),
        };
        let remedy = mismatch::remedy(node, found, self.root);
        self.say(node, spot, says).remedy_if(remedy);
        Value::Null
    }

    fn say(&mut self, node: &Node, spot: &Spot, says: String) -> &mut Finding {
        let place = if matches!(node.kind, Kind::Null) { spot.key } else { node.place(spot.key) };
        self.report.say(place, &spot.path, says)
    }
}

fn is_map(shape: &Shape) -> bool {
    as_map(shape).is_some()
}

/// A tree as JSON, as it stands.
pub(crate) fn json(node: &Node) -> Value {
    match &node.kind {
        Kind::Null | Kind::Broken => Value::Null,
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Number(value) => Value::Number(value.clone()),
        Kind::Text(text) => Value::String(text.clone()),
        Kind::List(items) => items.iter().map(json).collect(),
        Kind::Map(entries) => entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect(),
    }
}
