//! Every file in `broken/` is wrong in its own way, and the messages it gives stand beside it. `BLESS=1` rewrites them;
//! what then changes is to be read as the user would read it.

#![allow(clippy::unwrap_used)]

mod catalog;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aqueduct_spec::{Environment, load};

/// The environment of all broken files.
fn variable(name: &str) -> Option<String> {
    let value = match name {
        "BROKERS" => "kafka.example:9092",
        "NO_PORT" => "user:hunter2@kafka.example",
        "AGE" => "hunter2 minutes",
        "COUNT" => "7",
        "EMPTY" => "",
        _ => return None,
    };
    Some(value.to_owned())
}

fn read(path: &Path) -> io::Result<String> {
    if path == Path::new("/run/secrets/s3") {
        Ok("hunter2\n".into())
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A file, or a folder of files that are wrong together.
fn messages_of(case: &Path) -> String {
    let environment = Environment { variable: &variable, read: &read };
    let loaded = load(&[case.to_owned()], &catalog::catalog(), &environment);
    let list: Vec<String> = loaded.diagnostics.iter().map(|found| format!("{found}\n")).collect();
    list.join("\n")
}

#[test]
fn each_broken_file_gives_its_messages() {
    std::env::set_current_dir(Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/broken"))
        .unwrap();
    let expected_of = |case: &Path| case.with_extension("expected");
    let mut cases: Vec<PathBuf> = fs::read_dir(".")
        .unwrap()
        .map(|entry| PathBuf::from(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_none_or(|extension| extension != "expected"))
        .filter(|path| path != Path::new("aqueduct.yaml"))
        .collect();
    cases.sort();
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for case in &cases {
        let messages = messages_of(case);
        assert!(!messages.is_empty(), "{} is not broken", case.display());
        assert!(!messages.contains("hunter2"), "{} shows a secret:\n{messages}", case.display());
        if bless {
            fs::write(expected_of(case), &messages).unwrap();
        } else if fs::read_to_string(expected_of(case)).unwrap_or_default() != messages {
            wrong.push(format!("--- {}\n{messages}", case.display()));
        }
    }
    assert!(cases.len() >= 60, "only {} broken files", cases.len());
    assert!(
        wrong.is_empty(),
        "{} of {} differ (BLESS=1 accepts):\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}
