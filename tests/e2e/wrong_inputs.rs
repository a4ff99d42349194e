//! What goes wrong around a pipeline: the sentence it must say, and nothing lost once it is put right.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use aqueduct_tests::{Answer, Aqueduct, FaultProxy, Load, Toxiproxy, check, objects, until};
use serde_json::json;

use crate::fixture::{BUCKET, Fixture, PIPELINE, TOPIC, not_ready};

const SOON: Duration = Duration::from_secs(40);

/// All of it arrives now, once.
fn all_arrives(fixture: &Fixture, aqueduct: &mut Aqueduct) {
    fixture.until_done(Duration::from_secs(90));
    aqueduct.stop();
    fixture.check().assert_exact();
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let fixture = Fixture::new();
    fixture.produce(0..5_000, 0);
    fixture.kafka.kill();
    let (mut aqueduct, port) = fixture.run(&fixture.pipeline());
    not_ready(port, &format!("nothing listens at {}: the connection was refused", fixture.kafka.brokers()));
    fixture.kafka.start_again();
    all_arrives(&fixture, &mut aqueduct);
}

#[test]
fn an_unknown_topic_is_named_and_read_once_it_is_there() {
    let fixture = Fixture::new();
    let (mut aqueduct, port) =
        fixture.run_text(&fixture.pipeline().text().replace(&format!("[{TOPIC}]"), "[later]"));
    not_ready(port, "topic `later` does not exist on the cluster");
    fixture.kafka.create_topic("later", 2);
    let load = Load { topic: "later".into(), ids: 0..1_000, keys: 10, rate: 0 };
    fixture.kafka.produce(&load);
    until("all of it is committed", SOON, || (fixture.kafka.lag(PIPELINE, "later") == 0).then_some(()));
    aqueduct.stop();
    check(&fixture.kafka.read("later"), &fixture.bucket()).assert_exact();
}

#[test]
fn an_s3_server_that_is_away_is_waited_for() {
    let fixture = Fixture::new();
    fixture.produce(0..20_000, 0);
    fixture.s3.kill();
    let (mut aqueduct, port) = fixture.run(&fixture.pipeline());
    not_ready(port, &format!("http://127.0.0.1:{} cannot be reached: Connection refused", fixture.s3.port));
    fixture.s3.start_again();
    all_arrives(&fixture, &mut aqueduct);
}

#[test]
fn errors_of_the_s3_server_are_waited_out() {
    let fixture = Fixture::new();
    fixture.produce(0..50_000, 0);
    let proxy = FaultProxy::start(fixture.s3.port);
    let mut pipeline = fixture.pipeline();
    pipeline.s3_port = proxy.port;
    proxy.answer(Some(Answer { status: 503, code: "SlowDown" }));
    let (mut aqueduct, port) = fixture.run(&pipeline);
    not_ready(port, "answers 503 SlowDown");
    proxy.answer(Some(Answer { status: 500, code: "InternalError" }));
    not_ready(port, "answers 500 InternalError");
    assert!(proxy.answered() > 1, "it asked again");
    proxy.answer(None);
    all_arrives(&fixture, &mut aqueduct);
}

#[test]
fn a_slow_s3_server_makes_it_slow_and_no_more() {
    let fixture = Fixture::new();
    fixture.produce(0..20_000, 0);
    let proxy = Toxiproxy::start(fixture.s3.port);
    proxy.toxic("upstream", "latency", &json!({ "latency": 300, "jitter": 200 }));
    proxy.toxic("upstream", "bandwidth", &json!({ "rate": 200 }));
    let mut pipeline = fixture.pipeline();
    pipeline.s3_port = proxy.port;
    let (mut aqueduct, _) = fixture.run(&pipeline);
    all_arrives(&fixture, &mut aqueduct);
}

#[test]
fn an_upload_cut_in_the_middle_is_done_again() {
    let fixture = Fixture::new();
    // One key, so one partition: an object of 24 MB in several parts.
    fixture.kafka.produce_uniform(&Load { topic: TOPIC.into(), ids: 0..200_000, keys: 1, rate: 0 });
    let proxy = Toxiproxy::start(fixture.s3.port);
    let mut pipeline = fixture.pipeline();
    pipeline.s3_port = proxy.port;
    pipeline.compression = "none";
    pipeline.rotate = "{ bytes_max: 64MiB, age_max: 3s }";
    proxy.toxic("upstream", "limit_data", &json!({ "bytes": 100_000 }));
    let (mut aqueduct, port) = fixture.run(&pipeline);
    not_ready(port, "cannot be reached: Connection reset");
    for _ in 0..3 {
        proxy.cut();
        std::thread::sleep(Duration::from_millis(300));
        proxy.heal();
        std::thread::sleep(Duration::from_millis(700));
    }
    all_arrives(&fixture, &mut aqueduct);
    let object = fixture.s3.bucket(BUCKET).join(TOPIC);
    let sizes =
        fs::read_dir(object).expect("objects").flatten().map(|entry| entry.metadata().expect("a size").len());
    assert!(sizes.max() > Some(10_000_000), "no object was large enough for several parts");
}

#[test]
fn a_wrong_secret_is_an_error_that_names_bucket_and_key_but_no_secret() {
    let fixture = Fixture::new();
    fixture.produce(0..5_000, 0);
    let mut pipeline = fixture.pipeline();
    pipeline.secret = "not-the-secret";
    let (mut aqueduct, _) = fixture.run(&pipeline);
    aqueduct.says("says that the secret of the access key `test` is wrong", SOON);
    assert_eq!(aqueduct.wait(SOON).code(), Some(1));
    assert!(!aqueduct.output().contains("not-the-secret"), "the secret is printed");
    let (mut aqueduct, _) = fixture.run(&fixture.pipeline());
    all_arrives(&fixture, &mut aqueduct);
}

#[test]
fn a_missing_bucket_is_an_error_that_names_it() {
    let fixture = Fixture::new();
    fixture.produce(0..5_000, 0);
    fs::remove_dir_all(fixture.s3.bucket(BUCKET)).expect("the bucket goes");
    let (mut aqueduct, _) = fixture.run(&fixture.pipeline());
    aqueduct.says("bucket `lake` does not exist", SOON);
    assert_eq!(aqueduct.wait(SOON).code(), Some(1));
    fixture.s3.create_bucket(BUCKET);
    let (mut aqueduct, _) = fixture.run(&fixture.pipeline());
    all_arrives(&fixture, &mut aqueduct);
}

/// A disk of its own, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).expect("a folder");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).status();
        assert!(done.is_ok_and(|status| status.success()), "a tmpfs could not be mounted: run this as root");
        Self(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_waited_for() {
    let fixture = Fixture::new();
    fixture.produce(0..100_000, 0);
    let disk = Disk::mount(fixture.path("disk"), "size=256k");
    let mut pipeline = fixture.pipeline();
    pipeline.sink = Some(format!("directory:\n    folder: {}", disk.0.display()));
    let (mut aqueduct, port) = fixture.run(&pipeline);
    not_ready(port, "disk");
    let grown = Command::new("mount").args(["-o", "remount,size=64m"]).arg(&disk.0).status();
    assert!(grown.is_ok_and(|status| status.success()), "the disk did not grow");
    fixture.until_done(Duration::from_secs(90));
    aqueduct.stop();
    let written = objects(&disk.0);
    check(&fixture.kafka.read(TOPIC), &written).assert_exact();
}
