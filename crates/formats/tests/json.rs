//! JSON without a schema: taken is what serde_json takes, nothing of it is lost on the way to a row and back, and what is
//! refused is told where.

mod damage;
mod json_text;

use std::sync::Arc;

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::schema::{Kind, SchemaBuilder};
use aqueduct_api::value::{Blob, Text};
use aqueduct_api::{Decoder, Encoder, ErrorKind, FormatContext, Headers, Part, Piece, Result, Typed, Value};
use aqueduct_formats::Json;
use bytes::Bytes;
use proptest::prelude::*;

fn context() -> FormatContext {
    FormatContext { pipeline: "test".into(), part: Part::Value, registry: None }
}

fn decoder() -> Box<dyn Decoder> {
    Json::decoder(&Arc::default(), &context()).expect("as the test says")
}

fn with_piece<T>(bytes: &Bytes, look: impl FnOnce(Piece<'_>) -> T) -> T {
    look(Piece { topic: &"t".into(), headers: &Headers::default(), bytes })
}

fn decode(bytes: impl Into<Bytes>) -> Result<Typed> {
    with_piece(&bytes.into(), |piece| decoder().decode(piece))
}

fn check(bytes: impl Into<Bytes>) -> Result<()> {
    with_piece(&bytes.into(), |piece| decoder().check(piece))
}

fn encoder(options: &str) -> Box<dyn Encoder> {
    let options: Json = serde_json::from_str(options).expect("as the test says");
    Json::encoder(&Arc::new(options), &context()).expect("as the test says")
}

fn encode(typed: &Typed) -> Result<String> {
    encode_with("{}", typed)
}

fn encode_with(options: &str, typed: &Typed) -> Result<String> {
    let mut out = Vec::new();
    encoder(options).encode(&"t".into(), typed, &mut out)?;
    Ok(String::from_utf8(out).expect("as the test says"))
}

fn through(text: &str) -> String {
    encode(&decode(text.to_owned()).expect("as the test says")).expect("as the test says")
}

/// Whether we take it, and whether serde_json does. It refuses a number beyond every double, which JSON has: there it is
/// asked for the grammar alone, which says nothing of surrogates, so that a refusal of ours is believed.
fn both_take(text: &[u8]) -> (bool, bool) {
    let ours = decode(text.to_vec()).is_ok();
    let theirs = match serde_json::from_slice::<serde_json::Value>(text) {
        Err(error) if error.to_string().contains("number out of range") => {
            ours && serde_json::from_slice::<&serde_json::value::RawValue>(text).is_ok()
        }
        read => read.is_ok(),
    };
    (ours, theirs)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn nothing_is_lost(text in json_text::document()) {
        let decoded = decode(text.clone()).unwrap();
        let written = encode(&decoded).unwrap();
        // By the digits of their numbers, which serde_json's value would not keep.
        prop_assert_eq!(json_text::normal(&text), json_text::normal(&written));
        prop_assert_eq!(&decode(written.clone()).unwrap(), &decoded);
        prop_assert_eq!(encode(&decode(written.clone()).unwrap()).unwrap(), written);
    }

    #[test]
    fn takes_what_serde_json_takes(text in json_text::document(), edits in damage::edits()) {
        let damaged = damage::damaged(&text, &edits);
        let (ours, theirs) = both_take(&damaged);
        prop_assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(&damaged));
        prop_assert_eq!(check(damaged.clone()).is_ok(), ours, "check: {}", String::from_utf8_lossy(&damaged));
    }

    #[test]
    fn takes_of_noise_what_serde_json_takes(text in "[\\[\\]{}\",:0-9eE.+\\-tfnu\\\\ alsr]{0,12}") {
        let (ours, theirs) = both_take(text.as_bytes());
        prop_assert_eq!(ours, theirs, "{}", text);
        prop_assert_eq!(check(text.clone()).is_ok(), ours, "check: {}", text);
    }

    #[test]
    fn every_double_reads_back(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
        for text in [format!("{number}.0").replace("..", "."), format!("{number:e}"), format!("{number:?}")] {
            let Ok(read) = decode(text.clone()) else { continue };
            if let Value::Double(read) = read.value() {
                prop_assert_eq!(read.to_bits(), number.to_bits(), "{}", text);
            }
        }
        // As it is written here: of two shortest texts that are as near, Rust writes the other one now and then.
        let mut schema = SchemaBuilder::default();
        let root = schema.add(Kind::Double);
        let written = encode(&Typed::new(schema.finish(root), Bytes::new(), Value::Double(number))).unwrap();
        let read = decode(written).unwrap();
        prop_assert_eq!(read.value(), &Value::Double(number));
    }

    #[test]
    fn every_text_reads_back(text in any::<String>()) {
        let read = decode(serde_json::to_string(&text).unwrap()).unwrap();
        prop_assert_eq!(read.view().text(), Some(&*text));
        let again = decode(encode(&read).unwrap()).unwrap();
        prop_assert_eq!(again.view().text(), Some(&*text));
    }
}

