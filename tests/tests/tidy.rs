//! The tidy test: the house rules that a machine can check. A finding names the file, the line and the rule.

use std::fs;
use std::path::{Path, PathBuf};

use aqueduct_tests::root;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const BANNED_NAMES: [&str; 7] = ["utils", "common", "core", "base", "manager", "helper", "types"];

/// The arrows run from a crate to floors below its own.
fn floor(name: &str) -> u32 {
    match name {
        "api" => 1,
        "ledger" | "spec" | "avro" | "protobuf" | "registry" | "transforms" | "offsets" | "objects" => 2,
        "formats" | "kafka-client" => 3,
        "engine" | "devserver" => 4,
        connector if connector.starts_with("connector-") => 4,
        "testkit" => 5,
        "runner" => 6,
        "tests" => 7,
        _ => panic!("{name} is new: give it a floor in tests/tests/tidy.rs and in ARCHITECTURE.md"),
    }
}

fn folders(below: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(below).unwrap_or_else(|error| panic!("{}: {error}", below.display()));
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn crates() -> Vec<PathBuf> {
    let mut found = folders(&root().join("crates"));
    found.push(root().join("tests"));
    found
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every Rust file with its path from the root and its text.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                if name(&path) != "target" {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let short = path.strip_prefix(root()).expect("below the root").display().to_string();
                found.push((short, read(&path)));
            }
        }
    }
    let mut found = Vec::new();
    crates().iter().for_each(|folder| walk(folder, &mut found));
    found.sort();
    assert!(found.len() > 50, "only {} files found: the walk is broken", found.len());
    found
}

fn none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn arrows_run_down() {
    let (mut findings, mut arrows) = (Vec::new(), 0);
    for folder in crates() {
        let from = name(&folder);
        let mut section = String::new();
        for line in read(&folder.join("Cargo.toml")).lines() {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_owned();
            }
            let Some(to) = line.strip_prefix("aqueduct-").filter(|_| section.ends_with("dependencies"))
            else {
                continue;
            };
            let to = to.split(['.', ' ', '=']).next().unwrap_or_default();
            let testing = section == "dev-dependencies";
            // The simulation and the real servers are for the tests of every floor.
            let sideways = testing && (floor(to) == floor(&from) || to == "testkit" || to == "tests");
            arrows += 1;
            if floor(to) >= floor(&from) && !sideways {
                findings.push(format!(
                    "{from} (floor {}) may not use {to} (floor {})",
                    floor(&from),
                    floor(to)
                ));
            }
        }
    }
    assert!(arrows > 20, "only {arrows} arrows found: the reading is broken");
    none(&findings);
}

#[test]
fn connectors_have_the_same_rooms() {
    let mut findings = Vec::new();
    for folder in folders(&root().join("crates")) {
        let connector = name(&folder);
        if !connector.starts_with("connector-") {
            continue;
        }
        let mut rooms = vec!["README.md", "src/lib.rs", "tests"];
        // Without options there is no config.
        rooms.extend((connector != "connector-discard").then_some("src/config.rs"));
        let missing = rooms.iter().filter(|room| !folder.join(room).exists());
        findings.extend(missing.map(|room| format!("crates/{connector} has no {room}")));
        let config = fs::read_to_string(folder.join("src/config.rs")).unwrap_or_default();
        let siblings =
            config.lines().filter(|line| line.starts_with("use crate::") || line.starts_with("use super::"));
        findings.extend(
            siblings.map(|line| format!("crates/{connector}/src/config.rs imports a sibling: {line}")),
        );
    }
    none(&findings);
}

