//! The source `file`: every record of a file, from any place of it, and what it says of a file that is none.

mod ends;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use aqueduct_api::{Catalog, ErrorKind, FirstRow, Offsets, Polled, Rows};
use aqueduct_connector_file::SourceConfig;
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
    let short = folder.join("short.jsonl");
    fs::write(&short, "{\"value\":1}\n").unwrap();
    let at = |place: &str| Offsets::from([(short.to_str().unwrap().into(), place.into())]);
    for (config, resume, says) in [
        (json!({ "path": folder.join("none") }), Offsets::new(), "cannot open the file: No such file"),
        (json!({ "path": folder }), Offsets::new(), "this is a folder, not a file (path="),
        (
            json!({ "path": short }),
            at("13@1"),
            "this is not the file that was read before: it is shorter than",
        ),
        (json!({ "path": short }), at("thirteen"), "`thirteen` is no place in a file (path="),
    ] {
        let error = source(config, resume).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().starts_with(says), "{error}");
        assert!(error.what_to_do().is_some(), "{error}");
    }
}

#[test]
fn what_does_not_go_together_is_found_before_anything_runs() {
    let rows = |first: bool| Rows { separator: ',', cells: None, first: first.then(FirstRow::default) };
    let says = |config: serde_json::Value, rows: Option<Rows>| {
        let catalog = Catalog::default().source::<SourceConfig>();
        let configured = catalog.sources["file"].configure(config).unwrap_or_else(|p| panic!("{p:?}"));
        let problems = configured.check_rows("file", rows.as_ref()).into_iter();
        problems.map(|problem| (problem.path, problem.says)).collect::<Vec<_>>()
    };
    let path = |format: Option<&str>| json!({ "path": "a", "format": format });
    for (format, has) in
        [(None, None), (None, Some(true)), (Some("csv"), Some(true)), (Some("lines"), Some(false))]
    {
        assert_eq!(says(path(format), has.map(rows)), [], "{format:?} {has:?}");
    }
    let problem = |path: &str, says: &str| [(path.to_owned(), says.to_owned())];
    assert_eq!(
        says(path(Some("csv")), None),
        problem("format", "nobody says how the rows of this file are written")
    );
    assert_eq!(
        says(path(Some("records")), Some(rows(true))),
        problem("", "only a file of rows can name the fields in its first line")
    );
}
