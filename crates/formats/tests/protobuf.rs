//! The format `protobuf` with a registry in memory: what is registered, what stands in front of the payload, and which
//! message comes back.

mod memory;

use std::sync::Arc;

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::registry::{Reference, Registering, SchemaKind};
use aqueduct_api::schema::{Field, Kind, Name, RecordType, SchemaBuilder};
use aqueduct_api::{
    Decoder, Encoded, Encoder, FormatContext, Registry, Result, SchemaId, SchemaText, Side, Typed, Value,
};
use aqueduct_formats::Protobuf;
use bytes::Bytes;
use serde_json::json;

use memory::{Held, Memory, context};

struct Ends {
    registry: Arc<Memory>,
    topic: Arc<str>,
}

impl Ends {
    fn new() -> Self {
        Self { registry: Memory::new("r"), topic: "orders".into() }
    }

    fn context(&self) -> FormatContext {
        context(&self.registry)
    }

    async fn add(&self, subject: &str, schema: SchemaText) -> u32 {
        let how = Registering { allowed: true, normalize: false };
        self.registry.id(subject, &schema, how).await.expect("as the test says")
    }

    fn config(config: serde_json::Value) -> Arc<Protobuf> {
        Arc::new(serde_json::from_value(config).expect("as the test says"))
    }

    async fn read(&self, config: serde_json::Value, bytes: &[u8]) -> Result<Typed> {
        self.read_held(config, Held::new(bytes.to_vec())).await
    }

    async fn read_held(&self, config: serde_json::Value, held: Held) -> Result<Typed> {
        let mut decoder: Box<dyn Decoder> = Protobuf::decoder(&Self::config(config), &self.context())?;
        let held = Held { topic: Arc::clone(&self.topic), ..held };
        decoder.prepare(&[held.piece()]).await?;
        decoder.decode(held.piece())
    }

    async fn write(&self, config: serde_json::Value, typed: &Typed) -> Result<Vec<u8>> {
        let mut encoder: Box<dyn Encoder> = Protobuf::encoder(&Self::config(config), &self.context())?;
        let mut out = Vec::new();
        if encoder.encode(&self.topic, typed, &mut out)? == Encoded::Unprepared {
            encoder.prepare(&self.topic, typed.schema()).await?;
            assert_eq!(encoder.encode(&self.topic, typed, &mut out)?, Encoded::Done);
        }
        Ok(out)
    }
}

const SHOP: &str = "syntax = 'proto3'; package shop; import 'item.proto';
    message Order { int64 id = 1; message Line { common.Item item = 1; int32 count = 2; } }
    message Refund { int64 id = 1; repeated Order.Line lines = 2; }";
const ITEM: &str = "syntax = 'proto3'; package common; message Item { string sku = 1; }";

fn shop() -> SchemaText {
    let mut schema = SchemaText::new(SchemaKind::Protobuf, SHOP);
    schema.references.push(Reference {
        name: "item.proto".into(),
        subject: "item".into(),
        version: 1,
        schema: Arc::new(SchemaText::new(SchemaKind::Protobuf, ITEM)),
    });
    schema
}

#[tokio::test]
async fn a_message_is_read_by_its_indexes_and_goes_out_as_it_came() {
    let ends = Ends::new();
    assert_eq!(ends.add("orders-value", shop()).await, 1);
    let (refund, line) = (b"\x08\x07\x12\x07\x0a\x03\x0a\x01a\x10\x02", b"\x0a\x03\x0a\x01a\x10\x02");
    for (indexes, message, name) in [
        (&[2, 2][..], &refund[..], "shop.Refund"),
        (&[4, 0, 0], line, "shop.Order.Line"),
        (&[0], b"\x08\x01", "shop.Order"),
    ] {
        let bytes = [&[0, 0, 0, 0, 1], indexes, message].concat();
        let row = ends.read(json!({}), &bytes).await.unwrap();
        let schema = row.schema();
        assert_eq!(schema.get(schema.root()).kind.name(), name);
        // The same schema with what it refers to, the same message of it.
        assert_eq!(ends.write(json!({}), &row).await.unwrap(), bytes);
    }
    let error = ends.read(json!({}), &[0, 0, 0, 0, 1, 2, 8]).await.unwrap_err();
    assert!(error.to_string().contains("no message at [4]"), "{error}");
    let error = ends.read(json!({}), &[0, 0, 0, 0, 1, 0, 8]).await.unwrap_err();
    assert!(error.to_string().contains("field `id`: a number ends behind the last byte (byte 7)"), "{error}");
}

/// A value whose schema a header names, with what stands there behind the GUID (which the registry in memory takes from its
/// first byte).
fn named_by_a_header(indexes: &[u8], message: &[u8]) -> Held {
    let mut held = Held::new(message.to_vec());
    let header = [&[1, 1], &[9; 15][..], indexes].concat();
    held.headers.push("__value_schema_id", Some(header.into()));
    held
}

