//! The schema registry over HTTP, as clients and people use it.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use aqueduct_devserver::{Registry, RegistryLimits};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;

struct Dev {
    registry: Registry,
    runtime: Runtime,
    agent: ureq::Agent,
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

impl Dev {
    fn start() -> Self {
        Self::start_with(RegistryLimits::default())
    }

    fn start_with(limits: RegistryLimits) -> Self {
        let runtime = Runtime::new().unwrap();
        let registry = runtime.block_on(Registry::start_with(anywhere(), limits)).unwrap();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        Self { registry, runtime, agent }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.registry.url())
    }

    /// The status, and the body as it came.
    fn raw(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let request = ureq::http::Request::builder().method(method).uri(self.url(path)).body(body.to_owned());
        let mut answer = self.agent.run(request.unwrap()).unwrap();
        assert_eq!(answer.headers()["content-type"], "application/vnd.schemaregistry.v1+json");
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    /// The body of a good answer.
    fn call(&self, method: &str, path: &str, body: Json) -> Json {
        let (status, text) = self.raw(method, path, &body.to_string());
        assert_eq!(status, 200, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn get(&self, path: &str) -> Json {
        self.call("GET", path, Json::Null)
    }

    /// The code and the words of an error; the status is the code's beginning.
    fn refused(&self, method: &str, path: &str, body: &Json) -> (u64, String) {
        let (status, text) = self.raw(method, path, &body.to_string());
        let error: Json = serde_json::from_str(&text).unwrap();
        let code = error["error_code"].as_u64().unwrap();
        assert_eq!(if code > 999 { code / 100 } else { code }, u64::from(status), "{text}");
        (code, error["message"].as_str().unwrap().to_owned())
    }

    fn code(&self, method: &str, path: &str, body: &Json) -> u64 {
        self.refused(method, path, body).0
    }

    /// The id that a schema gets in a subject.
    fn register(&self, subject: &str, schema: &Json) -> u64 {
        let answer = self.call("POST", &format!("/subjects/{subject}/versions"), draft(schema));
        answer["id"].as_u64().unwrap()
    }
}

fn draft(schema: &Json) -> Json {
    json!({ "schema": schema.to_string() })
}

fn order(fields: &[(&str, Json)]) -> Json {
    let field = |(name, of): &(&str, Json)| match of {
        Json::Array(both) => json!({ "name": name, "type": both[0], "default": both[1] }),
        of => json!({ "name": name, "type": of }),
    };
    let fields: Vec<Json> = fields.iter().map(field).collect();
    json!({ "type": "record", "name": "Order", "namespace": "shop", "fields": fields })
}

#[test]
fn the_same_schema_has_the_same_id_everywhere() {
    let dev = Dev::start();
    let first = order(&[("id", json!("long"))]);
    let second = order(&[("id", json!("long")), ("note", json!(["string", ""]))]);
    assert_eq!(dev.register("a-value", &first), 1);
    assert_eq!(dev.register("b-value", &second), 2);
    assert_eq!((dev.register("a-value", &first), dev.register("b-value", &first)), (1, 1));
    // Other layout, other order of the attributes, and asked to normalise.
    let text = r#"{ "namespace": "shop", "fields": [ { "type": {"type": "long"}, "name": "id" } ], "name": "Order", "type": "record" }"#;
    let again = dev.call("POST", "/subjects/a-value/versions?normalize=true", json!({ "schema": text }));
    assert_eq!((&again["id"], &again["version"]), (&json!(1), &json!(1)));

    assert_eq!(dev.get("/subjects"), json!(["a-value", "b-value"]));
    assert_eq!(dev.get("/subjects?subjectPrefix=b"), json!(["b-value"]));
    assert_eq!(dev.get("/subjects?offset=1&limit=1"), json!(["b-value"]));
    assert_eq!(dev.get("/subjects/b-value/versions"), json!([1, 2]));
    let latest = dev.get("/subjects/b-value/versions/latest");
    let guid = latest["guid"].as_str().unwrap();
    let body =
        json!({ "subject": "b-value", "version": 2, "id": 1, "guid": guid, "schema": first.to_string() });
    assert_eq!(latest, body);
    assert_eq!(dev.call("POST", "/subjects/b-value", draft(&first)), body);
    assert_eq!(dev.get("/schemas/ids/1"), json!({ "guid": guid, "schema": first.to_string() }));
    assert_eq!(dev.get("/schemas/ids/1?fetchMaxId=true")["maxId"], 2);
    assert_eq!(dev.get(&format!("/schemas/guids/{guid}")), dev.get("/schemas/ids/1"));
    assert_eq!(dev.get(&format!("/schemas/guids/{guid}/ids")), json!([{ "context": ".", "id": 1 }]));
    assert_eq!(guid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert_eq!(dev.raw("GET", "/schemas/ids/1/schema", ""), (200, first.to_string()));
    assert_eq!(dev.raw("GET", "/subjects/b-value/versions/1/schema", ""), (200, second.to_string()));
    assert_eq!(dev.get("/schemas/ids/1/subjects"), json!(["a-value", "b-value"]));
    let versions = json!([{ "subject": "a-value", "version": 1 }, { "subject": "b-value", "version": 2 }]);
    assert_eq!(dev.get("/schemas/ids/1/versions"), versions);
    assert_eq!(dev.get("/schemas/types"), json!(["JSON", "PROTOBUF", "AVRO"]));
    assert_eq!(dev.get("/schemas?latestOnly=true&subjectPrefix=b"), json!([body]));
    assert_eq!((dev.get("/"), dev.get("/mode")), (json!({}), json!({ "mode": "READWRITE" })));
}

#[test]
fn what_is_not_there_is_said_with_confluents_codes() {
    let dev = Dev::start();
    let schema = order(&[("id", json!("long"))]);
    dev.register("a", &schema);
    let none = Json::Null;
    let told = |method: &str, path: &str| dev.refused(method, path, &none);
    assert_eq!(told("GET", "/subjects/b/versions"), (40401, "Subject 'b' not found.".to_owned()));
    assert_eq!(dev.code("POST", "/subjects/b", &draft(&schema)), 40401);
    assert_eq!(told("GET", "/subjects/a/versions/7"), (40402, "Version 7 not found.".to_owned()));
    assert_eq!(told("GET", "/schemas/ids/7"), (40403, "Schema 7 not found".to_owned()));
    assert_eq!(told("GET", "/schemas/guids/7").0, 40403);
    assert_eq!(dev.code("POST", "/subjects/a", &draft(&json!("string"))), 40403);
    for version in ["0", "-2", "x", "2147483648"] {
        assert_eq!(told("GET", &format!("/subjects/a/versions/{version}")).0, 42202, "{version}");
    }
    assert_eq!(dev.get("/subjects/a/versions/-1")["version"], 1);
    assert_eq!(told("GET", "/config/a").0, 40408);
    assert_eq!(told("GET", "/mode/a").0, 40409);
    assert_eq!(dev.get("/mode/a?defaultToGlobal=true")["mode"], "READWRITE");
    assert_eq!(dev.code("PUT", "/config", &json!({ "compatibility": "SOMEHOW" })), 42203);
    let versions = "/subjects/a/versions";
    for schema in [json!({ "type": "recrod" }), json!(7), json!({ "type": "record", "name": "R" })] {
        let (code, says) = dev.refused("POST", versions, &draft(&schema));
        assert_eq!(code, 42201, "{says}");
    }
    let (code, says) = dev.refused("POST", versions, &json!({ "schema": "{\"type\": " }));
    assert!(code == 42201 && says.contains("the schema is not JSON"), "{says}");
    assert_eq!(dev.code("POST", versions, &json!({})), 42201);
    assert_eq!(dev.code("POST", versions, &json!({ "schema": "\"int\"", "schemaType": "XML" })), 42201);
    assert_eq!(dev.code("POST", versions, &json!({ "schema": "\"int\"", "id": 7 })), 42205);
    let no_reference = json!([{ "name": "x", "subject": "x", "version": 1 }]);
    assert_eq!(
        dev.code("POST", versions, &json!({ "schema": "\"int\"", "references": no_reference })),
        42201
    );
    assert_eq!(dev.raw("POST", versions, "{").0, 400);
    assert_eq!((told("GET", "/nothing").0, told("PATCH", "/subjects").0), (404, 405));
}

#[test]
fn a_version_that_breaks_its_readers_is_refused() {
    let dev = Dev::start();
    let old = order(&[("id", json!("long")), ("amount", json!("string"))]);
    let good = order(&[("id", json!("double")), ("note", json!(["string", ""]))]);
    let bad = order(&[("id", json!("long")), ("amount", json!("long")), ("x", json!("int"))]);
    assert_eq!(dev.get("/config"), json!({ "compatibilityLevel": "BACKWARD" }));
    let at = "/compatibility/subjects/a/versions";
    assert_eq!(dev.call("POST", &format!("{at}/latest"), draft(&old)), json!({ "is_compatible": true }));
    dev.register("a", &old);
    assert_eq!(dev.code("POST", &format!("{at}/9"), &draft(&good)), 40402);
    assert_eq!(dev.call("POST", &format!("{at}/1"), draft(&good)), json!({ "is_compatible": true }));
    let told = dev.call("POST", &format!("{at}/latest?verbose=true"), draft(&bad));
    let cannot = "the new schema cannot read what the old one wrote";
    let messages = [
        format!(
            "{{errorType:'READER_FIELD_MISSING_DEFAULT_VALUE', description:'{cannot}: field x: the reader's field has no default, and the writer has no such field'}}"
        ),
        format!(
            "{{errorType:'TYPE_MISMATCH', description:'{cannot}: field amount: string cannot be read as long'}}"
        ),
        "{oldSchemaVersion: 1}".to_owned(),
        "{compatibility: 'BACKWARD'}".to_owned(),
    ];
    assert_eq!(told, json!({ "is_compatible": false, "messages": messages }));
    let (code, says) = dev.refused("POST", "/subjects/a/versions", &draft(&bad));
    assert_eq!(code, 40901);
    assert!(
        says.starts_with("Schema being registered is incompatible with an earlier schema for subject \"a\"")
    );
    assert!(says.contains("field amount: string cannot be read as long"), "{says}");
    assert_eq!(dev.register("a", &good), 2);
    let (code, _) =
        dev.refused("POST", "/subjects/a/versions", &json!({ "schema": "{}", "schemaType": "JSON" }));
    assert_eq!(code, 40901);
}

/// Three versions, of which the third fits the second and not the first, or is read by one and not by the other.
#[test]
fn levels_look_backward_forward_and_far() {
    let one = order(&[("id", json!("long"))]);
    let two = order(&[("id", json!("long")), ("x", json!(["int", 0]))]);
    let three = order(&[("id", json!("long")), ("x", json!("int"))]);
    let longer = order(&[("id", json!("double"))]);
    for (level, third, fourth) in [
        ("NONE", true, true),
        ("BACKWARD", true, true),
        ("BACKWARD_TRANSITIVE", false, true),
        ("FORWARD", true, false),
        ("forward_transitive", true, false),
        ("FULL", true, false),
        ("FULL_TRANSITIVE", false, false),
    ] {
        let dev = Dev::start();
        let set = dev.call("PUT", "/config/a", json!({ "compatibility": level }));
        assert_eq!(set, json!({ "compatibility": level.to_uppercase() }));
        dev.register("a", &one);
        dev.register("a", &two);
        let fits = |path: &str, schema| {
            let path = format!("/compatibility/subjects/a/versions{path}");
            dev.call("POST", &path, draft(schema))["is_compatible"] == true
        };
        let registers = |schema| dev.raw("POST", "/subjects/a/versions", &draft(schema).to_string()).0 == 200;
        assert_eq!(fits("", &three), third, "{level}");
        assert!(fits("/latest", &three), "{level}");
        assert_eq!(fits("", &longer), fourth, "{level}");
        assert_eq!(registers(&longer), fourth, "{level}");
        assert_eq!(dev.get("/subjects/a/versions"), if fourth { json!([1, 2, 3]) } else { json!([1, 2]) });
    }
}

#[test]
fn levels_are_of_the_registry_or_of_a_subject() {
    let dev = Dev::start();
    dev.call("PUT", "/config", json!({ "compatibility": "NONE" }));
    dev.call("PUT", "/config/a", json!({ "compatibility": "FULL" }));
    assert_eq!(dev.get("/config/a"), json!({ "compatibilityLevel": "FULL" }));
    assert_eq!(dev.code("GET", "/config/b", &Json::Null), 40408);
    assert_eq!(dev.get("/config/b?defaultToGlobal=true"), json!({ "compatibilityLevel": "NONE" }));
    assert_eq!(dev.call("DELETE", "/config/a", Json::Null), json!({ "compatibilityLevel": "FULL" }));
    assert_eq!(dev.code("DELETE", "/config/a", &Json::Null), 40401);
    dev.register("a", &json!("string"));
    assert_eq!(dev.register("a", &json!("int")), 2);
    assert_eq!(dev.call("DELETE", "/config", Json::Null), json!({ "compatibilityLevel": "NONE" }));
    assert_eq!(dev.code("POST", "/subjects/a/versions", &draft(&json!("boolean"))), 40901);
}

#[test]
fn what_is_deleted_is_hidden_first_and_then_gone() {
    let dev = Dev::start();
    let (one, two) = (order(&[]), order(&[("x", json!(["int", 0]))]));
    dev.register("a", &one);
    dev.register("a", &two);
    let delete = |path: &str| dev.call("DELETE", path, Json::Null);
    let refused = |path: &str| dev.code("DELETE", path, &Json::Null);
    assert_eq!(refused("/subjects/a/versions/2?permanent=true"), 40407);
    assert_eq!(refused("/subjects/a?permanent=true"), 40405);
    assert_eq!(delete("/subjects/a/versions/latest"), json!(2));
    assert_eq!(refused("/subjects/a/versions/2"), 40406);
    assert_eq!(
        (dev.get("/subjects/a/versions"), dev.get("/subjects/a/versions?deleted=true")),
        (json!([1]), json!([1, 2]))
    );
    assert_eq!(dev.code("GET", "/subjects/a/versions/2", &Json::Null), 40402);
    assert_eq!(dev.code("POST", "/subjects/a", &draft(&two)), 40403);
    assert_eq!(dev.call("POST", "/subjects/a?deleted=true", draft(&two))["version"], 2);
    // Records of it are still about.
    assert_eq!(dev.raw("GET", "/schemas/ids/2/schema", "").0, 200);
    assert_eq!(dev.register("a", &two), 2);
    assert_eq!(dev.get("/subjects/a/versions"), json!([1, 3]));

    assert_eq!(delete("/subjects/a"), json!([1, 3]));
    assert_eq!((dev.get("/subjects"), dev.get("/subjects?deletedOnly=true")), (json!([]), json!(["a"])));
    assert_eq!(refused("/subjects/a"), 40404);
    assert_eq!(delete("/subjects/a?permanent=true"), json!([1, 2, 3]));
    assert_eq!(refused("/subjects/a"), 40401);
    assert_eq!(dev.code("GET", "/schemas/ids/2", &Json::Null), 40403);
    // An id is never given twice.
    assert_eq!((dev.register("a", &two), dev.get("/subjects/a/versions")), (3, json!([1])));
}

#[test]
fn schemas_build_on_others() {
    let dev = Dev::start();
    let zip = json!({ "type": "record", "name": "shop.Zip", "fields": [] });
    let address =
        json!({ "type": "record", "name": "shop.Address", "fields": [{ "name": "zip", "type": "Zip" }] });
    let customer = |name: &str| json!({ "type": "record", "name": "Customer", "fields": [{ "name": name, "type": "shop.Address" }, { "name": "zip", "type": "shop.Zip" }] });
    let to = |name: &str, subject: &str, version: i32| json!({ "name": name, "subject": subject, "version": version });
    let with =
        |schema: &Json, references: Json| json!({ "schema": schema.to_string(), "references": references });
    dev.register("zip", &zip);
    assert_eq!(dev.code("POST", "/subjects/address/versions", &draft(&address)), 42201);
    dev.call("POST", "/subjects/address/versions", with(&address, json!([to("shop.Zip", "zip", 1)])));
    // Both lead to the zip, which is read once.
    let both = json!([to("shop.Address", "address", -1), to("shop.Zip", "zip", 1)]);
    let taken = dev.call("POST", "/subjects/customer/versions", with(&customer("home"), both));
    let both = json!([to("shop.Address", "address", 1), to("shop.Zip", "zip", 1)]);
    assert_eq!((&taken["id"], &taken["references"]), (&json!(3), &both));
    assert_eq!(dev.get("/schemas/ids/3")["references"], both);
    assert_eq!(dev.get("/subjects/zip/versions/1/referencedby"), json!([2, 3]));
    let (code, says) = dev.refused("POST", "/subjects/customer/versions", &with(&customer("office"), both));
    assert!(code == 40901 && says.contains("field office"), "{says}");
    assert_eq!(dev.code("DELETE", "/subjects/zip", &Json::Null), 42206);
    assert_eq!(dev.code("DELETE", "/subjects/address/versions/1", &Json::Null), 42206);
    for subject in ["customer", "address", "zip"] {
        dev.call("DELETE", &format!("/subjects/{subject}"), Json::Null);
    }
}

#[test]
fn other_languages_are_kept() {
    let dev = Dev::start();
    let send = |text: &str, language: &str| json!({ "schema": text, "schemaType": language });
    let versions = "/subjects/a/versions";
    assert_eq!(dev.call("POST", versions, send(r#"{"type": "object"}"#, "JSON"))["id"], 1);
    assert_eq!(dev.call("POST", versions, send(r#"{"type": "string"}"#, "JSON"))["id"], 2);
    assert_eq!(dev.code("POST", versions, &send("{", "JSON")), 42201);
    assert_eq!(dev.code("POST", versions, &send("7", "JSON")), 42201);
    let proto = "syntax = \"proto3\";\nmessage Order { int64 id = 1; }\n";
    assert_eq!(dev.call("POST", "/subjects/b/versions", send(proto, "PROTOBUF"))["id"], 3);
    assert_eq!(dev.call("POST", "/subjects/b", send(proto, "PROTOBUF"))["version"], 1);
    let kept = dev.get("/schemas/ids/3");
    assert_eq!((&kept["schemaType"], &kept["schema"]), (&json!("PROTOBUF"), &json!(proto.trim())));
    assert_eq!(dev.get("/schemas/ids/1")["schemaType"], "JSON");
}

#[test]
fn subjects_have_any_name() {
    let dev = Dev::start();
    dev.call("POST", "/subjects/a%2Fb%20%C3%A9+c-value/versions", draft(&json!("int")));
    assert_eq!(dev.get("/subjects"), json!(["a/b é+c-value"]));
    assert_eq!(dev.get("/subjects/a%2Fb%20%C3%A9+c-value/versions"), json!([1]));
    assert_eq!(dev.get("/subjects?subjectPrefix=a%2Fb+%C3%A9%2B"), json!(["a/b é+c-value"]));
}

#[test]
fn it_takes_what_its_limits_allow_and_stops() {
    let limits =
        RegistryLimits { schemas_max: 2, text_bytes_max: 400, body_bytes_max: 1_000, connections_max: 4 };
    let dev = Dev::start_with(limits);
    dev.register("a", &json!("int"));
    let large = json!({ "type": "record", "name": "R", "doc": "x".repeat(500), "fields": [] });
    assert_eq!(dev.code("POST", "/subjects/b/versions", &draft(&large)), 50001);
    let larger = draft(&json!({ "type": "record", "name": "R", "doc": "x".repeat(5_000), "fields": [] }));
    assert_eq!(dev.code("POST", "/subjects/b/versions", &larger), 413);
    dev.register("b", &json!("int"));
    assert_eq!(dev.code("POST", "/subjects/c/versions", &draft(&json!("int"))), 50001);
    assert_eq!(dev.get("/subjects"), json!(["a", "b"]));

    let address = dev.registry.url().replace("http://", "");
    let mut waiting = TcpStream::connect(&address).unwrap();
    waiting.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    waiting
        .write_all(b"POST /subjects/c/versions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n")
        .unwrap();
    let others: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let mut last = others.last().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    assert_eq!(last.read(&mut [0; 8]).unwrap(), 0, "one connection too many is closed");

    let Dev { registry, runtime, .. } = dev;
    runtime.block_on(registry.stop());
    assert!(matches!(waiting.read(&mut [0; 8]), Ok(0) | Err(_)), "no connection outlives it");
    assert!(TcpStream::connect(&address).is_err());
}

/// The lines that people are given, by the shell that they paste them into.
#[test]
fn the_lines_for_people_work() {
    let dev = Dev::start();
    dev.register("shop.orders-value", &json!("string"));
    for line in dev.registry.curl_lines("shop.orders") {
        let line = line.replacen("curl ", "curl -sSf ", 1);
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(serde_json::from_slice::<Json>(&output.stdout).is_ok(), "{line}");
    }
    assert_eq!(dev.get("/config/shop.orders-value"), json!({ "compatibilityLevel": "FULL" }));
}
