//! What most tests here have in common: a broker, a bucket, a pipeline between them, and the check whether all has arrived.

use std::path::PathBuf;
use std::time::Duration;

use aqueduct_tests::{
    Aqueduct, Folder, Kafka, Load, Report, S3, Stored, check, free_ports, objects, request, until,
};

/// The topic, the bucket and the pipeline of every test.
pub(crate) const TOPIC: &str = "orders";
pub(crate) const BUCKET: &str = "lake";
pub(crate) const PIPELINE: &str = "orders-to-lake";

/// The session of a killed member ends soon, so that the next one need not wait long.
pub(crate) const GROUP: &str = "session_timeout: 2s";

/// Servers and files.
pub(crate) struct Fixture {
    pub(crate) folder: Folder,
    pub(crate) kafka: Kafka,
    pub(crate) s3: S3,
}

/// What differs from test to test in the pipeline file.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) kafka_port: u16,
    pub(crate) s3_port: u16,
    pub(crate) secret: &'static str,
    pub(crate) bucket: &'static str,
    /// The block of the sink, where it is not the bucket.
    pub(crate) sink: Option<String>,
    pub(crate) compression: &'static str,
    pub(crate) rotate: &'static str,
}

impl Fixture {
    /// A broker with the topic of six partitions, an S3 server with the bucket.
    pub(crate) fn new() -> Self {
        let fixture = Self { folder: Folder::new("fixture"), kafka: Kafka::start(), s3: S3::start() };
        fixture.kafka.create_topic(TOPIC, 6);
        fixture.s3.create_bucket(BUCKET);
        fixture
    }

    /// A pipeline without a fault.
    pub(crate) fn pipeline(&self) -> Pipeline {
        Pipeline {
            kafka_port: self.kafka.port,
            s3_port: self.s3.port,
            secret: "testtest",
            bucket: BUCKET,
            sink: None,
            compression: "zstd",
            rotate: "{ records_max: 2_000, bytes_max: 1MiB, age_max: 500ms }",
        }
    }

    /// Runs a pipeline; its health is served at the port.
    pub(crate) fn run(&self, pipeline: &Pipeline) -> (Aqueduct, u16) {
        self.run_text(&pipeline.text())
    }

    /// The same, of a file.
    pub(crate) fn run_text(&self, text: &str) -> (Aqueduct, u16) {
        let port = free_ports(1);
        let folder = self.folder.path().join(format!("run-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("pipeline.yaml"), text).expect("a file");
        let settings = format!("runtime: {{ listen: \"127.0.0.1:{port}\" }}\n");
        std::fs::write(folder.join("aqueduct.yaml"), settings).expect("a file");
        (Aqueduct::spawn(&folder, &["run", "pipeline.yaml"], &[]), port)
    }

    /// Puts these ids into the topic.
    pub(crate) fn produce(&self, ids: std::ops::Range<u64>, rate: u64) {
        self.kafka.produce(&Load { topic: TOPIC.into(), ids, keys: 997, rate });
    }

    /// Everything that the bucket holds.
    pub(crate) fn bucket(&self) -> Vec<Stored> {
        objects(&self.s3.bucket(BUCKET))
    }

    /// Waits until the group has committed the whole topic.
    pub(crate) fn until_done(&self, limit: Duration) {
        until("the group has committed the whole topic", limit, || {
            (self.kafka.lag(PIPELINE, TOPIC) == 0).then_some(())
        });
    }

    /// Compares the bucket with the topic.
    pub(crate) fn check(&self) -> Report {
        check(&self.kafka.read(TOPIC), &self.bucket())
    }

    /// A path in the folder of this test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Pipeline {
    /// The file.
    pub(crate) fn text(&self) -> String {
        let Self { kafka_port, s3_port, secret, bucket, sink, compression, rotate } = self;
        let connection = format!(
            "{{ bucket: {bucket}, region: us-east-1, endpoint: \"http://127.0.0.1:{s3_port}\", path_style: true, \
             access_key: test, secret_key: {secret} }}"
        );
        let end = sink.clone().unwrap_or_else(|| format!("s3:\n    connection: {connection}"));
        format!(
            "pipeline: {PIPELINE}\n\
             source:\n  kafka: {{ connection: {{ brokers: \"127.0.0.1:{kafka_port}\" }}, topics: [{TOPIC}], {GROUP} }}\n\
             sink:\n  {end}\n    path: \"{{topic}}/{{partition}}-{{start_offset}}\"\n    \
             format: {{ json_lines: {{ compression: {compression} }} }}\n    rotate: {rotate}\n"
        )
    }
}

/// Waits until `/readyz` says no, and its lines name this reason.
pub(crate) fn not_ready(port: u16, because: &str) {
    let mut last = String::new();
    until(&format!("/readyz says `{because}`"), Duration::from_secs(40), || {
        let (status, body) = request(port, "GET", "/readyz?verbose", "").ok()?;
        if body != last {
            println!("{status} {body}");
            last.clone_from(&body);
        }
        (status == 503 && body.contains(because)).then_some(())
    });
}
