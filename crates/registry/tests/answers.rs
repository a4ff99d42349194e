//! What registries answer that the real one of the tests does not: modes, limits, errors, Karapace's and Confluent's own ways.
#![allow(missing_docs, clippy::unwrap_used)]

mod stub;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_api::ErrorKind;
use aqueduct_api::catalog::{ProbeContext, RegistryKind};
use aqueduct_api::registry::{Reference, Registering, SchemaId, SchemaKind, SchemaText, Version};
use aqueduct_registry::Config;
use serde_json::json;
use stub::{HEALTH, Reply, Stub};

const REGISTER: Registering = Registering { allowed: true, normalize: false };
const SEVEN: SchemaId = SchemaId::Number(7);

fn schema() -> SchemaText {
    SchemaText::new(SchemaKind::Avro, "\"string\"")
}

/// An empty registry that says this to a registration.
async fn registering(reply: Reply) -> Stub {
    Stub::start(move |asked| match asked.line.as_str() {
        "POST /subjects/a-value/versions" => reply.clone(),
        line if line.starts_with("POST /compatibility") => Reply::ok(json!({ "is_compatible": true })),
        _ => Reply::refusal(404, 40401, "Subject 'a-value' not found."),
    })
    .await
}

#[tokio::test]
async fn a_registry_that_takes_no_changes_is_asked_again_later() {
    for words in ["Subject a-value is in read-only mode", "Subject a-value is in import mode"] {
        let stub = registering(Reply::refusal(422, 42205, words)).await;
        let registry = stub.open();
        for _ in 0..2 {
            let error = registry.id("a-value", &schema(), REGISTER).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
            assert!(error.says().ends_with(words), "{error}");
        }
        // It is not believed for a while, as other refusals are.
        assert_eq!(stub.lines().len(), 6);
    }
}

#[tokio::test]
async fn refusals_have_the_registrys_words() {
    for (reply, words) in [
        (
            Reply::refusal(409, 409, "Schema being registered is incompatible: {reason}"),
            "is incompatible: {reason}",
        ),
        (Reply::refusal(422, 42201, "Invalid schema"), "Invalid schema"),
        (Reply::text(409, "busy"), "409 Conflict"),
    ] {
        let registry = registering(reply).await.open();
        let error = registry.id("a-value", &schema(), REGISTER).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRecord, "{error}");
        assert!(
            error
                .says()
                .starts_with("the schema registry refuses to register the schema under subject `a-value`"),
            "{error}"
        );
        assert!(error.says().ends_with(words), "{error}");
    }
    let long = registering(Reply::refusal(409, 409, &"x".repeat(100_000))).await.open();
    let error = long.id("a-value", &schema(), REGISTER).await.unwrap_err();
    assert!(error.says().len() < 2_200, "{}", error.says().len());
}

#[tokio::test]
async fn what_passes_is_transient_and_what_does_not_is_not() {
    for (reply, kind, words) in [
        (
            Reply::refusal(500, 50001, "Error in the backend data store"),
            ErrorKind::Transient,
            "Error in the backend",
        ),
        (
            Reply::refusal(500, 50003, "Error while forwarding the request"),
            ErrorKind::Transient,
            "forwarding",
        ),
        (Reply::text(502, "<html>Bad Gateway</html>"), ErrorKind::Transient, "502 Bad Gateway"),
        (Reply::text(504, ""), ErrorKind::Transient, "504 Gateway Timeout"),
        (Reply::text(408, ""), ErrorKind::Transient, "408 Request Timeout"),
        (Reply::text(401, ""), ErrorKind::Fatal, "does not let us in as anybody: 401 Unauthorized"),
        (
            Reply::refusal(403, 40301, "User is denied operation Read"),
            ErrorKind::Fatal,
            "denied operation Read",
        ),
        (Reply::text(404, "<html>nginx</html>"), ErrorKind::Fatal, "/schemas/ids/7 is not there"),
        (Reply::refusal(404, 404, "HTTP 404 Not Found"), ErrorKind::Fatal, "/schemas/ids/7 is not there"),
        (Reply::text(400, "<html>No required SSL certificate</html>"), ErrorKind::Fatal, "400 Bad Request"),
        (
            Reply::text(302, "").header("Location: /login"),
            ErrorKind::Fatal,
            "sends us elsewhere with 302 Found",
        ),
        (Reply::text(200, "<html>Log in, please</html>"), ErrorKind::Fatal, "is not a schema registry"),
        (Reply::ok(json!({})), ErrorKind::Fatal, "an answer without a schema"),
        (
            Reply::ok(json!({ "schema": "x", "schemaType": "XML" })),
            ErrorKind::BadRecord,
            "a schema of type `XML`",
        ),
        (
            Reply::refusal(404, 40403, "Schema not found"),
            ErrorKind::BadRecord,
            "does not know schema id 7: Schema not found",
        ),
    ] {
        let asked = reply.clone();
        let stub = Stub::start(move |_| asked.clone()).await;
        let error = stub.open().schema(SEVEN).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{reply:?}: {error}");
        assert!(error.says().contains(words), "{reply:?}: {error}");
        assert_eq!(stub.lines(), ["GET /schemas/ids/7?deleted=true"]);
    }
}

