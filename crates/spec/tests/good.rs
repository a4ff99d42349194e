//! Sound files: what is made of them, what `dev` replaces, the editors' schema, and that no file makes the reader panic.

#![allow(clippy::unwrap_used)]

mod catalog;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aqueduct_spec::{
    Delivery, DevEnds, Environment, LoadOptions, Loaded, OnBadRecord, json_schema, load_with, reference,
};
use serde_json::json;

const SETTINGS: &str = r#"
connections:
  main: { kafka: { brokers: "${env:BROKERS}", client: { sasl.password: "${file:pw}" } } }
  standby: { kafka: { brokers: ["a:1", "b:2"] } }
  lake: { s3: { bucket: "${env:BUCKET:-lake}", region: eu-north-1 } }
  never_used: { kafka: { brokers: "${env:NOT_SET}" } }
runtime: { listen: "0.0.0.0:8080", memory_max: 256MiB, log: json }
"#;

const PIPELINES: &str = r#"
pipeline: orders-to-lake                # a comment
description: >
  all orders,
  folded
source:
  kafka: { connection: main, topics: [shop.orders], start: { timestamp: "2026-01-01T00:00:00Z" } }
  value: json
transforms: [pass, { pass: {} }]
sink:
  s3:
    connection: lake
    path: "{topic}/{timestamp:%Y/%m/%d}/{partition}-{start_offset}"
    format: { json_lines: { compression: zstd } }
    rotate:
      records_max: 100_000
      age_max: 5m
errors: { on_bad_record: { dead_letter: { topic: orders.dead } }, stop_after: "100 in 1m" }
delivery: at_least_once
tasks: "${env:TASKS}"
stop_timeout: 1m 30s
dev: { generate: orders }
---
pipeline: mirror
source: { kafka: { connection: main, topics: { pattern: "shop\\..*", except: [shop.scratch] } } }
sink: { kafka: { connection: standby, topic: "{topic}" } }
errors: { on_bad_record: { dead_letter: { topic: shop.dead, connection: standby } } }
---
pipeline: by_name
source: generate
sink: discard
errors: { on_bad_record: skip }
offset_store: { file: { path: ./offsets } }
---
pipeline: lines
source: { file: { path: "-" }, key: string }
sink: { directory: { folder: ./lake, path: "{start_offset}", format: lines, rotate: } }
errors: { on_bad_record: { dead_letter: { file: ./dead.jsonl } } }
"#;

fn variable(name: &str) -> Option<String> {
    match name {
        "BROKERS" => Some("kafka.example:9092".into()),
        "TASKS" => Some("3".into()),
        _ => None,
    }
}

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("aqueduct-spec-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(paths: &[PathBuf], set: bool, options: &LoadOptions) -> Loaded {
    let file = |path: &Path| match path.ends_with("pw") && set {
        true => Ok("hunter2\n".to_owned()),
        false => Err(io::ErrorKind::NotFound.into()),
    };
    let variable = |name: &str| variable(name).filter(|_| set || name == "TASKS");
    load_with(paths, &catalog::catalog(), &Environment { variable: &variable, read: &file }, options)
}

fn dev() -> DevEnds {
    DevEnds {
        kafka_brokers: "127.0.0.1:1234".into(),
        other_brokers: "127.0.0.1:5678".into(),
        folder: "/tmp/lake".into(),
    }
}

fn shown(loaded: &Loaded) -> String {
    loaded.diagnostics.iter().map(|found| format!("{found}\n")).collect()
}

