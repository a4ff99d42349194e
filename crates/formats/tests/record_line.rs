//! Record lines: what is written reads back the same, and what people write reads as the page of the module
//! says.

use aqueduct_api::{ErrorKind, Header, Headers, Origin, Payload, Record};
use aqueduct_formats::record_line::{Defaults, from_json, read, write};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

fn defaults() -> Defaults {
    Defaults { topic: "cases".into(), partition: 7, offset: 70 }
}

fn bytes() -> impl Strategy<Value = Bytes> {
    let json = Just(Bytes::from_static(br#"{"base64":"AAAA"}"#));
    prop_oneof![vec(any::<u8>(), 0..40).prop_map(Bytes::from), any::<String>().prop_map(Bytes::from), json]
}

fn payload() -> impl Strategy<Value = Payload> {
    proptest::option::of(bytes()).prop_map(|bytes| bytes.map_or(Payload::Absent, Payload::Raw))
}

fn header() -> impl Strategy<Value = Header> {
    (any::<String>(), proptest::option::of(bytes()))
        .prop_map(|(name, value)| Header { name: name.into(), value })
}

prop_compose! {
    fn record()(
        topic in any::<String>(),
        partition in any::<i32>(),
        offset in any::<i64>(),
        key in payload(),
        value in payload(),
        headers in vec(header(), 0..4),
        timestamp_us in proptest::option::of(prop_oneof![any::<i64>(), 0..4_000_000_000_000_000_i64]),
    ) -> Record {
        let headers = headers.into_iter().collect::<Headers>();
        Record { topic: topic.into(), origin: Origin { partition, offset }, key, value, headers, timestamp_us }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn what_is_written_reads_back(record in record()) {
        let mut line = Vec::new();
        write(&record, &mut line);
        prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        prop_assert_eq!(&read(&line, defaults())?, &record);
        let json: serde_json::Value = serde_json::from_slice(&line)?;
        prop_assert_eq!(&from_json(&json, defaults())?, &record);
    }

    #[test]
    fn any_bytes_are_read_or_refused(line in vec(any::<u8>(), 0..60)) {
        let _ = read(&line, defaults());
    }
}

#[test]
fn is_written_as_the_page_says() {
    let mut record = Record {
        topic: "shop.orders".into(),
        origin: Origin { partition: 3, offset: 17 },
        key: Bytes::from_static(b"c-1").into(),
        value: Bytes::from_static(b"{\"id\":1}").into(),
        headers: Headers::default(),
        timestamp_us: Some(1_767_225_600_250_000),
    };
    record.headers.push("trace", Some(Bytes::from_static(b"\xff")));
    record.headers.push("none", None);
    let mut line = Vec::new();
    write(&record, &mut line);
    let expected = concat!(
        r#"{"topic":"shop.orders","partition":3,"offset":17,"timestamp":"2026-01-01T00:00:00.25Z","key":"c-1","#,
        r#""value":"{\"id\":1}","headers":[{"name":"trace","value":{"base64":"/w=="}},{"name":"none","value":null}]}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}

#[test]
fn people_may_write_less() {
    let record =
        read(br#"{ "key": "a", "value": { "b": 1.50, "a": [ 1, "x \" }" ] } }"#, defaults()).unwrap();
    assert_eq!((&*record.topic, record.origin), ("cases", Origin { partition: 7, offset: 70 }));
    assert_eq!(record.key, Bytes::from_static(b"a").into());
    assert_eq!(record.value, Bytes::from_static(br#"{"b":1.50,"a":[1,"x \" }"]}"#).into());
    assert_eq!(record.timestamp_us, None);

    for (written, bytes) in [
        ("1e400", &b"1e400"[..]),
        ("true", b"true"),
        ("[]", b"[]"),
        (r#""""#, b""),
        (r#"{"base64": "AP8="}"#, b"\x00\xff"),
        (r#"{"base64": "AP8=", "more": 1}"#, br#"{"base64":"AP8=","more":1}"#),
        (r#""{\"base64\": 1}""#, br#"{"base64": 1}"#),
    ] {
        let record = read(format!(r#"{{"value": {written}}}"#).as_bytes(), defaults()).unwrap();
        assert_eq!(record.value.bytes().unwrap(), bytes, "{written}");
    }
    assert_eq!(read(br#"{"key":null,"value":null}"#, defaults()).unwrap().value, Payload::Absent);
}

#[test]
fn headers_may_be_a_map() {
    let line = br#"{"value":null,"headers":{"a":"1","b":null,"a":{"base64":"/w=="},"c":3}}"#;
    let headers = read(line, defaults()).unwrap().headers;
    let seen: Vec<_> = headers.iter().map(|h| (&*h.name, h.value.as_deref())).collect();
    assert_eq!(seen, [("a", Some(&b"1"[..])), ("b", None), ("a", Some(b"\xff")), ("c", Some(b"3"))]);
}

#[test]
fn times_are_read_with_any_offset() {
    for (written, us) in [
        (r#""2026-01-01T01:00:00.250+01:00""#, 1_767_225_600_250_000),
        (r#""1969-12-31T23:59:59.999999Z""#, -1),
        (r#"{"us": -62167219200000001}"#, -62_167_219_200_000_001),
    ] {
        let line = format!(r#"{{"timestamp":{written},"value":null}}"#);
        assert_eq!(read(line.as_bytes(), defaults()).unwrap().timestamp_us, Some(us), "{written}");
    }
}

#[test]
fn says_which_field_is_wrong() {
    for (line, says) in [
        ("", "not a record line: a record is a JSON object"),
        (r#"["a"]"#, "not a record line: a record is a JSON object"),
        (r#"{"value":"a"#, "not a record line: `value`: EOF while parsing a string at column 11"),
        (r#"{"value":1} x"#, "not a record line: something follows the JSON object"),
        (r#"{"key":"a"}"#, "the record has no `value`; write `\"value\": null` for a tombstone"),
        (
            r#"{"value":1,"vlaue":2}"#,
            "not a record line: unknown field `vlaue`, expected one of `topic`, `partition`, `offset`, `timestamp`, `key`, `value`, `headers` at column 18",
        ),
        (
            r#"{"value":1,"partition":"3"}"#,
            "not a record line: `partition`: invalid type: string \"3\", expected i32 at column 26",
        ),
        (
            r#"{"value":1,"headers":[{"nme":1}]}"#,
            "not a record line: `headers[0].nme`: unknown field `nme`, expected `name` or `value` at column 28",
        ),
        (
            r#"{"value":1,"headers":3}"#,
            "not a record line: `headers`: invalid type: integer `3`, expected a list of headers, each with `name` and `value`, or a map from name to value at column 22",
        ),
        (
            r#"{"value":{"base64":"A"}}"#,
            "`value`: Invalid input length: 1; write standard base64 with padding (RFC 4648), or the JSON text as a string",
        ),
        (r#"{"value":{"base64":1}}"#, "`value`: invalid type: integer `1`, expected a string"),
        (
            r#"{"value":1,"timestamp":1767225600}"#,
            "`timestamp`: 1767225600 is no time; write RFC 3339, as in \"2026-01-01T00:00:00.250Z\"",
        ),
        (
            r#"{"value":1,"timestamp":"2026-01-01"}"#,
            "`timestamp`: \"2026-01-01\" is no time; write RFC 3339, as in \"2026-01-01T00:00:00.250Z\"",
        ),
    ] {
        let error = read(line.as_bytes(), defaults()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRecord);
        assert_eq!(error.to_string(), says, "{line}");
    }
}