/// As Confluent's serializer writes it when it puts the GUID into a header: the numbers of the message stand there too.
#[tokio::test]
async fn a_header_names_the_message_too() {
    let ends = Ends::new();
    assert_eq!(ends.add("orders-value", shop()).await, 1);
    let refund = b"\x08\x07\x12\x07\x0a\x03\x0a\x01a\x10\x02";
    for (indexes, message, name) in
        [(&[2, 2][..], &refund[..], "shop.Refund"), (&[0], b"\x08\x01", "shop.Order")]
    {
        let row = ends.read_held(json!({}), named_by_a_header(indexes, message)).await.unwrap();
        assert_eq!(row.schema().get(row.schema().root()).kind.name(), name);
        let framed = [&[0, 0, 0, 0, 1], indexes, message].concat();
        assert_eq!(ends.write(json!({}), &row).await.unwrap(), framed);
        // Under an id of another registry they stand in front of the payload.
        let (to, from) = (Memory::new("to"), Arc::clone(&ends.registry) as Arc<dyn Registry>);
        let mut translator = Protobuf::translator(&Ends::config(json!({})), &from, &context(&to)).unwrap();
        to.put("filler", SchemaKind::Avro, "\"string\"");
        let (held, mut out) = (named_by_a_header(indexes, message), Vec::new());
        translator.prepare(&ends.topic, held.piece()).await.unwrap();
        assert_eq!(translator.translate(&ends.topic, held.piece(), &mut out).unwrap(), Encoded::Done);
        assert_eq!(out, [&[0, 0, 0, 0, 2], indexes, message].concat());
    }
    for (indexes, says) in [
        (&[0, 0][..], "the header goes on behind the numbers of the message"),
        (&[], "a number ends behind the last byte (header=of the schema"),
    ] {
        let error = ends.read_held(json!({}), named_by_a_header(indexes, b"\x08\x01")).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn a_row_of_another_format_is_registered_as_a_message() {
    let ends = Ends::new();
    let mut schema = SchemaBuilder::default();
    let (long, text) = (schema.add(Kind::Long), schema.add(Kind::Text));
    let field = |name: &str, of| Field {
        name: name.into(),
        aliases: Box::default(),
        doc: None,
        of,
        default: None,
        attributes: Default::default(),
    };
    let fields = [field("id", long), field("name", text)];
    let root = schema.add(Kind::Record(RecordType::new(Name::new("shop.Order"), fields)));
    let row = Value::Record([Value::Long(1), Value::from("x")].into());
    let row = Typed::new(schema.finish(root), Bytes::new(), row);
    let bytes = ends.write(json!({}), &row).await.unwrap();
    assert_eq!(bytes, b"\0\0\0\0\x01\0\x08\x01\x12\x01x");
    let registered = ends.registry.schema(SchemaId::Number(1)).await.unwrap();
    let expected =
        "syntax = \"proto3\";\npackage shop;\n\nmessage Order {\n  int64 id = 1;\n  string name = 2;\n}\n";
    assert_eq!(&*registered.schema.text, expected);
    let back = ends.read(json!({}), &bytes).await.unwrap();
    assert_eq!(back.view().field("name").unwrap().text(), Some("x"));
    ends.write(json!({ "subject": "topic_record_name" }), &row).await.unwrap();
    assert_eq!(ends.registry.subjects(), ["orders-shop.Order", "orders-value"]);
}

#[tokio::test]
async fn values_are_brought_into_a_message_that_the_file_names() {
    let ends = Ends::new();
    ends.add("orders-value", shop()).await;
    let bytes = b"\0\0\0\0\x01\x02\x02\x08\x07\x12\x07\x0a\x03\x0a\x01a\x10\x02";
    // What only the writer has is left behind.
    let row = ends.read(json!({ "schema": "latest", "message": "Order" }), bytes).await.unwrap();
    assert_eq!(row.value(), &Value::Record([Value::Long(7)].into()));
    let row = ends.read(json!({}), bytes).await.unwrap();
    let into_order = json!({ "schema": "latest", "message": "Order" });
    let error = ends.write(into_order, &row).await.unwrap_err();
    assert!(
        error.to_string().contains("field `lines`: the schema `shop.Order` has no such field"),
        "{error}"
    );
    let into_order = json!({ "schema": "latest", "message": "Order", "unknown_fields": "drop" });
    assert_eq!(ends.write(into_order, &row).await.unwrap(), b"\0\0\0\0\x01\0\x08\x07");
    let error = ends.write(json!({ "schema": "latest", "message": "Nobody" }), &row).await.unwrap_err();
    assert!(error.to_string().contains("no message `Nobody`"), "{error}");
}

#[tokio::test]
async fn payloads_without_a_frame_are_read_and_written_with_a_file() {
    let ends = Ends::new();
    let path = std::env::temp_dir().join(format!("aqueduct-{}-item.proto", std::process::id()));
    std::fs::write(&path, ITEM).unwrap();
    let config = json!({ "frame": "none", "schema": { "file": path } });
    let row = ends.read(config.clone(), b"\x0a\x01a").await.unwrap();
    assert_eq!(row.view().field("sku").unwrap().text(), Some("a"));
    assert_eq!(ends.write(config.clone(), &row).await.unwrap(), b"\x0a\x01a");
    assert!(Protobuf::check(&Ends::config(config), Side::Source).is_empty());
    std::fs::remove_file(&path).unwrap();
    for (config, path) in [(json!({ "frame": "none" }), "frame"), (json!({ "message": "M" }), "message")] {
        let problems = Protobuf::check(&Ends::config(config), Side::Sink);
        assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path]);
    }
}
