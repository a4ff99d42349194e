//! JSON texts at random, with whitespace and escapes anywhere.

use proptest::collection::vec;
use proptest::prelude::*;

/// A text that is JSON.
pub(crate) fn document() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u128>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(|number| format!("{number:?}")),
        "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?",
        "[1-9][0-9]{0,3}\\.[0-9]{2}",
    ];
    let leaf = prop_oneof![
        4 => number,
        1 => Just("true".to_owned()),
        1 => Just("false".to_owned()),
        1 => Just("null".to_owned()),
        4 => string(),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let members = vec((space(), name(), space(), inner.clone()), 0..8).prop_map(|members| {
            let mut names = Vec::new();
            let mut all = Vec::new();
            for (space, name, other_space, value) in members {
                if !names.contains(&normal(&name)) {
                    names.push(normal(&name));
                    all.push(format!("{space}{name}{other_space}:{space}{value}{other_space}"));
                }
            }
            format!("{{{}}}", all.join(","))
        });
        let items = vec((space(), inner), 0..8).prop_map(|items| {
            let all: Vec<_> =
                items.into_iter().map(|(space, value)| format!("{space}{value}{space}")).collect();
            format!("[{}]", all.join(","))
        });
        prop_oneof![members, items]
    })
}

fn space() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => "[ \n\t\r]{1,3}"]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![3 => "[a-c]{1,3}".prop_map(|name| format!("\"{name}\"")), 1 => string()]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => "[ !#-\\[\\]-~é€😀]{0,12}",
        1 => prop_oneof![Just("\\n"), Just("\\\""), Just("\\\\"), Just("\\/"), Just("\\b"), Just("\\f"), Just("\\r"), Just("\\t")]
            .prop_map(str::to_owned),
        1 => any::<char>().prop_map(|char| {
            let mut units = [0; 2];
            char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }),
    ];
    vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// The same without whitespace, each string escaped in one way and each number by the digits that count: two texts say
/// the same where these are equal.
pub(crate) fn normal(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '"' => string_len(rest),
            '-' | '0'..='9' => {
                rest.find(|char: char| !"+-.eE0123456789".contains(char)).unwrap_or(rest.len())
            }
            other => other.len_utf8(),
        };
        let (token, behind) = rest.split_at(len);
        rest = behind;
        match first {
            '"' => out.push_str(
                &serde_json::to_string(&serde_json::from_str::<String>(token).expect("as the test says"))
                    .expect("as the test says"),
            ),
            '-' | '0'..='9' => out.push_str(&number(token)),
            ' ' | '\n' | '\t' | '\r' => {}
            _ => out.push_str(token),
        }
    }
    out
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    text.len()
}

/// Sign, digits without zeros at the ends, and the power of ten of the point before them.
fn number(token: &str) -> String {
    let lower = token.to_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let (whole, fraction) =
        mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa.trim_start_matches('-'), ""));
    let digits = format!("{whole}{fraction}");
    let zeros = digits.len() - digits.trim_start_matches('0').len();
    match digits.trim_matches('0') {
        "" => format!("{sign}0"),
        counted => {
            let exponent: i64 = exponent.parse().expect("as the test says");
            format!("{sign}0.{counted}e{}", exponent + whole.len() as i64 - zeros as i64)
        }
    }
}
