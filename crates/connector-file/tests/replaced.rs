//! A file that is not the one it was: replaced, cut off or renamed, while it is read and between two runs.

#![allow(clippy::unwrap_used)]

mod ends;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aqueduct_api::{ErrorKind, FirstRow, Offsets, Polled, Result, Rows, Source};
use ends::{folder, source, source_with};
use serde_json::json;

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|id| format!("line {id}\n")).collect()
}

async fn open(path: &Path, follow: bool, resume: Offsets) -> Result<Box<dyn Source>> {
    source(json!({ "path": path, "format": "lines", "follow": follow }), resume).await
}

/// Offsets and values up to the end, or, of a file that is followed, so many; and where to resume behind them.
async fn read(source: &mut dyn Source, count: usize) -> Result<(Vec<(i64, String)>, Offsets)> {
    let (mut all, mut place) = (Vec::new(), Offsets::new());
    for _ in 0..400 {
        match source.poll(Duration::from_millis(50)).await? {
            Polled::Batch { records, resume_at } => {
                let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
                all.extend(records.iter().map(|it| (it.origin.offset, text(it.value.bytes().unwrap()))));
                source.release(&resume_at).await?;
                place = resume_at;
                if all.len() >= count {
                    break;
                }
            }
            Polled::End => break,
            _ => {}
        }
    }
    Ok((all, place))
}

fn expected(lines: &str, first: i64) -> Vec<(i64, String)> {
    (first..).zip(lines.lines().map(str::to_owned)).collect()
}

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn another_file_of_that_name_is_not_read_from_the_middle() {
    let path = folder("another").join("in.txt");
    fs::write(&path, lines(0, 2_000)).unwrap();
    let (all, place) =
        read(&mut *open(&path, false, Offsets::new()).await.unwrap(), usize::MAX).await.unwrap();
    assert_eq!(all, expected(&lines(0, 2_000), 0));
    // More of the same file, also as a copy.
    fs::write(&path, lines(0, 3_000)).unwrap();
    let (more, _) = read(&mut *open(&path, false, place.clone()).await.unwrap(), usize::MAX).await.unwrap();
    assert_eq!(more, expected(&lines(2_000, 3_000), 2_000));
    // Another end, another beginning, nothing of it.
    let mut beginning = lines(0, 3_000);
    beginning.replace_range(0..4, "LINE");
    let mut end = lines(0, 3_000);
    let at = end.find("line 1999").unwrap();
    end.replace_range(at..at + 4, "LINE");
    for other in [beginning, end, lines(5_000, 9_000), lines(0, 1_999), String::new()] {
        fs::write(&path, other).unwrap();
        for follow in [false, true] {
            let error = open(&path, follow, place.clone()).await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Config, "a restart does not help");
            assert!(error.says().starts_with("this is not the file that was read before: "), "{error}");
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()) && text.contains("offsets set"), "{text}");
        }
    }
    // A position of an earlier version says nothing of the file.
    let (partition, position) = place.first_key_value().unwrap();
    let earlier = position.split('#').next().unwrap();
    assert_ne!(earlier, &**position);
    fs::write(&path, lines(0, 2_001)).unwrap();
    let earlier = Offsets::from([(partition.clone(), earlier.into())]);
    let (more, _) = read(&mut *open(&path, false, earlier).await.unwrap(), usize::MAX).await.unwrap();
    assert_eq!(more, expected(&lines(2_000, 2_001), 2_000));
}

#[tokio::test]
async fn a_file_that_is_cut_off_while_it_is_read_is_told() {
    for again in [String::new(), lines(0, 3), lines(500, 9_000)] {
        let path = folder("cut").join("in.txt");
        fs::write(&path, lines(0, 100)).unwrap();
        let mut source = open(&path, true, Offsets::new()).await.unwrap();
        assert_eq!(read(&mut *source, 100).await.unwrap().0.len(), 100);
        // As `copytruncate` does: the same file, from its beginning.
        fs::write(&path, &again).unwrap();
        let error = read(&mut *source, 1).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.says()),
            (ErrorKind::Config, "the file was cut off or written anew while it was read")
        );
    }
}

fn rotate(path: &Path, number: usize) -> PathBuf {
    let to = path.with_extension(format!("txt.{number}"));
    fs::rename(path, &to).unwrap();
    to
}

