//! Standard input to standard output, in a process of its own, as in a shell.

mod ends;

use std::io::Write;
use std::process::{Command, Stdio};

use aqueduct_api::{Durable, ErrorKind, Offsets};
use aqueduct_formats::record_line::{self, Defaults};
use ends::{batch, read_all, records, sink, source};

#[tokio::test]
async fn input_passes_to_output() {
    const CHILD: &str = "AQUEDUCT_TEST_STANDARD";
    if std::env::var_os(CHILD).is_some() {
        return copy().await;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "input_passes_to_output", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let expected = records(0..2_000);
    let mut lines = Vec::new();
    expected.iter().for_each(|record| record_line::write(record, &mut lines));
    let mut stdin = child.stdin.take().unwrap();
    let feed = std::thread::spawn(move || stdin.write_all(&lines));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let defaults = Defaults { topic: "".into(), partition: 0, offset: 0 };
    // The frame of the test prints there too, before the first line.
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let read = lines.filter_map(|line| {
        let begin = line.windows(9).position(|window| window == br#"{"topic":"#)?;
        Some(record_line::read(&line[begin..], defaults.clone()).unwrap())
    });
    assert!(read.eq(expected));
}

async fn copy() {
    // What an earlier process left says nothing of this input.
    let stored = Offsets::from([("-".into(), "999@9".into())]);
    // What was only opened has taken nothing: a sink may be away at the first try.
    drop(source(serde_json::json!({ "path": "-" }), stored.clone()).await.expect("it opens"));
    let mut stdin = source(serde_json::json!({ "path": "-" }), stored).await.expect("it opens");
    let mut stdout = sink("-".as_ref(), "p").await.expect("it opens");
    for (records, _) in read_all(&mut *stdin).await.expect("whole lines") {
        assert_eq!(stdout.write(&batch(records)).await.expect("it is written").durable, Durable::All);
    }
    let again = source(serde_json::json!({ "path": "-" }), Offsets::new()).await.err();
    assert_eq!(again.map(|error| error.kind()), Some(ErrorKind::Config));
}