#[tokio::test]
async fn a_slow_registry_is_not_waited_for() {
    let slow =
        Stub::start(|_| Reply::ok(json!({ "schema": "\"int\"" })).after(Duration::from_secs(30))).await;
    let quick = Stub::start(|_| Reply::ok(json!({ "schema": "\"int\"" }))).await;
    let error = slow.open_with(json!({ "timeout": "200ms" })).schema(SEVEN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.says().ends_with("does not answer in time"), "{error}");
    // The address that answered last is the first to be asked.
    let config: Config =
        serde_json::from_value(json!({ "url": [slow.url(), quick.url()], "timeout": "200ms" })).unwrap();
    let both = config.open().unwrap();
    for id in 1..=3 {
        both.schema(SchemaId::Number(id)).await.unwrap();
    }
    assert_eq!((slow.lines().len(), quick.lines().len()), (2, 3));
}

#[tokio::test]
async fn who_asks_to_be_left_alone_is() {
    let limit = Mutex::new(1);
    let stub = Stub::start(move |_| {
        let mut left = limit.lock().unwrap();
        *left -= 1;
        match *left {
            0 => Reply::refusal(429, 42901, "Too many requests").header("Retry-After: 2"),
            _ => Reply::ok(json!({ "schema": "\"int\"" })),
        }
    })
    .await;
    let registry = stub.open();
    let error = registry.schema(SEVEN).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert!(error.says().ends_with("Too many requests"), "{error}");
    for id in 0..10 {
        let error = registry.schema(SchemaId::Number(id)).await.unwrap_err();
        assert!(error.says().contains("asked to be left alone for another"), "{error}");
    }
    assert_eq!(stub.lines().len(), 1);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    registry.schema(SEVEN).await.unwrap();
}

/// Its answers to the questions that Apicurio answers otherwise.
#[tokio::test]
async fn karapace_is_asked_what_it_knows() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        "POST /compatibility/subjects/a-value/versions?verbose=true" => Reply::refusal(404, 404, "Not Found"),
        "POST /compatibility/subjects/a-value/versions/latest?verbose=true" => Reply::ok(
            json!({ "is_compatible": false, "messages": ["reader type: RECORD not compatible", "b"] }),
        ),
        "POST /subjects/a-value" if asked.body.contains("references") => {
            Reply::refusal(422, 44302, "Schema references are not supported for 'AVRO' schema type")
        }
        "GET /schemas/types" => Reply::ok(json!(["JSON", "AVRO", "PROTOBUF"])),
        _ => Reply::refusal(404, 40401, "Subject 'a-value' not found."),
    })
    .await;
    let registry = stub.open();
    let error = registry.id("a-value", &schema(), REGISTER).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadRecord);
    let says = "the schema is not compatible with subject `a-value`: reader type: RECORD not compatible; b";
    assert_eq!(error.says(), says);
    assert_eq!(registry.incompatibilities("a-value", &schema()).await.unwrap().len(), 2);
    // The refusal is believed for a while: a poisoned topic does not become a flood of requests.
    let before = stub.lines().len();
    assert_eq!(registry.id("a-value", &schema(), REGISTER).await.unwrap_err().says(), says);
    assert_eq!(stub.lines().len(), before);

    let known =
        Stub::start(|_| Reply::ok(json!({ "id": 3, "version": 5, "subject": "b", "schema": "x" }))).await;
    let reference =
        Reference { name: "b".into(), subject: "b".into(), version: 1, schema: Arc::new(schema()) };
    let referring = SchemaText { references: vec![reference], ..schema() };
    assert_eq!(known.open().id("a-value", &referring, REGISTER).await.unwrap(), 3);
    // The version is that of this registry; what goes without saying is left out.
    let bodies: Vec<String> = known.asked().into_iter().map(|asked| asked.body).collect();
    assert_eq!(
        bodies,
        [
            r#"{"schema":"\"string\""}"#,
            r#"{"schema":"\"string\"","references":[{"name":"b","subject":"b","version":5}]}"#,
        ]
    );
}

