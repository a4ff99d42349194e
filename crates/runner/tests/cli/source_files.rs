//! The source `file` as people use it: the examples of the pages, lines that are no records, standard input, a kill in the
//! middle, a file that is another one than before.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::process::{Folder, eventually};

/// The values that stand in a file of records.
fn values(lines: &str) -> Vec<String> {
    let value = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["value"].as_str().map(str::to_owned).unwrap_or_else(|| line["value"].to_string())
    };
    lines.lines().map(value).collect()
}

/// The example of a page that has this in it, with a sink that needs no server.
fn example(page: &str, has: &str) -> String {
    let page = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../..").join(page);
    let page = fs::read_to_string(page).unwrap();
    let block = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = block.flat_map(|block| block.split("---\n")).find(|block| block.contains(has)).unwrap();
    let kept: Vec<&str> = block.lines().filter(|line| !line.starts_with("sink:")).collect();
    kept.join("\n") + "\nsink: { file: { path: ./out.jsonl }, value: json }\n"
}

#[test]
fn the_examples_of_csv_run() {
    let folder = Folder::new()
        .with("a.yaml", &example("docs/formats.md", "pipeline: prices\n"))
        .with("prices.csv", "a;1;12.50;2026-11-25\r\n\"b;\n\"\"b\"\"\";;;\r\n");
    let ended = folder.aqueduct(&["run", "a.yaml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(
        values(&folder.read("out.jsonl")),
        [
            r#"{"sku":"a","count":1,"price":12.50,"valid_from":"2026-11-25"}"#,
            r#"{"sku":"b;\n\"b\"","count":null,"price":null,"valid_from":null}"#
        ]
    );
    let folder = Folder::new()
        .with("a.yaml", &example("docs/formats.md", "pipeline: prices-with-names\n"))
        .with("prices.csv", "\u{feff}sku,valid_from,note\na,2026-11-25,\n");
    let ended = folder.aqueduct(&["run", "a.yaml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let expected = [r#"{"sku":"a","valid_from":"2026-11-25","note":null}"#];
    assert_eq!(values(&folder.read("out.jsonl")), expected);
}

#[test]
fn the_examples_of_lines_and_json_lines_run() {
    let page = "crates/connector-file/README.md";
    let folder = Folder::new()
        .with(
            "lines.yaml",
            &example(page, "format: lines").replace(", follow: true", "").replace(", value: json }", " }"),
        )
        .with("app.log", "started\n\nstopped");
    let ended = folder.aqueduct(&["run", "lines.yaml"]);
    assert_eq!(
        (ended.code, values(&folder.read("out.jsonl"))),
        (0, ["started", "", "stopped"].map(str::to_owned).to_vec())
    );
    let folder = Folder::new()
        .with("json.yaml", &example(page, "format: json_lines"))
        .with("orders.jsonl", "{\"value\":1, \"id\":7}\n\n[2]\n");
    let ended = folder.aqueduct(&["run", "json.yaml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(values(&folder.read("out.jsonl")), ["{\"value\":1, \"id\":7}", "[2]"]);
}

#[test]
fn what_does_not_go_together_is_found_by_check() {
    for (source, says) in [
        (
            "{ kafka: { connection: { brokers: \"a:1\" }, topics: [a] }, value: csv }",
            "`kafka` has no first line that names the fields",
        ),
        ("{ file: { path: a, format: csv } }", "nobody says how the rows of this file are written"),
        (
            "{ file: { path: a, format: lines }, value: csv }",
            "only a file of rows can name the fields in its first line",
        ),
        ("{ file: { path: a, format: avro } }", "`format` cannot be `avro`"),
    ] {
        let pipeline = format!("pipeline: a\nsource: {source}\nsink: discard\n");
        let ended = Folder::new().with("a.yaml", &pipeline).aqueduct(&["check", "a.yaml"]);
        assert!(ended.code == 2 && ended.err.contains(says), "{ended:?}");
    }
}

const BAD_LINE: &str = "{\"value\":\"one\"}\nnot json\n{\"value\":\"three\"}\n";

fn bad_line(policy: &str) -> Folder {
    let pipeline = format!(
        "pipeline: batch\nsource: {{ file: {{ path: ./in.jsonl }} }}\nsink: {{ file: {{ path: ./out.jsonl }} }}\n\
         errors: {{ on_bad_record: {policy} }}\noffset_store: {{ file: {{ path: ./offsets }} }}\n"
    );
    Folder::new().with("in.jsonl", BAD_LINE).with("a.yaml", &pipeline)
}

#[test]
fn a_line_that_is_no_record_stops_behind_those_before_it() {
    let folder = bad_line("stop");
    // However often it is started: nothing is written twice, and nothing behind it.
    for _ in 0..2 {
        let ended = folder.aqueduct(&["run", "a.yaml"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("file=./in.jsonl:2") && ended.err.contains("stage=read"), "{}", ended.err);
        assert!(!ended.err.contains("started again"), "{}", ended.err);
        assert_eq!(values(&folder.read("out.jsonl")), ["one"]);
    }
    fs::write(folder.path("in.jsonl"), BAD_LINE.replace("not json", "{\"value\":\"two\"}")).unwrap();
    let ended = folder.aqueduct(&["run", "a.yaml"]);
    assert_eq!(
        (ended.code, values(&folder.read("out.jsonl"))),
        (0, ["one", "two", "three"].map(str::to_owned).to_vec())
    );
}

#[test]
fn a_line_that_is_no_record_is_skipped_or_set_aside_as_it_is() {
    let folder = bad_line("skip");
    assert_eq!(folder.aqueduct(&["run", "a.yaml"]).code, 0);
    assert_eq!(values(&folder.read("out.jsonl")), ["one", "three"]);
    let folder = bad_line("{ dead_letter: { file: ./dead.jsonl } }");
    let text = fs::read_to_string(folder.path("a.yaml")).unwrap();
    fs::write(folder.path("a.yaml"), text.replace("./in.jsonl", "./in.jsonl, line_max: 20B")).unwrap();
    let long = format!("{{\"value\":\"{}\"}}\n", "x".repeat(50));
    fs::write(folder.path("in.jsonl"), format!("{BAD_LINE}{long}{{\"value\":\"f")).unwrap();
    assert_eq!(folder.aqueduct(&["run", "a.yaml"]).code, 0);
    assert_eq!(values(&folder.read("out.jsonl")), ["one", "three"]);
    assert_eq!(values(&folder.read("dead.jsonl")), ["not json", &long[..20], "{\"value\":\"f"]);
    let says = folder.read("dead.jsonl");
    assert!(says.contains("a line of 62 bytes is longer than 20B") && says.contains("in.jsonl:4"), "{says}");
}

#[test]
fn a_file_of_records_that_stand_there_twice_is_read_back() {
    let line = |offset: i64| {
        format!("{{\"topic\":\"t\",\"partition\":1,\"offset\":{offset},\"value\":\"{offset}\"}}\n")
    };
    let lines: String = [5, 6, 7, 6, 7, 8].map(line).concat();
    let folder = bad_line("stop");
    fs::write(folder.path("in.jsonl"), &lines).unwrap();
    let ended = folder.aqueduct(&["run", "a.yaml"]);
    assert_eq!((ended.code, folder.read("out.jsonl")), (0, lines), "{}", ended.err);
}

#[test]
fn a_kill_in_the_middle_loses_nothing() {
    let pipeline = "
pipeline: killed
source: { file: { path: ./in.csv, follow: true }, value: csv }
sink: { file: { path: ./out.jsonl } }
offset_store: { file: { path: ./offsets } }
";
    let rows: Vec<String> = (0..60_000).map(|id| format!("{id},\"a\n{}\"", "b".repeat(id % 300))).collect();
    let folder = Folder::new().with("a.yaml", pipeline).with("in.csv", "");
    let text = format!("id,text\n{}\n", rows.join("\n"));
    let mut file = File::options().append(true).open(folder.path("in.csv")).unwrap();
    let writer = std::thread::spawn(move || {
        // The pieces end anywhere: in a line, between the quotes.
        for piece in text.as_bytes().chunks(text.len() / 100) {
            file.write_all(piece).unwrap();
            std::thread::sleep(Duration::from_millis(30));
        }
    });
    let stored = || fs::read_to_string(folder.path("offsets/killed.json")).unwrap_or_default();
    for _ in 0..4 {
        let (running, before) = (folder.start(&["run", "a.yaml"]), stored());
        eventually(|| (stored() != before || writer.is_finished()).then_some(())).expect("it gets on");
        running.signal(Signal::KILL);
        running.ended();
    }
    writer.join().unwrap();
    let running = folder.start(&["run", "a.yaml"]);
    let last = rows[rows.len() - 1].escape_default().to_string();
    eventually(|| folder.read("out.jsonl").contains(&last).then_some(())).expect("all of it comes");
    running.signal(Signal::TERM);
    assert_eq!(running.ended().code, 0);
    let mut found = values(&folder.read("out.jsonl"));
    let mut seen = std::collections::HashSet::new();
    found.retain(|value| seen.insert(value.clone()));
    assert!(found == rows, "{} of {}", found.len(), rows.len());
}

#[test]
fn another_file_of_that_name_stops_the_pipeline() {
    let pipeline = "
pipeline: daily
source: { file: { path: ./in.txt, format: lines } }
sink: { file: { path: ./out.jsonl } }
offset_store: { file: { path: ./offsets } }
";
    let folder = Folder::new().with("a.yaml", pipeline).with("in.txt", "monday 1\nmonday 2\n");
    assert_eq!(folder.aqueduct(&["run", "a.yaml"]).code, 0);
    fs::write(folder.path("in.txt"), "tuesday 1\ntuesday 2\ntuesday 3\n").unwrap();
    let ended = folder.aqueduct(&["run", "a.yaml"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("this is not the file that was read before"), "{}", ended.err);
    assert!(!ended.err.contains("started again"), "{}", ended.err);
    // What it says helps.
    assert_eq!(folder.aqueduct(&["offsets", "set", "daily", "--to", "0@0", "--apply"]).code, 0);
    assert_eq!(folder.aqueduct(&["run", "a.yaml"]).code, 0);
    let days = ["monday 1", "monday 2", "tuesday 1", "tuesday 2", "tuesday 3"];
    assert_eq!(values(&folder.read("out.jsonl")), days);
}
