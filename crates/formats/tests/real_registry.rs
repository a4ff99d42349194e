//! The formats with a real registry, one for all of these tests: what a sink registers there and reads back, a schema that
//! evolves, one that is refused, and what `aqueduct check --connect` says of subjects.

#![allow(missing_docs, clippy::unwrap_used)]

mod at_registry;
mod memory;

use aqueduct_api::registry::SchemaId;
use aqueduct_api::{Error, ErrorKind, Side, Value};
use aqueduct_formats::{Avro, JsonSchema, Protobuf};
use serde_json::{Value as Json, json};

use at_registry::Server;
use memory::{Held, framed};

/// It takes 5 to 20 s to start one, so there is one, and the tests follow each other; each has subjects of its own.
#[tokio::test(flavor = "multi_thread")]
async fn formats_with_a_real_registry() {
    let server = Server::start();
    json_with_a_schema_of_two_subjects(&server).await;
    a_json_schema_evolves_and_is_refused(&server).await;
    messages_with_an_import(&server).await;
    a_message_evolves_and_is_refused(&server).await;
    rows_of_another_format_are_registered(&server).await;
    headers_name_schemas(&server).await;
    a_probe_of_a_sink_says_whether_its_subject_takes_the_schema(&server).await;
    a_probe_asks_what_the_pipeline_would_ask(&server).await;
}

