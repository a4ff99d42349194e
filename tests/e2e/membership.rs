//! The members of the group: after failures, after kills, beside others, without partitions, and what a runner reports
//! meanwhile. Sessions last 45 s here, as in production: none of this may wait for the end of one.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use aqueduct_tests::{Aqueduct, Folder, Kafka, Load, free_ports, request, until};
use tokio::time::Instant;

const TOPIC: &str = "orders";
const PIPELINE: &str = "members";
/// Far below a session, and far beyond what a busy machine needs.
const SOON: Duration = Duration::from_secs(15);

/// A broker, and a folder for what runners write.
struct Fixture {
    kafka: Kafka,
    folder: Folder,
    produced: u64,
    /// More keys of `source.kafka`, each with a comma before it.
    source: &'static str,
    /// More lines of the file.
    more: &'static str,
}

impl Fixture {
    fn new(partitions: i32) -> Self {
        let kafka = Kafka::start();
        kafka.create_topic(TOPIC, partitions);
        Self { kafka, folder: Folder::new("members"), produced: 0, source: "", more: "" }
    }

    fn produce(&mut self, count: u64) {
        let ids = self.produced..self.produced + count;
        self.produced = ids.end;
        self.kafka.produce_uniform(&Load { topic: TOPIC.into(), ids, keys: 97, rate: 0 });
    }

    /// The folder in which runners keep their member files.
    fn state(&self) -> PathBuf {
        let state = self.folder.path().join("state");
        fs::create_dir_all(&state).expect("a folder");
        state
    }

    /// What they have written.
    fn written(&self) -> u64 {
        let files = fs::read_dir(self.folder.path()).expect("the folder").map(|entry| entry.expect("one"));
        let out = files.filter(|entry| entry.path().extension().is_some_and(|found| found == "jsonl"));
        out.map(|entry| entry.metadata().map_or(0, |out| out.len())).sum()
    }

    /// A runner, and the port of its health. Without a state folder it has no member file.
    fn run(&self, state: Option<&Path>) -> (Aqueduct, u16) {
        let port = free_ports(1);
        let folder = self.folder.path().join(format!("run-{port}"));
        fs::create_dir_all(&folder).expect("a folder");
        let out = self.folder.path().join(format!("out-{port}.jsonl"));
        let text = format!(
            "pipeline: {PIPELINE}\n\
             source: {{ kafka: {{ connection: {{ brokers: \"{}\" }}, topics: [{TOPIC}]{} }}, value: json }}\n\
             sink: {{ file: {{ path: {} }} }}\n{}",
            self.kafka.brokers(),
            self.source,
            out.display(),
            self.more
        );
        fs::write(folder.join("pipeline.yaml"), text).expect("a file");
        let settings = format!("runtime: {{ listen: \"127.0.0.1:{port}\" }}\n");
        fs::write(folder.join("aqueduct.yaml"), settings).expect("a file");
        let state = state.map_or("/proc/nowhere".into(), |state| state.display().to_string());
        let environment = [("XDG_RUNTIME_DIR", state.as_str()), ("TMPDIR", "/proc/nowhere")];
        (Aqueduct::spawn(&folder, &["run", "pipeline.yaml"], &environment), port)
    }

    /// Waits until something more is written, and returns how long that took.
    fn until_more(&self, than: u64) -> Duration {
        let begun = Instant::now();
        until("more is written", Duration::from_secs(60), || (self.written() > than).then_some(()));
        begun.elapsed()
    }

    fn until_done(&self) {
        until("all is committed", SOON * 2, || (self.kafka.lag(PIPELINE, TOPIC) == 0).then_some(()));
    }
}

fn ready(port: u16) -> (u16, String) {
    request(port, "GET", "/readyz?verbose", "").unwrap_or_default()
}

fn until_ready(port: u16, says: &str) {
    let mut last = String::new();
    until(&format!("/readyz says `{says}` with 200"), SOON, || {
        let (status, body) = ready(port);
        if body != last {
            println!("{status} {body}");
            last.clone_from(&body);
        }
        (status == 200 && body.contains(says)).then_some(())
    });
}

