//! `aqueduct dev`: the same file, with an embedded broker.

use rustix::process::Signal;

use crate::process::{Folder, eventually};

const PIPELINE: &str = "
pipeline: orders-to-file
source: { kafka: { connection: { brokers: \"${env:NOT_SET_HERE}\" }, topics: [shop.orders] }, value: json }
sink: { file: { path: ./out.jsonl } }
dev: { generate: orders }
";

#[test]
fn dev_moves_made_up_orders_through_the_embedded_broker() {
    let folder = Folder::new().with("a.yaml", PIPELINE);
    let ended = folder.aqueduct(&["dev", "a.yaml", "--records", "1000"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines = folder.read("out.jsonl").lines().count();
    assert!(lines >= 1_000, "{lines}");
    for part in [
        "kcat -b 127.0.0.1:",
        "records read",
        &format!("orders-to-file: ended; {lines} records read"),
        "(cannot be embedded: used as written)",
        "aqueduct run a.yaml",
    ] {
        assert!(ended.out.contains(part), "no {part} in:\n{}", ended.out);
    }
}

#[test]
fn a_bucket_becomes_a_folder() {
    let sink = "{ s3: { connection: { bucket: lake, region: x }, path: \"{topic}/{partition}-{start_offset}\", format: json_lines } }";
    let pipeline = PIPELINE.replace("{ file: { path: ./out.jsonl } }", sink);
    let folder = Folder::new().with("a.yaml", &pipeline);
    let ended = folder.aqueduct(&["dev", "a.yaml", "--records", "500", "--folder", "here"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let runs = std::fs::read_dir(folder.path("here")).unwrap().map(|run| run.unwrap().path());
    let files = runs.flat_map(|run| std::fs::read_dir(run.join("lake/shop.orders")).unwrap());
    let lines: usize =
        files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap().lines().count()).sum();
    assert!(lines >= 500 && ended.out.contains(&format!("{lines} written")), "{lines}: {}", ended.out);
    assert!(
        ended.out.contains("Look inside:  cat here/") && !ended.out.contains("as written"),
        "{}",
        ended.out
    );
}

#[test]
fn ctrl_c_drains_and_sums_up() {
    let folder = Folder::new().with("a.yaml", PIPELINE);
    let running = folder.start(&["dev", "a.yaml"]);
    eventually(|| (!folder.read("out.jsonl").is_empty()).then_some(())).expect("records are written");
    running.signal(Signal::INT);
    let ended = running.ended();
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines = folder.read("out.jsonl").lines().count();
    assert!(ended.out.contains(&format!("{lines} records read")), "{lines}: {}", ended.out);
}

#[test]
fn dev_ends_after_its_time_and_tells_problems_of_the_file() {
    let folder = Folder::new().with("a.yaml", PIPELINE).with("b.yaml", &PIPELINE.replace("topics", "topix"));
    assert_eq!(folder.aqueduct(&["dev", "a.yaml", "--for", "500ms"]).code, 0);
    let ended = folder.aqueduct(&["dev", "b.yaml", "--for", "500ms"]);
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains("did you mean `topics`"), "{}", ended.err);
}

#[test]
fn a_file_that_asks_for_exactly_once_is_told_what_it_gets_here() {
    let says = "here at least once: the embedded broker has no transactions";
    let sink = "{ kafka: { connection: { brokers: \"${env:NOT_SET_HERE}\" }, topic: copied, on_missing_topic: { create: {} } } }";
    let weaker = PIPELINE.replace("{ file: { path: ./out.jsonl } }", sink);
    let folder =
        Folder::new().with("a.yaml", &weaker).with("b.yaml", &(weaker.clone() + "delivery: exactly_once\n"));
    let ended = folder.aqueduct(&["dev", "b.yaml", "--records", "100"]);
    assert!(ended.code == 0 && ended.out.contains(says), "{ended:?}");
    let ended = folder.aqueduct(&["dev", "a.yaml", "--records", "100"]);
    assert!(ended.code == 0 && !ended.out.contains(says), "{ended:?}");
}
