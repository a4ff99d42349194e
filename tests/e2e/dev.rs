//! `aqueduct dev` with other people's clients: kcat and Kafka's own console tools, in both directions.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use aqueduct_tests::{Aqueduct, Folder, Signal, free_ports, lines, root};

/// Runs a client to its end, with this on its standard input: what it printed.
fn client(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}; tests/run installs it"));
    child.stdin.take().expect("a standard input").write_all(input.as_bytes()).expect("it reads");
    let done = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?} ended with {}: {said}", done.status);
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn java(class: &str, arguments: &[&str], input: &str) -> String {
    let tool = root().join("tests/services/kafka_tool.sh").display().to_string();
    let class = format!("org.apache.kafka.tools.{class}");
    client(&tool, &[&[class.as_str()], arguments].concat(), input)
}

#[test]
fn kcat_and_the_java_console_tools_are_clients_of_dev() {
    let folder = Folder::new("dev");
    let port = free_ports(1);
    let brokers = format!("127.0.0.1:{port}");
    // As JSON, which anybody can write by hand.
    let text = std::fs::read_to_string(root().join("pipelines/quickstart.yaml")).expect("the quickstart");
    let file = folder.path().join("json.yaml").display().to_string();
    std::fs::write(&file, text.replace("value: avro", "value: json")).expect("a file");
    let arguments = ["dev", &file, "--port", &port.to_string(), "--folder", "out", "--no-table"];
    let mut dev = Aqueduct::spawn(folder.path(), &arguments, &[]);
    dev.says(&brokers, Duration::from_secs(10));

    // What is generated is seen from outside.
    let orders = client("kcat", &["-b", &brokers, "-C", "-t", "shop.orders", "-c", "20", "-q"], "");
    assert_eq!(orders.lines().count(), 20);
    for order in orders.lines() {
        serde_json::from_str::<serde_json::Value>(order).expect("an order is JSON");
    }

    // kcat writes, Java reads in a group; Java writes, kcat reads.
    let text = "one\ntwo\nthree\n";
    client("kcat", &["-b", &brokers, "-P", "-t", "from.kcat"], text);
    let read =
        ["--bootstrap-server", &brokers, "--topic", "from.kcat", "--from-beginning", "--group", "readers"];
    assert_eq!(java("consumer.ConsoleConsumer", &[&read[..], &["--max-messages", "3"]].concat(), ""), text);
    java("ConsoleProducer", &["--bootstrap-server", &brokers, "--topic", "from.java"], text);
    let read = ["-b", &brokers, "-C", "-t", "from.java", "-o", "beginning", "-e", "-q"];
    assert_eq!(client("kcat", &read, ""), text);

    // An order by hand takes the way of the others.
    let by_hand = "{\"id\":\"by hand\"}\n";
    client("kcat", &["-b", &brokers, "-P", "-t", "shop.orders", "-k", "somebody"], by_hand);
    std::thread::sleep(Duration::from_secs(1));
    dev.signal(Signal::INT);
    let status = dev.wait(Duration::from_secs(30));
    assert!(status.success(), "Ctrl-C ended with {status}");
    let written = lines(&folder.path().join("out"));
    assert!(written.len() > 20, "only {} lines in the folder", written.len());
    assert_eq!(written.iter().filter(|line| line.2.contains("by hand")).count(), 1);
}

#[test]
fn the_quickstart_is_avro_with_a_registry_that_anybody_may_ask() {
    let folder = Folder::new("dev-avro");
    let port = free_ports(1);
    let brokers = format!("127.0.0.1:{port}");
    let file = root().join("pipelines/quickstart.yaml").display().to_string();
    let arguments = ["dev", &file, "--port", &port.to_string(), "--folder", "out", "--no-table"];
    let mut dev = Aqueduct::spawn(folder.path(), &arguments, &[]);
    dev.says("The schema registry is at ", Duration::from_secs(10));
    let said = dev.output();
    let (_, registry) = said.split_once("The schema registry is at ").expect("it was said");
    let registry = registry.split_whitespace().next().unwrap_or_default().trim_end_matches('.').to_owned();

    // What kcat reads begins with the id of a schema that the registry tells.
    let orders =
        client("kcat", &["-b", &brokers, "-C", "-t", "shop.orders", "-c", "20", "-q", "-f", "%S %s\n"], "");
    assert!(orders.contains('\0'), "no frame in {orders:?}");
    let schema =
        client("curl", &["-sS", &format!("{registry}/subjects/shop.orders-value/versions/latest")], "");
    assert!(schema.contains("shop") && schema.contains("\"id\":1"), "{schema}");
    let refused = r#"{"schema": "\"long\""}"#;
    let subject = format!("{registry}/subjects/shop.orders-value/versions");
    let refused = client("curl", &["-sS", "-d", refused, &subject], "");
    assert!(refused.contains("409"), "the registry takes whatever it is given: {refused}");
    std::thread::sleep(Duration::from_secs(1));
    dev.signal(Signal::INT);
    let status = dev.wait(Duration::from_secs(30));
    assert!(status.success(), "Ctrl-C ended with {status}");
    let written = lines(&folder.path().join("out"));
    assert!(written.len() > 20, "only {} lines in the folder", written.len());
    for (_, _, line) in &written {
        let order: serde_json::Value = serde_json::from_str(line).expect("an order is JSON");
        assert!(order["id"].is_u64() && order["amount"].is_number(), "{line}");
    }
}
