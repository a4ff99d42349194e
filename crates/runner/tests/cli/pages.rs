//! The examples of the pages: whole pipelines as they stand there, parts of one with the least around them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::Folder;

/// What the pages take for granted: the connections of a platform, and its registry.
const SETTINGS: &str = "
connections:
  main: { kafka: { brokers: \"localhost:9092\" } }
  standby: { kafka: { brokers: \"localhost:9093\" } }
registry: { url: \"http://localhost:8081\" }
";

fn page(name: &str) -> String {
    let path = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blocks(page: &str) -> impl Iterator<Item = &str> {
    page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next())
}

/// `value: avro` and its like within a sentence; three dots stand for what is left out.
fn spans(page: &str) -> impl Iterator<Item = &str> {
    let prose = page.split("```").step_by(2);
    let spans = prose.flat_map(|prose| prose.split('`').skip(1).step_by(2));
    spans.filter(|span| (span.starts_with("value: ") || span.starts_with("key: ")) && !span.contains("..."))
}

/// A pipeline with this in it, whatever it has already.
fn completed(name: &str, part: &str) -> String {
    let has =
        |key: &str| part.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
    let rest = [
        ("pipeline", name.to_owned()),
        ("source", "{ kafka: { connection: main, topics: [orders] } }".to_owned()),
        ("sink", "discard".to_owned()),
    ];
    let missing = rest.iter().filter(|(key, _)| !has(key));
    missing.map(|(key, value)| format!("{key}: {value}\n")).collect::<String>() + part
}

/// What `aqueduct check` says to all of a page, each example for itself.
fn check(page: &str) -> (usize, String) {
    let mut pipelines: Vec<String> =
        blocks(page).enumerate().map(|(index, block)| completed(&format!("block-{index}"), block)).collect();
    for (index, span) in spans(page).enumerate() {
        // As it stands at either end; an example that is meant for one of them is in a block.
        pipelines.push(completed(
            &format!("span-{index}"),
            &format!("source: {{ kafka: {{ connection: main, topics: [orders] }}, {span} }}\nsink: {{ kafka: {{ connection: main, topic: copy }}, {span} }}\n"),
        ));
    }
    let folder = Folder::new().with("aqueduct.yaml", SETTINGS);
    for (index, pipeline) in pipelines.iter().enumerate() {
        fs::write(folder.path(&format!("{index}.yaml")), pipeline).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_aqueduct"));
    command.args(["check", "."]).current_dir(folder.path("."));
    for (name, value) in [
        ("KAFKA_SCHEMA_REGISTRY", "http://localhost:8081"),
        ("REGISTRY_USER", "app"),
        ("REGISTRY_PASSWORD", "secret"),
    ] {
        command.env(name, value);
    }
    let done = command.output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (pipelines.len(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_examples_about_formats_and_registries_are_sound() {
    for (name, examples) in [
        ("formats.md", 6),
        ("formats/avro.md", 4),
        ("formats/protobuf.md", 1),
        ("registry.md", 1),
        ("schema-evolution.md", 2),
    ] {
        let (found, said) = check(&page(name));
        let fine = if found == 1 {
            "1 pipeline is fine\n".to_owned()
        } else {
            format!("{found} pipelines are fine\n")
        };
        assert_eq!((found, said), (examples, fine), "docs/{name}");
    }
}

#[test]
fn an_example_that_is_not_sound_is_found() {
    for wrong in [
        "```yaml\nsource: { kafka: { connection: main, topics: [a] }, value: { avro: { subjct: a } } }\n```",
        "say `value: avr`",
    ] {
        let (found, said) = check(wrong);
        assert!(found == 1 && said.contains("did you mean"), "{said}");
    }
}
