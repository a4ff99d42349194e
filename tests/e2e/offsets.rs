//! `aqueduct offsets`: shows, refuses while the pipeline runs, shows what it would do, and does it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aqueduct_tests::{Aqueduct, Folder, Kafka, Load, Prometheus, binary, free_ports, until};

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn aqueduct(folder: &Path, arguments: &[&str]) -> Said {
    let done = Command::new(binary()).args(arguments).current_dir(folder).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}

/// Words of the lines of a table that name a partition.
fn rows(said: &Said) -> Vec<Vec<String>> {
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let lines = said.out.lines().filter(|line| line.starts_with("  orders/"));
    lines.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

fn pipeline(kafka: &Kafka, more: &str) -> String {
    format!(
        "pipeline: lake\nsource: {{ kafka: {{ connection: {{ brokers: \"{}\" }}, {more}, session_timeout: 6s }} }}\nsink: discard\n",
        kafka.brokers()
    )
}

fn fill(kafka: &Kafka) {
    kafka.create_topic("orders", 2);
    kafka.produce(&Load { topic: "orders".into(), ids: 0..1_000, keys: 97, rate: 0 });
}

/// Runs it until the group has committed everything.
fn run(folder: &Folder, kafka: &Kafka) {
    let mut running = Aqueduct::spawn(folder.path(), &["run", "lake.yaml"], &[]);
    until("all is committed", Duration::from_secs(60), || (kafka.lag("lake", "orders") == 0).then_some(()));
    running.stop();
}

#[test]
fn shows_first_and_moves_only_what_nobody_reads() {
    let (kafka, folder) = (Kafka::start(), Folder::new("offsets"));
    fill(&kafka);
    folder.write("lake.yaml", &pipeline(&kafka, "topics: [orders]"));
    let at = |said: &Said, column: usize| -> Vec<String> {
        rows(said).into_iter().map(|row| row[column].clone()).collect()
    };
    let show = || aqueduct(folder.path(), &["offsets", "show", "lake"]);
    assert_eq!(at(&show(), 1), ["-", "-"], "nothing is stored yet");
    assert_eq!(at(&show(), 4), ["-", "-"]);

    let mut running = Aqueduct::spawn(folder.path(), &["run", "lake.yaml"], &[]);
    until("all is committed", Duration::from_secs(60), || (kafka.lag("lake", "orders") == 0).then_some(()));
    let set = ["offsets", "set", "lake", "--to", "earliest", "--apply"];
    let refused = aqueduct(folder.path(), &set);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("group `lake` is in use: aqueduct-lake-0 on 127.0.0.1"), "{}", refused.err);
    running.stop();

    let ends: Vec<i64> = kafka.progress("lake", "orders").iter().map(|(_, end)| *end).collect();
    let dry = aqueduct(folder.path(), &set[..5]);
    assert_eq!(rows(&dry)[0], ["orders/0", &ends[0].to_string(), "0", "repeats", &ends[0].to_string()]);
    assert!(dry.out.contains("nothing was changed; add --apply to do it"), "{}", dry.out);
    assert_eq!(kafka.lag("lake", "orders"), 0, "nothing was changed");

    let move_to = |to: &[&str]| {
        let said = aqueduct(folder.path(), &[&["offsets", "set", "lake.yaml", "--apply"], to].concat());
        assert!(said.out.contains("stored"), "{to:?}: {}{}", said.out, said.err);
        kafka.progress("lake", "orders").iter().map(|(stored, _)| *stored).collect::<Vec<_>>()
    };
    assert_eq!(move_to(&["--to", "earliest", "--partition", "orders/1"]), [ends[0], 0]);
    assert_eq!(move_to(&["--to", "-10"]), [ends[0] - 10, 0], "not before the first");
    assert_eq!(move_to(&["--to", "+3"]), [ends[0] - 7, 3]);
    assert_eq!(move_to(&["--to", "5"]), [5, 5]);
    assert_eq!(move_to(&["--to", "999999"]), ends, "not behind the end");
    assert_eq!(move_to(&["--to", "2020-01-01T00:00:00Z"]), [0, 0]);
    assert_eq!(move_to(&["--to", "2100-01-01T00:00:00Z"]), ends);
    folder.write("saved.csv", "orders,1,7\n");
    assert_eq!(move_to(&["--from-file", "saved.csv"]), [ends[0], 7]);
    let saved = aqueduct(folder.path(), &["offsets", "show", "lake", "--json"]);
    folder.write("saved.json", &saved.out);
    assert_eq!(move_to(&["--to", "earliest"]), [0, 0]);
    assert_eq!(move_to(&["--from-file", "saved.json"]), [ends[0], 7]);

    for (arguments, says) in [
        (["--to", "earliest", "--partition", "orders/9"], "does not read a partition `orders/9`"),
        (["--to", "soon", "--partition", "orders/1"], "`soon` is not an offset"),
    ] {
        let said = aqueduct(folder.path(), &[&["offsets", "set", "lake"], &arguments[..]].concat());
        assert_eq!(said.code, Some(1));
        assert!(said.err.contains(says), "{}", said.err);
    }
    let said = aqueduct(folder.path(), &["offsets", "set", "lakes", "--to", "latest"]);
    assert!(said.code == Some(2) && said.err.contains("there are lake"), "{}", said.err);
    run(&folder, &kafka);
}

