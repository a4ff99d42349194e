//! The source `file` over files of lines, JSON lines and CSV: every line and row as it is, from any place, whatever it holds.

#![allow(clippy::unwrap_used)]

mod ends;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use aqueduct_api::catalog::SourceContext;
use aqueduct_api::{Catalog, Condition, ErrorKind, FirstRow, Offsets, Polled, Records, Result, Rows, Source};
use aqueduct_connector_file::SourceConfig;
use aqueduct_formats::record_line;
use ends::{folder, records, source_with};
use serde_json::json;
use tokio::time::Instant;

/// What a source gives: the bytes of each value with its offset, in front of it an `!` where it is refused.
type Given = Vec<(i64, Vec<u8>)>;

const CSV: Option<Rows> = Some(Rows { separator: ',', cells: Some(2), first: None });

fn given(mut records: Records) -> Given {
    let refused: Vec<usize> = records.take_refused().into_iter().map(|(index, _)| index).collect();
    let given = |(index, record): (usize, aqueduct_api::Record)| {
        let mark = if refused.contains(&index) { &b"!"[..] } else { b"" };
        assert!(record.key.is_empty() && record.origin.partition == 0);
        (record.origin.offset, [mark, record.value.bytes().unwrap()].concat())
    };
    records.into_vec().into_iter().enumerate().map(given).collect()
}

/// All of it, and the place behind each batch with how much had come by then.
async fn read(source: &mut dyn Source) -> Result<(Given, Vec<(Offsets, usize)>)> {
    let (mut all, mut places) = (Vec::new(), Vec::new());
    loop {
        match source.poll(Duration::from_secs(5)).await? {
            Polled::Batch { records, resume_at } => {
                all.extend(given(records));
                places.push((resume_at, all.len()));
            }
            Polled::End => return Ok((all, places)),
            other => panic!("{other:?}"),
        }
    }
}

async fn open(path: &Path, format: &str, rows: Option<Rows>, resume: Offsets) -> Result<Box<dyn Source>> {
    let config = json!({ "path": path, "format": format, "line_max": "1000KB" });
    source_with(config, resume, 7, rows).await
}

/// The file gives these, and the rest of them from each place that it names.
async fn gives(name: &str, format: &str, rows: Option<Rows>, bytes: &[u8], expected: &[(i64, &[u8])]) {
    let path = folder(name).join(name);
    fs::write(&path, bytes).unwrap();
    let mut source = open(&path, format, rows.clone(), Offsets::new()).await.unwrap();
    let (all, places) = read(&mut *source).await.unwrap();
    let expected: Given = expected.iter().map(|(offset, value)| (*offset, value.to_vec())).collect();
    let short = |given: &Given| {
        given
            .iter()
            .map(|(at, it)| format!("{at} {}", it[..it.len().min(40)].escape_ascii()))
            .collect::<Vec<_>>()
    };
    assert_eq!(short(&all), short(&expected), "{name}");
    assert!(all == expected, "{name}: not the same bytes");
    for (place, before) in places {
        let mut again = open(&path, format, rows.clone(), place.clone()).await.unwrap();
        let (rest, _) = read(&mut *again).await.unwrap();
        assert!(rest == expected[before..], "{name} after {place:?}: {:?}", short(&rest));
    }
}

