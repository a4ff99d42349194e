//! `deploy/compose`: read by Compose's own loader, looked through for what it does not mind, and its parts run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use aqueduct_tests::{
    Aqueduct, Folder, Kafka, Prometheus, S3, SchemaRegistry, Script, checker, documents, free_ports, request,
    root, until,
};
use serde_json::Value;

use crate::{check, dashboard, deploy, items, none, stop_timeout_s, text};

fn services() -> Value {
    let json = checker(&deploy("compose"), &["compose", "-format", "json", "compose.yaml"]);
    let file: Value = serde_json::from_str(&json).expect("JSON");
    file["services"].clone()
}

fn pipelines() -> Vec<Value> {
    let files = fs::read_dir(deploy("compose/pipelines")).expect("a folder").flatten();
    files.flat_map(|file| documents(&file.path())).collect()
}

/// The environment of a service.
fn environment(service: &Value) -> BTreeMap<String, String> {
    let pairs = service["environment"].as_object().expect("an environment");
    pairs.iter().map(|(name, value)| (name.clone(), value.as_str().expect("text").to_owned())).collect()
}

/// What the loader lets pass and people would trip over.
fn findings(services: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, service) in services.as_object().expect("services") {
        let mut say = |what: String| found.push(format!("{name}: {what}"));
        let built = service["build"].is_object();
        let tag = text(service, "/image").rsplit_once(':').map_or("", |(_, tag)| tag);
        if !built && (tag.is_empty() || tag == "latest") {
            say("the image has no version".into());
        }
        let once = text(service, "/restart") == "no";
        if !once && !built && service["healthcheck"]["test"].is_null() {
            say("nobody asks whether it is well".into());
        }
        for (other, dependency) in service["depends_on"].as_object().into_iter().flatten() {
            let target = &services[other];
            let fits = match text(dependency, "/condition") {
                "service_healthy" => target["healthcheck"].is_object(),
                "service_completed_successfully" => text(target, "/restart") == "no",
                _ => false,
            };
            if !fits {
                say(format!("does not wait for {other} as it should"));
            }
        }
        for port in items(&service["ports"]) {
            if text(port, "/host_ip") != "127.0.0.1" {
                say(format!("port {} is open to the network", port["target"]));
            }
        }
        for volume in items(&service["volumes"]).into_iter().filter(|volume| text(volume, "/type") == "bind")
        {
            let source = text(volume, "/source");
            if !Path::new(source).exists() || volume["read_only"] != true {
                say(format!("{source} is not there, or mounted to be written"));
            }
        }
        if built {
            found.extend(hardening(service).into_iter().map(|what| format!("{name}: {what}")));
        }
    }
    found
}

fn hardening(service: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let context = text(service, "/build/context");
    if Path::new(context) != root() {
        found.push(format!("the image is built from {context}"));
    }
    let drops = items(&service["cap_drop"]).iter().any(|what| *what == "ALL");
    let stays = items(&service["security_opt"]).iter().any(|what| *what == "no-new-privileges:true");
    if service["read_only"] != true || !drops || !stays || service["mem_limit"].is_null() {
        found.push("it may do more than it has to".into());
    }
    let grace = text(service, "/stop_grace_period").strip_suffix('s').and_then(|text| text.parse().ok());
    if grace.unwrap_or(10) < stop_timeout_s(&pipelines()) + 10 {
        found.push("it is killed before its pipelines have stopped".into());
    }
    found
}

#[test]
fn the_compose_file_is_sound() {
    let services = services();
    none(&findings(&services));
    for (part, value) in [
        ("/kafka/image", Value::from("apache/kafka")),
        ("/kafka/healthcheck", Value::Null),
        ("/topics/restart", Value::from("always")),
        ("/topics/depends_on/kafka/condition", Value::from("service_started")),
        ("/minio/ports/0/host_ip", Value::Null),
        ("/prometheus/volumes/0/source", Value::from("/nowhere")),
        ("/aqueduct/volumes/0/read_only", Value::from(false)),
        ("/aqueduct/read_only", Value::from(false)),
        ("/aqueduct/cap_drop", Value::Null),
        ("/aqueduct/stop_grace_period", Value::from("10s")),
    ] {
        let mut broken = services.clone();
        *broken.pointer_mut(part).unwrap_or_else(|| panic!("{part} is not there")) = value;
        assert!(!findings(&broken).is_empty(), "nobody minds a broken {part}");
    }
}

