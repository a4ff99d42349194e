//! JSON with a declared schema: values are read as what their types say, and written as people write them.

mod damage;
mod json_text;
mod opened;

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::schema::Kind;
use aqueduct_api::{ErrorKind, Side, Typed, Value};
use aqueduct_formats::Json;
use opened::{decode, encode, says};
use proptest::prelude::*;
use serde_json::{Value as Tree, json};

/// The options with an Avro schema in place.
fn avro(schema: &Tree, more: &Tree) -> String {
    let mut options = json!({ "schema": schema.to_string() });
    options
        .as_object_mut()
        .expect("as the test says")
        .extend(more.as_object().expect("as the test says").clone());
    options.to_string()
}

/// A record with one field of this type.
fn one(of: &Tree) -> String {
    avro(&json!({ "type": "record", "name": "R", "fields": [{ "name": "v", "type": of }] }), &json!({}))
}

fn read(options: &str, text: &str) -> Typed {
    decode::<Json>(options, text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn every_type_is_written_as_people_write_it_and_reads_back() {
    for (of, texts) in [
        (json!("boolean"), &[("true", "true"), ("false", "false")][..]),
        (json!("int"), &[("-2147483648", "-2147483648"), ("3.0", "3"), ("5e3", "5000")]),
        (json!("long"), &[("9223372036854775807", "9223372036854775807"), ("-0", "0")]),
        (json!("float"), &[("0.1", "0.1"), ("16777217", "16777216.0")]),
        (json!("double"), &[("0.1", "0.1"), ("12", "12.0"), ("1e300", "1e+300")]),
        (json!("string"), &[("\"a\\u00e9\\n\"", "\"aé\\n\"")]),
        (json!("bytes"), &[("\"AP8=\"", "\"AP8=\""), ("\"\"", "\"\"")]),
        (json!({ "type": "fixed", "name": "F", "size": 2 }), &[("\"AP8=\"", "\"AP8=\"")]),
        (json!({ "type": "enum", "name": "E", "symbols": ["NEW", "PAID"] }), &[("\"PAID\"", "\"PAID\"")]),
        (json!({ "type": "array", "items": "int" }), &[("[ ]", "[]"), ("[1, 2]", "[1,2]")]),
        (json!({ "type": "map", "values": "int" }), &[("{ }", "{}"), ("{\"b\":1,\"a\":2,\"b\":3}", "{\"b\":3,\"a\":2}")]),
        (json!(["null", "int"]), &[("null", "null"), ("7", "7")]),
        (json!(["null", "int", "string", { "type": "array", "items": "int" }]), &[("null", "null"), ("7", "7"), ("\"x\"", "\"x\""), ("[1]", "[1]")]),
        (json!(["int", "long"]), &[("1", "1"), ("3000000000", "3000000000")]),
        (json!({ "type": "bytes", "logicalType": "decimal", "precision": 40, "scale": 2 }), &[
            ("12.5", "12.50"), ("\"-0.05\"", "-0.05"), ("1e3", "1000.00"),
            ("12345678901234567890123456789012345678.90", "12345678901234567890123456789012345678.90"),
        ]),
        (json!({ "type": { "type": "fixed", "name": "D", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 3 } })["type"].clone(), &[("-1.5", "-1.500")]),
        (json!({ "type": "int", "logicalType": "date" }), &[
            ("\"2026-11-25\"", "\"2026-11-25\""), ("20782", "\"2026-11-25\""), ("\"0000-01-01\"", "\"0000-01-01\""), ("\"1900-02-28\"", "\"1900-02-28\""),
        ]),
        (json!({ "type": "int", "logicalType": "time-millis" }), &[("\"22:48:08.5\"", "\"22:48:08.500\""), ("0", "\"00:00:00.000\"")]),
        (json!({ "type": "long", "logicalType": "time-micros" }), &[("\"23:59:59.999999\"", "\"23:59:59.999999\"")]),
        (json!({ "type": "long", "logicalType": "timestamp-millis" }), &[
            ("\"2026-11-25T22:48:08Z\"", "\"2026-11-25T22:48:08.000Z\""), ("\"2026-11-25t23:48:08.1230000+01:00\"", "\"2026-11-25T22:48:08.123Z\""),
            ("-1", "\"1969-12-31T23:59:59.999Z\""),
        ]),
        (json!({ "type": "long", "logicalType": "timestamp-nanos" }), &[("\"1970-01-01T00:00:00.000000001Z\"", "\"1970-01-01T00:00:00.000000001Z\"")]),
        (json!({ "type": "long", "logicalType": "local-timestamp-micros" }), &[("\"2026-11-25 22:48:08\"", "\"2026-11-25T22:48:08.000000\"")]),
        (json!({ "type": "string", "logicalType": "uuid" }), &[("\"6b0e6f6c-0000-4000-8000-0123456789ab\"", "\"6b0e6f6c-0000-4000-8000-0123456789ab\"")]),
        (json!({ "type": "fixed", "name": "U", "size": 16, "logicalType": "uuid" }), &[("\"6B0E6F6C-0000-4000-8000-0123456789ab\"", "\"6b0e6f6c-0000-4000-8000-0123456789ab\"")]),
        (json!({ "type": "fixed", "name": "P", "size": 12, "logicalType": "duration" }), &[("\"P1Y2M1W3DT1M4.005S\"", "\"P14M10DT64.005S\""), ("\"PT0S\"", "\"PT0S\"")]),
    ] {
        let options = one(&of);
        for (text, written) in texts {
            let typed = read(&options, &format!("{{\"v\":{text}}}"));
            let again = encode::<Json>("{}", &typed).unwrap();
            assert_eq!(again, format!("{{\"v\":{written}}}"), "{of}");
            assert_eq!(read(&options, &again), typed, "{of}: {text}");
        }
    }
}

/// Whether the value is refused with these words, its path and its place.
fn refuses(of: &Tree, text: &str, wrong: &str) {
    let error = decode::<Json>(&one(of), format!("{{\"v\":{text}}}")).expect_err("as the test says");
    assert_eq!(error.kind(), ErrorKind::BadRecord);
    let said = error.says();
    assert!(
        said.starts_with("field `v") && said.contains(wrong) && said.contains(" at byte "),
        "{of}: {said}"
    );
}

#[test]
fn what_does_not_fit_is_told_with_its_path() {
    for (of, text, wrong) in [
        (json!("int"), "2147483648", "the number is not between -2147483648 and 2147483647"),
        (json!("int"), "1.5", "another number where a whole number is expected"),
        (json!("int"), "\"1\"", "text where a whole number is expected"),
        (json!("int"), "null", "'n' where a whole number is expected"),
        (json!("long"), "9223372036854775808", "another number where a whole number is expected"),
        (json!("float"), "1e39", "the number is beyond what a float holds"),
        (json!("double"), "1e309", "the number is beyond what a double holds"),
        (json!("string"), "1", "a number where text is expected"),
        (json!("bytes"), "\"a\"", "the text is not base64: Invalid input length: 1"),
        (json!({ "type": "fixed", "name": "F", "size": 3 }), "\"AP8=\"", "2 bytes where 3 belong"),
        (
            json!({ "type": "enum", "name": "E", "symbols": ["A"] }),
            "\"B\"",
            "the schema does not know the symbol",
        ),
    ] {
        refuses(&of, text, wrong);
    }
}

#[test]
fn what_does_not_fit_its_meaning_is_told_too() {
    for (of, text, wrong) in [
        (
            json!({ "type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2 }),
            "123.4",
            "the number has more than 2 digits before the point, for a decimal(4, 2)",
        ),
        (
            json!({ "type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2 }),
            "1.234",
            "the number has more than 2 digits behind the point",
        ),
        (
            json!({ "type": "int", "logicalType": "date" }),
            "\"2026-02-29\"",
            "the text is no date, as `2026-11-25` is",
        ),
        (
            json!({ "type": "int", "logicalType": "time-millis" }),
            "86400000",
            "the number is not between 0 and 86399999",
        ),
        (
            json!({ "type": "long", "logicalType": "timestamp-millis" }),
            "\"2026-11-25T22:48:08\"",
            "the text is no timestamp, as `2026-11-25T22:48:08.123Z` is",
        ),
        (
            json!({ "type": "long", "logicalType": "timestamp-millis" }),
            "\"2026-11-25T22:48:08.1234Z\"",
            "the time is finer than milliseconds",
        ),
        (
            json!({ "type": "long", "logicalType": "local-timestamp-millis" }),
            "\"2026-11-25T22:48:08Z\"",
            "the text is no timestamp, as `2026-11-25T22:48:08.123`, without a zone, is",
        ),
        (
            json!({ "type": "fixed", "name": "U", "size": 16, "logicalType": "uuid" }),
            "\"6b0e6f6c\"",
            "other text where a uuid is expected",
        ),
        (
            json!({ "type": "fixed", "name": "P", "size": 12, "logicalType": "duration" }),
            "\"P\"",
            "the text is no duration, as `P14M3DT4.005S` is",
        ),
        (json!(["null", "int", "boolean"]), "\"x\"", "the value is of none of the 3 types of the union"),
        (
            json!(["int", { "type": "array", "items": "int" }]),
            "[1,\"x\"]",
            "[1]`: text where a whole number is expected",
        ),
    ] {
        refuses(&of, text, wrong);
    }
}

#[test]
fn fields_are_found_by_name_and_missing_ones_have_a_default() {
    let schema = json!({ "type": "record", "name": "Order", "fields": [
        { "name": "id", "type": "long" },
        { "name": "note", "type": ["null", "string"], "default": null },
        { "name": "source", "type": "string", "default": "web" },
        { "name": "raw", "type": "bytes", "default": "\u{ff}" },
        { "name": "lines", "type": { "type": "array", "items": { "type": "record", "name": "Line", "fields": [
            { "name": "sku", "type": "string" }, { "name": "count", "type": "int", "default": 1 } ] } },
          "default": [{ "sku": "none" }] },
        { "name": "before", "type": ["null", "Order"], "default": null },
    ] });
    let options = avro(&schema, &json!({}));
    let typed = read(&options, r#"{"lines":[{"sku":"a"},{"count":2,"sku":"b"}],"before":{"id":6},"id":7}"#);
    let written = concat!(
        r#"{"id":7,"note":null,"source":"web","raw":"/w==","lines":[{"sku":"a","count":1},{"sku":"b","count":2}],"#,
        r#""before":{"id":6,"note":null,"source":"web","raw":"/w==","lines":[{"sku":"none","count":1}],"before":null}}"#
    );
    assert_eq!(encode::<Json>("{}", &typed).unwrap(), written);

    assert!(
        says(decode::<Json>(&options, "{\"note\":\"x\"}"))
            .starts_with("field `id`: is missing and has no default")
    );
    let unknown = r#"{"id":1,"lines":[{"sku":"a","price":{"x":[1]}}]}"#;
    assert!(
        says(decode::<Json>(&options, unknown))
            .starts_with("field `lines[0].price`: the schema has no such field")
    );
    let drop = avro(&schema, &json!({ "unknown_fields": "drop" }));
    assert_eq!(
        decode::<Json>(&drop, unknown).unwrap(),
        decode::<Json>(&options, r#"{"id":1,"lines":[{"sku":"a"}]}"#).unwrap()
    );

    let wrong =
        json!({ "type": "record", "name": "R", "fields": [{ "name": "v", "type": "int", "default": "x" }] });
    let error = decode::<Json>(&avro(&wrong, &json!({})), "{}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.says(),
        "the default of the field `v` does not fit: text where a whole number is expected at byte 0, line 1, column 1"
    );
}

#[test]
fn the_file_says_how_types_are_written() {
    let schema = json!({ "type": "record", "name": "R", "fields": [
        { "name": "total", "type": { "type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2 } },
        { "name": "at", "type": { "type": "long", "logicalType": "timestamp-micros" } },
        { "name": "day", "type": { "type": "int", "logicalType": "date" } },
        { "name": "raw", "type": "bytes" }] });
    let typed = read(
        &avro(&schema, &json!({ "bytes": "hex" })),
        r#"{"total":"1.5","at":1000000,"day":1,"raw":"00Ff"}"#,
    );
    assert_eq!(
        encode::<Json>("{}", &typed).unwrap(),
        r#"{"total":1.50,"at":"1970-01-01T00:00:01.000000Z","day":"1970-01-02","raw":"AP8="}"#
    );
    let options = r#"{"decimal":"text","time":"number","bytes":"hex"}"#;
    assert_eq!(
        encode::<Json>(options, &typed).unwrap(),
        r#"{"total":"1.50","at":1000000,"day":1,"raw":"00ff"}"#
    );
    let far = read(&avro(&schema, &json!({})), r#"{"total":0,"at":0,"day":2932897,"raw":""}"#);
    assert_eq!(
        says(encode::<Json>("{}", &far)),
        "field `day`: RFC 3339 has no year 10000; `time: number` has"
    );
}

#[test]
fn a_sink_with_a_schema_writes_nothing_else() {
    let schema = json!({ "type": "record", "name": "R", "fields": [
        { "name": "id", "type": "long" }, { "name": "source", "type": "string", "default": "web" }] });
    let row = |text: &str| decode::<Json>("{}", text).unwrap();
    let options = avro(&schema, &json!({}));
    assert_eq!(encode::<Json>(&options, &row(r#"{"id":1}"#)).unwrap(), r#"{"id":1,"source":"web"}"#);
    assert!(
        says(encode::<Json>(&options, &row(r#"{"id":"1"}"#)))
            .starts_with("field `id`: text where a whole number")
    );
    let drop = avro(&schema, &json!({ "unknown_fields": "drop" }));
    assert_eq!(encode::<Json>(&drop, &row(r#"{"more":1,"id":1}"#)).unwrap(), r#"{"id":1,"source":"web"}"#);
}

fn json_schema(schema: &Tree) -> String {
    json!({ "json_schema": schema.to_string() }).to_string()
}

#[test]
fn a_json_schema_becomes_types() {
    let options = json_schema(&json!({
        "title": "Order", "type": "object", "required": ["id", "status"],
        "properties": {
            "id": { "type": "integer" },
            "status": { "enum": ["new", "paid"] },
            "weight": { "type": ["number", "null"] },
            "placed_at": { "type": "string", "format": "date-time" },
            "due": { "type": "string", "format": "date" },
            "raw": { "type": "string", "contentEncoding": "base64" },
            "tags": { "type": "array", "items": { "type": "string" } },
            "labels": { "type": "object", "additionalProperties": { "type": "integer" } },
            "either": { "oneOf": [{ "type": "integer" }, { "type": "string" }, { "type": "null" }] },
            "parent": { "$ref": "#" },
            "rest": true
        }
    }));
    let text = concat!(
        r#"{"id":1,"status":"paid","weight":null,"placed_at":"2026-11-25T22:48:08.000000Z","due":"2026-11-25","raw":"AP8=","#,
        r#""tags":["a"],"labels":{"x":1},"either":"e","parent":{"id":0,"status":"new"},"rest":{"x":[1,null]}}"#
    );
    let typed = read(&options, text);
    let kind = |name: &str| {
        let field = typed.view().field(name).unwrap().inner();
        typed.schema().get(field.of).kind.name().to_owned()
    };
    let kinds =
        ["id", "status", "placed_at", "due", "raw", "tags", "labels", "either", "parent", "rest"].map(kind);
    assert_eq!(
        kinds,
        ["long", "StatusEnum", "long", "int", "bytes", "array", "map", "string", "Order", "any"]
    );
    // What need not be there and may not be null is left out again; what may be null is null.
    let written = encode::<Json>("{}", &typed).unwrap();
    assert_eq!(
        written,
        text.replace(r#""status":"new"}"#, r#""status":"new","weight":null,"either":null,"rest":null}"#)
    );
    assert_eq!(read(&options, &written), typed);

    assert!(says(decode::<Json>(&options, r#"{"id":1}"#)).contains("field `status`: is missing"));
    assert!(
        says(decode::<Json>(&options, r#"{"id":1,"status":"new","due":null}"#))
            .contains("field `due`: null stands where the schema has none")
    );
}

#[test]
fn what_types_cannot_say_is_asked_of_a_validator() {
    let options = json_schema(&json!({ "type": "object", "properties": {
        "id": { "type": "integer", "minimum": 1 }, "code": { "type": "string", "pattern": "^[A-Z]+$" } } }));
    read(&options, r#"{"id":1,"code":"A"}"#);
    for (text, wrong) in [
        (r#"{"id":0}"#, "less than the minimum of 1 at `/id`"),
        (r#"{"id":1,"code":"secret"}"#, "does not match \"^[A-Z]+$\" at `/code`"),
    ] {
        let said = says(decode::<Json>(&options, text));
        assert!(
            said.starts_with("the JSON Schema refuses it: ")
                && said.ends_with(wrong)
                && !said.contains("secret"),
            "{said}"
        );
    }
    // On the way out as well.
    assert!(encode::<Json>(&options, &decode::<Json>("{}", r#"{"id":0}"#).unwrap()).is_err());
    let error =
        decode::<Json>(&json_schema(&json!({ "type": "object", "minProperties": "x" })), "{}").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[test]
fn options_without_a_meaning_are_named() {
    let check = |options: Tree, side| {
        let options: Json = serde_json::from_value(options).unwrap();
        Json::check(&options, side).into_iter().map(|problem| problem.path).collect::<Vec<_>>()
    };
    assert_eq!(check(json!({ "decimal": "text", "time": "number" }), Side::Source), ["decimal", "time"]);
    assert_eq!(check(json!({ "decimal": "text", "time": "number" }), Side::Sink), [""; 0]);
    assert_eq!(check(json!({ "schema": "a.avsc", "json_schema": "a.json" }), Side::Sink), ["json_schema"]);
    assert_eq!(check(json!({ "unknown_fields": "drop" }), Side::Source), ["unknown_fields"]);
    assert!(serde_json::from_value::<Json>(json!({ "decimal": "base64" })).is_err());
    let missing = decode::<Json>(r#"{"schema":"no/such/file.avsc"}"#, "{}").unwrap_err();
    assert_eq!((missing.kind(), missing.says()), (ErrorKind::Config, "cannot read the schema"));
}

#[test]
fn trying_the_branches_of_a_union_has_an_end() {
    let schema = json!({ "type": "record", "name": "R", "fields": [{ "name": "v", "type": [
        { "type": "array", "items": ["int", "R"] },
        { "type": "record", "name": "A", "fields": [{ "name": "v", "type": ["R", "A", "int"] }] },
        "R" ] }] });
    let text = format!("{}\"x\"{}", "{\"v\":".repeat(60), "}".repeat(60));
    assert!(decode::<Json>(&avro(&schema, &json!({})), text).is_err());
    let typed = read(&one(&json!(["int", "string"])), "{\"v\":\"x\"}");
    let Value::Record(values) = typed.value() else { panic!("{typed:?}") };
    assert!(matches!(&values[0], Value::Union(branch) if branch.0 == 1));
    assert!(matches!(typed.schema().get(typed.schema().root()).kind, Kind::Record(_)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn any_text_of_any_kind_passes_a_schema_of_it(text in json_text::document(), edits in damage::edits()) {
        // A union of all that JSON has takes every text, except numbers that no double holds.
        let tree = json!({ "type": "record", "name": "Tree", "fields": [
            { "name": "is", "type": ["null", "boolean", "long", "double", "string",
                { "type": "array", "items": "Tree" }, { "type": "map", "values": "Tree" }] }] });
        let options = avro(&tree, &json!({}));
        let Ok(parsed) = serde_json::from_str(&text) else { return Ok(()) };
        let wrapped = wrap(&parsed).to_string();
        if let Ok(typed) = decode::<Json>(&options, &wrapped) {
            let again = encode::<Json>("{}", &typed).unwrap();
            prop_assert_eq!(&decode::<Json>(&options, &again).unwrap(), &typed);
        }
        let _ = decode::<Json>(&options, damage::damaged(&wrapped, &edits));
    }
}

/// Each value in an object of its own.
fn wrap(tree: &Tree) -> Tree {
    let inner = match tree {
        Tree::Array(items) => items.iter().map(wrap).collect::<Vec<_>>().into(),
        Tree::Object(members) => {
            Tree::Object(members.iter().map(|(name, value)| (name.clone(), wrap(value))).collect())
        }
        other => other.clone(),
    };
    json!({ "is": inner })
}
