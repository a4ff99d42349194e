//! Many runners of one pipeline, between two topics of a cluster or from a topic into a folder, and a watcher of the group's
//! offsets: they may never move back.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_tests::{Aqueduct, Folder, Kafka, Load, Report, Signal, check, free_ports, objects, until};
use tokio::time::Instant;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const COPY: &str = "copy";
pub(crate) const PIPELINE: &str = "runners";
pub(crate) const PARTITIONS: i32 = 12;

/// A cluster with the two topics, and what the runners of the test have in common.
pub(crate) struct Runners {
    pub(crate) kafka: Kafka,
    pub(crate) folder: Folder,
    /// Its bootstrap servers.
    pub(crate) brokers: String,
    /// More keys of both connections, each with a comma before it.
    tls: String,
    /// What they read.
    pub(crate) topics: String,
    /// More keys of `source.kafka`, each with a comma before it.
    pub(crate) source: String,
    /// The sink's block.
    pub(crate) sink: String,
    /// Each is a static member of the group.
    named: bool,
    /// More lines of the file.
    more: &'static str,
}

/// What the watcher saw.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The longest time in which no offset was committed.
    pub(crate) longest_pause: Duration,
    /// Offsets that moved back: partition, from, to.
    pub(crate) back: Vec<(usize, i64, i64)>,
}

impl Runners {
    /// On this cluster, copying to the topic `copy`.
    pub(crate) fn of(kafka: Kafka) -> Self {
        kafka.create_topic(TOPIC, PARTITIONS);
        let source = ", session_timeout: 2s".to_owned();
        let (folder, brokers, topics) = (Folder::new("runners"), kafka.brokers(), format!("[{TOPIC}]"));
        let (tls, sink, more) = (String::new(), String::new(), "");
        let mut runners = Self { kafka, folder, brokers, tls, topics, source, sink, named: false, more };
        runners.sink = runners.copying_to(COPY);
        runners
    }

    /// Where the files of a directory sink are.
    pub(crate) fn lake(&self) -> PathBuf {
        self.folder.path().join("lake")
    }

    /// The block of a sink that copies into this topic of the cluster, which keeps the time of each append.
    pub(crate) fn copying_to(&self, topic: &str) -> String {
        self.kafka.create_topic_with(topic, PARTITIONS, &[("message.timestamp.type", "LogAppendTime")]);
        format!("kafka: {{ connection: {{ brokers: \"{}\" }}, topic: {topic} }}", self.kafka.brokers())
    }

    /// The same with other keys of the source.
    pub(crate) fn reading(mut self, source: &str) -> Self {
        self.source = source.to_owned();
        self
    }

    /// The same as static members.
    pub(crate) fn named(mut self) -> Self {
        self.named = true;
        self
    }

    /// The same as the user `client`, whose certificate and key are copies in the folder of the test.
    pub(crate) fn over_tls(mut self) -> Self {
        let (kafka, folder) = (&self.kafka, self.folder.path());
        for name in ["client.crt", "client.key"] {
            std::fs::copy(kafka.certificate(name), folder.join(name)).expect("a copy");
        }
        kafka.allow("User:client", &format!("topic:{TOPIC}"), &["Read", "Describe"]);
        kafka.allow("User:client", &format!("topic:{COPY}"), &["Write", "Describe"]);
        kafka.allow("User:client", &format!("group:{PIPELINE}"), &["Read"]);
        self.brokers = kafka.tls_brokers();
        self.tls = format!(
            ", tls: {{ ca: {0}, certificate: {1}/client.crt, key: {1}/client.key }}",
            kafka.certificate("ca.crt").display(),
            folder.display()
        );
        let (brokers, tls) = (&self.brokers, &self.tls);
        self.sink = format!("kafka: {{ connection: {{ brokers: \"{brokers}\"{tls} }}, topic: {COPY} }}");
        self
    }

    /// The same with data and offsets in one transaction.
    pub(crate) fn exactly_once(mut self) -> Self {
        self.more = "delivery: exactly_once\n";
        self
    }

    /// Whether it is.
    pub(crate) fn is_exactly_once(&self) -> bool {
        !self.more.is_empty()
    }

