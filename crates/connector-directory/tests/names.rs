//! What stands in the folder already: files of an earlier run, files of others with the same names, and what is half-way.

#![allow(clippy::unwrap_used)]

mod scratch;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use aqueduct_api::catalog::{SinkConnector, SinkContext};
use aqueduct_api::{BatchId, Durable, Error, ErrorKind, Sink};
use aqueduct_connector_directory::Config;
use scratch::{Scratch, batch, batch_of, config, open};
use serde_json::json;

const COMPRESSIONS: [&str; 3] = ["none", "gzip", "zstd"];

fn compressed(folder: &Path, compression: &str) -> Arc<Config> {
    config(folder, json!({ "format": { "lines": { "compression": compression } } }))
}

async fn open_as(config: &Arc<Config>, pipeline: &str, incarnation: &str) -> Box<dyn Sink> {
    let context = SinkContext::new(pipeline);
    context.incarnations.set("orders", 0, incarnation);
    config.open(context).await.unwrap()
}

async fn write_and_flush(sink: &mut dyn Sink, values: &[&str]) -> Result<Durable, Error> {
    // Reported at once where the records are proved to stand there.
    let written = sink.write(&batch_of(0, "orders", 0, 0, values)).await?;
    let flushed = sink.flush().await?;
    Ok(if written.durable == Durable::Batches(vec![]) { flushed.durable } else { written.durable })
}

/// The names are the same, the records are not: never skipped, whatever the compression, and how many there are.
#[tokio::test]
async fn other_records_at_the_same_offsets_are_never_skipped() {
    for compression in COMPRESSIONS {
        for second in [
            &["tue 3", "tue 4"][..],
            &["tue 3"],
            &["mon 1", "tue 4"],
            &["tue 3", "tue 4", "tue 5"],
            &["a line as long as both"],
            &["mon 1, mon 2"],
        ] {
            let scratch = Scratch::new("again");
            let config = compressed(&scratch.0, compression);
            let written = write_and_flush(open(&config).await.as_mut(), &["mon 1", "mon 2"]).await.unwrap();
            assert_eq!(written, Durable::Batches(vec![BatchId(0)]));
            let before = scratch.files();

            let error = write_and_flush(open(&config).await.as_mut(), second).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            let (says, name) = (error.to_string(), before.keys().next().unwrap());
            assert!(says.starts_with(&format!("`{name}` exists already, and it")), "{says}");
            assert!(says.contains("that came again"), "{says}");
            assert!(says.ends_with("move it away, or change `path` so that names do not meet"), "{says}");
            assert_eq!(scratch.files(), before);

            // As it says: moved away, all is written.
            fs::rename(scratch.0.join(name), scratch.0.join("monday")).unwrap();
            let written = write_and_flush(open(&config).await.as_mut(), second).await.unwrap();
            assert_eq!(written, Durable::Batches(vec![BatchId(0)]));
        }
    }
}

/// A source that ends early brings a part of the same records: they stand there, and their batches wait for the rest.
#[tokio::test]
async fn a_part_of_the_same_records_is_known_as_that() {
    for compression in COMPRESSIONS {
        let scratch = Scratch::new("part");
        let config = compressed(&scratch.0, compression);
        write_and_flush(open(&config).await.as_mut(), &["mon 1", "", "mon 3"]).await.unwrap();
        let before = scratch.files();
        for _ in 0..2 {
            let written = write_and_flush(open(&config).await.as_mut(), &["mon 1", ""]).await.unwrap();
            assert_eq!(written, Durable::Batches(vec![]));
        }
        let written = write_and_flush(open(&config).await.as_mut(), &["mon 1", "", "mon 3"]).await.unwrap();
        assert_eq!(written, Durable::Batches(vec![BatchId(0)]));
        assert_eq!(scratch.files(), before);
    }
}

#[tokio::test]
async fn what_the_source_vouches_for_and_who_wrote_it_count_at_once() {
    let scratch = Scratch::new("vouched");
    let config = compressed(&scratch.0, "zstd");
    let values = ["one", "two"];
    write_and_flush(open_as(&config, "daily", "topic A").await.as_mut(), &values).await.unwrap();
    write_and_flush(open_as(&config, "daily", "topic A").await.as_mut(), &values).await.unwrap();
    for (pipeline, incarnation, why) in [
        (
            "daily",
            "topic B",
            "it holds records of another `orders`, which was replaced since: topic A then, topic B now",
        ),
        ("hourly", "topic A", "the pipeline `daily` wrote it"),
    ] {
        let mut sink = open_as(&config, pipeline, incarnation).await;
        let error = sink.write(&batch_of(0, "orders", 0, 0, &["one"])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.to_string(),
            format!(
                "`orders/0-00000000000000000000.txt.zst` exists already, and {why}; move it away, or change `path` so that \
                 names do not meet"
            )
        );
    }
}

