//! The tools people have at hand: kcat, the console tools of Apache Kafka, and Confluent's Python client.

#![allow(clippy::unwrap_used)]

mod probe;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use aqueduct_devserver::Registry;
use probe::Dev;

/// Runs a tool to its end and gives its standard output; a tool that is missing or fails is a failed test.
fn run(command: &mut Command, input: &str) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("this test needs `{name}`: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
    out.into_owned()
}

fn kcat(dev: &Dev, arguments: &[&str], input: &str) -> String {
    run(Command::new("timeout").args(["60", "kcat", "-b", &dev.address()]).args(arguments), input)
}

fn java(dev: &Dev, class: &str, arguments: &[&str], input: &str) -> String {
    let class = format!("org.apache.kafka.tools.{class}");
    let mut command = Command::new("timeout");
    command.args(["90", "java", "-Xmx128m", "-cp", &format!("{}/*", libs().display()), &class]);
    run(command.args(["--bootstrap-server", &dev.address()]).args(arguments), input)
}

/// The folder of Apache Kafka's own jars, which the services of the end-to-end tests fetch.
fn libs() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = set("AQUEDUCT_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("aqueduct")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/aqueduct")))
        .expect("one of AQUEDUCT_CACHE, XDG_CACHE_HOME and HOME is set");
    let libs = cache.join("kafka-4.3.0/libs");
    let tools = libs.join("kafka-tools-4.3.0.jar");
    assert!(tools.is_file(), "this test needs {}: run tests/run, which fetches it", tools.display());
    libs
}

#[test]
fn kcat_produces_and_a_java_group_consumes() {
    let dev = Dev::with_topic("orders", 2);
    kcat(&dev, &["-P", "-t", "orders", "-K", ":", "-z", "snappy"], "a:1\nb:2\nc:3\n");
    let arguments = ["--topic", "orders", "--from-beginning", "--group", "java", "--max-messages", "3"];
    let print = ["--formatter-property", "print.key=true"];
    let read = java(&dev, "consumer.ConsoleConsumer", &[&arguments[..], &print].concat(), "");
    let mut lines: Vec<&str> = read.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a\t1", "b\t2", "c\t3"]);

    let described = java(&dev, "consumer.group.ConsumerGroupCommand", &["--describe", "--group", "java"], "");
    let fields: Vec<Vec<&str>> = described.lines().map(|line| line.split_whitespace().collect()).collect();
    let rows = fields.iter().filter(|row| row.first() == Some(&"java"));
    let (mut at, mut partitions) = (0, Vec::new());
    for row in rows {
        assert_eq!((row[1], row[3], row[5]), ("orders", row[4], "0"), "{described}");
        partitions.push(row[2]);
        at += row[3].parse::<i32>().unwrap();
    }
    partitions.sort_unstable();
    assert_eq!((at, partitions), (3, vec!["0", "1"]));
}

#[test]
fn java_produces_and_kcat_consumes() {
    let dev = Dev::with_topic("orders", 1);
    let arguments =
        ["--topic", "orders", "--reader-property", "parse.key=true", "--compression-codec", "lz4"];
    java(&dev, "ConsoleProducer", &arguments, "a\t1\nb\t2\n");
    let format = ["-C", "-q", "-e", "-t", "orders", "-f", "%p %o %k=%s\n"];
    assert_eq!(kcat(&dev, &format, ""), "0 0 a=1\n0 1 b=2\n");
    assert_eq!(kcat(&dev, &["-G", "kcat", "-q", "-e", "-o", "beginning", "orders"], ""), "1\n2\n");
}

#[test]
fn topics_are_managed_by_the_java_tools_and_listed_by_kcat() {
    let dev = Dev::with_topic("orders", 1);
    let settings = ["--partitions", "3", "--config", "retention.ms=1000"];
    java(&dev, "TopicCommand", &[&["--create", "--topic", "lake"], &settings[..]].concat(), "");
    let described = java(&dev, "TopicCommand", &["--describe", "--topic", "lake"], "");
    assert!(described.contains("PartitionCount: 3"), "{described}");
    assert!(described.contains("retention.ms=1000"), "{described}");
    assert!(described.contains("Partition: 2\tLeader: 1\tReplicas: 1\tIsr: 1"), "{described}");
    java(&dev, "TopicCommand", &["--alter", "--topic", "lake", "--partitions", "5"], "");
    java(&dev, "TopicCommand", &["--delete", "--topic", "orders"], "");
    let listed = kcat(&dev, &["-L"], "");
    assert!(listed.contains("topic \"lake\" with 5 partitions"), "{listed}");
    assert!(!listed.contains("orders"), "{listed}");
}

#[test]
fn confluents_serializers_write_read_evolve_and_are_refused() {
    let dev = Dev::with_topic("orders", 1);
    let registry = dev.runtime.block_on(Registry::start(([127, 0, 0, 1], 0).into())).unwrap();
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let mut command = Command::new("timeout");
    command.args(["300", &format!("{here}/../../tests/services/confluent_python.sh")]);
    command.args([&format!("{here}/tests/serializers.py"), &dev.address(), &registry.url()]);
    let expected = [
        "read 0000000001 {'id': 1, 'note': 'none'}",
        "read 0000000002 {'id': 2, 'note': 'ring twice'}",
        "subjects ['orders-value'] [1, 2]",
        "latest 2 2 AVRO",
        "lookup 1",
        "same id 2",
        "compatible True False",
        "refused 409 40901 True",
        "config FULL FULL",
        "references [('Address', 'address', 1)]",
        "unknown 404 40403",
        "deleted 2 [1] [1, 2]",
    ];
    assert_eq!(run(&mut command, "").lines().collect::<Vec<_>>(), expected);
    dev.runtime.block_on(registry.stop());
}