/// Karapace 5 and 6 answer so while they read their topic after a start: for seconds, where there are many schemas.
#[tokio::test]
async fn karapace_is_not_believed_before_it_has_read_its_schemas() {
    let health = |ready: bool| {
        let status = json!({ "schema_registry_ready": ready, "schema_registry_is_primary": ready });
        Reply::ok(json!({ "karapace_version": "6.2.0", "status": status, "healthy": true }))
    };
    let missing = |line: &str| match line.contains("/schemas/ids/") {
        true => Reply::refusal(404, 40403, "Schema not found"),
        false => Reply::refusal(404, 40401, "Subject 'a-value' not found."),
    };
    let now = Arc::new(Mutex::new(health(false)));
    let says = now.clone();
    let stub = Stub::start(move |asked| match asked.line.as_str() {
        HEALTH => says.lock().unwrap().clone(),
        line => missing(line),
    })
    .await;
    let registry = stub.open();
    for _ in 0..2 {
        for error in [
            registry.schema(SEVEN).await.unwrap_err(),
            registry.version("a-value", Version::Latest).await.unwrap_err(),
            registry.id("a-value", &schema(), Registering { allowed: false, ..REGISTER }).await.unwrap_err(),
            registry.id("a-value", &schema(), REGISTER).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
            assert!(error.says().ends_with("has not read its own schemas yet"), "{error}");
        }
    }
    let other = Stub::start(|_| Reply::ok(json!({ "schema": "\"int\"" }))).await;
    let config: Config = serde_json::from_value(json!({ "url": [stub.url(), other.url()] })).unwrap();
    config.open().unwrap().schema(SEVEN).await.unwrap();
    // It has lost its topic: what it does not know may be there all the same.
    *now.lock().unwrap() = Reply::text(503, "\"Service Unavailable\"");
    assert_eq!(registry.schema(SEVEN).await.unwrap_err().kind(), ErrorKind::Transient);
    *now.lock().unwrap() = health(true);
    assert_eq!(registry.schema(SEVEN).await.unwrap_err().kind(), ErrorKind::BadRecord);

    // Ready a moment after it had answered.
    let first = Mutex::new(true);
    let stub = Stub::start(move |asked| match asked.line.as_str() {
        HEALTH => health(true),
        line if std::mem::take(&mut *first.lock().unwrap()) => missing(line),
        _ => Reply::ok(json!({ "schema": "\"int\"" })),
    })
    .await;
    stub.open().schema(SEVEN).await.unwrap();
}

/// A Karapace that hands registrations on to the primary one hears of them a moment after it has answered.
#[tokio::test]
async fn what_was_registered_with_another_is_waited_for() {
    let stub = Stub::start(|asked| match asked.line.as_str() {
        "POST /subjects/b/versions" | "POST /subjects/a-value/versions" => Reply::ok(json!({ "id": 3 })),
        line if line.starts_with("POST /compatibility") => Reply::ok(json!({ "is_compatible": true })),
        _ => Reply::refusal(404, 40403, "Schema not found"),
    })
    .await;
    let reference =
        Reference { name: "b".into(), subject: "b".into(), version: 1, schema: Arc::new(schema()) };
    let referring = SchemaText { references: vec![reference], ..schema() };
    let registry = stub.open();
    assert_eq!(registry.id("a-value", &schema(), REGISTER).await.unwrap(), 3);
    let error = registry.id("a-value", &referring, REGISTER).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    assert!(error.says().ends_with("does not show yet what it registered under subject `b`"), "{error}");
}

/// Nobody else has such a path; who does not answer it, or is away behind his gateway, is believed as before.
#[tokio::test]
async fn who_is_not_karapace_is_believed() {
    for (reply, asked) in [(Reply::text(404, "Not Found"), 1), (Reply::text(503, "no route"), 3)] {
        let stub = Stub::start(move |asked| match asked.line.as_str() {
            HEALTH => reply.clone(),
            _ => Reply::refusal(404, 40403, "Schema not found"),
        })
        .await;
        let registry = stub.open();
        for id in 1..=3 {
            let error = registry.schema(SchemaId::Number(id)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BadRecord, "{error}");
        }
        assert_eq!((stub.lines().len(), stub.health_asked()), (3, asked));
    }
}

