//! What came out of a case against what it expects, in words.

use aqueduct_api::{Payload, Record};
use aqueduct_formats::record_line::{self, Defaults};
use serde_json::Value;

use super::ends::Outcome;
use super::file::{Case, Rejected};

/// The parts of a record line.
const PARTS: [&str; 7] = ["topic", "partition", "offset", "timestamp", "key", "value", "headers"];

/// Everything that is different; nothing when all is as expected.
pub(super) fn differences(case: &Case, outcome: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    for (index, got) in outcome.passed.iter().enumerate() {
        match case.expect.get(index) {
            Some(expected) => found.extend(record(index + 1, expected, got)),
            None => found.push(format!(
                "record {} came out and is not expected:\ngot      {}",
                index + 1,
                line(got)
            )),
        }
    }
    for (index, expected) in case.expect.iter().enumerate().skip(outcome.passed.len()) {
        found.push(format!("record {} did not come out:\nexpected {expected}", index + 1));
    }
    for (index, got) in outcome.rejected.iter().enumerate() {
        match case.expect_rejected.get(index) {
            Some(expected) => found.extend(rejected(index + 1, expected, got)),
            None => found.push(format!(
                "rejected record {} is not expected:\ngot      {} (stage {}, {})",
                index + 1,
                line(got),
                fact(got, "aqueduct.stage"),
                fact(got, "aqueduct.error")
            )),
        }
    }
    for (index, expected) in case.expect_rejected.iter().enumerate().skip(outcome.rejected.len()) {
        let reason = expected.reason.as_deref().unwrap_or("any reason");
        found.push(format!(
            "rejected record {} did not come:\nexpected stage {}, {reason}",
            index + 1,
            expected.stage.name()
        ));
    }
    found
}

/// The parts of one record that are named and different.
fn record(number: usize, expected: &Value, got: &Record) -> Vec<String> {
    let mut completed = expected.clone();
    if let Some(parts) = completed.as_object_mut() {
        parts.entry("value").or_insert(Value::Null);
    }
    let defaults = Defaults { topic: got.topic.clone(), partition: 0, offset: 0 };
    let wanted = match record_line::from_json(&completed, defaults) {
        Ok(wanted) => wanted,
        Err(error) => return vec![format!("expected record {number} is no record: {error}")],
    };
    let mut found = Vec::new();
    for part in PARTS.into_iter().filter(|part| expected.get(part).is_some()) {
        let same = match part {
            "topic" => wanted.topic == got.topic,
            "partition" => wanted.origin.partition == got.origin.partition,
            "offset" => wanted.origin.offset == got.origin.offset,
            "timestamp" => wanted.timestamp_us == got.timestamp_us,
            "key" => same_payload(&expected["key"], &wanted.key, &got.key),
            "value" => same_payload(&expected["value"], &wanted.value, &got.value),
            _ => wanted.headers == got.headers,
        };
        if !same {
            let shown = shown(part, got, !expected[part].is_string());
            found.push(format!("record {number}, {part}:\nexpected {}\ngot      {shown}", expected[part]));
        }
    }
    found
}

/// Text and bytes are compared as they are, JSON by what it means: the order of fields and spaces are nothing.
fn same_payload(expected: &Value, wanted: &Payload, got: &Payload) -> bool {
    if wanted == got {
        return true;
    }
    let meant = |payload: &Payload| serde_json::from_slice::<Value>(payload.bytes()?).ok();
    !expected.is_string() && meant(wanted).is_some_and(|wanted| meant(got) == Some(wanted))
}

fn rejected(number: usize, expected: &Rejected, got: &Record) -> Vec<String> {
    let mut found = Vec::new();
    let (stage, error) = (fact(got, "aqueduct.stage"), fact(got, "aqueduct.error"));
    if stage != expected.stage.name() {
        let expected = expected.stage.name();
        found.push(format!(
            "rejected record {number}, stage:\nexpected {expected}\ngot      {stage} ({error})"
        ));
    }
    if let Some(reason) = expected.reason.as_ref().filter(|reason| !error.contains(reason.as_str())) {
        found.push(format!("rejected record {number}, reason:\nexpected {reason}\ngot      {error}"));
    }
    if let Some(key) = &expected.key {
        found.extend(
            record(number, &serde_json::json!({ "key": key }), got)
                .into_iter()
                .map(|it| format!("rejected {it}")),
        );
    }
    found
}

/// What the dead letter's header says.
fn fact(letter: &Record, name: &str) -> String {
    let value = letter.headers.last(name).and_then(|header| header.value.as_ref());
    value.map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

/// A part as a record line has it; JSON as JSON where that is what was expected.
fn shown(part: &str, record: &Record, as_json: bool) -> String {
    let mut parts = as_line(record);
    let value = parts[part].take();
    let meant = value.as_str().filter(|_| as_json).and_then(|text| serde_json::from_str::<Value>(text).ok());
    meant.unwrap_or(value).to_string()
}

fn line(record: &Record) -> String {
    let parts = as_line(record);
    serde_json::json!({ "key": parts["key"], "value": parts["value"] }).to_string()
}

fn as_line(record: &Record) -> Value {
    let mut text = Vec::new();
    record_line::write(record, &mut text);
    serde_json::from_slice(&text).unwrap_or_default()
}