#[test]
fn a_sound_file_becomes_its_pipelines() {
    let folder = Folder::new("sound");
    folder.write("aqueduct.yaml", SETTINGS);
    folder.write("lake.yaml", PIPELINES);
    folder.write("lake.test.yaml", "not: a pipeline");
    let loaded = read(std::slice::from_ref(&folder.0), true, &LoadOptions::default());
    assert_eq!(shown(&loaded), "");
    let names: Vec<&str> = loaded.pipelines.iter().map(|pipeline| &*pipeline.name).collect();
    assert_eq!(names, ["orders-to-lake", "mirror", "by_name", "lines"]);
    assert_eq!(loaded.runtime.listen.as_deref(), Some("0.0.0.0:8080"));
    assert_eq!((loaded.runtime.memory_max_bytes, loaded.runtime.log_json), (Some(256 << 20), true));

    let lake = &loaded.pipelines[0];
    assert_eq!(lake.description.as_deref(), Some("all orders, folded\n"));
    assert_eq!((lake.source.connector.kind, lake.sink.connector.kind, lake.tasks), ("kafka", "s3", 3));
    assert_eq!(lake.source.formats.value.as_ref().map(|format| format.kind), Some("json"));
    assert_eq!((lake.transforms.len(), lake.stop_timeout), (2, Duration::from_secs(90)));
    let accepted = lake.errors.stop_after.map(|after| (after.records, after.window));
    assert_eq!(accepted, Some((100, Duration::from_secs(60))));
    assert!(
        matches!(&lake.errors.on_bad_record, OnBadRecord::DeadLetter(letter) if letter.sink.kind == "kafka")
    );
    assert_eq!(lake.dev, Some(json!({ "generate": "orders" })));
    let connection = &lake.source_raw["connection"];
    assert_eq!(connection["brokers"], "kafka.example:9092");
    assert_eq!(connection["client"]["sasl.password"], "hunter2");
    assert_eq!(lake.sink_raw["rotate"], json!({ "records_max": 100_000, "age_max": "5m" }));
    assert_eq!(lake.sink_raw["connection"]["bucket"], "lake");

    let (by_name, lines) = (&loaded.pipelines[2], &loaded.pipelines[3]);
    assert_eq!((by_name.tasks, by_name.stop_timeout), (1, Duration::from_secs(25)));
    assert_eq!(by_name.offset_store.as_ref().map(|store| store.kind), Some("file"));
    assert!(matches!(by_name.errors.on_bad_record, OnBadRecord::Skip));
    assert_eq!(lines.sink_raw["format"], json!({ "lines": {} }), "a name alone is an empty block");
    assert!(
        matches!(&lines.errors.on_bad_record, OnBadRecord::DeadLetter(letter) if letter.sink.kind == "file")
    );
}

const EXACTLY_ONCE: &str = r#"
pipeline: copy
source: { kafka: { connection: main, topics: [shop.orders] } }
sink: { kafka: { connection: main, topic: shop.copies } }
delivery: exactly_once
---
pipeline: copy-by-address
source: { kafka: { connection: standby, topics: [shop.orders] } }
sink: { kafka: { connection: { brokers: "a:1,b:2" }, topic: shop.copies } }
delivery: exactly_once
---
pipeline: lake
source: generate
sink: { s3: { connection: lake, path: "{start_offset}" } }
delivery: exactly_once
---
pipeline: weaker
source: { kafka: { connection: main, topics: [shop.orders] } }
sink: { kafka: { connection: main, topic: shop.copies } }
"#;

#[test]
fn exactly_once_is_kept_in_the_way_of_the_ends() {
    let folder = Folder::new("once");
    folder.write("aqueduct.yaml", SETTINGS);
    let file = folder.write("once.yaml", EXACTLY_ONCE);
    let of = |options: &LoadOptions| {
        let loaded = read(std::slice::from_ref(&file), true, options);
        assert_eq!(shown(&loaded), "");
        loaded.pipelines.iter().map(|pipeline| pipeline.delivery).collect::<Vec<_>>()
    };
    let once = |transactional| Delivery::ExactlyOnce { transactional };
    let found = of(&LoadOptions::default());
    assert_eq!(found, [once(true), once(true), once(false), Delivery::AtLeastOnce]);
    // The embedded brokers know no transactions, and there two names for one cluster are two clusters.
    let found = of(&LoadOptions { dev: Some(dev()), ..LoadOptions::default() });
    assert_eq!(found, [Delivery::Rehearsed, Delivery::Rehearsed, once(false), Delivery::AtLeastOnce]);
}

#[test]
fn one_pipeline_that_is_wrong_does_not_hide_the_others() {
    let folder = Folder::new("partly");
    let file = folder.write(
        "a.yaml",
        "pipeline: a\nsource: generate\nsink: x\n---\npipeline: b\nsource: generate\nsink: discard\n",
    );
    let loaded = read(&[file.clone(), file], true, &LoadOptions::default());
    assert_eq!((loaded.pipelines.len(), loaded.diagnostics.len()), (1, 1), "{}", shown(&loaded));
}

#[test]
fn settings_are_found_above_the_file_and_can_be_named() {
    let folder = Folder::new("above");
    fs::create_dir_all(folder.0.join("deep/er")).unwrap();
    folder.write("aqueduct.yaml", SETTINGS);
    let file = folder.write("deep/er/lake.yaml", PIPELINES);
    assert_eq!(shown(&read(std::slice::from_ref(&folder.0), true, &LoadOptions::default())), "");
    let alone = read(std::slice::from_ref(&file), true, &LoadOptions::default());
    assert!(shown(&alone).contains("there is no aqueduct.yaml beside this file"));
    let settings = Some(folder.0.join("aqueduct.yaml"));
    assert_eq!(shown(&read(&[file], true, &LoadOptions { settings, ..LoadOptions::default() })), "");
}