/// Karapace 6.2 says to whoever may not write a subject that it is not there.
#[tokio::test]
async fn a_subject_that_is_not_there_when_it_is_registered_is_one_we_may_not_write() {
    let stub = registering(Reply::refusal(404, 40401, "Subject 'a-value' not found.")).await;
    let error = stub.open().id("a-value", &schema(), REGISTER).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
    assert_eq!(
        error.says(),
        "the schema registry does not let us register under subject `a-value`: Subject 'a-value' not found."
    );
}

#[tokio::test]
async fn who_may_register_but_not_ask_registers() {
    for refused in
        [Reply::text(403, ""), Reply::refusal(422, 42201, "Syntax violation"), Reply::text(405, "")]
    {
        let stub = Stub::start(move |asked| match asked.line.as_str() {
            "POST /subjects/a-value/versions?normalize=true" => Reply::ok(json!({ "id": 4 })),
            line if line.starts_with("POST /compatibility") => refused.clone(),
            _ => Reply::refusal(404, 40403, "Schema not found"),
        })
        .await;
        let how = Registering { allowed: true, normalize: true };
        assert_eq!(stub.open().id("a-value", &schema(), how).await.unwrap(), 4);
        let lines = stub.lines();
        assert_eq!(lines[0], "POST /subjects/a-value?normalize=true");
        assert!(lines[1].ends_with("?verbose=true&normalize=true"), "{lines:?}");
    }
}

#[tokio::test]
async fn confluents_guids_are_known_by_their_ids_too() {
    const GUID: &str = "00010203-0405-0607-0809-0a0b0c0d0e0f";
    let guid = SchemaId::Guid(std::array::from_fn(|index| index as u8));
    for (ids, id) in [
        (Reply::ok(json!([{ "context": ".other", "id": 5 }, { "context": ".", "id": 9 }])), 9),
        (Reply::text(404, ""), 0),
    ] {
        let stub = Stub::start(move |asked| match asked.line.as_str() {
            line if line == format!("GET /schemas/guids/{GUID}?deleted=true") => {
                Reply::ok(json!({ "guid": GUID, "schemaType": "JSON", "schema": "{}" }))
            }
            _ => ids.clone(),
        })
        .await;
        let registered = stub.open().schema(guid).await.unwrap();
        assert_eq!((registered.id, registered.schema.kind), (id, SchemaKind::Json));
        assert_eq!(stub.lines()[1], format!("GET /schemas/guids/{GUID}/ids"));
    }
}

#[tokio::test]
async fn a_probe_says_what_is_missing() {
    let probe = async |stub: &Stub| {
        let config: Config = serde_json::from_value(json!({ "url": stub.url() })).unwrap();
        let context = ProbeContext {
            pipeline: "orders".into(),
            transactional: false,
            patience: Duration::from_secs(5),
        };
        let found = config.probe(context).await;
        found.iter().map(|finding| format!("{:?}: {}", finding.verdict, finding.says)).collect::<Vec<_>>()
    };
    // An early registry, which serves Avro and does not list it.
    let early = Stub::start(|asked| match asked.line.as_str() {
        "GET /schemas/types" => Reply::refusal(404, 404, "HTTP 404 Not Found"),
        _ => Reply::refusal(404, 40403, "Schema not found"),
    })
    .await;
    let found = probe(&early).await;
    assert_eq!(found.len(), 4);
    assert!(found[3].starts_with("Good:") && found[3].ends_with("AVRO at least"), "{found:?}");
    // The list is open to anybody, the schemas are not.
    let closed = Stub::start(|asked| match asked.line.as_str() {
        "GET /schemas/types" => Reply::ok(json!(["AVRO"])),
        _ => Reply::text(401, ""),
    })
    .await;
    let found = probe(&closed).await;
    assert!(
        found[2].starts_with("Bad: the schema registry") && found[2].contains("does not let us in"),
        "{found:?}"
    );
    let busy = Stub::start(|_| Reply::text(503, "")).await;
    let found = probe(&busy).await;
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("cannot answer now: 503 Service Unavailable"), "{found:?}");
}

#[tokio::test]
async fn a_version_without_an_id_is_no_answer() {
    let stub = Stub::start(|_| Reply::ok(json!({ "subject": "a", "version": 1, "schema": "\"int\"" }))).await;
    let error = stub.open().version("a", Version::Latest).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert!(error.says().ends_with("a version without an id"), "{error}");
}
