//! `/livez`, `/readyz`, `/metrics`, and `aqueduct health`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;

use crate::process::{Folder, eventually};

pub(crate) fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Status and body; nothing while nobody listens.
pub(crate) fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Some((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

fn folder(address: &str, pipelines: &str) -> Folder {
    let settings = format!("runtime: {{ listen: \"{address}\" }}\n");
    let records = "{\"value\":1}\n{\"value\":2}\n";
    Folder::new().with("aqueduct.yaml", &settings).with("a.yaml", pipelines).with("in.jsonl", records)
}

const GOOD: &str = "pipeline: good\nsource: { file: { path: ./in.jsonl, follow: true } }\nsink: discard\n";

#[test]
fn a_pipeline_that_runs_is_live_ready_and_counted() {
    let address = free_address();
    let folder = folder(&address, GOOD);
    let running = folder.start(&["run", "a.yaml"]);
    let ready = eventually(|| get(&address, "/readyz").filter(|(status, _)| *status == 200)).expect("ready");
    assert_eq!(ready.1, "ready\n");
    assert_eq!(get(&address, "/readyz?verbose"), Some((200, "good: running\n".to_owned())));
    assert_eq!(get(&address, "/livez"), Some((200, "ok\n".to_owned())));
    assert_eq!(get(&address, "/nothing").unwrap().0, 404);
    let page = eventually(|| {
        let page = get(&address, "/metrics")?.1;
        page.contains("aqueduct_commits_total{pipeline=\"good\"} 1\n").then_some(page)
    });
    let page = page.expect("offsets are stored");
    for line in [
        "# TYPE aqueduct_records_read counter",
        "aqueduct_records_read_total{pipeline=\"good\"} 2\n",
        "aqueduct_records_written_total{pipeline=\"good\"} 2\n",
        "aqueduct_commit_seconds_total{pipeline=\"good\"}",
        "aqueduct_in_flight_bytes{pipeline=\"good\"}",
        "aqueduct_pipeline_up{pipeline=\"good\"} 1",
        "aqueduct_restarts_total{pipeline=\"good\"} 0",
        "aqueduct_build_info{version=\"",
        "process_resident_memory_bytes ",
    ] {
        assert!(page.contains(line), "no {line} in:\n{page}");
    }
    assert!(page.ends_with("# EOF\n"));
    assert_eq!(folder.aqueduct(&["health", "a.yaml"]).code, 0);
    running.signal(Signal::TERM);
    assert_eq!(running.ended().code, 0);
    assert_eq!(folder.aqueduct(&["health", "a.yaml"]).code, 1);
}

#[test]
fn who_is_not_ready_is_named_with_the_reason() {
    let address = free_address();
    let bad = format!(
        "{GOOD}---\npipeline: bad\nsource: {{ generate: {{}} }}\nsink: {{ file: {{ path: ./a.d }} }}\n"
    );
    let folder = folder(&address, &bad);
    std::fs::create_dir(folder.path("a.d")).unwrap();
    let running = folder.start(&["run", "a.yaml"]);
    let both = |says: &str| says.contains("bad: failed") && !says.contains("good: starting");
    let says = eventually(|| get(&address, "/readyz?verbose").filter(|(_, says)| both(says)));
    let (status, says) = says.expect("the failure is told");
    assert_eq!(status, 503);
    assert!(says.contains("good: running\n") && says.contains("a.d"), "{says}");
    assert_eq!(get(&address, "/livez").unwrap().0, 200, "the process is well");
    running.signal(Signal::TERM);
    assert_eq!(running.ended().code, 1);
}

#[test]
fn a_broker_that_is_away_is_waited_for() {
    let address = free_address();
    let away = free_address();
    let pipeline = format!(
        "pipeline: away\nsource: {{ kafka: {{ connection: {{ brokers: \"{away}\" }}, topics: [a] }} }}\nsink: discard\n"
    );
    let folder = folder(&address, &pipeline);
    let running = folder.start(&["run", "a.yaml"]);
    let says = eventually(|| get(&address, "/readyz?verbose").filter(|(_, says)| says.contains(&away)));
    let (status, says) = says.expect("the broker is named");
    assert_eq!(status, 503, "{says}");
    running.signal(Signal::TERM);
    assert_eq!(running.ended().code, 0, "nothing was in flight");
}

#[test]
fn partitions_of_kafka_have_offsets_and_lag() {
    let (address, broker) = (free_address(), free_address());
    let (_, port) = broker.split_once(':').unwrap();
    let pipeline = |name: &str| {
        format!(
            "pipeline: {name}\nsource: {{ kafka: {{ connection: {{ brokers: \"{broker}\" }}, topics: [shop.orders] }} }}\n\
             sink: discard\ndev: {{ generate: orders }}\n"
        )
    };
    let feeding = Folder::new().with("a.yaml", &pipeline("feeding"));
    // Not waited for: it is killed with the test.
    let _feeding = feeding.start(&["dev", "a.yaml", "--port", port]);
    let folder = folder(&address, &pipeline("good"));
    let running = folder.start(&["run", "a.yaml"]);
    let told = eventually(|| {
        let page = get(&address, "/metrics")?.1;
        let tells = |name| {
            page.contains(&format!("aqueduct_{name}{{pipeline=\"good\",partition=\"shop.orders/5\"}} "))
        };
        ["committed_offset", "lag_records", "lag_seconds"].into_iter().all(tells).then_some(())
    });
    told.expect("offset and lag of a partition");
    running.signal(Signal::TERM);
    assert_eq!(running.ended().code, 0);
}

/// Standard output that nobody reads takes what a pipe holds, 64 KiB, and then blocks the sink for ever.
#[test]
fn a_stalled_pipeline_is_not_alive_until_it_gets_on() {
    let address = free_address();
    let record = format!("{{\"value\":\"{}\"}}\n", "x".repeat(1_000));
    let settings = format!("runtime: {{ listen: \"{address}\", health: {{ stalled_after: 2s }} }}\n");
    let pipeline = "pipeline: stuck\nsource: { file: { path: ./in.jsonl, follow: true } }\nsink: { file: { path: \"-\" } }\n";
    let folder = Folder::new()
        .with("aqueduct.yaml", &settings)
        .with("a.yaml", pipeline)
        .with("in.jsonl", &record.repeat(500));
    let mut running = folder.start(&["run", "a.yaml"]);
    let dead =
        eventually(|| get(&address, "/livez?verbose").filter(|(status, _)| *status == 503)).expect("a stall");
    assert!(
        dead.1.starts_with("stuck: stalled: for 2s or longer records are in flight and nothing was"),
        "{}",
        dead.1
    );
    assert_eq!(get(&address, "/readyz?verbose").unwrap(), dead);
    assert!(get(&address, "/metrics").unwrap().1.contains("aqueduct_pipeline_alive{pipeline=\"stuck\"} 0"));
    assert_eq!(folder.aqueduct(&["health", "a.yaml"]).code, 1);
    let output = running.stdout();
    let reading = std::thread::spawn(move || std::io::copy(&mut { output }, &mut std::io::sink()));
    let alive = eventually(|| get(&address, "/livez?verbose").filter(|(status, _)| *status == 200));
    assert_eq!(alive, Some((200, "ok\n".to_owned())), "it gets on");
    assert_eq!(get(&address, "/readyz?verbose").unwrap().1, "stuck: running\n");
    drop(running);
    reading.join().unwrap().unwrap();
}

#[test]
fn what_fails_the_questions_is_a_setting() {
    let address = free_address();
    let settings =
        format!("runtime: {{ listen: \"{address}\", health: {{ not_alive: [failed], not_ready: [] }} }}\n");
    let records = "{\"value\":\"not JSON\"}\n";
    let good = GOOD.replace("in.jsonl", "good.jsonl");
    let bad = "---\npipeline: bad\nsource: { file: { path: ./in.jsonl }, value: json }\nsink: discard\n";
    let folder = Folder::new()
        .with("aqueduct.yaml", &settings)
        .with("a.yaml", &(good + bad))
        .with("good.jsonl", "")
        .with("in.jsonl", records);
    let _running = folder.start(&["run", "a.yaml"]);
    let dead = eventually(|| get(&address, "/livez?verbose").filter(|(status, _)| *status == 503))
        .expect("a failure");
    assert!(dead.1.starts_with("bad: failed: "), "{}", dead.1);
    let (status, lines) = get(&address, "/readyz?verbose").unwrap();
    assert_eq!(status, 200, "{lines}");
    assert!(lines.contains("bad: failed: "), "{lines}");
}

/// With `curl`, which knows nothing of ours.
fn curl(arguments: &[&str]) -> String {
    let output = std::process::Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--write-out", " %{http_code}"])
        .args(arguments)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}

fn certificate(folder: &Folder, name: &str) {
    let (certificate, key) = (folder.path("tls.crt"), folder.path("tls.key"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .args([key.as_os_str(), "-out".as_ref(), certificate.as_os_str()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn over_tls_and_with_a_token_only_yes_and_no_are_for_everybody() {
    let address = free_address();
    let token = "0123456789abcdef-token";
    let settings = format!(
        "runtime: {{ listen: \"{address}\", tls: {{ certificate: tls.crt, key: tls.key }}, token: \"{token}\" }}\n"
    );
    let folder = Folder::new()
        .with("aqueduct.yaml", &settings)
        .with("a.yaml", GOOD)
        .with("in.jsonl", "{\"value\":1}\n");
    certificate(&folder, "first");
    let running = folder.start(&["run", "a.yaml"]);
    let authority = folder.path("tls.crt");
    let authority = authority.to_str().unwrap();
    let ask = |path: &str, more: &[&str]| {
        curl(&[&["--cacert", authority, &format!("https://{address}{path}")], more].concat())
    };
    let ready = eventually(|| Some(ask("/readyz", &[])).filter(|says| says == "ready\n 200"));
    assert!(ready.is_some(), "{}", ask("/readyz", &[]));
    for path in ["/readyz?verbose", "/livez?verbose", "/metrics"] {
        let wrong = ["authorization: Bearer 0123456789abcdef-tokem", "authorization: Basic x", "x: y"];
        for header in wrong {
            let says = ask(path, &["--header", header]);
            assert!(says.ends_with(" 401") && !says.contains("good"), "{says}");
        }
        let right = ask(path, &["--header", &format!("Authorization: bearer {token}")]);
        assert!(right.ends_with(" 200"), "{right}");
    }
    assert_eq!(folder.aqueduct(&["health", "a.yaml"]).code, 0);
    let plain = curl(&[&format!("http://{address}/livez")]);
    assert!(!plain.contains("ok\n"), "{plain}");
    // Renewed in place.
    certificate(&folder, "second");
    let renewed = eventually(|| Some(ask("/livez", &[])).filter(|says| says == "ok\n 200"));
    assert!(renewed.is_some(), "{}", ask("/livez", &[]));
    running.signal(Signal::TERM);
    let ended = running.ended();
    assert_eq!(ended.code, 0);
    assert!(!(ended.out + &ended.err).contains(token));
}

#[test]
fn a_listener_that_cannot_serve_says_why() {
    let address = free_address();
    for (block, says) in [
        ("tls: { certificate: none.crt, key: none.key }", "runtime.tls.certificate: cannot read"),
        (
            "tls: { certificate: in.jsonl, key: none.key }",
            "runtime.tls.certificate: there is no certificate in",
        ),
        ("token: short", "a token of 5 characters can be guessed"),
    ] {
        let settings = format!("runtime: {{ listen: \"{address}\", {block} }}\n");
        let folder = Folder::new().with("aqueduct.yaml", &settings).with("a.yaml", GOOD).with("in.jsonl", "");
        let ended = folder.aqueduct(&["run", "a.yaml"]);
        assert_eq!(ended.code, 2);
        assert!(ended.err.contains(says), "{}", ended.err);
        assert!(!ended.err.contains("short"), "{}", ended.err);
    }
}
