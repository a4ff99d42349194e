//! The way to a secured cluster, and what is said when it is barred: each sentence is provoked on the real broker.
use crate::ends;

use std::time::Duration;

use aqueduct_api::catalog::ProbeContext;
use aqueduct_api::{Catalog, Condition, ErrorKind, Polled};
use aqueduct_connector_kafka::{SinkConfig, SourceConfig};
use aqueduct_tests::{Kafka, Toxiproxy};
use ends::{broker, create, open_sink, open_source, record, text};
use serde_json::{Value, json};
use tokio::time::Instant;

fn mutual(kafka: &Kafka) -> Value {
    json!({ "ca": kafka.certificate("ca.crt"), "certificate": kafka.certificate("client.crt"),
            "key": kafka.certificate("client.key") })
}

fn scram(password: &str) -> Value {
    json!({ "scram_sha_512": { "user": "app", "password": password } })
}

/// What both ends of a pipeline say while they cannot connect.
async fn says(connection: Value, expected: &str) -> String {
    let config = json!({ "connection": connection, "topics": ["secured"] });
    let mut reader = open_source("", "connecting", config).await;
    let writer = open_sink("", json!({ "connection": connection, "topic": "secured" })).await;
    let deadline = Instant::now() + ends::PATIENCE;
    let wrong = |end: &Condition| end.reason().is_none_or(|reason| !reason.starts_with(expected));
    while wrong(&reader.condition) || wrong(&writer.condition) {
        let reasons = [&reader.condition, &writer.condition].map(Condition::reason);
        assert!(Instant::now() < deadline, "expected {expected}\nfound {reasons:#?}");
        let polled = reader.source.poll(Duration::from_millis(50)).await.unwrap();
        assert!(matches!(polled, Polled::Idle), "{polled:?}");
    }
    assert_eq!(reader.condition.reason(), writer.condition.reason());
    reader.condition.reason().unwrap()
}

/// Writes through the connection and reads it back.
async fn passes(connection: Value, group: &str) {
    let mut writer = open_sink("", json!({ "connection": connection, "topic": "secured" })).await;
    writer.write(vec![record("t", Some("k"), group)]).await.unwrap();
    writer.flush().await.unwrap();
    let config = json!({ "connection": connection, "topics": ["secured"], "group": group });
    let mut reader = open_source("", "connecting", config).await;
    let deadline = Instant::now() + ends::PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{:?}", reader.condition.reason());
        if let Polled::Batch { records, .. } = reader.source.poll(Duration::from_millis(100)).await.unwrap()
            && records.iter().any(|record| text(&record.value) == group)
        {
            break;
        }
    }
    reader.source.close().await.unwrap();
}

