//! The sink `file`: what it reports is there, whole and in order, whatever happened before; and who is kept
//! out.

mod ends;

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aqueduct_api::{Durable, ErrorKind, Offsets, Record};
use ends::{batch, folder, read_all, records, sink, source};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

async fn read(path: &Path) -> Vec<Record> {
    let mut source = source(serde_json::json!({ "path": path }), Offsets::new()).await.expect("it opens");
    read_all(&mut *source).await.expect("whole lines").into_iter().flat_map(|(records, _)| records).collect()
}

#[tokio::test]
async fn what_is_written_reads_back_and_is_reported_when_synced() {
    let path = folder("whole").join("new/folder/out.jsonl");
    let mut file = sink(&path, "p").await.unwrap();
    for from in [0, 100, 200] {
        assert_eq!(
            file.write(&batch(records(from..from + 100))).await.unwrap().durable,
            Durable::Batches(vec![])
        );
    }
    assert_eq!(file.tick().await.unwrap().durable, Durable::All);
    assert_eq!(file.tick().await.unwrap().durable, Durable::Batches(vec![]), "nothing is new");
    assert_eq!(file.flush().await.unwrap().durable, Durable::All);
    drop(file);
    assert_eq!(read(&path).await, records(0..300));
    // A restart adds to it.
    let mut file = sink(&path, "p").await.unwrap();
    file.write(&batch(records(300..310))).await.unwrap();
    file.flush().await.unwrap();
    assert_eq!(read(&path).await, records(0..310));
}

#[tokio::test]
async fn a_busy_sink_reports_all_the_same() {
    let mut file = sink(&folder("busy").join("out.jsonl"), "p").await.unwrap();
    let batch = batch(records(1..2));
    assert_eq!(file.write(&batch).await.unwrap().durable, Durable::Batches(vec![]));
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(file.write(&batch).await.unwrap().durable, Durable::All);
}

#[tokio::test]
async fn a_line_that_a_crash_left_unfinished_is_cut_off() {
    let path = folder("torn").join("out.jsonl");
    let mut file = sink(&path, "p").await.unwrap();
    file.write(&batch(records(0..10))).await.unwrap();
    file.flush().await.unwrap();
    drop(file);
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in last..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut file = sink(&path, "p").await.unwrap();
        file.write(&batch(records(10..11))).await.unwrap();
        file.flush().await.unwrap();
        drop(file);
        let seen: Vec<_> = read(&path).await.iter().map(|record| record.origin.offset).collect();
        // All of a line but its newline is a whole record, and stays.
        let kept = if cut < whole.len() - 1 { 9 } else { 10 };
        assert_eq!(seen, (0..kept).chain([10]).collect::<Vec<_>>(), "cut at {cut} of {}", whole.len());
    }
}

#[tokio::test]
async fn what_is_written_into_a_deleted_file_does_not_count() {
    let path = folder("deleted").join("out.jsonl");
    let mut file = sink(&path, "p").await.unwrap();
    file.write(&batch(records(0..10))).await.unwrap();
    assert_eq!(file.flush().await.unwrap().durable, Durable::All);
    fs::remove_file(&path).unwrap();
    file.write(&batch(records(10..20))).await.unwrap();
    let error = file.flush().await.unwrap_err();
    assert_eq!((error.kind(), error.says()), (ErrorKind::Fatal, "the file was deleted while it was written"));
    assert!(file.write(&batch(records(20..30))).await.is_err(), "not even for a while");
    drop(file);
    // The pipeline starts again from what was stored.
    let mut file = sink(&path, "p").await.unwrap();
    file.write(&batch(records(10..30))).await.unwrap();
    assert_eq!(file.flush().await.unwrap().durable, Durable::All);
    assert_eq!(read(&path).await, records(10..30));
}

#[tokio::test]
async fn a_file_of_another_kind_is_left_alone() {
    let path = folder("other").join("notes.txt");
    fs::write(&path, "first\nsecond, without an end").unwrap();
    let error = sink(&path, "p").await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error.to_string().starts_with("the file ends in something that is not the line of a record"),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"first\nsecond, without an end");
    for (path, says) in [("/dev/null", "this is not a regular file"), ("/proc", "this is not a regular file")]
    {
        let error = sink(path.as_ref(), "p").await.err().unwrap();
        assert_eq!((error.kind(), error.says()), (ErrorKind::Config, says));
    }
}

#[tokio::test]
async fn the_tasks_of_one_pipeline_share_a_file_and_nobody_else_does() {
    let path = folder("shared").join("out.jsonl");
    let tasks = (0..8).map(|task| {
        let path = path.clone();
        tokio::spawn(async move {
            let mut file = sink(&path, "p").await.unwrap();
            for part in 0..10 {
                let from = task * 1_000 + part * 20;
                file.write(&batch(records(from..from + 20))).await.unwrap();
            }
            file.flush().await.unwrap();
            file
        })
    });
    let mut open = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        open.push(task.await.unwrap());
    }
    let mut seen: Vec<_> = read(&path).await.iter().map(|record| record.origin.offset).collect();
    for task in 0..8 {
        let own: Vec<_> = seen.iter().copied().filter(|offset| offset / 1_000 == task).collect();
        assert!(own.is_sorted(), "the order of a task is kept");
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..8).flat_map(|task| task * 1_000..task * 1_000 + 200).collect::<Vec<_>>());

    let error = sink(&path, "q").await.err().unwrap();
    assert_eq!(error.says(), "the pipeline `p` writes to this file already");
    open.clear();
    // Another open handle with a lock is what another process would have.
    let elsewhere = File::open(&path).unwrap();
    elsewhere.lock().unwrap();
    let error = sink(&path, "q").await.err().unwrap();
    assert_eq!((error.kind(), error.says()), (ErrorKind::Transient, "another process writes to this file"));
    elsewhere.unlock().unwrap();
    assert!(sink(&path, "q").await.is_ok());
}

/// The system writes what fits and refuses the rest, as on a full disk. The limit holds for a whole process,
/// and its signal has to be ignored, so the test runs once more in one of its own.
#[tokio::test]
async fn no_room_waits_and_leaves_no_part_of_a_line() {
    const CHILD: &str = "AQUEDUCT_TEST_NO_ROOM";
    if std::env::var_os(CHILD).is_none() {
        let myself = std::env::current_exe().unwrap();
        let output = Command::new("sh")
            .args([
                "-c",
                "trap '' XFSZ; exec \"$0\" --exact no_room_waits_and_leaves_no_part_of_a_line --nocapture",
            ])
            .arg(myself)
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let path = folder("room").join("out.jsonl");
    let mut file = sink(&path, "p").await.unwrap();
    file.write(&batch(records(0..10))).await.unwrap();
    let before = fs::read(&path).unwrap();

    let limit = getrlimit(Resource::Fsize);
    let little = Rlimit { current: Some(before.len() as u64 + 1_000), maximum: limit.maximum };
    setrlimit(Resource::Fsize, little).unwrap();
    let more = batch(records(10..100));
    for _ in 0..3 {
        let error = file.write(&more).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        assert!(error.to_string().starts_with("cannot write to the file: File too large"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
    assert_eq!(file.flush().await.unwrap().durable, Durable::All);
    setrlimit(Resource::Fsize, limit).unwrap();
    file.write(&more).await.unwrap();
    file.flush().await.unwrap();
    assert_eq!(read(&path).await, records(0..100));
}