#[tokio::test]
async fn a_line_is_the_bytes_of_a_value_whatever_they_are() {
    let (long, longer) = (vec![b'x'; 1_000_000], vec![b'y'; 1_000_001]);
    let noise: Vec<u8> = (0..=255).filter(|byte| *byte != b'\n').collect();
    let mut bytes = Vec::new();
    for line in [&b"first"[..], b"", b"dos\r", b"\r", b"\xff\xfe\x00", &noise, &long, &longer, b"  last  "] {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(b"no end");
    let refused = [b"!", &longer[..1_000_000]].concat();
    let expected: [(i64, &[u8]); 10] = [
        (0, b"first"),
        (1, b""),
        (2, b"dos"),
        (3, b""),
        (4, b"\xff\xfe\x00"),
        (5, &noise),
        (6, &long),
        (7, &refused),
        (8, b"  last  "),
        (9, b"no end"),
    ];
    gives("lines.txt", "lines", None, &bytes, &expected).await;
    gives("mark.txt", "lines", None, b"\xef\xbb\xbfa\nb", &[(0, b"a"), (1, b"b")]).await;
    gives("only_mark.txt", "lines", None, b"\xef\xbb\xbf", &[]).await;
    gives("half_mark.txt", "lines", None, b"\xef\xbb\n", &[(0, b"\xef\xbb")]).await;
    gives("empty.txt", "lines", None, b"", &[]).await;
    gives("newline.txt", "lines", None, b"\n", &[(0, b"")]).await;
    gives("long_last.txt", "lines", None, &longer, &[(0, &refused)]).await;
}

#[tokio::test]
async fn a_line_of_json_is_a_value_and_an_empty_one_is_none() {
    let bytes = b"{\"id\":1}\n\n  \r\n [2] \r\nnot json\n3";
    let expected: [(i64, &[u8]); 4] = [(0, b"{\"id\":1}"), (3, b" [2] "), (4, b"not json"), (5, b"3")];
    gives("in.jsonl", "json_lines", None, bytes, &expected).await;
}

#[tokio::test]
async fn a_row_goes_on_behind_a_newline_in_quotes() {
    let bytes = b"a,1\r\n\"b\nb\",2\n\n,\n\"c\"\"\r\n\",3\nlast,4";
    let expected: [(i64, &[u8]); 5] =
        [(0, b"a,1"), (1, b"\"b\nb\",2"), (4, b","), (5, b"\"c\"\"\r\n\",3"), (7, b"last,4")];
    gives("rows.csv", "csv", CSV, bytes, &expected).await;
    // A quote that is never closed costs its own line, at the end of the file and before `line_max`.
    let expected: [(i64, &[u8]); 3] = [(0, b"a,1"), (1, b"!\"b,2"), (2, b"c,3")];
    gives("unclosed.csv", "csv", CSV, b"a,1\n\"b,2\nc,3\n", &expected).await;
    let mut many = b"\"b,2\n".to_vec();
    (0..200_000).for_each(|_| many.extend_from_slice(b"c,345678\n"));
    let path = folder("unclosed").join("many.csv");
    fs::write(&path, &many).unwrap();
    let mut source = open(&path, "csv", CSV, Offsets::new()).await.unwrap();
    let (all, _) = read(&mut *source).await.unwrap();
    assert_eq!((all.len(), &*all[0].1, &*all[200_000].1), (200_001, &b"!\"b,2"[..], &b"c,345678"[..]));
    // An empty line is a row where a row is one cell.
    let one = Some(Rows { separator: ',', cells: Some(1), first: None });
    gives("one.csv", "csv", one, b"a\n\nb\n", &[(0, b"a"), (1, b""), (2, b"b")]).await;
}

#[tokio::test]
async fn the_first_row_names_the_fields_also_after_a_restart() {
    let first = FirstRow::default();
    let rows = Some(Rows { separator: ';', cells: None, first: Some(first.clone()) });
    let mut bytes = b"\xef\xbb\xbf\r\nid;\"the\nname\"\r\n".to_vec();
    let many: Vec<(i64, Vec<u8>)> = (0..50).map(|id| (id + 3, format!("{id};x").into_bytes())).collect();
    many.iter().for_each(|(_, row)| bytes.extend([&row[..], b"\n"].concat()));
    let expected: Vec<(i64, &[u8])> = many.iter().map(|(offset, row)| (*offset, &row[..])).collect();
    gives("named.csv", "csv", rows.clone(), &bytes, &expected).await;
    assert_eq!(first.get().unwrap(), &b"id;\"the\nname\""[..]);
    // A new process has not read it yet, and begins in the middle.
    let path = folder("named").join("named.csv");
    fs::write(&path, &bytes).unwrap();
    let mut source = open(&path, "csv", rows, Offsets::new()).await.unwrap();
    let (_, places) = read(&mut *source).await.unwrap();
    let anew = FirstRow::default();
    let rows = Rows { separator: ';', cells: None, first: Some(anew.clone()) };
    let mut again = open(&path, "csv", Some(rows), places[2].0.clone()).await.unwrap();
    assert_eq!(anew.get(), first.get());
    assert_eq!(read(&mut *again).await.unwrap().0, many[21..]);
}

#[tokio::test]
async fn files_in_another_encoding_are_told() {
    for (bytes, says) in [
        (&b"\xff\xfea\0\n\0"[..], "the file is UTF-16LE, by its byte order mark"),
        (b"\xfe\xff\0a\0\n", "the file is UTF-16BE, by its byte order mark"),
        (b"\xff\xfe\0\0a\0\0\0", "the file is UTF-32LE, by its byte order mark"),
    ] {
        let path = folder("encoding").join("in.txt");
        fs::write(&path, bytes).unwrap();
        for format in ["records", "lines"] {
            let mut source = open(&path, format, None, Offsets::new()).await.unwrap();
            let error = source.poll(Duration::from_secs(5)).await.unwrap_err();
            assert_eq!((error.kind(), error.says()), (ErrorKind::Config, says));
            assert!(error.what_to_do().unwrap().starts_with("convert it: iconv -f UTF-"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_line_that_is_no_record_comes_in_a_batch_of_its_own() {
    let path = folder("bad").join("in.jsonl");
    let mut bytes =
        b"\xef\xbb\xbf{\"value\":1}\nnot json\n\xff\xff\n{\"id\":3}\n{\"value\":4}\n{\"val".to_vec();
    bytes.splice(3..3, record_line_of(5));
    fs::write(&path, bytes).unwrap();
    let mut source = open(&path, "records", None, Offsets::new()).await.unwrap();
    let mut batches = Vec::new();
    while let Polled::Batch { mut records, resume_at } = source.poll(Duration::from_secs(5)).await.unwrap() {
        let errors: Vec<String> = records.take_refused().iter().map(|(_, error)| error.to_string()).collect();
        batches.push((records.len(), errors, resume_at));
    }
    let sizes: Vec<_> = batches.iter().map(|(records, errors, _)| (*records, errors.len())).collect();
    assert_eq!(sizes, [(2, 0), (3, 3), (1, 0), (1, 1)]);
    let at = |line: usize| format!("(file={}:{line}); ", path.display());
    for (error, says, remedy) in [
        (
            &batches[1].1[0],
            "not a record line: a record is a JSON object",
            "`format: lines`, or `value: csv` for CSV",
        ),
        (&batches[1].1[2], "not a record line: unknown field `id`", "`format: json_lines`"),
        (&batches[3].1[0], "not a record line: EOF while parsing", "if it is being written"),
    ] {
        assert!(error.starts_with(says) && error.ends_with(remedy), "{error}");
    }
    assert!(batches[1].1[0].contains(&at(3)) && batches[3].1[0].contains(&at(7)), "{:?}", batches[3]);
    // The place in front of a bad line is one to resume at.
    let mut again = open(&path, "records", None, batches[0].2.clone()).await.unwrap();
    let Polled::Batch { mut records, .. } = again.poll(Duration::from_secs(5)).await.unwrap() else {
        panic!()
    };
    assert_eq!(
        (records.take_refused().len(), records[0].value.bytes().unwrap()),
        (3, &b"not json"[..].into())
    );
}

fn record_line_of(offset: i64) -> Vec<u8> {
    let mut line = Vec::new();
    record_line::write(&records(offset..offset + 1)[0], &mut line);
    line
}

#[tokio::test]
async fn a_line_end_that_comes_late_is_no_line() {
    let path = folder("late").join("in.txt");
    for end in ["\n", "\r\n", ""] {
        fs::write(&path, "a\nb").unwrap();
        let mut source = open(&path, "lines", None, Offsets::new()).await.unwrap();
        let (all, places) = read(&mut *source).await.unwrap();
        assert_eq!(all.len(), 2);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(format!("{end}c\n").as_bytes()).unwrap();
        let mut again = open(&path, "lines", None, places[places.len() - 1].0.clone()).await.unwrap();
        let (rest, _) = read(&mut *again).await.unwrap();
        assert_eq!(rest, [(2, b"c".to_vec())], "{end:?}");
    }
}

#[tokio::test]
async fn a_pipe_is_read_once() {
    let path = folder("pipe").join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let writer = path.clone();
    let writing = std::thread::spawn(move || {
        let mut pipe = OpenOptions::new().write(true).open(writer).unwrap();
        for piece in ["\u{feff}fir", "st\r\n\nlast"] {
            pipe.write_all(piece.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    // What an earlier process left says nothing of what comes now, but for the numbers.
    let at = Offsets::from([(path.to_str().unwrap().into(), "999@7#0000000000000000".into())]);
    let mut source = open(&path, "lines", None, at).await.unwrap();
    let (all, places) = read(&mut *source).await.unwrap();
    writing.join().unwrap();
    assert_eq!(all, [(7, b"first".to_vec()), (8, b"".to_vec()), (9, b"last".to_vec())]);
    let error = open(&path, "lines", None, places[0].0.clone()).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.says().ends_with("was read already and cannot be read again"), "{error}");
}

#[tokio::test]
async fn a_quote_that_stays_open_is_told_before_line_max_is_reached() {
    let path = folder("open-quote").join("in.csv");
    fs::write(&path, "a,1\nb,\"2\nc,3\n").unwrap();
    let condition = Condition::default();
    let context = SourceContext { rows: CSV, condition: condition.clone(), ..SourceContext::new("p") };
    let catalog = Catalog::default().source::<SourceConfig>();
    let configured = catalog.sources["file"].configure(json!({ "path": path, "follow": true }));
    let mut source = configured.unwrap_or_else(|p| panic!("{p:?}")).open(context).await.unwrap();
    assert!(matches!(source.poll(Duration::from_millis(50)).await.unwrap(), Polled::Batch { .. }));
    let begun = Instant::now();
    while condition.reason().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "nobody was told");
        assert!(matches!(source.poll(Duration::from_millis(50)).await.unwrap(), Polled::Idle));
    }
    assert!(begun.elapsed() > Duration::from_secs(4), "a row may take its time");
    let says = condition.reason().unwrap();
    assert!(says.starts_with("a quote that is opened in the row of line 2 is not closed"), "{says}");
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"d\"\n").unwrap();
    assert!(matches!(source.poll(Duration::from_millis(50)).await.unwrap(), Polled::Batch { .. }));
    assert_eq!(condition.reason(), None);
}
