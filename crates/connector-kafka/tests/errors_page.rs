//! `docs/kafka/errors.md` is made from the table of troubles; `BLESS=1` writes it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use aqueduct_connector_kafka::diagnosis::{ALL, Diagnosis, Reaction};

const HEAD: &str = "\
# Kafka: what it says, and what to do

Everything that a pipeline, `/readyz` and `aqueduct check --connect` say about a cluster, a group, a topic or a record.
Words in braces are filled in. `aqueduct check --connect FILE` asks the real cluster and says the same before anything runs.
";

fn reaction(reaction: Reaction) -> &'static str {
    match reaction {
        Reaction::Waits => "The pipeline waits, is not ready, and goes on by itself when it is over.",
        Reaction::Restarts => "The pipeline stops, and starts again with growing pauses.",
        Reaction::Stops => "The pipeline stops and stays down until somebody has changed something.",
        Reaction::SetsAside => "The record is set aside, as `errors.on_bad_record` says.",
        Reaction::SlowsDown => "The pipeline goes on, more slowly, and stays ready.",
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for Diagnosis { id, says, why, remedy, reaction: then } in ALL {
        let quoted = says.replace('|', "\\|");
        write!(
            page,
            "\n## {id}\n\n> {quoted}\n\n{why}\n\n**What to do:** {remedy}.\n\n{}\n",
            reaction(*then)
        )
        .unwrap();
    }
    page
}

#[test]
fn the_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/kafka/errors.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/kafka/errors.md is not what the table says; BLESS=1 writes it anew");
}

#[test]
fn entries_are_written_in_one_manner() {
    let ids: BTreeSet<&str> = ALL.iter().map(|entry| entry.id).collect();
    assert_eq!(ids.len(), ALL.len(), "an id is there twice");
    for entry in ALL {
        let Diagnosis { id, says, why, remedy, .. } = entry;
        assert!(id.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{id}");
        for sentence in [says, remedy] {
            assert!(
                !sentence.starts_with(char::is_uppercase) && !sentence.ends_with('.'),
                "{id}: {sentence}"
            );
            assert_eq!(sentence.matches('{').count(), sentence.matches('}').count(), "{id}: {sentence}");
        }
        assert!(why.ends_with('.'), "{id}: {why}");
    }
}

/// Each entry is provoked on the real broker by a test: the longest fixed part of its sentence stands in a test that starts one.
#[test]
fn every_sentence_is_provoked_by_a_test() {
    let folders =
        ["tests/kafka", "../../tests/e2e"].map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let sources: Vec<String> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .filter(|source| source.contains("use crate::ends;") || source.contains("Kafka::start"))
        // A text that is broken over two lines is one.
        .map(|source| source.split("\\\n").map(str::trim_start).collect())
        .collect();
    let untold = ALL.iter().filter(|entry| {
        let parts = entry.says.split(['{', '}']).step_by(2);
        let longest = parts.max_by_key(|part| part.len()).unwrap_or_default().trim();
        assert!(longest.len() > 5, "{}: nothing to know it by", entry.id);
        !sources.iter().any(|source| source.contains(longest))
    });
    let untold: Vec<(&str, &str)> = untold.map(|entry| (entry.id, entry.says)).collect();
    assert!(untold.is_empty(), "no test provokes {untold:#?}");
}