#[test]
fn a_pipeline_whose_next_records_were_deleted_goes_on_where_it_is_set() {
    let (kafka, folder) = (Kafka::start(), Folder::new("lost"));
    fill(&kafka);
    folder.write("lake.yaml", &pipeline(&kafka, "topics: [orders]"));
    run(&folder, &kafka);
    let said = aqueduct(folder.path(), &["offsets", "set", "lake", "--to", "5", "--apply"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    kafka.delete_records("orders", 1, 100);
    let mut running = Aqueduct::spawn(folder.path(), &["run", "lake.yaml"], &[]);
    let status = running.wait(Duration::from_secs(60));
    assert_eq!(status.code(), Some(1), "{}", running.output());
    let says = "records of partition 1 of `orders` were deleted before they were read: offsets 5 to 99";
    assert!(running.output().contains(says), "{}", running.output());
    assert!(!running.output().contains("started again"), "{}", running.output());
    // The command as the message gives it.
    let remedy = "offsets set lake --partition orders/1 --to earliest";
    assert!(running.output().contains(remedy), "{}", running.output());
    let arguments: Vec<&str> = remedy.split(' ').chain(["--apply"]).collect();
    assert_eq!(rows(&aqueduct(folder.path(), &arguments))[0], ["orders/1", "5", "100", "skips", "95"]);
    run(&folder, &kafka);
}

#[test]
fn offsets_that_the_cluster_forgot_come_back_from_prometheus() {
    let (kafka, folder, port) = (Kafka::start(), Folder::new("prometheus"), free_ports(1));
    fill(&kafka);
    folder.write("lake.yaml", &pipeline(&kafka, "topics: [orders]"));
    folder.write("aqueduct.yaml", &format!("runtime: {{ listen: \"127.0.0.1:{port}\" }}\n"));
    let config = Folder::new("scrape");
    config.write(
        "prometheus.yml",
        &format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: aqueduct\n    static_configs: [{{ targets: [\"127.0.0.1:{port}\"] }}]\n"
        ),
    );
    let prometheus = Prometheus::start(config);
    let mut running = Aqueduct::spawn(folder.path(), &["run", "lake.yaml"], &[]);
    until("all is committed", Duration::from_secs(60), || (kafka.lag("lake", "orders") == 0).then_some(()));
    let ends: Vec<i64> = kafka.progress("lake", "orders").iter().map(|(_, end)| *end).collect();
    until("Prometheus has seen it", Duration::from_secs(60), || {
        let found = prometheus.query("sum(aqueduct_committed_offset)");
        found.iter().any(|sample| sample["value"][1] == "1000").then_some(())
    });
    running.stop();
    kafka.delete_group("lake");
    assert_eq!(kafka.committed("lake", "orders"), 0);
    let url = prometheus.url();
    let set = ["offsets", "set", "lake", "--from-prometheus", &url, "--apply"];
    let said = aqueduct(folder.path(), &set);
    let new: Vec<i64> = rows(&said).iter().map(|row| row[2].parse().expect("an offset")).collect();
    assert_eq!(new, ends, "{}", said.out);
    assert_eq!(kafka.lag("lake", "orders"), 0);
    let other = aqueduct(folder.path(), &[&set[..5], &["--metric", "kafka_lag_exporter"]].concat());
    assert_eq!(other.code, Some(1));
    assert!(other.err.contains("remembers nothing of kafka_consumergroup_group_offset"), "{}", other.err);
}

/// A page of metrics as an exporter serves it, for as long as the test lives.
fn exporter(page: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
            let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{page}", page.len());
        }
    });
    port
}

#[test]
fn offsets_come_from_a_lag_exporter_through_a_prometheus_with_tls() {
    let (kafka, folder, config) = (Kafka::start(), Folder::new("exporter"), Folder::new("scrape-tls"));
    fill(&kafka);
    folder.write("lake.yaml", &pipeline(&kafka, "topics: [orders], group: readers"));
    // As kafka-lag-exporter names them; another group stands beside ours.
    let sample = |group: &str, partition: i32, offset: i64| {
        format!(
            "kafka_consumergroup_group_offset{{cluster_name=\"main\",group=\"{group}\",topic=\"orders\",\
             partition=\"{partition}\",member_host=\"/10.0.0.7\",consumer_id=\"c-1\",client_id=\"c\"}} {offset}.0\n"
        )
    };
    let page = "# TYPE kafka_consumergroup_group_offset gauge\n".to_owned()
        + &sample("readers", 0, 123)
        + &sample("readers", 1, 45)
        + &sample("others", 0, 7);
    let port = exporter(page);
    config.write(
        "prometheus.yml",
        &format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: lag\n    static_configs: [{{ targets: [\"127.0.0.1:{port}\"] }}]\n"
        ),
    );
    let file = |name: &str| kafka.certificate(name).display().to_string();
    config.write(
        "web.yml",
        &format!(
            "tls_server_config:\n  cert_file: {}\n  key_file: {}\n",
            file("server.crt"),
            file("server.key")
        ),
    );
    let prometheus = Prometheus::start(config);
    let url = prometheus.url();
    assert!(url.starts_with("https:"), "{url}");
    let set = |ca: &str| {
        let from = ["offsets", "set", "lake", "--from-prometheus", &url, "--metric", "kafka_lag_exporter"];
        aqueduct(folder.path(), &[&from[..], &["--ca", ca, "--apply"]].concat())
    };
    let distrusted = set(&file("ca-other.crt"));
    assert_eq!(distrusted.code, Some(1), "{}", distrusted.out);
    assert!(distrusted.err.contains("Prometheus does not tell offsets: "), "{}", distrusted.err);
    let said = until("Prometheus has scraped it", Duration::from_secs(60), || {
        Some(set(&file("ca.crt"))).filter(|said| !said.err.contains("remembers nothing of"))
    });
    let new: Vec<String> = rows(&said).into_iter().map(|row| row[2].clone()).collect();
    assert_eq!(new, ["123", "45"]);
    let stored: Vec<i64> = kafka.progress("readers", "orders").iter().map(|(stored, _)| *stored).collect();
    assert_eq!(stored, [123, 45]);
}

#[test]
fn named_partitions_keep_their_offsets_in_a_file() {
    let (kafka, folder) = (Kafka::start(), Folder::new("file"));
    fill(&kafka);
    let end = kafka.progress("lake", "orders")[1].1.to_string();
    let text =
        pipeline(&kafka, "partitions: { orders: [1] }") + "offset_store: { file: { path: ./offsets } }\n";
    folder.write("lake.yaml", &text);
    let show = || rows(&aqueduct(folder.path(), &["offsets", "show", "lake"])).remove(0);
    let mut running = Aqueduct::spawn(folder.path(), &["run", "lake.yaml"], &[]);
    until("all is stored", Duration::from_secs(60), || (show()[1] == end).then_some(()));
    running.stop();
    assert_eq!(kafka.committed("lake", "orders"), 0, "the group has nothing");
    let said = aqueduct(folder.path(), &["offsets", "set", "lake", "--to", "-10", "--apply"]);
    assert!(said.out.contains("repeats 10"), "{}{}", said.out, said.err);
    assert_eq!(show()[4], "10");
    let mut running = Aqueduct::spawn(folder.path(), &["run", "lake.yaml"], &[]);
    until("all is stored again", Duration::from_secs(60), || (show()[4] == "0").then_some(()));
    running.stop();

    // A group's partitions move between processes, and a file does not.
    let text = text.replace("partitions: { orders: [1] }", "topics: [orders]");
    folder.write("lake.yaml", &text);
    let said = aqueduct(folder.path(), &["check", "lake.yaml"]);
    assert!(said.code == Some(2) && said.err.contains("keeps its offsets itself"), "{}", said.err);
    folder.write("lake.yaml", &text.replace("{ file: { path: ./offsets } }", "kafka"));
    assert_eq!(aqueduct(folder.path(), &["check", "lake.yaml"]).code, Some(0));
}