#[test]
fn numbers_keep_what_their_digits_say() {
    let number = |digits: &str| Value::Number(Text::Own(digits.into()));
    for (text, value, written) in [
        ("0", Value::Long(0), "0"),
        ("-1", Value::Long(-1), "-1"),
        ("9223372036854775807", Value::Long(i64::MAX), "9223372036854775807"),
        ("-9223372036854775808", Value::Long(i64::MIN), "-9223372036854775808"),
        ("9223372036854775808", number("9223372036854775808"), "9223372036854775808"),
        ("-9223372036854775809", number("-9223372036854775809"), "-9223372036854775809"),
        ("100000000000000000000", number("100000000000000000000"), "100000000000000000000"),
        ("-0", Value::Double(-0.0), "-0.0"),
        ("19.90", Value::Double(19.9), "19.9"),
        ("1e2", Value::Double(100.0), "100.0"),
        ("0.1", Value::Double(0.1), "0.1"),
        ("0.30000000000000004", Value::Double(0.1 + 0.2), "0.30000000000000004"),
        ("0.3000000000000000400", Value::Double(0.1 + 0.2), "0.30000000000000004"),
        ("0.300000000000000041", number("0.300000000000000041"), "0.300000000000000041"),
        ("123456789012345.678", number("123456789012345.678"), "123456789012345.678"),
        ("1e999", number("1e999"), "1e999"),
        ("1e-999", number("1e-999"), "1e-999"),
        ("0e999", Value::Double(0.0), "0.0"),
        ("5e-324", Value::Double(5e-324), "5e-324"),
        ("4e-324", number("4e-324"), "4e-324"),
        ("1.7976931348623157e308", Value::Double(f64::MAX), "1.7976931348623157e+308"),
    ] {
        let typed = decode(text).unwrap();
        let same = Typed::new(Arc::clone(typed.schema()), Bytes::new(), value.clone());
        assert_eq!(typed, same, "{text} is {typed:?}");
        let out = encode(&typed).unwrap();
        assert_eq!(out.replace("e308", "e+308"), written, "{text}");
    }
}

