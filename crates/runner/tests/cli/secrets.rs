//! Secrets are planted in every field that the schema calls one, in good files and in broken ones; then everything the
//! binary says is searched for them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Map, Value, json};

use crate::http::{free_address, get};
use crate::process::{Ended, Folder, eventually};

/// What has to stand beside a secret, by the name of the block it stands in.
const BESIDE: [(&str, &str); 8] = [
    ("registry", r#"{"url":"http://127.0.0.1:1"}"#),
    ("plain", r#"{"user":"app"}"#),
    ("scram_sha_256", r#"{"user":"app"}"#),
    ("scram_sha_512", r#"{"user":"app"}"#),
    ("oauthbearer", r#"{"token_url":"http://127.0.0.1:1/token","client_id":"app"}"#),
    ("tls", r#"{"certificate":"./none.crt"}"#),
    ("kafka", "{}"),
    ("connection", r#"{"bucket":"lake","endpoint":"http://127.0.0.1:1","region":"r","access_key":"k"}"#),
];
/// Properties of librdkafka that hold one.
const PROPERTIES: [&str; 5] = [
    "sasl.password",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.password",
    "sasl.oauthbearer.client.secret",
];

/// A field that holds a secret, from the top of a pipeline file.
type Path = Vec<String>;

fn secret_fields(folder: &Folder) -> Vec<Path> {
    let schema: Value = serde_json::from_str(&folder.aqueduct(&["schema"]).out).unwrap();
    let mut found = BTreeSet::new();
    walk(&schema, &schema, &mut Vec::new(), &mut Vec::new(), &mut found);
    found.into_iter().collect()
}

fn walk(root: &Value, node: &Value, path: &mut Path, seen: &mut Vec<String>, found: &mut BTreeSet<Path>) {
    let Value::Object(map) = node else {
        node.as_array().into_iter().flatten().for_each(|node| walk(root, node, path, seen, found));
        return;
    };
    if map.get("format").and_then(Value::as_str) == Some("secret") {
        found.insert(path.clone());
    }
    for (name, node) in map {
        match (name.as_str(), node) {
            ("$ref", Value::String(to)) if !seen.contains(to) => {
                seen.push(to.clone());
                walk(root, root.pointer(to.trim_start_matches('#')).unwrap(), path, seen, found);
                seen.pop();
            }
            ("properties", Value::Object(properties)) => {
                for (name, node) in properties {
                    path.push(name.clone());
                    walk(root, node, path, seen, found);
                    path.pop();
                }
            }
            ("anyOf" | "oneOf" | "allOf", node) => walk(root, node, path, seen, found),
            _ => {}
        }
    }
}

/// A pipeline with this value in this field, as JSON, which is YAML.
fn pipeline(name: &str, path: &[String], value: &Value) -> Value {
    let mut block = value.clone();
    for at in (1..path.len()).rev() {
        let mut map = Map::new();
        if let Some((_, beside)) = BESIDE.iter().find(|(parent, _)| *parent == path[at - 1]) {
            let kafka = path.contains(&"kafka".to_owned());
            if !(kafka && path[at - 1] == "connection") {
                map = serde_json::from_str(beside).unwrap();
            }
        }
        if path[at - 1] == "connection" && path[at - 2] == "kafka" {
            map.insert("brokers".into(), json!("127.0.0.1:1"));
        }
        if path[at - 1] == "kafka" {
            let (topic, of) =
                if path[0] == "sink" { ("topic", json!("t")) } else { ("topics", json!(["t"])) };
            map.insert(topic.into(), of);
        }
        if path[at - 1] == "s3" {
            map.extend([
                ("path".to_owned(), json!("{topic}/{partition}-{start_offset}")),
                ("format".into(), json!("lines")),
            ]);
        }
        if path[at - 1] == "registry" && path[at] == "password" {
            map.insert("user".into(), json!("app"));
        }
        if at == 1 && path[at] == "registry" {
            let (end, options) =
                if path[0] == "sink" { ("discard", json!({})) } else { ("generate", json!({ "count": 10 })) };
            map.insert(end.into(), options);
        }
        map.insert(path[at].clone(), block);
        block = Value::Object(map);
    }
    let mut made = json!({ "pipeline": name, "source": { "generate": { "count": 10 } }, "sink": "discard" });
    made[&path[0]] = block;
    made
}

fn pem(secret: &str) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n")
}

fn plant(number: usize) -> String {
    format!("planted-{number}-Zx9Q{number}")
}

#[track_caller]
fn clean(what: &str, says: &str) {
    if let Some(at) = says.find("planted-") {
        let around: String = says[at.saturating_sub(200)..].chars().take(400).collect();
        panic!("{what} tells a secret:\n{around}");
    }
}

#[track_caller]
fn silent(folder: &Folder, arguments: &[&str]) -> Ended {
    let ended = folder.aqueduct(arguments);
    clean(&format!("{arguments:?} (standard output)"), &ended.out);
    clean(&format!("{arguments:?} (standard error)"), &ended.err);
    ended
}

#[test]
fn broken_files_tell_none() {
    let folder = Folder::new();
    let mut fields = secret_fields(&folder);
    assert!(fields.len() >= 11, "the schema names its secrets: {fields:?}");
    // A private key may be a path, so that the schema does not call it a secret.
    fields.extend(
        ["source", "sink"].map(|end| [end, "kafka", "connection", "tls", "key"].map(str::to_owned).to_vec()),
    );
    let (mut folder, mut number) = (folder, 0);
    for field in &fields {
        let secret = match field.last().is_some_and(|name| name == "key") {
            true => pem(&plant(number)),
            false => plant(number),
        };
        let parent = &field[..field.len() - 1];
        let name = &field[field.len() - 1];
        let misspelt = format!("{}{}", &name[..name.len() - 2], &name[name.len() - 1..]);
        let unknown = json!({ name.clone(): secret, "no_such_option": 1 });
        let misspelt = if name == "key" { unknown.clone() } else { json!({ misspelt: secret }) };
        let wrong = [
            pipeline("a", field, &json!([secret])),
            pipeline("a", field, &json!({ "text": secret })),
            pipeline("a", field, &json!(format!("${{env:NOT_SET_AT_ALL:-{secret}}}${{env:NOT_SET}}"))),
            pipeline("a", field, &json!(pem(&secret))),
            pipeline("a", parent, &unknown),
            pipeline("a", parent, &misspelt),
        ];
        for broken in wrong {
            let name = format!("broken-{number}.yaml");
            folder = folder.with(&name, &broken.to_string());
            for command in ["check", "plan", "run"] {
                if command != "run" || broken.to_string().contains("no_such_option") {
                    silent(&folder, &[command, &name]);
                }
            }
            number += 1;
        }
    }
    for property in PROPERTIES {
        for end in ["source", "sink"] {
            let path = [end, "kafka", "client", property].map(str::to_owned);
            let mut file = pipeline("a", &path, &json!(plant(number)));
            file[end]["kafka"]["connection"] = json!({ "brokers": "127.0.0.1:1" });
            folder = folder.with("property.yaml", &file.to_string());
            silent(&folder, &["check", "property.yaml"]);
            silent(&folder, &["plan", "property.yaml"]);
            number += 1;
        }
    }
}

#[test]
fn a_run_tells_none_in_logs_health_and_metrics() {
    let folder = Folder::new();
    let mut files = String::new();
    for (number, field) in secret_fields(&folder).iter().enumerate() {
        // Whether a key is one is found out at `check`: see above.
        if field.contains(&"tls".to_owned()) {
            continue;
        }
        let name = format!("p{number}");
        let good = pipeline(&name, field, &json!(plant(number))).to_string();
        writeln!(files, "---\n{good}").unwrap();
    }
    let folder = folder.with("all.yaml", &files);
    let checked = silent(&folder, &["check", "all.yaml"]);
    assert_eq!(checked.code, 0, "a new secret needs what stands beside it, in BESIDE: {}", checked.err);
    silent(&folder, &["plan", "all.yaml"]);
    for log in ["text", "json"] {
        let address = free_address();
        let settings = format!("runtime: {{ listen: \"{address}\", log: {log} }}\n");
        let folder = Folder::new().with("aqueduct.yaml", &settings).with("all.yaml", &files);
        let mut running = folder.start(&["run", "all.yaml", "--log-level", "trace"]);
        let read = running.log();
        let waits =
            eventually(|| get(&address, "/readyz?verbose").filter(|(_, lines)| lines.contains("waiting: ")));
        assert!(waits.is_some(), "{:?}", get(&address, "/readyz?verbose"));
        std::thread::sleep(Duration::from_secs(2));
        for page in ["/readyz?verbose", "/livez?verbose", "/metrics"] {
            clean(page, &get(&address, page).unwrap().1);
        }
        running.signal(Signal::TERM);
        std::thread::sleep(Duration::from_secs(1));
        drop(running);
        let log = read.join().unwrap();
        assert!(log.len() > 1_000, "there is a log to search");
        clean("the log", &log);
    }
}

/// Where the system writes cores beside a process, and lets it, this one leaves none (`AQUEDUCT_CORE_DUMPS=allow` would).
#[cfg(target_os = "linux")]
#[test]
fn a_crash_leaves_no_core() {
    use std::os::unix::process::ExitStatusExt;
    let address = free_address();
    let password = ["source", "kafka", "connection", "sasl", "plain", "password"].map(str::to_owned);
    let folder = Folder::new()
        .with("aqueduct.yaml", &format!("runtime: {{ listen: \"{address}\" }}\n"))
        .with("a.yaml", &pipeline("a", &password, &json!(plant(0))).to_string());
    let mut child = std::process::Command::new("sh")
        .args(["-c", "ulimit -c unlimited; exec \"$0\" run a.yaml", env!("CARGO_BIN_EXE_aqueduct")])
        .current_dir(folder.path(""))
        .env_remove("AQUEDUCT_CORE_DUMPS")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(eventually(|| get(&address, "/livez")).is_some(), "it runs");
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, Signal::ABORT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{status}");
    assert!(!status.core_dumped(), "{status}");
}
