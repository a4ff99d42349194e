//! JSON Schema: schemas in that language to the schema of rows and back, and values held against them.

pub(crate) mod format;
mod names;
mod read;
mod rules;
mod write;

use std::sync::Arc;

use aqueduct_api::schema::Schema;
use aqueduct_api::{Error, Result, SchemaText};
use jsonschema::{Draft, Retrieve, Uri};
use serde_json::Value as Json;

pub(crate) use self::rules::Texts;
pub(crate) use self::write::write;

/// The schema of the rows that this JSON Schema allows, as far as types can say it.
///
/// # Errors
/// `BadRecord` when it is no schema, or refers to what is not there.
pub(crate) fn parse(text: &SchemaText, texts: Texts) -> Result<Arc<Schema>> {
    read::read(text, texts).map(|read| read.schema)
}

/// Holds values against a schema; compiled once for each.
#[derive(Debug)]
pub(crate) struct Validator(jsonschema::Validator);

impl Validator {
    /// Nothing where the types of rows say all that the schema does.
    ///
    /// # Errors
    /// `BadRecord` when it is no schema, or refers to what is not there.
    pub(crate) fn new(text: &SchemaText, texts: Texts) -> Result<Option<Self>> {
        let read::Read { mut documents, says_more, .. } = read::read(text, texts)?;
        if !says_more {
            return Ok(None);
        }
        let root = documents.remove(0).1;
        let mut options = jsonschema::options().with_retriever(Known(documents));
        // What Confluent's serializers take a schema for that does not say.
        if texts == Texts::Plain && root.get("$schema").is_none() {
            options = options.with_draft(Draft::Draft7);
        }
        match options.build(&root) {
            Ok(validator) => Ok(Some(Self(validator))),
            Err(error) => {
                let place = error.instance_path();
                Err(Error::bad_record(format!("the schema cannot be read: {error} at `{place}`")))
            }
        }
    }

    /// # Errors
    /// `BadRecord` with the rule and the place in the value, without the value.
    pub(crate) fn check(&self, value: &Json) -> Result<()> {
        self.0.validate(value).map_err(|error| {
            let path = error.instance_path().to_string();
            Error::bad_record(format!("the JSON Schema refuses it: {} at `{path}`", error.masked()))
        })
    }
}

/// The schemas that one refers to; nothing is ever fetched from elsewhere.
struct Known(Vec<(String, Json)>);