#[test]
fn text_stands_where_it_stood_unless_it_has_escapes() {
    let typed = decode(r#"["plain é", "a\n\u00e9\ud83d\ude00\/", ""]"#).unwrap();
    let Value::List(values) = typed.value() else { panic!("{typed:?}") };
    assert!(matches!(&values[0], Value::Text(Text::Span(_))));
    assert!(matches!(&values[1], Value::Text(Text::Own(text)) if &**text == "a\n\u{e9}\u{1f600}/"));
    assert_eq!(encode(&typed).unwrap(), "[\"plain é\",\"a\\né😀/\",\"\"]");
}

#[test]
fn of_a_name_that_repeats_the_last_value_counts_at_the_place_of_the_first() {
    assert_eq!(through(r#"{"a":1,"b":2,"a":{"c":3}}"#), r#"{"a":{"c":3},"b":2}"#);
    assert_eq!(through(r#"{"a":1,"\u0061":2}"#), r#"{"a":2}"#);
    // Many names take another way.
    let many: Vec<String> = (0..100).map(|name| format!("\"n{}\":{name}", name % 40)).collect();
    let once: Vec<String> =
        (0..40).map(|name| format!("\"n{name}\":{}", name + if name < 20 { 80 } else { 40 })).collect();
    assert_eq!(through(&format!("{{{}}}", many.join(","))), format!("{{{}}}", once.join(",")));
}

#[test]
fn names_that_differ_stay() {
    let all: Vec<String> = (0..31).map(|name| format!("\"n{name}\":{name}")).collect();
    let text = format!("{{{}}}", all.join(","));
    assert_eq!(through(&text), text);
}

#[test]
fn what_is_refused_is_told_where() {
    for (bytes, says) in [
        (&b""[..], "the text ends where a value is expected at byte 0, line 1, column 1"),
        (b"{\"id\":1,\n \"b\"}", "'}' where `:` is expected at byte 13, line 2, column 5"),
        (b"1 2", "something follows the value at byte 2, line 1, column 3"),
        (b"\"\xff\"", "byte 2 of 3, 0xff, is not UTF-8 text"),
        (
            b"{\"items\":[{\"a b\":1},{\"price\":01}]}",
            "field `items[1].price`: '1' where the end of the number is expected at byte 30, line 1, column 31",
        ),
        (
            b"{\"a b\":{\"c\":tru}}",
            "field `[\"a b\"].c`: 't' where a value is expected at byte 12, line 1, column 13",
        ),
        (b"[1,]", "']' where a value is expected at byte 3, line 1, column 4"),
        (b"{\"a\":1,}", "'}' where a name in quotes is expected at byte 7, line 1, column 8"),
        (b"[1 2]", "'2' where `,` or `]` is expected at byte 3, line 1, column 4"),
        (b"\"a\nb\"", "the control character 0x0a stands in a string as it is at byte 2, line 1, column 3"),
        (
            b"\"\\ud83d\\n\"",
            "`\\ud83d` is half of a surrogate pair, and the other half is missing at byte 1, line 1, column 2",
        ),
        (
            b"\"\\ude00\"",
            "`\\ude00` is half of a surrogate pair, and the other half is missing at byte 1, line 1, column 2",
        ),
        (b"\"\\x\"", "an escape that JSON does not know at byte 1, line 1, column 2"),
        (b"\"\\u12g4\"", "`\\u` without four hexadecimal digits at byte 1, line 1, column 2"),
        (b"\"abc", "the text ends inside a string at byte 4, line 1, column 5"),
        (b"-", "the text ends where a digit is expected at byte 1, line 1, column 2"),
        (b"1.", "the text ends where a digit is expected at byte 2, line 1, column 3"),
        (b"1e+", "the text ends where a digit is expected at byte 3, line 1, column 4"),
    ] {
        for error in [decode(bytes.to_vec()).unwrap_err(), check(bytes.to_vec()).unwrap_err()] {
            assert_eq!(error.says(), says);
            assert_eq!(error.kind(), ErrorKind::BadRecord);
        }
    }
}

#[test]
fn depth_and_number_have_a_limit() {
    let nested = |deep: usize| "[".repeat(deep) + &"]".repeat(deep);
    assert_eq!(through(&nested(200)), nested(200));
    let error = decode(nested(201)).unwrap_err();
    assert!(error.says().ends_with("the value is nested more than 200 deep"), "{error}");
    assert!(check(nested(1_000_000)).is_err() && decode("{\"a\":".repeat(1_000_000)).is_err());

    let many = format!("[{}0]", "0,".repeat(1 << 22));
    let error = decode(many.clone()).unwrap_err();
    assert!(error.says().contains("more than 4194304 values"), "{error}");
    assert!(check(many).is_err());
}

#[test]
fn a_decoder_goes_on_behind_an_error() {
    let mut decoder = decoder();
    for (text, is_good) in
        [("[1,[2,{\"a\":3,", false), ("[4]", true), ("{\"a\":[1,2", false), ("{\"b\":5}", true)]
    {
        let read = with_piece(&text.into(), |piece| decoder.decode(piece));
        assert_eq!(read.is_ok(), is_good, "{text}");
        if let Ok(typed) = read {
            assert_eq!(encode(&typed).unwrap(), text);
        }
    }
}

#[test]
fn what_json_does_not_have_is_an_error_or_what_the_file_says() {
    let mut schema = SchemaBuilder::default();
    let root = schema.add(Kind::Any);
    let schema = schema.finish(root);
    let row = |value| Typed::new(Arc::clone(&schema), Bytes::new(), value);
    let list = row(Value::List([Value::Double(f64::NAN), Value::Float(f32::NEG_INFINITY)].into()));
    let error = encode(&list).unwrap_err();
    assert_eq!(
        error.says(),
        "field `[0]`: JSON has no NaN; `on_not_a_number: text` or `\"null\"` says what to write"
    );
    assert_eq!(encode_with(r#"{"on_not_a_number":"null"}"#, &list).unwrap(), "[null,null]");
    assert_eq!(encode_with(r#"{"on_not_a_number":"text"}"#, &list).unwrap(), r#"["NaN","-Infinity"]"#);

    // What a transform may have put there.
    let bytes = row(Value::Map(
        [
            (Text::Own("b".into()), Value::Bytes(Blob::Own([0, 255].into()))),
            (Text::Own("c".into()), Value::Absent),
        ]
        .into(),
    ));
    assert_eq!(encode(&bytes).unwrap(), r#"{"b":"AP8="}"#);
    assert_eq!(encode_with(r#"{"bytes":"hex"}"#, &bytes).unwrap(), r#"{"b":"00ff"}"#);
    assert_eq!(encode(&row(Value::Enum(1))).unwrap_err().says(), "a symbol does not belong here");
    assert!(encode(&row(Value::Absent)).is_err());

    let mut out = b"before".to_vec();
    encoder("{}").encode(&"t".into(), &list, &mut out).unwrap_err();
    assert_eq!(out, b"before");
}
