//! `csv`: lines to records and back.

mod opened;

use std::sync::Arc;

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::value::Text;
use aqueduct_api::{ErrorKind, FormatContext, Headers, Part, Piece, Result, Side, Typed, Value};
use aqueduct_formats::{Csv, Json};
use opened::{decode, encode, says};
use proptest::prelude::*;

const ALL: &str = r#"{"fields":["name",{"id":"long"},{"n":"int"},{"d":"double"},{"paid":"boolean"},{"day":"date"},{"at":"timestamp"},{"total":"decimal(12, 2)"}]}"#;

#[test]
fn cells_are_read_as_their_types() {
    let line = "\"Smith, \"\"J\"\"\",7,-1,0.5,true,2026-11-25,2026-11-25T22:48:08.5Z,12.5";
    let typed = decode::<Csv>(ALL, format!("{line}\r\n")).unwrap();
    assert_eq!(
        encode::<Json>("{}", &typed).unwrap(),
        r#"{"name":"Smith, \"J\"","id":7,"n":-1,"d":0.5,"paid":true,"day":"2026-11-25","at":"2026-11-25T22:48:08.500000Z","total":12.50}"#
    );
    let written = encode::<Csv>("{}", &typed).unwrap();
    assert_eq!(written, line.replace("08.5Z,12.5", "08.500000Z,12.50"));
    assert_eq!(decode::<Csv>(ALL, &written).unwrap(), typed);
    assert_eq!(
        encode::<Csv>(r#"{"fields":["id","name"],"separator":"\t"}"#, &typed).unwrap(),
        "7\t\"Smith, \"\"J\"\"\""
    );
}

#[test]
fn nothing_is_not_an_empty_text() {
    let typed = decode::<Csv>(r#"{"fields":["a","b",{"c":"long"}]}"#, ",\"\",").unwrap();
    let Value::Record(values) = typed.value() else { panic!("{typed:?}") };
    assert!(matches!(&**values, [Value::Null, Value::Text(Text::Span(_)), Value::Null]), "{values:?}");
    assert_eq!(encode::<Csv>("{}", &typed).unwrap(), ",\"\",");
    let named = r#"{"fields":["a","b"],"null":"NULL"}"#;
    let typed = decode::<Csv>(named, "NULL,\"NULL\"").unwrap();
    assert_eq!(encode::<Json>("{}", &typed).unwrap(), r#"{"a":null,"b":"NULL"}"#);
    assert_eq!(encode::<Csv>(r#"{"null":"NULL"}"#, &typed).unwrap(), "NULL,\"NULL\"");
}

#[test]
fn what_is_wrong_with_a_line_is_told() {
    for (line, wrong) in [
        ("x,1,1", "the line has 3 cells for 8 fields"),
        ("x,1,1,1,true,,,,", "the line has more cells than the 8 fields"),
        ("x,1.5,,,,,,", "field `id`: the cell is no long"),
        ("x,,2147483648,,,,,", "field `n`: the cell is no int"),
        ("x,,,,yes,,,", "field `paid`: the cell is no boolean, `true` or `false`"),
        ("x,,,,,25.11.2026,,", "field `day`: the text is no date, as `2026-11-25` is"),
        ("x,,,,,,,1.234", "field `total`: the number has more than 2 digits behind the point"),
        ("a\"b\",,,,,,,", "a quote stands inside a cell that has none around it at byte 1, line 1, column 2"),
        ("\"a,,,,,,,", "the quote of a cell has no end at byte 0, line 1, column 1"),
        ("\"a\"b,,,,,,,", "something follows the quote at the end of a cell at byte 3, line 1, column 4"),
    ] {
        assert_eq!(says(decode::<Csv>(ALL, line)), wrong);
    }
}

#[test]
fn any_row_becomes_a_line() {
    let row = decode::<Json>("{}", r#"{"id":1,"name":"a","tags":["x","y"],"d":1.0}"#).unwrap();
    let fields = r#"{"fields":["name","tags","none","d"]}"#;
    assert_eq!(encode::<Csv>(fields, &row).unwrap(), "a,\"[\"\"x\"\",\"\"y\"\"]\",,1.0");
    assert_eq!(
        says(encode::<Csv>("{}", &row)),
        "the value is no record; `fields` says which fields of a map become cells"
    );
}

#[test]
fn problems_of_the_file_are_named() {
    let check = |options: &str, side| {
        let options: Csv = serde_json::from_str(options).unwrap();
        Csv::check(&options, side).into_iter().map(|problem| (problem.path, problem.says)).collect::<Vec<_>>()
    };
    let problem = |path: &str, says: &str| (path.to_owned(), says.to_owned());
    assert_eq!(check("{}", Side::Source), []);
    let unnamed = problem("fields", "a line does not name its fields");
    assert_eq!(check(r#"{"header":false}"#, Side::Source), [unnamed]);
    assert_eq!(
        check(r#"{"header":true}"#, Side::Sink),
        [problem("header", "a sink writes no line of names")]
    );
    assert_eq!(check("{}", Side::Sink), []);
    assert_eq!(
        check(r#"{"fields":[{"a":"number"},"b","b",{"c":"text","d":"text"}],"separator":"\""}"#, Side::Sink),
        [
            problem("fields[0]", "`a` is of no type `number`"),
            problem("fields[2]", "there is a field `b` already"),
            problem("fields[3]", "a field is a name, or one name and its type"),
            problem("separator", "quotes and line ends have a meaning already"),
        ]
    );
}

proptest! {
    #[test]
    fn every_text_reads_back(a in "[a\",;\r\n \u{e9}]{0,8}", b in any::<String>(), separator in proptest::sample::select(vec![',', ';', '\t', '|', '→'])) {
        let options = serde_json::json!({ "fields": ["a", "b"], "separator": separator }).to_string();
        let row = decode::<Json>("{}", serde_json::json!({ "a": a, "b": b }).to_string()).unwrap();
        let line = encode::<Csv>(&options, &row).unwrap();
        let read = decode::<Csv>(&options, &line).unwrap();
        let text = |name: &str| read.view().field(name).unwrap().text().unwrap().to_owned();
        prop_assert_eq!((text("a"), text("b")), (a, b), "{}", line);
    }

    #[test]
    fn any_line_is_read_or_refused(line in any::<String>()) {
        let _ = decode::<Csv>(ALL, line);
    }
}

fn decode_as(config: &Arc<Csv>, row: &'static str) -> Result<Typed> {
    let context = FormatContext { pipeline: "p".into(), part: Part::Value, registry: None };
    let piece = Piece { topic: &"t".into(), headers: &Headers::default(), bytes: &row.into() };
    Csv::decoder(config, &context)?.decode(piece)
}

#[test]
fn the_first_line_of_a_file_names_the_fields() {
    let config = |json: &str| Arc::new(serde_json::from_str::<Csv>(json).unwrap());
    let read = |config: &Arc<Csv>, first: &'static str, row: &'static str| {
        let rows = Csv::rows(config).unwrap();
        rows.first.unwrap().set(first.into());
        decode_as(config, row).map(|typed| encode::<Json>("{}", &typed).unwrap())
    };
    // Without `fields` all is text; with them, those that it names have their types, wherever they stand.
    assert_eq!(
        read(&config("{}"), "sku,\"unit, price\"\r", "a,1").unwrap(),
        r#"{"sku":"a","unit, price":"1"}"#
    );
    let typed = config(r#"{"header":true,"fields":[{"n":"int"}],"separator":";"}"#);
    assert_eq!(read(&typed, "sku;n", "a;1").unwrap(), r#"{"sku":"a","n":1}"#);
    // Another file, other places.
    assert_eq!(read(&typed, "n;sku", "1;a").unwrap(), r#"{"n":1,"sku":"a"}"#);
    let error = read(&typed, "sku;m", "a;1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "the first line of the file names no field `n`; it names `sku`, `m`; write `header: false` if it is a row"
    );
    let error = read(&config("{}"), "a,b,a", "1,2,3").unwrap_err();
    assert_eq!(error.says(), "the first line of the file names the field `a` twice");
    let error = read(&config("{}"), "a,\"b", "1,2").unwrap_err();
    assert!(error.says().ends_with("the quote of a cell has no end, at byte 2"), "{error}");

    let error = decode_as(&config("{}"), "a,1").unwrap_err();
    assert_eq!(
        (error.kind(), error.says()),
        (ErrorKind::Config, "no first line was read that names the fields")
    );
    assert!(Csv::rows(&config(r#"{"fields":["a"]}"#)).unwrap().first.is_none());
}
