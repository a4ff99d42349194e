//! Offsets in a file: JSON, one object with a position for each partition, or lines of `topic,partition,offset` as Kafka's own
//! tools write them.

use std::collections::BTreeMap;
use std::path::Path;

use aqueduct_api::{Error, OffsetSpec, Partition, PartitionOffsets, Result};
use serde_json::{Map, Value};

/// What is stored, as one object.
pub(super) fn json(list: &[PartitionOffsets]) -> String {
    let stored = |standing: &PartitionOffsets| {
        let position = standing.stored.as_ref()?;
        let value = position.parse::<i64>().map_or_else(|_| Value::from(&**position), Value::from);
        Some((standing.partition.to_string(), value))
    };
    let object: Map<String, Value> = list.iter().filter_map(stored).collect();
    serde_json::to_string_pretty(&object).unwrap_or_default()
}

/// Reads either form.
pub(super) fn read(path: &Path) -> Result<BTreeMap<Partition, OffsetSpec>> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::config("cannot read the file of offsets").with("path", path.display()).caused_by(error)
    })?;
    let listed = if text.trim_start().starts_with('{') { of_json(&text) } else { of_lines(&text) };
    listed.map_err(|says| {
        Error::config(says)
            .with("path", path.display())
            .remedy("write {\"orders/3\": 100} or a line orders,3,100 for each partition")
    })
}

fn of_json(text: &str) -> Result<BTreeMap<Partition, OffsetSpec>, String> {
    let object: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
    let mut targets = BTreeMap::new();
    for (partition, value) in object {
        let position = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text,
            _ => return Err(format!("the position of `{partition}` is neither a number nor text")),
        };
        targets.insert(partition.into(), OffsetSpec::At(position.into()));
    }
    Ok(targets)
}

fn of_lines(text: &str) -> Result<BTreeMap<Partition, OffsetSpec>, String> {
    let mut targets = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.split(',').map(|cell| cell.trim().trim_matches('"')).collect();
        let (partition, offset) = match cells.as_slice() {
            [""] => continue,
            [topic, partition, offset] if partition.parse::<i32>().is_ok() => {
                (format!("{topic}/{partition}"), *offset)
            }
            [partition, offset] if partition.contains('/') => ((*partition).to_owned(), *offset),
            _ if index == 0 => continue,
            _ => return Err(format!("line {} is not topic,partition,offset", index + 1)),
        };
        if offset.parse::<i64>().is_err() {
            return Err(format!("line {}: `{offset}` is not an offset", index + 1));
        }
        if targets.insert(partition.clone().into(), OffsetSpec::At(offset.into())).is_some() {
            return Err(format!("line {}: `{partition}` is named twice", index + 1));
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let expected = BTreeMap::from([("orders/3".into(), OffsetSpec::At("100".into()))]);
        assert_eq!(of_json(r#"{"orders/3": 100}"#), Ok(expected.clone()));
        for lines in ["orders,3,100\n", "topic,partition,offset\n\"orders\",3,100\n\n", "orders/3,100"] {
            assert_eq!(of_lines(lines), Ok(expected.clone()), "{lines}");
        }
        assert_eq!(of_lines("a,1,2\nb\n"), Err("line 2 is not topic,partition,offset".to_owned()));
        assert_eq!(of_lines("a,1,2\na,1,3\n"), Err("line 2: `a/1` is named twice".to_owned()));
    }
}