async fn secured(kafka: &Kafka) {
    create(kafka, "secured", 1, &[]).await;
    for principal in ["User:client", "User:app"] {
        kafka.allow(principal, "topic:secured", &["Read", "Write", "Describe"]);
        kafka.allow(principal, "group:secured*", &["Read"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_pass_over_tls_and_with_each_login_that_has_a_password() {
    let kafka = broker();
    secured(&kafka).await;
    let files = json!({ "brokers": kafka.tls_brokers(), "tls": mutual(&kafka) });
    passes(files, "secured-files").await;
    let pem = |name: &str| std::fs::read_to_string(kafka.certificate(name)).unwrap();
    let text = json!({ "ca": pem("ca.crt"), "certificate": pem("client.crt"),
        "key": pem("client-encrypted.key"), "key_password": "secret" });
    passes(json!({ "brokers": kafka.tls_brokers(), "tls": text }), "secured-text").await;
    let tls = json!({ "ca": kafka.certificate("ca.crt") });
    passes(
        json!({ "brokers": kafka.sasl_brokers(), "tls": tls, "sasl": scram("app-secret") }),
        "secured-scram",
    )
    .await;
    for mechanism in ["plain", "scram_sha_256"] {
        let login = |password: &str| json!({ mechanism: { "user": "app", "password": password } });
        let (over_tls, bare) = (kafka.login_brokers(), kafka.bare_login_brokers());
        let group = format!("secured-{mechanism}");
        passes(json!({ "brokers": over_tls, "tls": tls, "sasl": login("app-secret") }), &group).await;
        let group = format!("secured-bare-{mechanism}");
        passes(json!({ "brokers": bare, "sasl": login("app-secret") }), &group).await;
        let name = mechanism.to_uppercase().replace('_', "-");
        let cause = if mechanism == "plain" { "Invalid username or password" } else { "invalid credentials" };
        let refused = format!("{over_tls} does not accept {name} of user `app`: ");
        let reason = says(json!({ "brokers": over_tls, "tls": tls, "sasl": login("wrong") }), &refused).await;
        assert!(reason.contains(cause), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bar_on_the_way_is_named() {
    let kafka = broker();
    let (plain, tls) = (kafka.brokers(), kafka.tls_brokers());
    let ca = json!({ "ca": kafka.certificate("ca.crt") });
    let other = json!({ "ca": kafka.certificate("ca-other.crt") });
    says(
        json!({ "brokers": "no-such-host.invalid:9092" }),
        "the name `no-such-host.invalid` of broker no-such-host.invalid:9092 cannot be resolved: ",
    )
    .await;
    let closed = format!("127.0.0.1:{}", aqueduct_tests::free_ports(1));
    says(json!({ "brokers": closed }), &format!("nothing listens at {closed}: the connection was refused; "))
        .await;
    says(json!({ "brokers": tls }), &format!("{tls} speaks TLS, and the connection is made without; ")).await;
    says(
        json!({ "brokers": plain, "tls": ca }),
        &format!("{plain} does not speak TLS, and the connection is made with it; "),
    )
    .await;
    says(
        json!({ "brokers": tls, "tls": other }),
        &format!("the certificate of {tls} is signed by `CN=test-ca`, which is not trusted here: "),
    )
    .await;
    says(
        json!({ "brokers": tls, "tls": true }),
        &format!("the certificate of {tls} is signed by `CN=test-ca`, which is not trusted here: "),
    )
    .await;
    says(
        json!({ "brokers": tls, "tls": ca }),
        &format!("{tls} asks for a client certificate, and the connection has none; "),
    )
    .await;
    let foreign = json!({ "ca": kafka.certificate("ca.crt"), "certificate": kafka.certificate("client-other.crt"),
        "key": kafka.certificate("client-other.key") });
    says(
        json!({ "brokers": tls, "tls": foreign }),
        &format!("{tls} refuses the client certificate `CN=client`: "),
    )
    .await;
    let controller = format!("127.0.0.1:{}", kafka.port_of(0, 3));
    says(
        json!({ "brokers": controller }),
        &format!("{controller} is the port of a KRaft controller, not of a broker; "),
    )
    .await;
    let web = web_server();
    says(
        json!({ "brokers": web }),
        &format!("what listens at {web} is not a Kafka broker: it answers in HTTP; "),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bar_at_the_login_is_named() {
    let kafka = broker();
    let (plain, sasl) = (kafka.brokers(), kafka.sasl_brokers());
    let ca = json!({ "ca": kafka.certificate("ca.crt") });
    says(
        json!({ "brokers": sasl, "tls": ca }),
        &format!("{sasl} asks for a login, and the connection has no `sasl`; "),
    )
    .await;
    says(
        json!({ "brokers": plain, "sasl": scram("app-secret") }),
        &format!("{plain} takes no login on this port, and the connection has `sasl`; "),
    )
    .await;
    let login = json!({ "plain": { "user": "app", "password": "app-secret" } });
    says(
        json!({ "brokers": sasl, "tls": ca, "sasl": login }),
        &format!("{sasl} does not take PLAIN, it takes SCRAM-SHA-512; "),
    )
    .await;
    says(
        json!({ "brokers": sasl, "tls": ca, "sasl": scram("wrong") }),
        &format!("{sasl} does not accept SCRAM-SHA-512 of user `app`: invalid credentials"),
    )
    .await;
}

/// A broker that hangs: the kernel still accepts connections for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_is_named() {
    let kafka = Kafka::start();
    kafka.freeze_broker(0);
    let cause = "does not answer: it takes the connection and says nothing; ";
    for brokers in [kafka.brokers(), kafka.tls_brokers()] {
        let tls = (brokers == kafka.tls_brokers()).then(|| mutual(&kafka));
        says(json!({ "brokers": brokers, "tls": tls }), &format!("{brokers} {cause}")).await;
    }
    kafka.thaw_broker(0);
}

/// A network so slow that a request takes longer than its timeout, while nothing is wrong otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_heard_too_late_is_waited_for() {
    let kafka = Kafka::new();
    let proxy = Toxiproxy::start(kafka.port_of(0, 5));
    let kafka = kafka.advertise(&[proxy.port]);
    kafka.start_again();
    proxy.toxic("downstream", "latency", &json!({ "latency": 2_000 }));
    let brokers = kafka.proxied_brokers();
    let expected = format!("no broker of {brokers} answers: waiting for one; ");
    says(json!({ "brokers": brokers }), &expected).await;
}

/// Where the way to the broker that is named works, and that to where it is advertised does not.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_advertised_and_leads_nowhere_is_named_until_it_leads_there() {
    let kafka = Kafka::new();
    let proxy = Toxiproxy::start(kafka.port_of(0, 5));
    let kafka = kafka.advertise(&[proxy.port]);
    kafka.start_again();
    create(&kafka, "advertised", 2, &[]).await;
    ends::fill(&kafka, "advertised", 0..100, 1_000).await;
    proxy.cut();
    let brokers = format!("127.0.0.1:{}", kafka.port_of(0, 5));
    let named = format!("broker 0 is advertised at 127.0.0.1:{} and cannot be reached there: ", proxy.port);
    for (pipeline, what) in [
        ("advertised", json!({ "topics": ["advertised"] })),
        ("advertised-named", json!({ "topics": [], "partitions": { "advertised": [0, 1] } })),
    ] {
        let config = ends::with(json!({ "connection": { "brokers": brokers } }), what);
        let mut reader = open_source(&brokers, pipeline, config).await;
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            // Not for a moment does it seem to be well.
            let reason = reader.condition.reason().expect("it waits");
            if reason.starts_with(&named) {
                break;
            }
            assert!(Instant::now() < deadline, "expected {named}\nfound {reason}");
            let polled = reader.source.poll(Duration::from_millis(50)).await.unwrap();
            assert!(matches!(polled, Polled::Idle), "{polled:?}");
        }
        reader.nothing(Duration::from_secs(5)).await;
        assert!(reader.condition.reason().is_some_and(|reason| reason.starts_with(&named)));
        proxy.heal();
        reader.read(100).await;
        reader.until_well().await;
        reader.source.close().await.unwrap();
        proxy.cut();
    }
    // A sink gets no report of it: its records are not acknowledged.
    let mut writer = open_sink(&brokers, json!({ "topic": "advertised" })).await;
    let record = record("advertised", Some("k"), "v");
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut given = Some(vec![record]);
    while !writer.condition.reason().is_some_and(|reason| reason.starts_with(&named)) {
        assert!(Instant::now() < deadline, "expected {named}\nfound {:?}", writer.condition.reason());
        if let Some(records) = given.take()
            && let Err(error) = writer.write(records.clone()).await
        {
            assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
            given = Some(records);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    proxy.heal();
    while let Some(records) = given.take() {
        if writer.write(records.clone()).await.is_err() {
            given = Some(records);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    writer.flush().await.unwrap();
}

/// A broker whose ciphers are made for another kind of key than its certificate has.
#[tokio::test(flavor = "multi_thread")]
async fn tls_without_common_ground_is_named() {
    let ciphers = "ssl.enabled.protocols=TLSv1.2\nssl.cipher.suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    let kafka = Kafka::new().set(ciphers);
    kafka.start_again();
    let tls = kafka.tls_brokers();
    let expected = format!("no TLS connection to {tls}: ssl/tls alert handshake failure; ");
    says(json!({ "brokers": tls, "tls": mutual(&kafka) }), &expected).await;
}

/// Answers every request, when it comes, in HTTP.
fn web_server() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let (mut stream, mut request) = (stream.unwrap(), [0; 1024]);
                let _ = stream.read(&mut request);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_brokers_out_of_their_time_or_place() {
    for (certificate, says_then) in [
        ("server-expired", "the certificate of {} expired at 20"),
        ("server-future", "the certificate of {} is not valid before 20"),
        ("server-elsewhere", "the certificate of {} is for `elsewhere.example`, not for `localhost`; "),
    ] {
        let kafka = Kafka::new().present(certificate);
        kafka.start_again();
        let brokers = kafka.tls_brokers();
        let connection = json!({ "brokers": brokers, "tls": mutual(&kafka) });
        says(connection, &says_then.replace("{}", &brokers)).await;
        if certificate == "server-elsewhere" {
            secured(&kafka).await;
            let mut tls = mutual(&kafka);
            tls["verify_hostname"] = json!(false);
            passes(json!({ "brokers": brokers, "tls": tls }), "secured-elsewhere").await;
        }
    }
}

/// What `check --connect` finds, one line each, with the remedy behind a semicolon.
async fn probed(end: &str, config: Value) -> Vec<String> {
    let context =
        ProbeContext { pipeline: "probed".into(), transactional: false, patience: Duration::from_secs(10) };
    let findings = match end {
        "source" => {
            let source =
                Catalog::default().source::<SourceConfig>().sources["kafka"].configure(config).unwrap();
            source.probe(context).await
        }
        _ => {
            Catalog::default().sink::<SinkConfig>().sinks["kafka"]
                .configure(config)
                .unwrap()
                .probe(context)
                .await
        }
    };
    findings.into_iter().map(|finding| format!("{:?}: {finding}", finding.verdict)).collect()
}

fn assert_says(lines: &[String], expected: &[String]) {
    for line in expected {
        assert!(lines.iter().any(|found| found.starts_with(line)), "expected {line}\nfound {lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_says_what_is_there_and_allowed() {
    let kafka = broker();
    let (plain, tls, sasl) = (kafka.brokers(), kafka.tls_brokers(), kafka.sasl_brokers());
    create(&kafka, "probed.orders", 2, &[]).await;
    create(&kafka, "probed.other", 1, &[]).await;
    kafka.allow("User:client", "topic:probed.orders", &["Read"]);
    let connection = json!({ "brokers": tls, "tls": mutual(&kafka) });
    let config =
        json!({ "connection": connection, "topics": ["probed.orders", "probed.order", "probed.other"] });
    let found = probed("source", config).await;
    assert_says(
        &found,
        &[
            "Good: client certificate `CN=client` is valid until 20".into(),
            format!("Good: broker {tls} answers at 127.0.0.1, certificate `CN=localhost` of `CN=test-ca` valid until 20"),
            "Good: cluster MkU3OEVBNTcwNTJENDM2Qk with 1 broker takes us as the user of certificate `CN=client`".into(),
            "Good: topic `probed.orders` can be read, 2 partitions".into(),
            format!("Bad: the user of certificate `CN=client` may not Describe topic `probed.order`; grant it: kafka-acls.sh --bootstrap-server {tls} --add --allow-principal User:CN=client --operation Describe --topic probed.order; or did you mean `probed.orders`"),
            "Bad: the user of certificate `CN=client` may not Describe topic `probed.other`".into(),
            "Bad: the user of certificate `CN=client` may not use the consumer group `probed`; grant it: ".into(),
        ],
    );
    kafka.allow("User:app", "topic:probed.orders", &["Describe"]);
    kafka.allow("User:app", "topic:probed.other", &["Write"]);
    let secured = json!({ "brokers": format!("{sasl},localhost:1"), "tls": { "ca": kafka.certificate("ca.crt") },
        "sasl": scram("app-secret") });
    let found = probed("sink", json!({ "connection": secured, "topic": "probed.orders" })).await;
    assert_says(
        &found,
        &[
            "Warning: nothing listens at localhost:1: the connection was refused; ".into(),
            "Bad: user `app` may not Write topic `probed.orders`; grant it: ".into(),
        ],
    );
    let found = probed("sink", json!({ "connection": secured, "topic": "probed.other" })).await;
    assert_says(&found, &["Good: topic `probed.other` can be written, 1 partition".into()]);
    assert!(!found.iter().any(|line| line.starts_with("Bad")), "{found:#?}");
    let config = json!({ "connection": { "brokers": plain }, "topics": ["probed.ordres"] });
    let found = probed("source", config).await;
    let missing = format!(
        "Bad: topic `probed.ordres` does not exist on the cluster {plain}; create it, or did you mean `probed.orders`"
    );
    assert_says(&found, &[missing, "Good: consumer group `probed` may be used".into()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_stops_where_the_way_is_barred() {
    let kafka = broker();
    let sasl = kafka.sasl_brokers();
    let ca = json!({ "ca": kafka.certificate("ca.crt") });
    let connection = json!({ "brokers": sasl, "tls": ca, "sasl": scram("wrong") });
    let found = probed("source", json!({ "connection": connection, "topics": ["a"] })).await;
    let refused = format!("Bad: {sasl} does not accept SCRAM-SHA-512 of user `app`: invalid credentials");
    assert_says(&found, &[format!("Good: broker {sasl} answers at 127.0.0.1"), refused]);
    assert_eq!(found.len(), 2, "{found:#?}");
    let found = probed("sink", json!({ "connection": { "brokers": sasl }, "topic": "a" })).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_says(&found, &[format!("Bad: {sasl} speaks TLS, and the connection is made without; ")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_are_named_while_it_runs() {
    let kafka = broker();
    create(&kafka, "denied", 1, &[]).await;
    let connection = json!({ "brokers": kafka.tls_brokers(), "tls": mutual(&kafka) });
    let config = json!({ "connection": connection, "topics": ["denied"] });
    let error = open_source("", "denied-group", config.clone()).await.error().await.to_string();
    assert!(
        error.starts_with(
            "the user of certificate `CN=client` may not use the consumer group `denied-group`; grant it: "
        ),
        "{error}"
    );
    kafka.allow("User:client", "group:denied-group", &["Read"]);
    let error = open_source("", "denied-group", config).await.error().await.to_string();
    assert!(
        error.starts_with("the user of certificate `CN=client` may not Read topic `denied`; grant it: "),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_wrong_are_reported_without_a_network() {
    let kafka = broker();
    let file = |name: &str| kafka.certificate(name);
    let problem = |tls: Value| {
        let config = json!({ "connection": { "brokers": "a:1", "tls": tls }, "topics": ["a"] });
        let configured = Catalog::default().source::<SourceConfig>().sources["kafka"].configure(config);
        let problems = configured.err().unwrap();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        (problems[0].path.clone(), problems[0].says.replace(&*file("").display().to_string(), ""))
    };
    let pair = |certificate: &str, key: &str| json!({ "certificate": file(certificate), "key": file(key) });
    let says = |path: &str, says: &str| (format!("connection.tls.{path}"), says.to_owned());
    assert_eq!(
        problem(json!({ "ca": "/no/such/ca.crt" })),
        says("ca", "cannot read /no/such/ca.crt: there is no such file")
    );
    assert_eq!(
        problem(json!({ "ca": file("client.key") })),
        says("ca", "client.key holds no certificate in PEM")
    );
    assert_eq!(
        problem(pair("client.crt", "server.key")),
        says("key", "server.key is not the key of the certificate `CN=client`")
    );
    assert_eq!(
        problem(pair("client.crt", "client.crt")),
        says("key", "client.crt holds no private key in PEM")
    );
    assert_eq!(
        problem(pair("client.crt", "client-encrypted.key")),
        says("key", "client-encrypted.key is encrypted, and there is no password for it")
    );
    let mut locked = pair("client.crt", "client-encrypted.key");
    locked["key_password"] = json!("wrong");
    assert_eq!(
        problem(locked),
        says("key_password", "client-encrypted.key is encrypted, and the password does not open it")
    );
    for (certificate, words) in
        [("client-expired", "expired at 20"), ("client-future", "is not valid before 20")]
    {
        let (path, says) = problem(pair(&format!("{certificate}.crt"), &format!("{certificate}.key")));
        assert_eq!(path, "connection.tls.certificate");
        assert!(says.starts_with(&format!("the client certificate `CN=client` {words}")), "{says}");
    }
}
