//! `check`, `plan`, and what `run` says to files with problems.

use crate::process::Folder;

const GOOD: &str = "
pipeline: a
source: { generate: { count: 1_000, seed: 7 }, value: json }
sink: discard
---
pipeline: b
source: { file: { path: ./in.jsonl } }
sink: { kafka: { connection: { brokers: \"localhost:9092\" }, topic: copy } }
tasks: 1
";

#[test]
fn check_counts_what_is_fine() {
    let folder = Folder::new().with("good.yaml", GOOD);
    let ended = folder.aqueduct(&["check", "good.yaml"]);
    assert_eq!((ended.code, ended.out.as_str()), (0, "2 pipelines are fine\n"));
}

#[test]
fn check_asks_the_real_systems_when_told_to() {
    let pipeline = "
pipeline: here
source: generate
sink: { directory: { folder: out, path: \"{topic}/{partition}-{start_offset}\", format: lines } }
errors: { on_bad_record: { dead_letter: { file: dead.jsonl } } }
";
    let folder = Folder::new().with("here.yaml", pipeline);
    let ended = folder.aqueduct(&["check", "--connect", "here.yaml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(
        lines[..2],
        ["1 pipeline is fine", "ok       here, sink.directory: folder `out` is missing and can be made"]
    );
    let away = "pipeline: away\nsource: { kafka: { connection: { brokers: \"127.0.0.1:1\" }, topics: [a] } }\nsink: discard\n";
    let folder = folder.with("away.yaml", away);
    let ended = folder.aqueduct(&["check", "--connect", "--patience", "2s", "."]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let problem = "problem  away, source.kafka: nothing listens at 127.0.0.1:1: the connection was refused
         see that the broker runs, and that host and port in `connection.brokers` are right
";
    assert!(ended.out.starts_with(&format!("2 pipelines are fine\n{problem}")), "{}", ended.out);
    assert!(ended.out.ends_with("\n1 problem\n"), "{}", ended.out);
    // Without --connect it would mean nothing.
    assert_eq!(folder.aqueduct(&["check", "--patience", "2s", "away.yaml"]).code, 2);
}

#[test]
fn a_path_is_named_and_a_key_is_not() {
    let pipeline = "
pipeline: a
source:
  kafka:
    connection: { brokers: \"a:1\", tls: { ca: \"${file:./ca}\", certificate: ./a.crt, key: \"${file:./key}\" } }
    topics: [a]
sink: discard
";
    let (head, tail) = ("-----BEGIN PRIVATE KEY-----\n", "\n-----END PRIVATE KEY-----\n");
    let folder = Folder::new()
        .with("a.yaml", pipeline)
        .with("ca", "/no/such/ca.crt")
        .with("key", &format!("{head}aHVudGVyMg{tail}"));
    let ended = folder.aqueduct(&["check", "a.yaml"]);
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains("cannot read /no/such/ca.crt: there is no such file"), "{}", ended.err);
    assert!(ended.err.contains("at: source.kafka.connection.tls.ca"), "{}", ended.err);
    let inline = pipeline.replace("\"${file:./ca}\"", "\"-----BEGIN CERTIFICATE----- aHVudGVyMg\"");
    let ended = folder.with("a.yaml", &inline).aqueduct(&["check", "a.yaml"]);
    assert!(ended.err.contains("cannot read ./a.crt: there is no such file"), "{}", ended.err);
    assert!(!ended.err.contains("aHVudGVyMg"), "{}", ended.err);
}

#[test]
fn a_format_of_files_stands_alone_or_with_options() {
    for format in
        ["json_lines", "{ json_lines: { compression: zstd } }", "{ lines: { compression: gzip, level: 9 } }"]
    {
        let sink = format!(
            "{{ folder: out, path: \"{{topic}}/{{partition}}-{{start_offset}}\", format: {format} }}"
        );
        let pipeline = format!("pipeline: a\nsource: generate\nsink: {{ directory: {sink} }}\n");
        let ended = Folder::new().with("a.yaml", &pipeline).aqueduct(&["check", "a.yaml"]);
        assert_eq!(ended.code, 0, "{format}: {}", ended.err);
    }
}

#[test]
fn check_tells_all_problems_of_all_files_and_run_starts_nothing() {
    let folder = Folder::new()
        .with("good.yaml", GOOD)
        .with("one.yaml", "pipeline: one\nsource: { generat: {} }\nsink: discard\n")
        .with("two.yaml", "pipeline: two\nsource: { file: { path: \"${env:NOT_SET_HERE}\" } }\nsink: { file: { pth: x } }\n");
    for command in ["check", "run", "plan"] {
        let ended = folder.aqueduct(&[command, "."]);
        assert_eq!(ended.code, 2, "{command}: {ended:?}");
        assert_eq!(ended.out, "", "{command}");
        for part in ["one.yaml:2:11", "did you mean `generate`", "NOT_SET_HERE", "two.yaml:3:", "3 problems"]
        {
            assert!(ended.err.contains(part), "{command} does not say {part}: {}", ended.err);
        }
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    let folder = Folder::new().with("good.yaml", GOOD);
    for arguments in
        [&["run"][..], &["fly"], &["run", "--log-level", "a=b=c", "good.yaml"], &["check", "absent.yaml"]]
    {
        assert_eq!(folder.aqueduct(arguments).code, 2, "{arguments:?}");
    }
    assert_eq!(folder.aqueduct(&["--help"]).code, 0);
}

#[test]
fn an_unknown_log_level_is_refused_and_the_levels_are_named() {
    let folder = Folder::new().with("good.yaml", GOOD);
    for level in ["inof", "warning", "info,aqueduct_engine=debgu"] {
        let ended = folder.aqueduct(&["run", "--log-level", level, "good.yaml"]);
        assert_eq!((ended.code, ended.out.as_str()), (2, ""), "{level}: {ended:?}");
        assert!(ended.err.contains("error, warn, info, debug or trace"), "{}", ended.err);
    }
}

#[test]
fn an_address_that_is_taken_is_2_and_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let settings = format!("runtime: {{ listen: \"{address}\" }}\n");
    let folder = Folder::new().with("good.yaml", GOOD).with("aqueduct.yaml", &settings);
    let ended = folder.aqueduct(&["run", "good.yaml"]);
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains(&format!("cannot listen on {address}")), "{}", ended.err);
}

#[test]
fn plan_says_one_line_a_stage() {
    let folder = Folder::new().with("good.yaml", GOOD);
    let ended = folder.aqueduct(&["plan", "good.yaml"]);
    assert_eq!(ended.code, 0);
    let expected = "\
a (good.yaml)
  read         generate 1000 orders to shop.orders, 6 partitions
  check        value is json; the bytes pass unchanged
  write        discard
  bad records  stop the pipeline at the first
  offsets      kept in memory: a new process reads from the start; name an offset_store to resume
";
    assert!(ended.out.starts_with(expected), "{}", ended.out);
    assert!(
        ended.out.contains("\nb (good.yaml)\n") && ended.out.contains("\n  memory       1 task holds up to")
    );
}

#[test]
fn connectors_and_schema_come_from_the_config_types() {
    let folder = Folder::new();
    let list = folder.aqueduct(&["connectors"]).out;
    for name in ["\n  kafka ", "\n  generate ", "\n  discard ", "\n  json ", "\n  memory "] {
        assert!(list.contains(name), "{list}");
    }
    let page = folder.aqueduct(&["connectors", "kafka"]);
    assert!(page.out.contains("brokers") && page.out.contains("isolation"), "{page:?}");
    assert_eq!(folder.aqueduct(&["connectors", "kafak"]).code, 2);
    let schema = folder.aqueduct(&["schema"]).out;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert!(schema["properties"]["pipeline"].is_object(), "{schema}");
}

#[test]
fn carried_offsets_do_not_name_objects() {
    let pipeline = |options: &str, value: &str| {
        format!(
            "
pipeline: put-back
source: {{ file: {{ path: ./in.jsonl{options} }}{value} }}
sink: {{ directory: {{ folder: out, path: \"{{topic}}/{{partition}}-{{start_offset}}\", format: lines }} }}
"
        )
    };
    let repeated =
        "{\"topic\":\"t\",\"offset\":7,\"value\":\"a\"}\n{\"topic\":\"t\",\"offset\":7,\"value\":\"b\"}\n";
    let folder = Folder::new()
        .with("in.jsonl", repeated)
        .with("carried.yaml", &pipeline(", offsets: carried", ""))
        .with("lines.yaml", &pipeline("", ""))
        .with("rows.yaml", &pipeline("", ", value: csv"));
    let ended = folder.aqueduct(&["check", "carried.yaml"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    let says = "the offsets that lines carry may repeat, and the sink names what it writes by offsets";
    assert!(ended.err.contains(says) && ended.err.contains("leave `offsets` out"), "{}", ended.err);
    assert_eq!(folder.aqueduct(&["check", "rows.yaml"]).code, 0, "rows are numbered");
    let ended = folder.aqueduct(&["run", "lines.yaml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let written = std::fs::read_to_string(folder.path("out/t/0-00000000000000000000.txt"));
    assert_eq!(written.unwrap(), "a\nb\n");
}

#[test]
fn a_pipeline_does_not_read_the_file_that_it_writes() {
    let pipeline = |source: &str, sink: &str, more: &str| {
        format!(
            "pipeline: a\nsource: {{ file: {{ path: \"{source}\" }} }}\nsink: {{ file: {{ path: \"{sink}\" }} }}\n{more}"
        )
    };
    let letters = "errors: { on_bad_record: { dead_letter: { file: ./in.jsonl } } }\n";
    for (source, sink, more, code) in [
        ("./in.jsonl", "in.jsonl", "", 2),
        ("in.jsonl", "./folder/../in.jsonl", "", 2),
        ("i{n.jsonl", "i{n.jsonl", "", 2),
        ("in.jsonl", "out.jsonl", letters, 2),
        ("in.jsonl", "out.jsonl", "", 0),
        ("-", "-", "", 0),
    ] {
        let folder = Folder::new().with("a.yaml", &pipeline(source, sink, more));
        let ended = folder.aqueduct(&["check", "a.yaml"]);
        assert_eq!(ended.code, code, "{source} {sink} {more} {ended:?}");
        let told =
            ended.err.contains("come back for ever") && ended.err.contains("name a file that the source");
        assert_eq!(told, code != 0, "{}", ended.err);
    }
}
