//! `aqueduct test`.

use crate::process::Folder;

const PIPELINE: &str = "
pipeline: a
source: { kafka: { connection: { brokers: \"${env:BROKERS}\" }, topics: [shop.orders] }, value: json }
sink: discard
";

fn folder(cases: &str) -> Folder {
    let test = format!("pipeline: a.yaml\nenvironment: {{ BROKERS: \"localhost:1\" }}\ncases:\n{cases}");
    Folder::new().with("a.yaml", PIPELINE).with("a.test.yaml", &test)
}

#[test]
fn what_is_as_expected_passes() {
    let folder = folder(
        r#"
  - name: only the parts that are named are compared, and JSON by what it means
    records:
      - { key: a, value: { id: 1, amount: 10 }, headers: { trace: x }, timestamp: "2026-01-01T00:00:00Z" }
      - { key: null, value: null, topic: other, partition: 4, offset: 17 }
      - { key: b, value: "[1, 2]" }
    expect:
      - { topic: shop.orders, value: { amount: 10, id: 1 }, headers: { trace: x }, timestamp: "2026-01-01T00:00:00Z" }
      - { key: null, value: null, topic: other, partition: 4, offset: 17 }
      - { value: "[1, 2]" }
  - name: text is no JSON
    records: [ { key: c, value: "no json" } ]
    expect_rejected: [ { stage: decode, reason: part=value, key: c } ]
"#,
    );
    let ended = folder.aqueduct(&["test", "."]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.ends_with("2 passed, 0 failed\n"), "{}", ended.out);
}

#[test]
fn what_is_not_fails_with_both_sides() {
    let folder = folder(
        r#"
  - name: another value
    records: [ { key: a, value: 1 } ]
    expect: [ { key: b, value: 2 } ]
  - name: too few and too many
    records: [ { key: a, value: "]" } ]
    expect: [ { key: a } ]
  - name: another reason
    records: [ { key: a, value: "]" } ]
    expect_rejected: [ { stage: transform, reason: because, key: z } ]
  - name: nothing is expected
    records: [ { key: a, value: 1 } ]
"#,
    );
    let ended = folder.aqueduct(&["test", "a.test.yaml"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    for part in [
        "FAIL  another value\n        record 1, key:\n        expected \"b\"\n        got      \"a\"\n",
        "record 1, value:\n        expected 2\n        got      1\n",
        "record 1 did not come out:\n        expected {\"key\":\"a\"}\n",
        "rejected record 1 is not expected:",
        "rejected record 1, stage:\n        expected transform\n        got      decode",
        "rejected record 1, reason:\n        expected because\n",
        "rejected record 1, key:\n        expected \"z\"\n        got      \"a\"\n",
        "record 1 came out and is not expected:\n        got      {\"key\":\"a\",\"value\":\"1\"}\n",
        "0 passed, 4 failed\n",
    ] {
        assert!(ended.out.contains(part), "no {part:?} in:\n{}", ended.out);
    }
}

#[test]
fn what_cannot_be_read_is_a_problem_with_its_place() {
    let folder = folder("  - { name: a, records: [ { kee: a, value: 1 } ], expekt: [] }\n");
    let ended = folder.aqueduct(&["test", "a.test.yaml"]);
    assert_eq!(ended.code, 2);
    for part in ["a.test.yaml:4:29", "did you mean `key`", "did you mean `expect`", "2 problems"] {
        assert!(ended.err.contains(part), "no {part} in {}", ended.err);
    }
    assert_eq!(folder.aqueduct(&["test", "absent"]).code, 2);
    assert_eq!(Folder::new().aqueduct(&["test", "."]).code, 2, "a folder without tests proves nothing");
}