    /// The same into a folder.
    pub(crate) fn into_folder(mut self) -> Self {
        let lake = self.lake();
        self.sink = format!(
            "directory: {{ folder: {}, path: \"{{topic}}/{{partition}}-{{start_offset}}\", \
             format: {{ json_lines: {{ compression: none }} }}, rotate: {{ records_max: 2_000, age_max: 500ms }} }}",
            lake.display()
        );
        self
    }

    /// One more runner.
    pub(crate) fn run(&self) -> Aqueduct {
        self.run_with(&self.sink)
    }

    /// One with a number, which names it where members are static.
    pub(crate) fn run_as(&self, number: usize) -> Aqueduct {
        let name = if self.named { format!(", instance_id: runner-{number}") } else { String::new() };
        self.start(&self.sink, &name)
    }

    /// One with another sink.
    pub(crate) fn run_with(&self, sink: &str) -> Aqueduct {
        self.start(sink, "")
    }

    fn start(&self, sink: &str, name: &str) -> Aqueduct {
        let folder = self.folder.path().join(format!("run-{}", free_ports(1)));
        std::fs::create_dir_all(&folder).expect("a folder");
        let text = format!(
            "pipeline: {PIPELINE}\n\
             source: {{ kafka: {{ connection: {{ brokers: \"{}\"{} }}, topics: {}{}{name} }} }}\n\
             sink: {{ {sink} }}\n{}",
            self.brokers, self.tls, self.topics, self.source, self.more
        );
        std::fs::write(folder.join("pipeline.yaml"), text).expect("a file");
        Aqueduct::spawn(&folder, &["run", "pipeline.yaml"], &[])
    }

    /// The same, once it has partitions.
    pub(crate) fn run_until_assigned(&self) -> Aqueduct {
        let mut runner = self.run();
        runner.says("partitions assigned", Duration::from_secs(30));
        runner
    }

    /// Puts records into the topic as long as the answer is yes.
    pub(crate) fn produce(&self, rate: u64, go_on: &AtomicBool) -> u64 {
        let load = Load { topic: TOPIC.into(), ids: 0..u64::MAX, keys: 997, rate };
        self.kafka.produce_while(&load, || go_on.load(Ordering::Relaxed)).end
    }

    /// Watches the group's offsets for as long as the answer is yes.
    pub(crate) fn watch(&self, go_on: &AtomicBool) -> Watched {
        let watch = self.kafka.watch(PIPELINE, TOPIC);
        let (mut watched, mut before, mut moved) = (Watched::default(), Vec::new(), Instant::now());
        while go_on.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            let Some(now) = watch.progress() else { continue };
            let now: Vec<i64> = now.into_iter().map(|(committed, _)| committed).collect();
            for (partition, (from, to)) in before.iter().zip(&now).enumerate() {
                if to < from {
                    watched.back.push((partition, *from, *to));
                }
            }
            if now != before {
                if !before.is_empty() {
                    watched.longest_pause = watched.longest_pause.max(moved.elapsed());
                }
                (before, moved) = (now, Instant::now());
            }
        }
        watched
    }

    /// Waits until all of the topic is committed.
    pub(crate) fn until_done(&self, limit: Duration) {
        let watch = self.kafka.watch(PIPELINE, TOPIC);
        until("the group has committed the whole topic", limit, || {
            let progress = watch.progress()?;
            progress.iter().all(|(committed, end)| committed == end).then_some(())
        });
    }

    /// Compares what arrived with the topic.
    pub(crate) fn check(&self) -> Report {
        let topic = self.kafka.read(TOPIC);
        let lake = self.lake();
        check(&topic, &if lake.exists() { objects(&lake) } else { self.kafka.read(COPY) })
    }
}

/// Stops one in good order, and returns how long that took.
pub(crate) fn stop(runner: &mut Aqueduct) -> Duration {
    let begun = Instant::now();
    runner.stop();
    begun.elapsed()
}

/// Suspends the process, as if its machine were suspended.
pub(crate) fn freeze(runner: &Aqueduct) {
    runner.signal(Signal::STOP);
}

/// Resumes the process.
pub(crate) fn thaw(runner: &Aqueduct) {
    runner.signal(Signal::CONT);
}
