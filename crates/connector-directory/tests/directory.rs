//! The sink on real folders: conformance, rotation, crashes' leftovers, foreign files, and a full disk.

#![allow(clippy::unwrap_used)]

mod scratch;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::catalog::{Duplicates, ProbeContext, SinkConnector};
use aqueduct_api::{BatchId, Condition, Durable, Error, Sink};
use aqueduct_connector_directory::Config;
use aqueduct_testkit::conformance::{self, SinkUnderTest};
use async_trait::async_trait;
use scratch::{Scratch, batch, config, context, lines, open};
use serde_json::json;

struct UnderTest {
    scratch: Scratch,
    config: Arc<Config>,
}

#[async_trait]
impl SinkUnderTest for UnderTest {
    async fn open(&self) -> Box<dyn Sink> {
        open(&self.config).await
    }

    async fn stored(&self) -> BTreeMap<i32, Vec<String>> {
        let mut stored: BTreeMap<i32, Vec<String>> = BTreeMap::new();
        for (name, bytes) in self.scratch.files() {
            let Some((partition, _)) = name.trim_start_matches("orders/").split_once('-') else { continue };
            let bytes = if name.ends_with(".zst") { zstd::decode_all(&bytes[..]).unwrap() } else { bytes };
            let text = String::from_utf8(bytes).unwrap();
            stored.entry(partition.parse().unwrap()).or_default().extend(text.lines().map(str::to_owned));
        }
        stored
    }

    fn topic(&self) -> String {
        "orders".into()
    }