/// Made anew while the pipeline runs: an object holds records of one incarnation.
#[tokio::test]
async fn a_new_incarnation_begins_a_file() {
    let scratch = Scratch::new("anew");
    let config = config(&scratch.0, json!({}));
    let context = SinkContext::new("daily");
    let incarnations = context.incarnations.clone();
    let mut sink = config.open(context).await.unwrap();
    incarnations.set("orders", 0, "A");
    sink.write(&batch(0, 0, 2)).await.unwrap();
    incarnations.set("orders", 0, "B");
    sink.write(&batch(1, 7, 1)).await.unwrap();
    sink.write(&batch(2, 8, 1)).await.unwrap();
    sink.flush().await.unwrap();
    let name = |first: i64| format!("orders/0-{first:020}.txt");
    assert_eq!(scratch.names(), [name(0), name(7)]);
}

/// One that was finished with other records in it comes out at the next start, and no restart repeats it for ever.
#[tokio::test]
async fn a_writer_that_was_late_learns_whether_the_records_are_the_same() {
    for compression in COMPRESSIONS {
        for (early, kind) in [(["mon 1", "mon 2"], None), (["tue 1", "tue 2"], Some(ErrorKind::Config))] {
            let scratch = Scratch::new("late");
            let config = compressed(&scratch.0, compression);
            let mut late = open(&config).await;
            late.write(&batch_of(0, "orders", 0, 0, &["mon 1", "mon 2"])).await.unwrap();
            let elsewhere = Scratch::new("early");
            write_and_flush(open(&compressed(&elsewhere.0, compression)).await.as_mut(), &early)
                .await
                .unwrap();
            let name = &elsewhere.names()[0];
            fs::copy(elsewhere.0.join(name), scratch.0.join(name)).unwrap();
            let flushed = late.flush().await;
            assert_eq!(
                flushed.as_ref().err().map(Error::kind),
                kind.map(|_| ErrorKind::Fatal),
                "{compression}"
            );
            drop(late);
            let again = write_and_flush(open(&config).await.as_mut(), &["mon 1", "mon 2"]).await;
            assert_eq!(again.as_ref().err().map(Error::kind), kind);
        }
    }
}

#[tokio::test]
async fn a_file_of_somebody_else_is_never_taken_for_ours() {
    let scratch = Scratch::new("foreign");
    fs::create_dir(scratch.0.join("orders")).unwrap();
    for (content, compression, suffix, why) in [
        (&b"something else"[..], "none", "", "it ends inside a line, so this pipeline did not write it"),
        (b"", "none", "", "it is empty, so this pipeline did not write it"),
        (b"", "zstd", ".zst", "it does not end as this pipeline's objects do"),
        (b"text\n", "gzip", ".gz", "it does not end as this pipeline's objects do"),
    ] {
        let name = format!("orders/0-00000000000000000000.txt{suffix}");
        fs::write(scratch.0.join(&name), content).unwrap();
        let mut sink = open(&compressed(&scratch.0, compression)).await;
        let error = sink.write(&batch(0, 0, 10)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let remedy = "move it away, or change `path` so that names do not meet";
        assert_eq!(error.to_string(), format!("`{name}` exists already, and {why}; {remedy}"));
        assert_eq!(fs::read(scratch.0.join(&name)).unwrap(), content);
    }
}

/// A pipe nobody writes, a device without an end and links that lead nowhere or there: none is opened.
#[tokio::test]
async fn what_is_no_regular_file_is_told_at_once() {
    let scratch = Scratch::new("irregular");
    fs::create_dir(scratch.0.join("orders")).unwrap();
    let path = scratch.0.join("orders/0-00000000000000000000.txt");
    let link = |to: &str| std::os::unix::fs::symlink(to, &path).unwrap();
    let stand: [&dyn Fn(); 4] =
        [&|| link("/dev/zero"), &|| link("nowhere"), &|| fs::create_dir(&path).unwrap(), &|| {
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success())
        }];
    for stand in stand {
        stand();
        let mut sink = open(&compressed(&scratch.0, "none")).await;
        let (limit, batch) = (std::time::Duration::from_secs(20), batch(0, 0, 10));
        let written = tokio::time::timeout(limit, sink.write(&batch)).await;
        let error = written.expect("an answer").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("no regular file"), "{error}");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
    }
}