#[test]
fn dev_replaces_its_ends_and_needs_none_of_their_variables() {
    let folder = Folder::new("dev");
    folder.write("aqueduct.yaml", SETTINGS);
    folder.write("lake.yaml", PIPELINES);
    let loaded = read(
        std::slice::from_ref(&folder.0),
        false,
        &LoadOptions { dev: Some(dev()), ..LoadOptions::default() },
    );
    assert_eq!(shown(&loaded), "");
    let (lake, mirror) = (&loaded.pipelines[0], &loaded.pipelines[1]);
    assert_eq!(lake.source_raw["connection"], json!({ "brokers": "127.0.0.1:1234" }));
    assert_eq!(lake.source_raw["topics"], json!(["shop.orders"]));
    assert_eq!((lake.sink.connector.kind, &lake.sink_raw["folder"]), ("directory", &json!("/tmp/lake/lake")));
    assert_eq!(lake.sink_raw["format"], json!({ "json_lines": { "compression": "zstd" } }));
    assert_eq!(mirror.source_raw["connection"], json!({ "brokers": "127.0.0.1:1234" }));
    // A mirror does not feed itself.
    assert_eq!(mirror.sink_raw["connection"], json!({ "brokers": "127.0.0.1:5678" }));
}

#[test]
fn editors_take_what_the_reader_takes_and_mark_what_it_refuses() {
    let schema = json_schema(&catalog::catalog());
    let check = jsonschema::draft202012::new(&schema).unwrap();
    let good = json!({
        "pipeline": "a",
        "source": { "kafka": { "connection": "main", "topics": ["a"] }, "value": "json" },
        "transforms": ["pass"],
        "sink": { "s3": {
            "connection": { "bucket": "lake", "path_style": "${env:PATH_STYLE}" }, "path": "{start_offset}",
            "format": "json_lines", "rotate": { "records_max": 5, "age_max": "${env:AGE}", "bytes_max": "1MiB" },
        } },
        "errors": { "on_bad_record": { "dead_letter": { "topic": "dead" } }, "stop_after": "1 in 1m" },
        "delivery": "exactly_once",
        "tasks": "${env:TASKS}",
        "dev": { "generate": { "rate": 5 } },
    });
    let found: Vec<String> =
        check.iter_errors(&good).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(found, Vec::<String>::new());
    let by_name =
        json!({ "pipeline": "a", "source": "generate", "sink": "discard", "dev": { "generate": "orders" } });
    assert!(check.is_valid(&by_name));
    for (pointer, wrong) in [
        ("/pipeline", json!(5)),
        ("/source", json!("kafka")),
        ("/source", json!({ "value": "json" })),
        ("/source", json!({ "generate": {}, "file": { "path": "a" } })),
        ("/source/kafka/topics", json!("orders")),
        ("/source/kafka/topic", json!(["orders"])),
        ("/source/value", json!("jsn")),
        ("/source/kafka/start", json!("earlist")),
        ("/sink/s3/format", json!({ "parquet": {} })),
        ("/sink/s3/rotate/age_max", json!("5 minutes")),
        ("/sink/s3/rotate/records_max", json!("many")),
        ("/sink/s3/connection", json!({})),
        ("/transforms/0", json!("mask")),
        ("/errors/on_bad_record", json!("ignore")),
        ("/delivery", json!("at_most_once")),
        ("/tasks", json!(0)),
        ("/replicas", json!(3)),
        ("/dev/generate", json!({ "rates": 5 })),
    ] {
        let mut broken = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match broken.pointer_mut(parent).unwrap() {
            serde_json::Value::Array(list) => list[0] = wrong.clone(),
            map => map[key] = wrong.clone(),
        }
        assert!(!check.is_valid(&broken), "{pointer}: {wrong}");
    }
}