#[test]
fn after_a_kill_the_same_host_reads_on_at_once() {
    for protocol in ["classic", "consumer"] {
        let mut fixture = Fixture::new(2);
        fixture.source = if protocol == "classic" { "" } else { ", group_protocol: consumer" };
        fixture.produce(100);
        let state = fixture.state();
        let (mut runner, _) = fixture.run(Some(&state));
        fixture.until_more(0);
        let mut slow = 0;
        for round in 0..10_u64 {
            // Every other one is killed at some moment of its start.
            if round % 2 == 1 {
                runner = fixture.run(Some(&state)).0;
                sleep(Duration::from_millis(round * 60));
            }
            runner.kill();
            let before = fixture.written();
            fixture.produce(100);
            runner = fixture.run(Some(&state)).0;
            let took = fixture.until_more(before);
            println!("{protocol} {round}: {} ms from the start to the first record", took.as_millis());
            slow += u32::from(took >= SOON);
            // A runner that is killed in the two milliseconds between its member id and its file is waited for.
            let missed = round % 2 == 1 && slow == 1;
            assert!(took < SOON || missed, "{protocol}, round {round}: {took:?}\n{}", runner.output());
        }
        fixture.until_done();
        runner.stop();
        let left: Vec<_> = fs::read_dir(state.join("aqueduct")).expect("the folder").collect();
        assert!(left.is_empty(), "a member that leaves deletes its file: {left:?}");
    }
}

#[test]
fn a_pipeline_that_fails_leaves_its_group() {
    for tasks in ["", "tasks: 3\n"] {
        let mut fixture = Fixture::new(4);
        fixture.more = tasks;
        fixture.produce(1_000);
        let bad = Load { topic: TOPIC.into(), ids: 0..1, keys: 1, rate: 0 };
        fixture.kafka.produce_values(&bad, |_, _| b"no json".to_vec(), || true);
        // Nothing but its own leaving removes it from the group.
        let (mut failing, _) = fixture.run(None);
        let status = failing.wait(SOON * 2);
        assert_eq!(status.code(), Some(1), "{}", failing.output());
        assert_eq!(fixture.kafka.members(PIPELINE), Vec::<String>::new(), "{}", failing.output());
        let before = fixture.written();
        fixture.more = if tasks.is_empty() {
            "errors: { on_bad_record: skip }\n"
        } else {
            "tasks: 3\nerrors: { on_bad_record: skip }\n"
        };
        fixture.produce(1_000);
        let (mut next, _) = fixture.run(None);
        let took = fixture.until_more(before);
        assert!(took < SOON, "{took:?}\n{}", next.output());
        fixture.until_done();
        next.stop();
    }
}

#[test]
fn runners_of_one_host_leave_each_other_alone() {
    let mut fixture = Fixture::new(4);
    fixture.produce(100);
    let state = fixture.state();
    let (mut first, port) = fixture.run(Some(&state));
    until_ready(port, "running");
    let (mut second, port) = fixture.run(Some(&state));
    until_ready(port, "running");
    until("both are members", SOON, || (fixture.kafka.members(PIPELINE).len() == 2).then_some(()));
    let members = fixture.kafka.members(PIPELINE);
    let (mut third, _) = fixture.run(Some(&state));
    until("the third is a member too", SOON, || (fixture.kafka.members(PIPELINE).len() == 3).then_some(()));
    let now = fixture.kafka.members(PIPELINE);
    assert!(members.iter().all(|member| now.contains(member)), "{members:?} {now:?}");
    third.kill();
    let (mut fourth, port) = fixture.run(Some(&state));
    until_ready(port, "running");
    until("the dead one is gone", SOON, || (fixture.kafka.members(PIPELINE).len() == 3).then_some(()));
    let now = fixture.kafka.members(PIPELINE);
    assert!(members.iter().all(|member| now.contains(member)), "{members:?} {now:?}");
    fixture.produce(1_000);
    fixture.until_done();
    let taken_out = |runner: &Aqueduct| runner.output().matches("was taken out of its group").count();
    assert_eq!([taken_out(&first), taken_out(&second), taken_out(&fourth)], [0, 0, 1]);
    for runner in [&mut first, &mut second, &mut fourth] {
        runner.stop();
        assert!(!runner.output().contains("lost=true"), "{}", runner.output());
    }
}