/// Sweeping takes what the group that begins there has left, and nothing else: not what another partition is writing, nor
/// another topic, nor another pipeline, wherever the start offset stands in the path.
#[tokio::test]
async fn removes_what_a_dead_run_left_and_nothing_else() {
    for path in [
        "{topic}/{partition}-{start_offset}",
        "{topic}/{start_offset}-{partition}",
        "{start_offset}-{topic}-{partition}",
        "{start_offset}/{topic}/{partition}",
        "{topic}/{start_offset}-x/{partition}",
    ] {
        let scratch = Scratch::new("leftovers");
        let config = config(&scratch.0, json!({ "path": path }));
        let mut alive = Vec::new();
        for (pipeline, topic, partition, first) in [
            ("p", "orders", 0, 99),
            ("p", "orders", 0, 100),
            ("p", "orders", 0, 5_000),
            ("p", "orders", 1, 100),
            ("p", "orders", 10, 7_000),
            ("p", "refunds", 0, 100),
            ("other", "orders", 0, 100),
        ] {
            let mut sink = config.open(SinkContext::new(pipeline)).await.unwrap();
            // Beyond what is kept in memory.
            sink.write(&batch_of(0, topic, partition, first, &["x".repeat(200_000)])).await.unwrap();
            let ours = (pipeline, topic, partition) == ("p", "orders", 0) && first >= 100;
            if ours {
                // Killed: nobody tidies up.
                std::mem::forget(sink);
            } else {
                alive.push(sink);
            }
        }
        assert_eq!(scratch.names().len(), 7, "{path}");
        assert!(scratch.names().iter().all(|name| name.ends_with(".part")), "{:?}", scratch.names());
        let mut sink = config.open(SinkContext::new("p")).await.unwrap();
        sink.write(&batch(0, 100, 1)).await.unwrap();
        sink.flush().await.unwrap();
        // What lives goes on and is whole: five files, one of `other` has the name that is taken by now.
        let taken = alive.pop().unwrap();
        for sink in &mut alive {
            assert_eq!(sink.flush().await.unwrap().durable, Durable::Batches(vec![BatchId(0)]), "{path}");
        }
        assert_eq!(scratch.names().iter().filter(|name| name.ends_with(".part")).count(), 1, "{path}");
        drop(taken);
        assert_eq!(scratch.names().len(), 5, "{path}: {:?}", scratch.names());
    }
}

/// Kafka takes topics of up to 249 bytes, and a file system names of 255.
#[tokio::test]
async fn names_may_be_as_long_as_a_file_system_takes_them() {
    let scratch = Scratch::new("long");
    let topic = "t".repeat(249);
    for (path, name) in [
        ("{topic}/{partition}-{start_offset}", format!("{topic}/0-{:020}.txt", 0)),
        ("{topic}.gz/{start_offset}/{partition}", format!("{topic}.gz/{:020}/0.txt", 0)),
        ("{start_offset}/{partition}/{topic}-x.txt", format!("{:020}/0/{topic}-x.txt", 0)),
    ] {
        let config = config(&scratch.0, json!({ "path": path }));
        let mut sink = open(&config).await;
        let values = ["one"];
        let written = sink.write(&batch_of(0, &topic, 0, 0, &values)).await.unwrap();
        assert_eq!(written.rejected.len(), 0, "{path}");
        sink.flush().await.unwrap();
        assert!(scratch.names().contains(&name), "{path}");
    }
    let config = config(&scratch.0, json!({ "path": "{topic}-{partition}-{start_offset}" }));
    let written = open(&config).await.write(&batch_of(0, &topic, 0, 0, &["one"])).await.unwrap();
    let error = written.rejected[0].error.to_string();
    assert!(
        error.ends_with("it has a part of more than 255 bytes; correct `path`, or the record"),
        "{error}"
    );
}

/// A folder deep enough that no name below it can be opened.
#[tokio::test]
async fn a_name_that_the_file_system_refuses_ends_the_pipeline() {
    let scratch = Scratch::new("deep");
    let deep = (0..20).fold(scratch.0.clone(), |folder, _| folder.join("d".repeat(190)));
    let config = config(&deep, json!({ "path": "{topic}/{header.long}/{partition}-{start_offset}" }));
    let opened = config.open(SinkContext::new("p")).await;
    let error = match opened {
        Err(error) => error,
        Ok(mut sink) => {
            let mut batch = batch(0, 0, 1);
            let mut record = batch.records.iter().next().unwrap().clone();
            record.headers.push("long", Some("h".repeat(250).into()));
            batch = aqueduct_api::Batch::new(BatchId(0), vec![record].into(), None);
            sink.write(&batch).await.unwrap_err()
        }
    };
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    assert!(error.to_string().contains("File name too long"), "{error}");
}