impl Retrieve for Known {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> std::result::Result<Json, Box<dyn std::error::Error + Send + Sync>> {
        let uri = uri.as_str();
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let same = |(name, _): &&(String, Json)| name == uri || last(name) == last(uri);
        match self.0.iter().find(same) {
            Some((_, json)) => Ok(json.clone()),
            None => Err(format!("`{uri}` is not among the references").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_api::registry::{Reference, SchemaKind};
    use aqueduct_api::schema::{Kind, TypeId};
    use serde_json::json;

    use super::*;

    fn text(json: &Json) -> SchemaText {
        SchemaText::new(SchemaKind::Json, json.to_string())
    }

    /// `{id: long, note: string?, ...}`: what a schema is, in short.
    fn shown(schema: &Schema, of: TypeId, depth: usize) -> String {
        let inner = |of: TypeId| shown(schema, of, depth + 1);
        let found = schema.get(of);
        if let Some(logical) = found.logical {
            return format!("{logical:?}");
        }
        match &found.kind {
            Kind::Record(record) if depth > 5 => format!("{}...", record.name.full),
            Kind::Record(record) => {
                let fields: Vec<String> = record
                    .fields
                    .iter()
                    .map(|field| format!("{}: {}", field.name, inner(field.of)))
                    .collect();
                format!("{}{{{}}}", record.name.full, fields.join(", "))
            }
            Kind::List(items) => format!("[{}]", inner(*items)),
            Kind::Map(values) => format!("map {}", inner(*values)),
            Kind::Enum(symbols) => format!("{}({})", symbols.name.full, symbols.symbols.join(" ")),
            Kind::Union(branches) => match schema.optional(of) {
                Some((_, other)) => format!("{}?", inner(other)),
                None => {
                    format!("<{}>", branches.iter().map(|of| inner(*of)).collect::<Vec<_>>().join(" "))
                }
            },
            kind => kind.name().to_owned(),
        }
    }

    fn read(json: &Json) -> Arc<Schema> {
        parse(&text(json), Texts::Plain).unwrap_or_else(|error| panic!("{error}\n{json}"))
    }

    fn is(json: Json, expected: &str) {
        let schema = read(&json);
        assert_eq!(shown(&schema, schema.root(), 0), expected, "{json}");
    }

    #[test]
    fn types_are_read_as_connect_reads_them() {
        is(json!({ "type": "integer" }), "long");
        is(json!({ "type": "number" }), "double");
        is(json!({ "type": "integer", "connect.type": "int16" }), "int");
        is(json!({ "type": "number", "connect.type": "float32" }), "float");
        is(json!({ "type": "string", "connect.type": "bytes" }), "bytes");
        is(json!({ "type": ["string", "null"] }), "string?");
        is(json!({ "type": ["integer", "number"] }), "double");
        is(json!({ "type": ["integer", "string", "null"] }), "<null long string>");
        is(json!({ "oneOf": [{ "type": "null" }, { "type": "boolean" }] }), "boolean?");
        is(
            json!({ "oneOf": [{ "type": "null" }, { "type": ["string", "boolean"] }] }),
            "<null string boolean>",
        );
        // Two objects cannot be told apart by their JSON type.
        let objects = json!([{ "type": "object" }, { "type": "object", "properties": { "a": {} } }]);
        is(json!({ "anyOf": objects }), "any");
        is(json!({ "type": "array" }), "[any]");
        is(json!({ "type": "array", "items": { "type": "string", "format": "uuid" } }), "[Uuid]");
        is(json!({ "type": "object", "additionalProperties": { "type": "integer" } }), "map long");
        is(json!({ "type": "object" }), "map any");
        is(json!({ "enum": ["A", "B"], "title": "shop.Letter" }), "shop.Letter(A B)");
        is(json!({ "enum": ["A", null] }), "RecordEnum(A)?");
        is(json!({ "enum": ["in progress", "done"] }), "string");
        is(json!(true), "any");
        is(json!({}), "any");
        let decimal = json!({ "type": "number", "title": "org.apache.kafka.connect.data.Decimal", "connect.type": "bytes",
            "connect.parameters": { "scale": "2", "connect.decimal.precision": "9" } });
        is(decimal, "Decimal { precision: 9, scale: 2 }");
        let date = json!({ "type": "integer", "connect.type": "int32", "title": "org.apache.kafka.connect.data.Date" });
        is(date, "Date");
    }

    #[test]
    fn objects_have_their_fields_in_order_and_optional_where_they_may_be_missing() {
        is(
            json!({
                "type": "object", "title": "shop.Order", "required": ["id", "either"], "properties": {
                    "b": { "type": "string", "connect.index": 2 },
                    "id": { "type": "integer", "connect.index": 0 },
                    "a": { "oneOf": [{ "type": "null" }, { "type": "string" }], "connect.index": 1 },
                    "either": { "type": ["string", "boolean"], "connect.index": 3 },
                    "line-items": { "type": "array", "connect.index": 4, "items":
                        { "type": "object", "properties": { "x": { "type": "number" } } } },
                }
            }),
            "shop.Order{id: long, a: string?, b: string?, either: <string boolean>, \
             line-items: [LineItems{x: double?}]?}",
        );
    }

    #[test]
    fn references_are_followed_and_types_may_contain_themselves() {
        let tree = json!({
            "definitions": {
                "node": { "type": "object", "properties": {
                    "next": { "oneOf": [{ "type": "null" }, { "$ref": "#/definitions/node" }] } } },
                "named": { "$id": "#marked", "type": "string" },
            },
            "type": "object", "properties": {
                "first": { "$ref": "#/definitions/node" }, "self": { "$ref": "#" }, "s": { "$ref": "#marked" },
                "item": { "$ref": "item.json#/definitions/Item" },
            },
            "required": ["s", "item"],
        });
        let item = json!({ "definitions": { "Item": { "type": "object", "properties": {
            "price": { "type": "number" } }, "required": ["price"] } } });
        let mut schema = text(&tree);
        let reference = |name: &str| Reference {
            name: name.into(),
            subject: "item".into(),
            version: 1,
            schema: Arc::new(text(&item)),
        };
        assert!(
            parse(&schema, Texts::Plain)
                .unwrap_err()
                .to_string()
                .contains("`item.json#/definitions/Item`, which is not")
        );
        schema.references.push(reference("item.json"));
        let read = parse(&schema, Texts::Plain).unwrap();
        let shown = shown(&read, read.root(), 0);
        assert!(shown.starts_with("Record{first: Node{next: Node{next: Node"), "{shown}");
        assert!(shown.ends_with("s: string, item: Item{price: double}}"), "{shown}");
        // A form that contains itself, and one that is nothing but itself.
        let list = json!({ "oneOf": [{ "type": "null" }, { "type": "object", "properties": { "next": { "$ref": "#" } } }] });
        let list = parse(&text(&list), Texts::Plain).unwrap();
        let list = super::tests::shown(&list, list.root(), 0);
        assert!(
            list.starts_with("Record{next: Record{next: ") && list.ends_with("}?}?") && !list.contains("??"),
            "{list}"
        );
        is(json!({ "$ref": "#" }), "any");
        for wrong in ["{", "3", "{\"type\": \"text\"}", "{\"$ref\": \"#/definitions/none\"}"] {
            assert!(parse(&SchemaText::new(SchemaKind::Json, wrong), Texts::Plain).is_err(), "{wrong}");
        }
        let deep = format!("{}{{}}{}", "{\"type\":\"array\",\"items\":".repeat(3000), "}".repeat(3000));
        assert!(parse(&SchemaText::new(SchemaKind::Json, deep), Texts::Plain).is_err());
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let order = json!({
            "type": "object", "title": "shop.Order", "required": ["id", "at", "local"], "properties": {
                "id": { "type": "integer", "connect.index": 0, "connect.type": "int32" },
                "at": { "type": "integer", "connect.index": 1, "connect.type": "int64", "connect.version": 1,
                    "title": "io.debezium.time.MicroTimestamp" },
                "price": { "type": "number", "connect.index": 2, "title": "org.apache.kafka.connect.data.Decimal",
                    "connect.version": 1, "connect.type": "bytes",
                    "connect.parameters": { "scale": "2", "connect.decimal.precision": "9" } },
                "none": { "oneOf": [{ "type": "null" }, { "type": "string", "format": "date-time" }], "connect.index": 3 },
                "ship": { "type": "object", "title": "shop.Address", "properties": { "city": { "type": "string" } } },
                "bill": { "type": "object", "title": "shop.Address", "properties": { "city": { "type": "string" } } },
                "tree": { "type": "object", "title": "shop.Tree", "properties": {
                    "below": { "type": "array", "items": { "$ref": "#/properties/tree" } } } },
                "parent": { "$ref": "#" }, "any": {}, "size": { "type": "integer", "default": 3 }, "map": { "type": "object", "additionalProperties": { "type": "boolean" } },
                "state": { "enum": ["A", "B"], "title": "shop.State" }, "bytes": { "type": "string", "connect.type": "bytes" },
                "local": { "type": "integer", "connect.type": "int64", "title": "org.apache.kafka.connect.data.Timestamp",
                    "connect.parameters": { "local": "1" } },
                "times": { "type": "array", "items": { "type": "integer", "connect.type": "int32",
                    "title": "org.apache.kafka.connect.data.Time" } },
            }
        });
        let schema = read(&order);
        let once = write(&schema).unwrap();
        let again = parse(&SchemaText::new(SchemaKind::Json, once.clone()), Texts::Plain).unwrap();
        assert_eq!(shown(&schema, schema.root(), 0), shown(&again, again.root(), 0));
        assert_eq!(once, write(&again).unwrap());
        // The shape of Confluent's, word for word where it has one.
        let written: Json = serde_json::from_str(&once).unwrap();
        for name in ["id", "at", "price", "none"] {
            assert_eq!(written["properties"][name], order["properties"][name], "{name}");
        }
        assert_eq!(written["required"], order["required"]);
        // What fits one fits the other.
        jsonschema::draft7::new(&written).unwrap();
    }

    #[test]
    fn formats_of_texts_are_types_where_that_is_asked_for() {
        for (json, plain, typed) in [
            (json!({ "type": "string", "format": "date" }), "string", "Date"),
            (
                json!({ "type": "string", "format": "date-time", "nullable": true }),
                "string",
                "Timestamp { unit: Micros, local: false }?",
            ),
            (json!({ "type": "string", "contentEncoding": "base64" }), "string", "bytes"),
            (json!({ "type": "string", "format": "email" }), "string", "string"),
        ] {
            for (texts, expected) in [(Texts::Plain, plain), (Texts::Typed, typed)] {
                let schema = parse(&text(&json), texts).unwrap();
                assert_eq!(shown(&schema, schema.root(), 0), expected, "{json}");
            }
            assert!(Validator::new(&text(&json), Texts::Typed).unwrap().is_none(), "{json}");
        }
    }

    #[test]
    fn what_no_type_says_is_held() {
        let object =
            |of: Json| json!({ "type": "object", "properties": { "a": of }, "additionalProperties": false });
        for (held, wrong) in [
            (json!({ "enum": ["in progress", "done"] }), json!("lost")),
            (json!({ "type": "integer", "enum": [1, 2] }), json!(3)),
            (json!({ "type": ["string", "null"], "enum": ["A"] }), json!(null)),
            (json!({ "type": "object", "required": ["a"] }), json!({})),
            (object(json!(false)), json!({ "a": 1 })),
            (object(json!({ "items": { "type": "string" } })), json!({ "a": [1] })),
            (object(json!({ "allOf": [{ "type": "string" }, {}] })), json!({ "a": 1 })),
            (object(json!({ "oneOf": [{ "type": "string" }, { "type": "string" }] })), json!({ "a": "" })),
        ] {
            let validator = Validator::new(&text(&held), Texts::Plain).unwrap();
            assert!(validator.is_some_and(|validator| validator.check(&wrong).is_err()), "{held}");
        }
        for kept in [
            json!({ "enum": ["A", "B"] }),
            json!({ "type": ["string", "null"], "enum": ["A", null] }),
            object(
                json!({ "type": "array", "items": { "oneOf": [{ "type": "null" }, { "type": "integer" }] } }),
            ),
            object(json!({ "allOf": [{ "$ref": "#" }], "description": "itself", "default": {} })),
            object(json!({ "type": "integer", "connect.type": "int32", "connect.index": 0 })),
        ] {
            assert!(Validator::new(&text(&kept), Texts::Plain).unwrap().is_none(), "{kept}");
        }
    }

    #[test]
    fn rules_beyond_types_are_held_and_others_cost_nothing() {
        let plain = json!({ "type": "object", "properties": { "a": { "oneOf": [{ "type": "null" }, { "type": "string" }] } } });
        assert!(Validator::new(&text(&plain), Texts::Plain).unwrap().is_none());
        let strict = json!({ "type": "object", "properties": {
            "a": { "type": "string", "pattern": "^x" }, "item": { "$ref": "item.json" } } });
        let mut schema = text(&strict);
        assert!(Validator::new(&schema, Texts::Plain).unwrap_err().to_string().contains("item.json"));
        schema.references.push(Reference {
            name: "item.json".into(),
            subject: "item".into(),
            version: 1,
            schema: Arc::new(text(&json!({ "type": "object", "properties": { "n": { "minimum": 3 } } }))),
        });
        let validator = Validator::new(&schema, Texts::Plain).unwrap().unwrap();
        assert!(validator.check(&json!({ "a": "xy", "item": { "n": 3 } })).is_ok());
        let error = validator.check(&json!({ "a": "secret" })).unwrap_err();
        assert_eq!(error.says(), "the JSON Schema refuses it: value does not match \"^x\" at `/a`");
        let error = validator.check(&json!({ "item": { "n": 2 } })).unwrap_err();
        assert!(error.says().ends_with("at `/item/n`"), "{}", error.says());
    }
}