#[test]
fn one_without_a_partition_stands_by_and_takes_over() {
    for source in ["", ", group_protocol: consumer"] {
        let mut fixture = Fixture::new(1);
        fixture.source = source;
        fixture.produce(100);
        let (mut first, port) = fixture.run(None);
        until_ready(port, "members: running");
        let (mut second, port) = fixture.run(None);
        until_ready(port, "members: standing by: group `members` has no partition for this member");
        // Either of the two may have the partition.
        first.stop();
        until_ready(port, "members: running");
        let before = fixture.written();
        fixture.produce(100);
        assert!(fixture.until_more(before) < SOON);
        fixture.until_done();
        second.stop();
    }
    let mut fixture = Fixture::new(1);
    fixture.more = "tasks: 3\n";
    let (mut runner, port) = fixture.run(None);
    until_ready(port, "running, 2 of 3 tasks stand by");
    until_ready(port, "`tasks` is 3, and no more than 1 can read");
    runner.stop();
}

#[test]
fn a_group_that_gives_nothing_is_waited_for() {
    for source in [", session_timeout: 12s", ", group_protocol: consumer"] {
        let mut fixture = Fixture::new(2);
        fixture.source = source;
        fixture.produce(100);
        let (mut dead, _) = fixture.run(None);
        fixture.until_more(0);
        fixture.until_done();
        dead.kill();
        fixture.produce(100);
        let before = fixture.written();
        let (mut runner, port) = fixture.run(None);
        let begun = Instant::now();
        let mut said = String::new();
        while fixture.written() == before {
            assert!(begun.elapsed() < Duration::from_secs(60), "{}", runner.output());
            let (status, body) = ready(port);
            if body != said {
                println!("{:?} {status} {body}", begun.elapsed());
                said.clone_from(&body);
            }
            let has_some = runner.output().contains("partitions assigned");
            assert!(status == 503 || status == 0 || has_some, "{status} {body}");
            if body.contains("the group gave no partitions yet") {
                let metrics = request(port, "GET", "/metrics", "").unwrap_or_default().1;
                // They may have been assigned between the two requests.
                let still = ready(port).1.contains("the group gave no partitions yet");
                assert!(!still || !metrics.contains("aqueduct_lag_records{"), "{metrics}");
            }
            sleep(Duration::from_millis(50));
        }
        assert!(said.contains("running") || runner.output().contains("the group gave no partitions yet"));
        fixture.until_done();
        until_ready(port, "running");
        runner.stop();
    }
}

#[test]
fn what_lies_in_the_state_folder_does_no_harm() {
    let mut fixture = Fixture::new(2);
    fixture.produce(100);
    let state = fixture.state();
    let (mut runner, _) = fixture.run(Some(&state));
    fixture.until_more(0);
    let folder = state.join("aqueduct");
    let [member_file] = &fs::read_dir(&folder).expect("the folder").collect::<Vec<_>>()[..] else { panic!() };
    let text = fs::read_to_string(member_file.as_ref().expect("a file").path()).expect("a text");
    assert!(fixture.kafka.members(PIPELINE).iter().all(|member| text.contains(member.as_str())), "{text}");
    runner.stop();
    // Of a member that left long ago, damaged, and another program's.
    fs::write(folder.join("1-1-1.member"), &text).expect("a file");
    fs::write(folder.join("1-1-2.member"), &text[..text.len() / 2]).expect("a file");
    fs::write(folder.join("note"), "mine").expect("a file");
    fixture.produce(100);
    let before = fixture.written();
    let (mut runner, _) = fixture.run(Some(&state));
    assert!(fixture.until_more(before) < SOON);
    fixture.until_done();
    runner.stop();
    let left: Vec<_> =
        fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(left, ["note"]);
}