#[tokio::test]
async fn a_followed_file_that_is_renamed_is_read_to_its_end_before_the_next_one() {
    let path = folder("rotated").join("in.txt");
    fs::write(&path, lines(0, 100)).unwrap();
    let mut source = open(&path, true, Offsets::new()).await.unwrap();
    let (mut all, _) = read(&mut *source, 100).await.unwrap();
    // Its writer goes on for a while, and leaves a line without an end; the next file is there already.
    let old = rotate(&path, 1);
    fs::write(&path, "").unwrap();
    append(&old, &lines(100, 110));
    tokio::time::sleep(Duration::from_millis(300)).await;
    append(&old, "line 110");
    all.extend(read(&mut *source, 10).await.unwrap().0);
    append(&path, &lines(112, 120));
    // The new one has something in it, and the old one was not quiet for long enough.
    for _ in 0..8 {
        assert!(matches!(source.poll(Duration::from_millis(50)).await.unwrap(), Polled::Idle));
    }
    append(&old, "\nline 111");
    all.extend(read(&mut *source, 10).await.unwrap().0);
    assert_eq!(all, expected(&lines(0, 120), 0), "the numbers of the lines go on");
    // The next two come and go while nobody polls.
    for file in 0..2 {
        rotate(&path, 2 + file);
        fs::write(&path, lines(120 + 10 * file, 130 + 10 * file)).unwrap();
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let (more, place) = read(&mut *source, 20).await.unwrap();
    assert_eq!(more, expected(&lines(120, 140), 120));
    // A restart goes on in the last one, under the numbers that it has.
    append(&path, &lines(140, 150));
    let mut again = open(&path, true, place).await.unwrap();
    assert_eq!(read(&mut *again, 10).await.unwrap().0, expected(&lines(140, 150), 140));
}

#[tokio::test]
async fn the_place_stays_in_the_old_file_until_the_new_one_has_given_something() {
    let path = folder("moved").join("in.txt");
    fs::write(&path, lines(0, 10)).unwrap();
    let mut source = open(&path, true, Offsets::new()).await.unwrap();
    let (_, place) = read(&mut *source, 10).await.unwrap();
    rotate(&path, 1);
    fs::write(&path, "no end yet").unwrap();
    for _ in 0..30 {
        assert!(matches!(source.poll(Duration::from_millis(50)).await.unwrap(), Polled::Idle));
    }
    drop(source);
    // The file between is not passed over.
    append(&path, "\n");
    fs::rename(path.with_extension("txt.1"), path.with_extension("txt.2")).unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    append(&path, "the end\n");
    rotate(&path, 1);
    fs::write(&path, "later\n").unwrap();
    let error = open(&path, true, place.clone()).await.err().unwrap();
    assert!(error.says().starts_with("this is not the file that was read before"), "{error}");
    fs::rename(path.with_extension("txt.1"), &path).unwrap();
    let mut again = open(&path, true, place).await.unwrap();
    let expected = [(10, "no end yet".to_owned()), (11, "the end".to_owned())];
    assert_eq!(read(&mut *again, 2).await.unwrap().0, expected);
}

#[tokio::test]
async fn a_file_that_was_renamed_between_two_runs_is_found_where_it_is_the_only_one() {
    let path = folder("found").join("in.txt");
    fs::write(&path, lines(0, 100)).unwrap();
    fs::write(path.with_extension("txt.2"), "older\n").unwrap();
    let (_, place) = read(&mut *open(&path, true, Offsets::new()).await.unwrap(), 100).await.unwrap();
    append(&path, &lines(100, 110));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let old = rotate(&path, 1);
    fs::write(&path, lines(110, 120)).unwrap();
    // Who reads to the end does not look for more.
    assert!(open(&path, false, place.clone()).await.is_err());
    let mut again = open(&path, true, place.clone()).await.unwrap();
    assert_eq!(read(&mut *again, 20).await.unwrap().0, expected(&lines(100, 120), 100));
    // One that came between would be left out; of two copies nobody knows which one is meant.
    tokio::time::sleep(Duration::from_millis(50)).await;
    fs::write(path.with_extension("txt-20261130"), "between\n").unwrap();
    assert!(open(&path, true, place.clone()).await.is_err());
    // What only begins with its name is another matter, whoever may read it.
    fs::rename(path.with_extension("txt-20261130"), path.with_extension("txt-errors")).unwrap();
    fs::copy(&old, path.with_extension("txt.copy")).unwrap();
    assert!(open(&path, true, place.clone()).await.is_ok());
    // What this user may not open is not read: an older one does no harm.
    let older = path.with_extension("txt.2");
    fs::set_permissions(&older, fs::Permissions::from_mode(0o000)).unwrap();
    assert!(open(&path, true, place.clone()).await.is_ok());
    fs::copy(&old, path.with_extension("txt.old")).unwrap();
    assert!(open(&path, true, place.clone()).await.is_err());
}

/// Nothing but waiting, for so long.
async fn is_idle(source: &mut dyn Source, millis: u64) {
    let until = tokio::time::Instant::now() + Duration::from_millis(millis);
    while tokio::time::Instant::now() < until {
        let polled = source.poll(Duration::from_millis(50)).await.unwrap();
        assert!(matches!(polled, Polled::Idle), "{polled:?}");
    }
}

/// The next batch: its values.
async fn next(source: &mut dyn Source) -> (Vec<String>, Offsets) {
    for _ in 0..100 {
        if let Polled::Batch { records, resume_at } = source.poll(Duration::from_millis(50)).await.unwrap() {
            let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
            return (records.iter().map(|it| text(it.value.bytes().unwrap())).collect(), resume_at);
        }
    }
    panic!("nothing came")
}

#[tokio::test]
async fn a_new_file_that_names_other_fields_waits_until_the_rows_of_the_old_one_are_delivered() {
    let path = folder("renamed-fields").join("in.csv");
    let first = FirstRow::default();
    let rows = Rows { separator: ',', cells: None, first: Some(first.clone()) };
    fs::write(&path, "id,name\n1,a\n").unwrap();
    let config = json!({ "path": path, "follow": true });
    let mut source = source_with(config, Offsets::new(), 100, Some(rows)).await.unwrap();
    let (values, place) = next(&mut *source).await;
    assert_eq!(values, ["1,a"]);
    rotate(&path, 1);
    fs::write(&path, "id,price\n2,b\n").unwrap();
    is_idle(&mut *source, 1_500).await;
    assert_eq!(first.get().unwrap(), &b"id,name"[..]);
    source.release(&Offsets::new()).await.unwrap();
    is_idle(&mut *source, 200).await;
    source.release(&place).await.unwrap();
    assert_eq!(next(&mut *source).await.0, ["2,b"]);
    assert_eq!(first.get().unwrap(), &b"id,price"[..]);
}

#[tokio::test]
async fn a_file_that_cannot_be_read_stops_the_pipeline_behind_what_was_read_before() {
    let path = folder("utf16").join("in.txt");
    fs::write(&path, "one\n").unwrap();
    let mut source = open(&path, true, Offsets::new()).await.unwrap();
    let (_, place) = next(&mut *source).await;
    rotate(&path, 1);
    fs::write(&path, b"\xff\xfea\0\n\0").unwrap();
    is_idle(&mut *source, 1_500).await;
    source.release(&place).await.unwrap();
    let error = source.poll(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.says(), "the file is UTF-16LE, by its byte order mark");
}

#[tokio::test]
async fn a_file_that_grows_after_it_was_left_is_told() {
    let path = folder("grown").join("in.txt");
    fs::write(&path, lines(0, 10)).unwrap();
    let mut source = open(&path, true, Offsets::new()).await.unwrap();
    read(&mut *source, 10).await.unwrap();
    let old = rotate(&path, 1);
    fs::write(&path, lines(10, 20)).unwrap();
    assert_eq!(read(&mut *source, 10).await.unwrap().0, expected(&lines(10, 20), 10));
    append(&old, "late\n");
    let error = read(&mut *source, 1).await.unwrap_err();
    let says = "the renamed file grew after it was left: 5 bytes";
    assert_eq!((error.kind(), error.says()), (ErrorKind::Config, says));
    assert!(error.what_to_do().unwrap().contains("`tail -c +71 RENAMED >> PATH`"), "{error}");
}

#[tokio::test]
async fn a_followed_file_never_ends() {
    let path = folder("endless").join("in.txt");
    fs::write(&path, "no end").unwrap();
    let mut source = open(&path, true, Offsets::new()).await.unwrap();
    is_idle(&mut *source, 100).await;
    rotate(&path, 1);
    fs::write(&path, "new\n").unwrap();
    assert_eq!(next(&mut *source).await.0, ["no end"]);
    // What made the old one end is not there any more.
    fs::write(&path, "").unwrap();
    is_idle(&mut *source, 300).await;
    append(&path, "newer\n");
    assert_eq!(next(&mut *source).await.0, ["newer"]);
}
