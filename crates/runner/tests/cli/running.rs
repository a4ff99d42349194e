//! `run`: to the end, to a signal, through a failure.

use std::fs::{self, File};

use rustix::process::Signal;

use crate::process::{Folder, eventually};

const FINITE: &str = "
pipeline: finite
source: { generate: { count: 5_000, seed: 7 }, value: json }
sink: { file: { path: ./out.jsonl } }
";
const ENDLESS: &str = "
pipeline: endless
source: { generate: { rate: 2_000 } }
sink: { file: { path: ./out.jsonl } }
offset_store: { file: { path: ./offsets } }
";

fn lines(folder: &Folder) -> usize {
    folder.read("out.jsonl").lines().count()
}

/// Records of each partition, by their offsets.
fn offsets(folder: &Folder) -> Vec<(i64, i64)> {
    let read = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        (line["partition"].as_i64().unwrap(), line["offset"].as_i64().unwrap())
    };
    folder.read("out.jsonl").lines().map(read).collect()
}

#[test]
fn a_finite_source_ends_the_process() {
    let folder = Folder::new().with("a.yaml", FINITE);
    let ended = folder.aqueduct(&["run", "a.yaml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(lines(&folder), 5_000);
    assert!(ended.err.contains("pipeline ended"), "{}", ended.err);
}

#[test]
fn tasks_share_the_source_and_nothing_is_left_out_or_doubled() {
    let text = FINITE.replace("pipeline: finite", "pipeline: finite\ntasks: 3");
    let folder = Folder::new().with("a.yaml", &text);
    let ended = folder.aqueduct(&["run", "a.yaml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let mut all = offsets(&folder);
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), lines(&folder)), (5_000, 5_000));
}

#[test]
fn logs_are_json_where_the_settings_say_so_and_hold_no_payload() {
    let folder = Folder::new().with("a.yaml", FINITE).with("aqueduct.yaml", "runtime: { log: json }\n");
    let ended = folder.aqueduct(&["run", "a.yaml"]);
    assert!(!ended.err.is_empty());
    for line in ended.err.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[test]
fn sigterm_drains_and_the_next_start_resumes_without_a_gap_or_a_copy() {
    let folder = Folder::new().with("a.yaml", ENDLESS);
    for (signal, more_than) in [(Signal::TERM, 0), (Signal::INT, 2_000)] {
        let running = folder.start(&["run", "a.yaml"]);
        eventually(|| (lines(&folder) > more_than).then_some(())).expect("records are written");
        running.signal(signal);
        let ended = running.ended();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(ended.err.contains("stopping"), "{}", ended.err);
    }
    let mut all = offsets(&folder);
    all.sort_unstable();
    let mut expected: Vec<(i64, i64)> = Vec::new();
    for partition in 0..6 {
        let count = all.iter().filter(|(of, _)| *of == partition).count() as i64;
        expected.extend((0..count).map(|offset| (partition, offset)));
    }
    assert_eq!(all, expected);
}

#[test]
fn a_second_signal_ends_at_once() {
    // Nobody reads the pipe, so the sink can never finish.
    let folder = Folder::new().with(
        "a.yaml",
        "
pipeline: stuck
source: { generate: {} }
sink: { file: { path: \"-\" } }
stop_timeout: 1h
",
    );
    let running = folder.start(&["run", "a.yaml"]);
    std::thread::sleep(std::time::Duration::from_millis(700));
    running.signal(Signal::TERM);
    std::thread::sleep(std::time::Duration::from_millis(1_300));
    running.signal(Signal::HUP);
    let ended = running.ended();
    assert_eq!(ended.code, 130, "{}", ended.err);
    assert!(ended.err.contains("second signal, ending at once"), "{}", ended.err);
}

#[test]
fn signals_that_come_together_are_one_wish() {
    let folder = Folder::new().with("a.yaml", ENDLESS);
    let running = folder.start(&["run", "a.yaml"]);
    eventually(|| (lines(&folder) > 0).then_some(())).expect("records are written");
    // A terminal that is closed, a shell and a supervisor, each in its own words.
    for signal in [Signal::HUP, Signal::TERM, Signal::INT, Signal::TERM] {
        running.signal(signal);
    }
    let ended = running.ended();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("pipeline ended") && !ended.err.contains("ending at once"), "{}", ended.err);
}

#[test]
fn a_hangup_drains_unless_the_process_was_told_to_outlive_it() {
    let folder = Folder::new().with("a.yaml", ENDLESS);
    let running = folder.start(&["run", "a.yaml"]);
    eventually(|| (lines(&folder) > 0).then_some(())).expect("records are written");
    running.signal(Signal::HUP);
    let ended = running.ended();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert!(ended.err.contains("pipeline ended"), "{}", ended.err);
    let before = lines(&folder);
    // What `nohup` does: the signal is ignored when the program starts.
    let running = folder.start_ignoring_hangup(&["run", "a.yaml"]);
    eventually(|| (lines(&folder) > before).then_some(())).expect("records are written");
    running.signal(Signal::HUP);
    let then = lines(&folder);
    eventually(|| (lines(&folder) > then + 1_000).then_some(())).expect("it runs on");
    running.signal(Signal::TERM);
    assert_eq!(running.ended().code, 0);
}

#[test]
fn what_cannot_be_drained_in_time_is_a_failure() {
    let folder = Folder::new().with(
        "a.yaml",
        "
pipeline: stuck
source: { generate: {} }
sink: { file: { path: \"-\" } }
stop_timeout: 300ms
",
    );
    let running = folder.start(&["run", "a.yaml"]);
    std::thread::sleep(std::time::Duration::from_millis(700));
    running.signal(Signal::TERM);
    // The pipe is only read once the process has given up.
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    let ended = running.ended();
    assert_eq!(ended.code, 1, "{}", ended.err);
    assert!(ended.err.contains("stop_timeout"), "{}", ended.err);
}

#[test]
fn a_failure_is_tried_again_until_its_cause_is_gone() {
    let folder = Folder::new().with("a.yaml", FINITE);
    // Another writer holds the file: that may change.
    let other = File::create(folder.path("out.jsonl")).unwrap();
    other.lock().unwrap();
    let running = folder.start(&["run", "a.yaml"]);
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    drop(other);
    let ended = running.ended();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("it will be started again"), "{}", ended.err);
    assert_eq!(lines(&folder), 5_000);
}

#[test]
fn a_configuration_that_cannot_work_is_not_tried_again_and_the_others_run_on() {
    let folder = Folder::new()
        .with("a.yaml", FINITE)
        .with("b.yaml", "pipeline: bad\nsource: { generate: {} }\nsink: { file: { path: ./folder } }\n");
    fs::create_dir(folder.path("folder")).unwrap();
    let ended = folder.aqueduct(&["run", "a.yaml", "b.yaml"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert_eq!(lines(&folder), 5_000);
    assert!(ended.err.contains("pipeline failed") && !ended.err.contains("again"), "{}", ended.err);
}

#[test]
fn a_bad_record_stops_the_pipeline_with_its_coordinates() {
    let folder = Folder::new()
        .with("in.jsonl", "{\"value\":\"1\"}\n{\"value\":\"no json\"}\n{\"value\":\"2\"}\n")
        .with(
            "a.yaml",
            "
pipeline: strict
source: { file: { path: ./in.jsonl, topic: numbers }, value: json }
sink: { file: { path: ./out.jsonl } }
",
        );
    let ended = folder.aqueduct(&["run", "a.yaml"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in ["topic=numbers", "partition=0", "offset=1", "stage=decode", "on_bad_record"] {
        assert!(ended.err.contains(part), "no {part} in {}", ended.err);
    }
}
