//! The reference page of a connector, made from the schema of its options.

use aqueduct_api::Catalog;
use serde_json::Value;

use crate::head::Head;
use crate::shape::{self, Shape, shapes};

const NESTING_MAX: usize = 6;

/// A page in Markdown: what the connector is, and its options with types, defaults and docs. `None` for a name that the
/// catalog does not know.
pub fn reference(catalog: &Catalog, name: &str) -> Option<String> {
    let source = catalog.sources.get(name).map(|entry| ("Source", entry.about, entry.schema().to_value()));
    let sink = catalog.sinks.get(name).map(|entry| ("Sink", entry.about, entry.schema().to_value()));
    let transform =
        catalog.transforms.get(name).map(|entry| ("Transform", entry.about, entry.schema().to_value()));
    let format = catalog.formats.get(name).map(|entry| ("Format", entry.about, entry.schema().to_value()));
    let store =
        catalog.offset_stores.get(name).map(|entry| ("Offset store", entry.about, entry.schema().to_value()));
    let registry = catalog.registry.as_ref().filter(|entry| entry.name == name);
    let registry = registry.map(|entry| ("Registry", entry.about, entry.schema().to_value()));
    let parts: Vec<_> = [source, sink, transform, format, store, registry].into_iter().flatten().collect();
    if parts.is_empty() {
        return None;
    }
    let mut page = format!("# {name}\n");
    for (role, about, schema) in parts {
        page.push_str(&format!("\n## {role}\n\n{}\n\n", sentence(about)));
        page.push_str(&table(&schema));
    }
    Some(page)
}

/// The reference page of the keys of a pipeline file itself.
pub fn file_reference() -> String {
    let schema: Value = schemars::schema_for!(Head).into();
    format!("# The pipeline file\n\n{}", table(&schema))
}

fn table(schema: &Value) -> String {
    let mut rows = Vec::new();
    options(schema, schema, "", 0, &mut rows);
    if rows.is_empty() {
        return "It has no options.\n".to_owned();
    }
    format!("| option | takes | default | |\n|---|---|---|---|\n{}\n", rows.join("\n"))
}

/// A row for each option, and below it the options of what it may hold.
fn options(map: &Value, root: &Value, prefix: &str, depth: usize, rows: &mut Vec<String>) {
    let required = shape::required(map);
    for (name, schema) in map["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        let default = match schema.get("default") {
            _ if required.contains(&name.as_str()) => "**required**".to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(Value::Object(_) | Value::Array(_)) => String::new(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(other) => format!("`{other}`"),
        };
        let takes = if name == "connection" && prefix.is_empty() && !shapes(schema, root).iter().any(is_any) {
            format!("the name of a shared connection or {}", shape::describe(schema, root))
        } else {
            shape::describe(schema, root)
        };
        let doc = schema["description"].as_str();
        let doc = doc.or_else(|| shape::resolve(schema, root)["description"].as_str()).unwrap_or_default();
        rows.push(row(&path, &takes, &default, doc));
        if depth < NESTING_MAX {
            inside(schema, root, &path, depth + 1, rows);
        }
    }
}

fn inside(schema: &Value, root: &Value, path: &str, depth: usize, rows: &mut Vec<String>) {
    for shape in shapes(schema, root) {
        match shape {
            Shape::Map(map) => options(map, root, &format!("{path}."), depth, rows),
            Shape::List { items: Some(items), .. } => inside(items, root, &format!("{path}[]"), depth, rows),
            Shape::Variant { name, body, about } => {
                let path = format!("{path}.{name}");
                let doc = about.or_else(|| body["description"].as_str()).unwrap_or_default();
                rows.push(row(&path, &shape::describe(body, root), "", doc));
                inside(body, root, &path, depth + 1, rows);
            }
            _ => {}
        }
    }
}

fn row(path: &str, takes: &str, default: &str, doc: &str) -> String {
    let doc = doc.split_whitespace().collect::<Vec<_>>().join(" ");
    let cell = |text: &str| text.replace('|', "\\|");
    format!("| `{path}` | {} | {} | {} |", cell(takes), cell(default), cell(&doc))
}

fn is_any(shape: &Shape) -> bool {
    matches!(shape, Shape::Any)
}

fn sentence(about: &str) -> String {
    let mut letters = about.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let rest = letters.as_str().trim_end_matches('.');
    format!("{first}{rest}.")
}