#[test]
fn architecture_names_every_crate() {
    let page = read(&root().join("ARCHITECTURE.md"));
    let missing = crates().into_iter().map(|folder| name(&folder)).filter(|name| {
        let short = name.strip_prefix("connector-").unwrap_or(name);
        !page.contains(&format!("`{short}`"))
    });
    none(&missing.map(|name| format!("ARCHITECTURE.md does not name `{name}`")).collect::<Vec<_>>());
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut findings = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            findings.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        if !text.starts_with("//!") {
            findings.push(format!("{path}:1: begins without a `//!` header"));
        }
        let parts = path.split('/').map(|part| part.trim_end_matches(".rs"));
        findings.extend(
            parts.filter(|part| BANNED_NAMES.contains(part)).map(|part| format!("{path}: named {part}")),
        );
    }
    none(&findings);
}

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    for (path, text) in sources() {
        findings.extend(long_functions(&text).iter().map(|(line, function, lines)| {
            format!("{path}:{line}: {function} has {lines} lines, at most {FUNCTION_LINES_MAX}")
        }));
    }
    none(&findings);
}

/// Relies on rustfmt: a function ends with the first brace as far in as its first line.
fn long_functions(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some(place) = code.find("fn ") else { continue };
        let words = code[..place].split_whitespace();
        let before = ["pub", "async", "const", "unsafe", "extern", "\"C\""];
        if !words.into_iter().all(|word| before.contains(&word.split('(').next().unwrap_or_default())) {
            continue;
        }
        let close = format!("{}}}", &line[..line.len() - code.len()]);
        let rest = &lines[start..];
        // A trait's signature without a body ends before any such brace.
        let body =
            rest.iter().position(|line| line.ends_with('{') || line.ends_with(';') || line.ends_with('}'));
        if !body.is_some_and(|body| rest[body].ends_with('{')) {
            continue;
        }
        let count = rest.iter().position(|line| *line == close).map_or(rest.len(), |end| end + 1);
        if count > FUNCTION_LINES_MAX {
            let name = code[place + 3..].split(['(', '<']).next().unwrap_or_default();
            found.push((start + 1, name.to_owned(), count));
        }
    }
    found
}

#[test]
fn nothing_is_left_for_later() {
    let later = ["todo!(", "unimplemented!(", "#[ignore", "dbg!(", "// TODO", "// FIXME", "// XXX"];
    none(&lines_with(&later, |path| path != "tests/tests/tidy.rs"));
}

#[test]
fn time_is_read_through_the_runtime() {
    let clocks = ["std::time::Instant", "std::time::{Duration, Instant"];
    // Benches measure, and the binary's first line does.
    let free =
        |path: &str| path.contains("/benches/") || path.contains("/tests/") || path.ends_with("src/main.rs");
    none(&lines_with(&clocks, |path| !free(path)));
}

fn lines_with(texts: &[&str], looked_at: impl Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| looked_at(path)) {
        for (number, line) in text.lines().enumerate() {
            if let Some(found) = texts.iter().find(|wanted| line.contains(**wanted)) {
                findings.push(format!("{path}:{}: {found}", number + 1));
            }
        }
    }
    findings
}

#[test]
fn every_select_is_biased() {
    let mut findings = Vec::new();
    for (path, text) in sources() {
        if path == "tests/tests/tidy.rs" {
            continue;
        }
        for (place, found) in text.match_indices("select! {") {
            if !text[place + found.len()..].trim_start().starts_with("biased;") {
                findings.push(format!("{path}:{}: select! without biased", text[..place].lines().count()));
            }
        }
    }
    none(&findings);
}

#[test]
fn finds_a_long_function() {
    let long = format!(
        "impl A {{\n    pub(crate) async fn b(\n        c: u8,\n    ) {{\n{}    }}\n}}\n",
        "x;\n".repeat(67)
    );
    assert_eq!(long_functions(&long), [(2, "b".to_owned(), 71)]);
    assert_eq!(long_functions(&long.replacen("x;\n", "", 1)), []);
    let declared = format!("trait A {{\n    fn b(&self) -> u8;\n{}}}\n", "x;\n".repeat(80));
    assert_eq!(long_functions(&declared), []);
}
