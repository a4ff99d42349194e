//! The source `file`: every record of a file, from any place of it, and what it says of a file that is none.

mod ends;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use aqueduct_api::{ErrorKind, Offsets, Polled};
use aqueduct_formats::record_line;
use ends::{folder, read_all, records, source};
use serde_json::json;

#[tokio::test]
async fn reads_every_record_and_resumes_after_each_batch() {
    let path = folder("whole").join("orders.jsonl");
    let expected = records(0..1_000);
    let mut lines = Vec::new();
    for (number, record) in expected.iter().enumerate() {
        record_line::write(record, &mut lines);
        lines.extend_from_slice([&b""[..], b"\n", b"  \r\n"][number % 3]);
    }
    // The last line may be without its newline.
    let end = lines.trim_ascii_end().len();
    fs::write(&path, &lines[..end]).unwrap();

    let batches =
        read_all(&mut *source(json!({ "path": path }), Offsets::new()).await.unwrap()).await.unwrap();
    assert!(batches.iter().all(|(records, _)| records.len() <= 100));
    let read: Vec<_> = batches.iter().flat_map(|(records, _)| records.clone()).collect();
    assert_eq!(read, expected);

    let mut before = 0;
    for (records, resume_at) in batches {
        before += records.len();
        let mut again = source(json!({ "path": path }), resume_at).await.unwrap();
        let rest: Vec<_> = read_all(&mut *again).await.unwrap().into_iter().flat_map(|(r, _)| r).collect();
        assert_eq!(rest, expected[before..], "after {before}");
    }
}

#[tokio::test]
async fn lines_that_say_little_get_the_name_of_the_file_and_the_number_of_the_line() {
    let path = folder("little").join("shop.orders.jsonl");
    fs::write(
        &path,
        "{\"value\":1}\n\n{\"value\":{\"id\": 2},\"offset\":70}\n{\"value\":3,\"topic\":\"t\"}\n",
    )
    .unwrap();
    let seen = |topic: &str| {
        let config = json!({ "path": path, "topic": topic });
        let config = if topic.is_empty() { json!({ "path": path }) } else { config };
        async move {
            let batches = read_all(&mut *source(config, Offsets::new()).await.unwrap()).await.unwrap();
            let records = batches.into_iter().flat_map(|(records, _)| records);
            records.map(|record| (record.topic.to_string(), record.origin.offset)).collect::<Vec<_>>()
        }
    };
    assert_eq!(seen("").await, [("shop".to_owned(), 0), ("shop".to_owned(), 70), ("t".to_owned(), 3)]);
    assert_eq!(seen("shop.orders").await[0], ("shop.orders".to_owned(), 0));
}

#[tokio::test]
async fn a_line_that_is_no_record_is_named_after_all_before_it_were_given() {
    let path = folder("bad").join("in.jsonl");
    fs::write(&path, "{\"value\":1}\n{\"value\":2}\n{\"vlaue\":3}\n{\"value\":4}\n").unwrap();
    let mut source = source(json!({ "path": path }), Offsets::new()).await.unwrap();
    let Polled::Batch { records, resume_at } = source.poll(Duration::from_secs(5)).await.unwrap() else {
        panic!("no batch");
    };
    assert_eq!(records.len(), 2);
    // However often it is asked, and after a restart too.
    let mut again = self::source(json!({ "path": path }), resume_at).await.unwrap();
    for source in [&mut source, &mut again] {
        for _ in 0..2 {
            let error = source.poll(Duration::from_secs(5)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fatal);
            let text = error.to_string();
            assert!(text.starts_with("not a record line: unknown field `vlaue`"), "{text}");
            assert!(text.contains(&format!("(file={}:3)", path.display())), "{text}");
        }
    }
}

#[tokio::test]
async fn follows_a_file_and_waits_for_the_rest_of_a_line() {
    let path = folder("follow").join("in.jsonl");
    fs::write(&path, "{\"value\":1}\n{\"val").unwrap();
    let mut source = source(json!({ "path": path, "follow": true }), Offsets::new()).await.unwrap();
    let next = async |source: &mut dyn aqueduct_api::Source| {
        for _ in 0..100 {
            match source.poll(Duration::from_millis(20)).await.unwrap() {
                Polled::Batch { records, .. } => return records,
                Polled::Idle => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("nothing came")
    };
    assert_eq!(next(&mut *source).await.len(), 1);
    assert!(matches!(source.poll(Duration::from_millis(20)).await, Ok(Polled::Idle)));
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"ue\":2}\n").unwrap();
    let records = next(&mut *source).await;
    assert_eq!(records[0].value.bytes().unwrap(), &b"2"[..]);
}

#[tokio::test]
async fn says_what_is_wrong_with_the_file() {
    let folder = folder("wrong");
    let (cut, long, short) =
        (folder.join("cut.jsonl"), folder.join("long.jsonl"), folder.join("short.jsonl"));
    fs::write(&cut, "{\"value\":1}\n{\"value\":\"ab").unwrap();
    fs::write(&long, format!("{{\"value\":\"{}\"}}\n", "x".repeat(2_000_000))).unwrap();
    fs::write(&short, "{\"value\":1}\n").unwrap();
    let behind = Offsets::from([(short.to_str().unwrap().into(), "13@1".into())]);
    for (config, resume, kind, says) in [
        (
            json!({ "path": folder.join("none") }),
            Offsets::new(),
            ErrorKind::Config,
            "cannot open the file: No such file",
        ),
        (json!({ "path": folder }), Offsets::new(), ErrorKind::Config, "this is a folder, not a file (path="),
        (json!({ "path": short }), behind, ErrorKind::Fatal, "the file is shorter than what was read of it"),
        (
            json!({ "path": long, "line_max": "1MiB" }),
            Offsets::new(),
            ErrorKind::Fatal,
            "a line is longer than 1MiB (file=",
        ),
        (
            json!({ "path": cut }),
            Offsets::new(),
            ErrorKind::Fatal,
            "not a record line: `value`: EOF while parsing",
        ),
    ] {
        let error = match source(config, resume).await {
            Err(error) => error,
            Ok(mut source) => read_all(&mut *source).await.unwrap_err(),
        };
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().starts_with(says), "{error}");
        assert!(error.what_to_do().is_some(), "{error}");
    }
}