#[test]
fn a_reference_page_has_every_option_with_its_default() {
    let page = reference(&catalog::catalog(), "kafka").unwrap();
    for line in [
        "## Source",
        "## Sink",
        "| `connection` | the name of a shared connection or a map with `brokers` | **required** | The cluster to read from. |",
        "| `connection.brokers` | text or a list of text | **required** |",
        "| `topics` | a list of text or a map with `pattern` | **required** |",
        "| `topics.pattern` | text | **required** | A regular expression that the whole name has to match. |",
        "| `start` | `earliest`, `latest`, `none` or `timestamp: ...` | `earliest` |",
        "| `session_timeout` | a duration | `45s` |",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
    assert!(reference(&catalog::catalog(), "nothing").is_none());
}

#[test]
fn no_file_makes_the_reader_panic_or_hang() {
    const PIECES: [&str; 26] = [
        "{", "}", "[", "]", ":", ": ", "- ", "\n", "  ", "\t", "\"", "'", "#", "&a ", "*a", "!x ", "|\n",
        ">", "---\n", "%", "${env:", "${", "}", "\u{feff}", "é日", "<<: ",
    ];
    let folder = Folder::new("mutated");
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % below.max(1) as u64) as usize
    };
    let mut sound = 0;
    for round in 0..1_500 {
        let mut texts = [SETTINGS, PIPELINES].map(|text| text.chars().collect::<Vec<char>>());
        for _ in 0..=random(4) {
            let text = &mut texts[usize::from(random(4) > 0)];
            let (at, length) = (random(text.len()), random(12));
            let end = (at + length).min(text.len());
            let copy: Vec<char> = text[at..end].to_vec();
            match random(4) {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, copy)),
                2 => drop(text.splice(at..end, PIECES[random(PIECES.len())].chars())),
                _ => drop(text.splice(at..at, PIECES[random(PIECES.len())].chars())),
            }
        }
        let [settings, pipelines] = texts.map(String::from_iter);
        folder.write("aqueduct.yaml", &settings);
        let file = folder.write("a.yaml", &pipelines);
        let loaded = read(&[file], true, &LoadOptions::default());
        let text = shown(&loaded);
        assert!(!text.contains("hunter2"), "round {round} shows a secret:\n{text}");
        sound += usize::from(loaded.diagnostics.is_empty());
    }
    assert!(
        (15..1_250).contains(&sound),
        "{sound} of 1500 mutations were sound: they are too weak or too strong"
    );
}

#[test]
fn the_examples_of_the_guide_are_sound() {
    let guide = fs::read_to_string(
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../docs/pipelines.md"),
    )
    .unwrap();
    let folder = Folder::new("guide");
    let blocks: Vec<&str> =
        guide.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    for (index, block) in blocks.iter().enumerate() {
        let name =
            if block.starts_with("connections:") { "aqueduct.yaml".into() } else { format!("{index}.yaml") };
        folder.write(&name, block);
    }
    let loaded = read(std::slice::from_ref(&folder.0), true, &LoadOptions::default());
    assert_eq!(shown(&loaded), "");
    assert_eq!((blocks.len(), loaded.pipelines.len()), (3, 4));
}

#[test]
fn formats_of_both_ends_find_their_registry() {
    let folder = Folder::new("formats");
    folder.write("aqueduct.yaml", "registry: { url: \"${env:REGISTRY:-http://shared:8081}\" }\n");
    let ends = "source: { kafka: { connection: { brokers: \"b:9092\" }, topics: [t] }, key: string, value: avro, headers: string }\n";
    let own = "registry: { url: \"http://own:8081\" }\n";
    folder.write("a.yaml", format!("pipeline: a\n{ends}sink: discard\n"));
    folder.write(
        "b.yaml",
        format!("pipeline: b\n{ends}sink: {{ discard: {{}}, value: json, {} }}\n", own.trim()),
    );
    folder.write(
        "c.yaml",
        "pipeline: c\nsource: { kafka: { connection: { brokers: \"b:9092\" }, topics: [t] } }\nsink: discard\n",
    );
    let loaded = read(std::slice::from_ref(&folder.0), false, &LoadOptions::default());
    assert_eq!(shown(&loaded), "");
    let [a, b, c] = loaded.pipelines.as_slice() else { panic!("three pipelines") };
    let kind = |format: &Option<aqueduct_spec::pipeline::Named<_>>| format.as_ref().map(|format| format.kind);
    assert_eq!((kind(&a.source.formats.key), kind(&a.source.formats.value)), (Some("string"), Some("avro")));
    assert_eq!((kind(&a.source.formats.headers), kind(&a.sink.formats.value)), (Some("string"), None));
    assert_eq!(kind(&b.sink.formats.value), Some("json"));
    let same = |x: &aqueduct_spec::pipeline::Formats, y: &aqueduct_spec::pipeline::Formats| match (
        &x.registry,
        &y.registry,
    ) {
        (Some(x), Some(y)) => std::sync::Arc::ptr_eq(x, y),
        _ => false,
    };
    assert!(same(&a.source.formats, &a.sink.formats), "both ends have the shared one");
    assert!(
        b.sink.formats.registry.is_some() && !same(&b.source.formats, &b.sink.formats),
        "the sink has its own"
    );
    assert!(c.source.formats.registry.is_none(), "what nobody needs is not opened");
}