    fn duplicates(&self) -> Duplicates {
        self.config.traits().duplicates
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    for (name, more) in [
        ("plain", json!({ "rotate": { "records_max": 25 } })),
        (
            "zstd",
            json!({ "format": { "json_lines": { "compression": "zstd" } }, "rotate": { "bytes_max": "100B" } }),
        ),
    ] {
        let scratch = Scratch::new(name);
        let config = config(&scratch.0, more);
        conformance::sink(&UnderTest { scratch, config }).await;
    }
}

#[tokio::test]
async fn finishes_files_by_records_and_by_age() {
    let scratch = Scratch::new("rotation");
    let mut sink =
        open(&config(&scratch.0, json!({ "rotate": { "records_max": 20, "age_max": "200ms" } }))).await;
    for id in 0..5 {
        sink.write(&batch(id, id as i64 * 10, 10)).await.unwrap();
    }
    let mut durable = Vec::new();
    for _ in 0..100 {
        if let Durable::Batches(more) = sink.tick().await.unwrap().durable {
            durable.extend(more.into_iter().map(|id| id.0));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    durable.sort_unstable();
    assert!(durable.ends_with(&[4]), "the last one by its age, without new data: {durable:?}");
    let expected = [(0, 20), (20, 20), (40, 10)]
        .map(|(first, count)| (format!("orders/0-{first:020}.txt"), lines(first, count)));
    assert_eq!(scratch.files(), BTreeMap::from(expected));
}

#[tokio::test]
async fn skips_what_an_earlier_run_has_finished() {
    let scratch = Scratch::new("adopt");
    let config = config(&scratch.0, json!({ "format": { "lines": { "compression": "zstd" } } }));
    let mut sink = open(&config).await;
    sink.write(&batch(0, 100, 30)).await.unwrap();
    sink.flush().await.unwrap();
    drop(sink);
    let before = scratch.files();

    // The offsets were not stored: all comes again, in other batches.
    let mut sink = open(&config).await;
    assert_eq!(sink.write(&batch(0, 100, 25)).await.unwrap().durable, Durable::Batches(vec![]), "not a cut");
    sink.write(&batch(1, 125, 25)).await.unwrap();
    assert_eq!(sink.flush().await.unwrap().durable, Durable::Batches(vec![BatchId(0), BatchId(1)]));
    let after = scratch.files();
    assert_eq!(after.len(), 2);
    assert!(before.iter().all(|(name, bytes)| after.get(name) == Some(bytes)));
    let second = &after["orders/0-00000000000000000130.txt.zst"];
    assert_eq!(zstd::decode_all(&second[..]).unwrap(), lines(130, 20));
}

#[tokio::test]
async fn another_writer_that_was_first_wins() {
    let scratch = Scratch::new("conflict");
    let config = config(&scratch.0, json!({}));
    let (mut late, mut early) = (open(&config).await, open(&config).await);
    late.write(&batch(0, 0, 10)).await.unwrap();
    early.write(&batch(0, 1, 5)).await.unwrap();
    early.flush().await.unwrap();
    drop(early);
    let mut early = open(&config).await;
    early.write(&batch(0, 0, 1)).await.unwrap();
    // Whoever begins at an offset takes the partition over: what another writer has half-way is removed.
    let error = late.flush().await.unwrap_err();
    let file = scratch.0.join("orders/0-00000000000000000000.txt");
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` is gone, another writer has taken its place; starting again from the stored offsets",
            file.display()
        )
    );
    early.flush().await.unwrap();
    assert_eq!(scratch.files().len(), 2);
}

#[tokio::test]
async fn says_what_is_wrong_with_the_folder() {
    let scratch = Scratch::new("wrong");
    let file = scratch.0.join("file");
    fs::write(&file, "").unwrap();
    let config = config(&file.join("lake"), json!({}));
    let Err::<_, Error>(error) = config.open(context(&Condition::default())).await else {
        panic!("a file is no folder")
    };
    assert_eq!(
        error.to_string(),
        format!(
            "cannot write `{}`: File exists (os error 17); a file stands where a folder is needed, or the other \
             way round: move it, or change `path`",
            file.join("lake").display()
        )
    );
}

/// A file system of one megabyte, mounted for the test; needs the rights to do so.
struct SmallDisk(Scratch);

impl SmallDisk {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&scratch.0).status();
        assert!(mount.is_ok_and(|status| status.success()), "this test mounts a small tmpfs: run it as root");
        Self(scratch)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.0).status();
    }
}

/// Somebody has to mend it, and then it goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_may_only_be_read_is_waited_for() {
    let disk = SmallDisk::new("readonly");
    let remount = |how: &str| {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&disk.0.0).status();
        assert!(done.is_ok_and(|status| status.success()));
    };
    remount("ro");
    let condition = Condition::default();
    let folder = disk.0.0.join("lake");
    let opening = tokio::spawn({
        let (config, context) = (config(&folder, json!({})), context(&condition));
        async move { config.open(context).await }
    });
    let reason = loop {
        match condition.reason() {
            Some(reason) => break reason,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!(
        reason,
        format!(
            "may not write `{0}`: Read-only file system (os error 30); allow this user to read and write in `{0}`, which \
             is tried again by itself; or name another folder",
            folder.display()
        )
    );
    remount("rw");
    let mut sink = opening.await.unwrap().unwrap();
    assert_eq!(condition.reason(), None);
    sink.write(&batch(0, 0, 10)).await.unwrap();
    assert_eq!(sink.flush().await.unwrap().durable, Durable::Batches(vec![BatchId(0)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    let disk = SmallDisk::new("full");
    let folder = &disk.0.0;
    let ballast = folder.join("ballast");
    fs::write(&ballast, vec![0; 900_000]).unwrap();
    let condition = Condition::default();
    let mut sink = config(folder, json!({})).open(context(&condition)).await.unwrap();
    let watch = tokio::spawn({
        let (condition, ballast) = (condition.clone(), ballast.clone());
        async move {
            let reason = loop {
                match condition.reason() {
                    Some(reason) => break reason,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            tokio::time::sleep(Duration::from_millis(300)).await;
            fs::remove_file(ballast).unwrap();
            reason
        }
    });
    // 40,000 lines of 13 bytes or so do not fit beside the ballast.
    for id in 0..40 {
        sink.write(&batch(id, 1_000_000 + id as i64 * 1_000, 1_000)).await.unwrap();
    }
    sink.flush().await.unwrap();
    assert_eq!(
        watch.await.unwrap(),
        format!(
            "no space is left for the folder `{}`; free some; writing goes on by itself, and nothing is lost meanwhile",
            folder.display()
        )
    );
    assert_eq!(condition.reason(), None);
    let expected =
        BTreeMap::from([("orders/0-00000000000001000000.txt".to_owned(), lines(1_000_000, 40_000))]);
    assert!(disk.0.files() == expected, "{:?}", disk.0.names());
}

#[tokio::test]
async fn a_probe_says_whether_files_can_be_written() {
    let scratch = Scratch::new("probe");
    let probe = async |folder: &Path| {
        let config =
            json!({ "folder": folder, "path": "{topic}/{partition}-{start_offset}", "format": "lines" });
        let config: Config = serde_json::from_value(config).unwrap();
        let context =
            ProbeContext { pipeline: "p".into(), transactional: false, patience: Duration::from_secs(5) };
        let findings = config.probe(context).await;
        findings.into_iter().map(|finding| format!("{:?}: {finding}", finding.verdict)).collect::<Vec<_>>()
    };
    let there = probe(&scratch.0).await;
    assert_eq!(there[0], format!("Good: folder `{}` exists and can be written", scratch.0.display()));
    assert!(there[1].ends_with(" MiB are free") || there[1].starts_with("Warning"), "{there:?}");
    let missing = scratch.0.join("a/b");
    assert_eq!(
        probe(&missing).await[0],
        format!("Good: folder `{}` is missing and can be made", missing.display())
    );
    fs::write(scratch.0.join("file"), "").unwrap();
    let blocked = probe(&scratch.0.join("file/below")).await;
    assert!(blocked[0].starts_with("Bad: cannot write `"), "{blocked:?}");
    assert_eq!(scratch.names(), ["file"]);
}