#[test]
fn secrets_of_the_compose_file_can_be_set_from_outside() {
    let file = fs::read_to_string(deploy("compose/compose.yaml")).expect("the file");
    let secret =
        |line: &&str| !line.starts_with('#') && (line.contains("PASSWORD") || line.contains("SECRET"));
    let lines: Vec<&str> = file.lines().filter(secret).collect();
    assert!(lines.len() >= 4, "only {} secrets found: the reading is broken", lines.len());
    let fixed = lines.into_iter().filter(|line| !line.contains(": ${") && !line.contains("://${"));
    none(&fixed.map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn the_loader_refuses_what_compose_does_not_know() {
    let folder = Folder::new("compose");
    folder.write("compose.yaml", "services: { a: { image: a, depends_onn: [b] } }\n");
    let arguments = ["compose", "compose.yaml"];
    let script = Script { name: "checkers.sh", folder: folder.path(), arguments: &arguments, input: "" };
    let says = script.run().expect_err("an unknown key is refused");
    assert!(says.contains("depends_onn"), "{says}");
}

#[test]
fn kafka_takes_its_settings_from_the_compose_file() {
    let environment = environment(&services()["kafka"]);
    let format = |leave_out: &str| {
        let folder = Folder::new("format");
        // As the start script of the image does it: KAFKA_NODE_ID is node.id.
        let mut properties = format!("log.dirs={}\n", folder.path().join("data").display());
        for (name, value) in
            environment.iter().filter(|(name, _)| **name != "KAFKA_LOG_DIRS" && **name != leave_out)
        {
            let name =
                name.strip_prefix("KAFKA_").expect("a setting of Kafka").to_lowercase().replace('_', ".");
            properties.push_str(&format!("{name}={value}\n"));
        }
        let file = folder.write("server.properties", &properties).display().to_string();
        let arguments = ["kafka.tools.StorageTool", "format", "-t", "5L6g3nShT-eMCtK--X86sw", "-c", &file];
        Script { name: "kafka_tool.sh", folder: folder.path(), arguments: &arguments, input: "" }.run()
    };
    format("").unwrap_or_else(|says| panic!("{says}"));
    format("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP").expect_err("a listener without a protocol is refused");
}

#[test]
fn its_pipelines_pass_check() {
    let mut environment = environment(&services()["aqueduct"]);
    let says = check(&deploy("compose/pipelines"), &environment);
    assert_eq!(says, None);
    environment.insert("LAKE_BUCKET".into(), String::new());
    assert!(check(&deploy("compose/pipelines"), &environment).is_some(), "an empty bucket is not noticed");
}

/// What Compose mounts into Prometheus, in one folder, asking the runner here every second.
fn prometheus_folder(runner: u16) -> Folder {
    let folder = Folder::new("prometheus");
    for volume in items(&services()["prometheus"]["volumes"]) {
        let Some(name) = text(volume, "/target").strip_prefix("/etc/prometheus/") else { continue };
        let file = fs::read_to_string(text(volume, "/source")).expect("a mounted file");
        let here = format!("127.0.0.1:{runner}");
        folder.write(
            name,
            &file.replace("aqueduct:8080", &here).replace("scrape_interval: 5s", "scrape_interval: 1s"),
        );
    }
    folder
}

#[test]
fn prometheus_takes_its_settings_and_alerts() {
    let folder = prometheus_folder(8080);
    checker(folder.path(), &["promtool", "check", "config", "prometheus.yml"]);
    checker(&deploy("prometheus"), &["promtool", "test", "rules", "alerts.test.yaml"]);
    let rules = fs::read_to_string(deploy("prometheus/alerts.yaml")).expect("the alerts");
    let tests = fs::read_to_string(deploy("prometheus/alerts.test.yaml")).expect("their tests");
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 5, "only {} alerts found: the reading is broken", alerts.len());
    let untested = alerts.iter().filter(|alert| {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n");
        !tests.contains(&fires)
    });
    none(
        &untested
            .map(|alert| format!("{alert} is never made to fire in alerts.test.yaml"))
            .collect::<Vec<_>>(),
    );
}

/// The pipelines of Compose in a folder of their own, with nothing changed but where they listen and what they mount.
fn pipelines_here(listen: u16) -> Folder {
    let folder = Folder::new("pipelines");
    let state = folder.path().join("state").display().to_string();
    for file in fs::read_dir(deploy("compose/pipelines")).expect("a folder").flatten() {
        let text = fs::read_to_string(file.path()).expect("a pipeline");
        let text = text.replace("/state", &state).replace("0.0.0.0:8080", &format!("127.0.0.1:{listen}"));
        folder.write(&file.file_name().to_string_lossy(), &text);
    }
    folder
}

#[test]
fn the_compose_installation_runs_and_is_measured() {
    let (kafka, s3, registry, listen) = (Kafka::start(), S3::start(), SchemaRegistry::start(), free_ports(1));
    s3.create_bucket("lake");
    let services = services();
    let brokers = kafka.brokers();
    let mut command: Vec<_> =
        items(&services["topics"]["command"]).iter().filter_map(|word| word.as_str()).collect();
    assert_eq!(command.remove(0), "/opt/kafka/bin/kafka-topics.sh");
    command.iter_mut().filter(|word| **word == "kafka:19092").for_each(|word| *word = &brokers);
    command.insert(0, "org.apache.kafka.tools.TopicCommand");
    let folder = pipelines_here(listen);
    let create = Script { name: "kafka_tool.sh", folder: folder.path(), arguments: &command, input: "" };
    create.run().unwrap_or_else(|says| panic!("{says}"));

    let mut environment = environment(&services["aqueduct"]);
    for (name, value) in [
        ("KAFKA_BROKERS", brokers.clone()),
        ("KAFKA_SCHEMA_REGISTRY", registry.url()),
        ("LAKE_ENDPOINT", format!("http://127.0.0.1:{}", s3.port)),
        ("AWS_ACCESS_KEY_ID", "test".into()),
        ("AWS_SECRET_ACCESS_KEY", "testtest".into()),
    ] {
        assert!(environment.insert(name.into(), value).is_some(), "{name} is not set any more");
    }
    let environment: Vec<_> = environment.iter().map(|(name, value)| (&**name, &**value)).collect();
    let mut aqueduct = Aqueduct::spawn(folder.path(), &["run", "."], &environment);
    let prometheus = Prometheus::start(prometheus_folder(listen));

    until("orders are in the lake", Duration::from_secs(60), || {
        assert_eq!(aqueduct.exited(), None);
        s3.bucket("lake").join("shop.orders").exists().then_some(())
    });
    let subject =
        || request(registry.port, "GET", "/apis/ccompat/v7/subjects/shop.orders-value/versions/latest", "");
    assert!(subject().is_ok_and(|(status, schema)| status == 200 && schema.contains("card_number")));
    until("it is ready", Duration::from_secs(10), || {
        request(listen, "GET", "/readyz", "").ok().filter(|(status, _)| *status == 200)
    });
    let metrics = until("offsets are stored", Duration::from_secs(20), || {
        let (_, page) = request(listen, "GET", "/metrics", "").ok()?;
        page.contains("aqueduct_committed_offset{").then_some(page)
    });
    dashboard::lint(&metrics);
    dashboard::names_agree(&metrics);
    until("Prometheus has scraped it twice", Duration::from_secs(20), || {
        (prometheus.query("sum_over_time(up{job=\"aqueduct\"}[1m]) >= 2").len() == 1).then_some(())
    });
    dashboard::every_query_answers(&prometheus);
    assert_eq!(
        prometheus.query("ALERTS{alertstate=\"firing\"}"),
        [Value::Null; 0],
        "an alert of a sound installation"
    );
    aqueduct.stop();
}