fn bad_record(error: &Error, words: &str) {
    assert_eq!(error.kind(), ErrorKind::BadRecord, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

const LINE: &str = r#"{"$schema":"http://json-schema.org/draft-07/schema#","title":"Line","type":"object","properties":{"sku":{"type":"string"},"count":{"type":"integer","minimum":1}},"required":["sku","count"]}"#;
const BASKET: &str = r#"{"$schema":"http://json-schema.org/draft-07/schema#","title":"Basket","type":"object","properties":{"id":{"type":"integer"},"lines":{"type":"array","items":{"$ref":"line.json"}}},"required":["id","lines"]}"#;

/// Both schemas come from another client; the sink's subject gets the one with its reference to the other.
async fn json_with_a_schema_of_two_subjects(server: &Server) {
    server.registry.post("lines", &json!({ "schemaType": "JSON", "schema": LINE }));
    let body = json!({ "schemaType": "JSON", "schema": BASKET,
        "references": [{ "name": "line.json", "subject": server.registry.fresh("lines"), "version": 1 }] });
    let id = match server.registry.offer("baskets-value", &body) {
        Ok(id) => id,
        // Karapace has no references of JSON Schema.
        Err(refusal) => {
            assert!(!server.registry.is_own() && refusal["error_code"] == 44302, "{refusal}");
            return;
        }
    };
    let text = br#"{"id":7,"lines":[{"sku":"a","count":2}]}"#;
    let basket = server.read::<JsonSchema>("baskets", json!({}), &framed(id, text)).await.unwrap();
    assert_eq!(basket.schema().get(basket.schema().root()).kind.name(), "Basket");
    assert!(basket.view().field("lines").is_some());
    for (wrong, words) in [
        (
            &br#"{"id":7,"lines":[{"sku":"a","count":0}]}"#[..],
            "less than the minimum of 1 at `/lines/0/count`",
        ),
        (br#"{"id":7,"lines":[{"sku":"a"}]}"#, "count"),
        (br#"{"id":"7","lines":[]}"#, "field `id`"),
    ] {
        let read = server.read::<JsonSchema>("baskets", json!({}), &framed(id, wrong)).await;
        bad_record(&read.unwrap_err(), words);
    }

    let written = server.write::<JsonSchema>("copies", json!({}), &basket).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&written[5..]), String::from_utf8_lossy(text));
    assert_eq!(written[1..5], id.to_be_bytes(), "the schema has the id that it had");
    let copy = server.registry.version("copies-value", 1);
    assert_eq!((&copy["schema"], &copy["references"]), (&json!(BASKET), &body["references"]), "{copy}");
    let again = server.read::<JsonSchema>("copies", json!({}), &written).await.unwrap();
    assert_eq!(again, basket);
}

/// Nothing else may be in such an object, so that a field may be added.
fn closed(properties: &Json) -> String {
    json!({ "title": "Order", "type": "object", "properties": properties, "required": ["id"], "additionalProperties": false })
        .to_string()
}

async fn a_json_schema_evolves_and_is_refused(server: &Server) {
    let first = closed(&json!({ "id": { "type": "integer" } }));
    let second = closed(&json!({ "id": { "type": "integer" }, "note": { "type": "string" } }));
    let third = closed(&json!({ "id": { "type": "string" }, "note": { "type": "string" } }));
    // Whoever writes there need not be compatible with anything, the sink has to be.
    server.registry.compatibility("notes-value", "NONE");
    let ids = [&first, &second, &third].map(|schema| {
        server.registry.post("notes-value", &json!({ "schemaType": "JSON", "schema": schema }))
    });
    let texts = [r#"{"id":1}"#, r#"{"id":1,"note":"x"}"#, r#"{"id":"1","note":"x"}"#];
    let framed = [0, 1, 2].map(|at| framed(ids[at], texts[at].as_bytes()));
    for (bytes, version) in framed.iter().zip([1, 2]) {
        let row = server.read::<JsonSchema>("notes", json!({}), bytes).await.unwrap();
        assert_eq!(&server.write::<JsonSchema>("noted", json!({}), &row).await.unwrap(), bytes);
        assert_eq!(server.registry.version("noted-value", version)["id"], ids[version as usize - 1]);
    }
    let row = server.read::<JsonSchema>("notes", json!({}), &framed[2]).await.unwrap();
    let refused = server.write::<JsonSchema>("noted", json!({}), &row).await.unwrap_err();
    // What Apicurio says of the field whose type is another one.
    bad_record(&refused, server.words("Subschema type changed at /properties/id"));
    // What was written before the field was there is read as the newest version has it.
    let latest = json!({ "schema": "latest" });
    let row = server.read::<JsonSchema>("noted", latest, &framed[0]).await.unwrap();
    assert!(row.view().field("note").is_some_and(|note| *note.value == Value::Null), "{row:?}");
}

const ITEM: &str = "syntax = \"proto3\"; package common; message Item { string sku = 1; }";

fn shop(line: &str) -> String {
    format!(
        "syntax = \"proto3\"; package shop; import \"item.proto\"; \
         message Order {{ int64 id = 1; message Line {{ common.Item item = 1; {line} }} }} \
         message Refund {{ int64 id = 1; repeated Order.Line lines = 2; }}"
    )
}

fn with_item(server: &Server, schema: &str) -> Json {
    let subject = server.registry.fresh("item.proto");
    json!({ "schemaType": "PROTOBUF", "schema": schema,
        "references": [{ "name": "item.proto", "subject": subject, "version": 1 }] })
}

/// Messages that are not the first of their schema, and one inside another.
async fn messages_with_an_import(server: &Server) {
    server.registry.post("item.proto", &json!({ "schemaType": "PROTOBUF", "schema": ITEM }));
    let schema = shop("int32 count = 2;");
    let id = server.registry.post("shop-value", &with_item(server, &schema));
    for (indexes, message, name) in [
        (&[2, 2][..], &b"\x08\x07\x12\x07\x0a\x03\x0a\x01a\x10\x02"[..], "shop.Refund"),
        (&[4, 0, 0], b"\x0a\x03\x0a\x01a\x10\x02", "shop.Order.Line"),
        (&[0], b"\x08\x01", "shop.Order"),
    ] {
        let bytes = framed(id, &[indexes, message].concat());
        let row = server.read::<Protobuf>("shop", json!({}), &bytes).await.unwrap();
        assert_eq!(row.schema().get(row.schema().root()).kind.name(), name);
        assert_eq!(server.write::<Protobuf>("shop.copy", json!({}), &row).await.unwrap(), bytes);
    }
    let copy = server.registry.version("shop.copy-value", 1);
    // Karapace keeps a text of its own for it.
    assert_eq!(copy["schema"], server.registry.version("shop-value", 1)["schema"], "{copy}");
    assert_eq!(copy["references"], with_item(server, "")["references"]);
    let nobody = server.read::<Protobuf>("shop", json!({}), &framed(id, &[2, 8])).await;
    bad_record(&nobody.unwrap_err(), "no message at [4]");
}

async fn a_message_evolves_and_is_refused(server: &Server) {
    let schemas = ["int32 count = 2;", "int32 count = 2; string note = 3;", "string count = 2;"].map(shop);
    server.registry.compatibility("carts-value", "NONE");
    let ids =
        schemas.each_ref().map(|schema| server.registry.post("carts-value", &with_item(server, schema)));
    // Lines, which stand inside orders.
    let lines = [&b"\x10\x02"[..], b"\x10\x02\x1a\x01x", b"\x12\x012"];
    let framed = [0, 1, 2].map(|at| framed(ids[at], &[&[4, 0, 0], lines[at]].concat()));
    for (bytes, version) in framed.iter().zip([1, 2]) {
        let row = server.read::<Protobuf>("carts", json!({}), bytes).await.unwrap();
        assert_eq!(&server.write::<Protobuf>("carted", json!({}), &row).await.unwrap(), bytes);
        assert_eq!(server.registry.version("carted-value", version)["id"], ids[version as usize - 1]);
    }
    let row = server.read::<Protobuf>("carts", json!({}), &framed[2]).await.unwrap();
    let refused = server.write::<Protobuf>("carted", json!({}), &row).await.unwrap_err();
    bad_record(&refused, server.words("Field type changed, message Order.Line"));
    let latest = json!({ "schema": "latest", "message": "Order.Line" });
    let row = server.read::<Protobuf>("carted", latest, &framed[0]).await.unwrap();
    assert_eq!(row.view().field("note").and_then(|note| note.text()), Some(""));
}

/// What was Avro goes out with schemas that are written for it, which the registry has to understand.
async fn rows_of_another_format_are_registered(server: &Server) {
    let line = json!({ "type": "record", "name": "Line", "fields": [{ "name": "sku", "type": "string" }] });
    let avro = json!({ "type": "record", "name": "shop.Order", "fields": [
        { "name": "id", "type": "long" },
        { "name": "note", "type": ["null", "string"], "default": null },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-micros" } },
        { "name": "total", "type": { "type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2 } },
        { "name": "state", "type": { "type": "enum", "name": "State", "symbols": ["OPEN", "PAID"] } },
        { "name": "lines", "type": { "type": "array", "items": line } } ] });
    let id = server.registry.put("avro-value", &avro.to_string());
    // 7, "hi", 1 µs after 1970, 1.50, PAID, one line "a".
    let order = framed(id, b"\x0e\x02\x04hi\x02\x04\x00\x96\x02\x02\x02a\x00");
    let row = server.read::<Avro>("avro", json!({}), &order).await.unwrap();

    let json = server.write::<JsonSchema>("as.json", json!({}), &row).await.unwrap();
    let registered: Json =
        serde_json::from_str(server.registry.version("as.json-value", 1)["schema"].as_str().unwrap())
            .unwrap();
    assert_eq!(registered["properties"]["id"]["connect.type"], "int64", "{registered}");
    let again = server.read::<JsonSchema>("as.json", json!({}), &json).await.unwrap();
    let back = server.write::<Avro>("avro", json!({ "schema": "latest" }), &again).await.unwrap();
    assert_eq!(back, order, "through JSON and its schema");

    let message = server.write::<Protobuf>("as.proto", json!({}), &row).await.unwrap();
    let registered = server.registry.version("as.proto-value", 1);
    assert!(registered["schema"].as_str().unwrap().contains("message Order {"), "{registered}");
    let again = server.read::<Protobuf>("as.proto", json!({}), &message).await.unwrap();
    let back = server.write::<Avro>("avro", json!({ "schema": "latest" }), &again).await.unwrap();
    assert_eq!(back, order, "through a message and its schema");
}

/// Confluent's knows schemas by GUIDs too, and its answers name them. Apicurio does not: `/schemas/guids/...` is answered with 404 and
/// nothing else, under `ccompat/v7` and under `v8`.
async fn headers_name_schemas(server: &Server) {
    let id = server
        .registry
        .put("header-value", r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#);
    let mut held = Held::new(&b"\x04hi"[..]);
    held.headers.push("__value_schema_id", Some(framed(id, b"").into()));
    let row = server.read_held::<Avro>(json!({}), &held).await.unwrap();
    assert_eq!(row.view().field("a").and_then(|a| a.text()), Some("hi"));
    let guid_in_header = |guid: [u8; 16]| [&[1][..], &guid].concat().into();
    let said = server.registry.version("header-value", 1);
    let words = match said["guid"].as_str() {
        Some(guid) => {
            let guid = u128::from_str_radix(&guid.replace('-', ""), 16).unwrap().to_be_bytes();
            held.headers.push("__value_schema_id", Some(guid_in_header(guid)));
            let row = server.read_held::<Avro>(json!({}), &held).await.unwrap();
            assert_eq!(row.view().field("a").and_then(|a| a.text()), Some("hi"));
            ""
        }
        None => ": the registry knows schemas by their ids only",
    };
    held.headers.push("__value_schema_id", Some(guid_in_header([7; 16])));
    let error = server.read_held::<Avro>(json!({}), &held).await.unwrap_err();
    bad_record(&error, &format!("does not know {}{words}", SchemaId::Guid([7; 16])));
}

async fn a_probe_of_a_sink_says_whether_its_subject_takes_the_schema(server: &Server) {
    let object = |of: &str| closed(&json!({ "id": { "type": of } }));
    let message = |of: &str| format!("syntax = \"proto3\"; message Order {{ {of} id = 1; }}");
    let nobody = server.registry.fresh("nobody-value");
    let record = |of: &str| {
        json!({ "type": "record", "name": "Order", "fields": [{ "name": "id", "type": of }] }).to_string()
    };
    server.registry.put("probed.avro-value", &record("long"));
    server.registry.post("probed.json-value", &json!({ "schemaType": "JSON", "schema": object("integer") }));
    server
        .registry
        .post("probed.protobuf-value", &json!({ "schemaType": "PROTOBUF", "schema": message("int64") }));
    for (language, same, wider, other) in [
        ("avro", record("long"), record("double"), record("string")),
        ("json", object("integer"), object("number"), object("string")),
        ("protobuf", message("int64"), message("int64 no = 2; int64"), message("string")),
    ] {
        let topic = format!("probed.{language}");
        let (topic_subject, subject) =
            (format!("{topic}-value"), server.registry.fresh(&format!("{topic}-value")));
        let probe = async |schema: &str, topic: &str, more: Json| {
            let file = server.file(language, schema);
            let mut options = json!({ "schema": { "file": file } });
            options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            match language {
                "avro" => server.probe::<Avro>(Side::Sink, options, topic).await,
                "json" => server.probe::<JsonSchema>(Side::Sink, options, topic).await,
                _ => server.probe::<Protobuf>(Side::Sink, options, topic).await,
            }
        };
        let there = probe(&same, &topic, json!({})).await;
        assert!(
            there.len() == 1
                && there[0]
                    .starts_with(&format!("Good: subject `{subject}` has the schema of the file as id ")),
            "{there:?}"
        );
        assert_eq!(
            probe(&wider, &topic, json!({})).await,
            [format!("Good: subject `{subject}` takes the schema of the file")]
        );
        // Compatible, and never registered.
        let found = probe(&wider, &topic, json!({ "register": false })).await;
        let apicurios = format!("The given schema does not match any schema under the subject {subject}");
        let words = if server.registry.is_own() { apicurios.as_str() } else { "Schema not found" };
        assert_eq!(found, [server.unregistered(&topic_subject, words)]);
        let found = probe(&other, &topic, json!({})).await;
        let refused = format!("Bad: subject `{subject}` refuses the schema of the file: ");
        assert!(found.len() == 1 && found[0].starts_with(&refused), "{found:?}");
        if server.registry.is_own() {
            // Apicurio says why only to a registration.
            let why = "the registry calls it incompatible, and does not say why; change the schema so that it is compatible, \
                       or the rule of the subject";
            assert_eq!(found, [refused + why]);
        }
        assert_eq!(
            probe(&same, "nobody", json!({})).await,
            [format!("Good: subject `{nobody}` is not there yet and will be registered")]
        );
        let unregistered = probe(&same, "nobody", json!({ "register": false })).await;
        assert_eq!(
            unregistered,
            [server.unregistered("nobody-value", &format!("Subject '{nobody}' not found."))]
        );
        let broken = probe("{", &topic, json!({})).await;
        assert!(broken.len() == 1 && broken[0].starts_with("Bad: "), "{broken:?}");
    }
}

/// A sentence about a subject is only worth something where that subject is what the pipeline will ask for.
async fn a_probe_asks_what_the_pipeline_would_ask(server: &Server) {
    let id = server
        .registry
        .put("known-value", r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"}]}"#);
    let probe = async |side, options, topic| server.probe::<Avro>(side, options, topic).await;
    let [known, nobody] = ["known-value", "nobody-value"].map(|name| server.registry.fresh(name));
    for side in [Side::Source, Side::Sink] {
        // What is brought into the newest version is registered by nobody.
        for (target, what) in
            [(json!("latest"), "the latest version"), (json!({ "version": 3 }), "version 3")]
        {
            let found = probe(side, json!({ "schema": target }), "nobody").await;
            assert_eq!(found, [server.missing("nobody-value", what)], "{side:?}");
        }
        let found = probe(side, json!({ "schema": "latest" }), "known").await;
        assert_eq!(found, [format!("Good: subject `{known}` has schema id {id}")]);
        // An id is asked for by itself, whatever the subjects are.
        let found = probe(side, json!({ "schema": { "id": id } }), "nobody").await;
        assert_eq!(found, [format!("Good: schema id {id} is there")], "{side:?}");
        let found = probe(side, json!({ "schema": { "id": 99_999 } }), "known").await;
        assert!(
            found.len() == 1
                && found[0].starts_with("Bad: the schema registry does not know schema id 99999: "),
            "{found:?}"
        );
    }
    let none = probe(Side::Sink, json!({ "register": false }), "nobody").await;
    let says = format!(
        "Bad: subject `{nobody}` is not there, and `register` is false; register the schemas of the values there, or leave `register` out"
    );
    assert_eq!(none, [says]);
    let other = server.probe::<Protobuf>(Side::Source, json!({ "schema": "latest" }), "known").await;
    assert!(other[0].starts_with(&format!("Bad: schema id {id} is of the language AVRO")), "{other:?}");
    // A source reads by the ids that its records carry: a missing subject is worth a word, and stops nothing.
    let found = probe(Side::Source, json!({}), "nobody").await;
    assert!(
        found.len() == 1 && found[0].starts_with(&format!("Warning: subject `{nobody}` is not there")),
        "{found:?}"
    );
    let file = server.file("avro", r#"{"type":"record","name":"Order","fields":[]}"#);
    let found = probe(Side::Source, json!({ "schema": { "file": file } }), "nobody").await;
    assert_eq!(found, ["Good: the schema of the file can be read"]);
}
