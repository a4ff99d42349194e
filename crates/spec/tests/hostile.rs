//! Files that nobody writes and some program may: no text makes `check` panic, hang, or write to the terminal what the file
//! tells it to.

// There is no runtime here, and no simulation that could pause its clock.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod catalog;

use std::fs;
use std::time::{Duration, Instant};

use aqueduct_spec::{Environment, load};

/// The messages of a file with this text, read within a minute.
fn messages(name: &str, text: impl AsRef<[u8]>) -> String {
    let path = std::env::temp_dir().join(format!("aqueduct-hostile-{}-{name}.yaml", std::process::id()));
    fs::write(&path, text).unwrap();
    let begun = Instant::now();
    let none = |_: &str| None;
    let environment = Environment { variable: &none, read: &|_| Err(std::io::ErrorKind::NotFound.into()) };
    let loaded = load(std::slice::from_ref(&path), &catalog::catalog(), &environment);
    let shown: Vec<String> = loaded.diagnostics.iter().map(|found| found.render(true)).collect();
    fs::remove_file(&path).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60), "{name} took {:?}", begun.elapsed());
    shown.join("\n")
}

fn pipeline(rest: &str) -> String {
    format!("pipeline: a\nsource: {{ generate: {{}} }}\nsink: discard\n{rest}\n")
}

#[test]
fn a_line_of_any_length_is_quoted_where_it_is_wrong() {
    let long = "x".repeat(100_000);
    for (name, text) in [
        ("key", pipeline(&format!("{long}: 1"))),
        ("value", pipeline(&format!("delivery: {long}"))),
        ("end", pipeline(&format!("description: \"{long}\" trailing"))),
        ("flow", format!("{{ pipeline: a, description: {long}, source: generat, sink: discard }}\n")),
        ("wide", pipeline(&format!("delivery: {}", "宽".repeat(100_000)))),
        ("unclosed", pipeline(&format!("tasks: [{long}"))),
        ("tabs", pipeline(&format!("{}tasks: x", "\t".repeat(100_000)))),
    ] {
        let said = messages(name, text);
        assert!(!said.is_empty(), "{name} is not wrong");
        assert!(said.chars().count() < 10_000, "{name}: {} characters", said.chars().count());
        assert!(said.contains('^'), "{name} has no caret: {said}");
    }
}

#[test]
fn nothing_is_too_deep_too_many_or_too_strange() {
    let many = |one: &str, times: usize| one.repeat(times);
    for (name, text) in [
        ("deep-flow", pipeline(&format!("description: {}", many("[", 100_000)))),
        ("deep-maps", pipeline(&format!("description: {}", many("{a: ", 100_000)))),
        ("deep-block", (0..1_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("deep-dashes", pipeline(&format!("description: {}", many("- ", 100_000)))),
        ("many-keys", pipeline(&(0..5_000).map(|key| format!("k{key}: 1\n")).collect::<String>())),
        ("many-keys-in-line", format!("{{ {} }}", many("password: a, ", 20_000))),
        ("many-secrets", pipeline(&format!("x: {}", many("token:", 150_000)))),
        ("many-urls", pipeline(&format!("x: {}", many("://", 300_000)))),
        ("many-lines", pipeline(&format!("x: [{}]", many("\"a\n  b\", ", 30_000)))),
        ("controls", pipeline("x: \"\\e[2J\\u0007\"\ny\u{1b}[2J: 1")),
        ("line-ends", "pipeline: a\r\nsource: generat\r\nsink: discard\rx: 1\r\n".to_owned()),
        ("null", pipeline("x: \"\\0\"\n\0")),
    ] {
        let said = messages(name, text);
        assert!(!said.is_empty(), "{name} is not wrong");
        assert!(
            !said.contains("\u{1b}[2J") && !said.contains('\u{7}'),
            "{name} reaches the terminal: {said:?}"
        );
        assert!(said.len() < 400_000, "{name}: {} bytes", said.len());
    }
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_problem() {
    let text = pipeline("").replace('\n', "\r\n");
    assert_eq!(messages("bom", format!("\u{feff}{text}")), "");
    let said = messages("bom-wrong", format!("\u{feff}{}", text.replace("discard", "discart")));
    assert!(said.contains(":3:7") && said.contains("did you mean `discard`"), "{said}");
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(messages("utf16", [&[0xff, 0xfe], utf16.as_slice()].concat()).contains("not UTF-8 text"));
}

#[test]
fn the_caret_stands_under_wide_characters_too() {
    let said =
        messages("caret", "pipeline: a\ndescription: x\nsource: { generate: {} }\nsink: { 宽宽: 1 }\n");
    let lines: Vec<String> = said.lines().map(strip).collect();
    let at = lines.iter().position(|line| line.contains('^')).unwrap();
    let (text, caret) = (lines[at - 1].as_str(), lines[at].as_str());
    let before = text.chars().take_while(|c| *c != '宽').count();
    assert_eq!(caret.chars().take_while(|c| *c != '^').count(), before, "{said}");
    assert_eq!(caret.matches('^').count(), 4, "two characters, two columns each: {said}");
}

/// Without colours.
fn strip(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('\u{1b}') {
        out.push_str(&rest[..at]);
        rest = rest[at..].split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}
