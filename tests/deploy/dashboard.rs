//! `deploy/grafana/aqueduct.json` and the alerts, against the metrics that a running `aqueduct` has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use aqueduct_tests::{Prometheus, Script, documents, until};
use serde_json::Value;

use crate::{deploy, items, none, text};

/// Metrics that are on no panel, each with its reason.
const LEFT_OUT: [(&str, &str); 0] = [];

fn dashboard() -> Value {
    let json = fs::read_to_string(deploy("grafana/aqueduct.json")).expect("the dashboard");
    serde_json::from_str(&json).expect("JSON")
}

/// The title of each panel and each of its expressions, without the variables of Grafana.
fn queries() -> Vec<(String, String)> {
    let dashboard = dashboard();
    let mut found = Vec::new();
    for panel in items(&dashboard["panels"]) {
        for target in items(&panel["targets"]) {
            let expression =
                text(target, "/expr").replace("$__rate_interval", "1m").replace("$pipeline", ".+");
            assert!(!expression.contains('$'), "a variable that nobody fills: {expression}");
            found.push((text(panel, "/title").to_owned(), expression));
        }
    }
    found
}

fn alert_expressions() -> Vec<String> {
    let file = documents(&deploy("prometheus/alerts.yaml")).remove(0);
    let groups = items(&file["groups"]).into_iter().flat_map(|group| items(&group["rules"]));
    groups.map(|rule| text(rule, "/expr").to_owned()).collect()
}

/// The metrics that an expression names.
fn metrics_in(expression: &str) -> Vec<&str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("aqueduct_") || word.starts_with("process_")).collect()
}

/// Every name that stands in an expression is measured, and everything measured stands on the dashboard.
pub(crate) fn names_agree(page: &str) {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    let measured: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    assert!(measured.len() > 15, "only {} metrics found: the reading is broken", measured.len());
    let (queries, alerts) = (queries(), alert_expressions());
    let shown: BTreeSet<&str> = queries.iter().flat_map(|(_, expression)| metrics_in(expression)).collect();
    let named = shown.iter().copied().chain(alerts.iter().flat_map(|expression| metrics_in(expression)));
    let mut findings: Vec<String> = named
        .filter(|name| !measured.contains(name))
        .map(|name| format!("{name} is in a query, and nobody measures it"))
        .collect();
    let missing = measured
        .iter()
        .filter(|name| !shown.contains(*name) && !LEFT_OUT.iter().any(|(left_out, _)| left_out == *name));
    findings.extend(missing.map(|name| {
        format!("{name} is not in deploy/grafana/aqueduct.json: give it a panel, or add it to LEFT_OUT with the reason")
    }));
    none(&findings);
}

/// Each query of the dashboard gives something where pipelines run.
pub(crate) fn every_query_answers(prometheus: &Prometheus) {
    for (title, expression) in queries() {
        until(
            &format!("the panel `{title}` shows something for {expression}"),
            Duration::from_secs(15),
            || (!prometheus.query(&expression).is_empty()).then_some(()),
        );
    }
}

/// What Prometheus' own check of metrics says. It reads the older text format, where a counter's whole name is declared
/// and an `info` is a gauge.
pub(crate) fn lint(page: &str) {
    let mut older = String::new();
    for line in page.lines().filter(|line| *line != "# EOF") {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let suffix = |name: &str| match page.contains(&format!("# TYPE {name} counter")) {
            true => "_total",
            false if page.contains(&format!("# TYPE {name} info")) => "_info",
            false => "",
        };
        match words[..] {
            ["#", kind, name, rest] => {
                let rest = if kind == "TYPE" && rest == "info" { "gauge" } else { rest };
                older.push_str(&format!("# {kind} {name}{} {rest}\n", suffix(name)));
            }
            _ => older.push_str(&format!("{line}\n")),
        }
    }
    let lint = |input: &str| {
        let arguments = ["promtool", "check", "metrics"];
        Script { name: "checkers.sh", folder: Path::new("/"), arguments: &arguments, input }.run()
    };
    lint(&older).unwrap_or_else(|says| panic!("{says}"));
    lint(&older.replace("aqueduct_retries_total", "aqueduct_retries"))
        .expect_err("a counter without `_total` is found");
}

#[test]
fn the_dashboard_is_sound() {
    let dashboard = dashboard();
    let panels = items(&dashboard["panels"]);
    let mut findings = Vec::new();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("a number")).collect();
    if ids.len() != panels.len() {
        findings.push("two panels have one number".to_owned());
    }
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let title = text(panel, "/title");
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        let cells =
            (at("y")..at("y") + at("h")).flat_map(|y| (at("x")..at("x") + at("w")).map(move |x| (x, y)));
        if at("x") + at("w") > 24 || cells.filter(|cell| !taken.insert(*cell)).count() > 0 {
            findings.push(format!("`{title}` lies on another panel, or beside the page"));
        }
        if text(panel, "/type") == "row" {
            continue;
        }
        if text(panel, "/description").is_empty() || items(&panel["targets"]).is_empty() {
            findings.push(format!("`{title}` does not say what it shows, or shows nothing"));
        }
        let sources = items(&panel["targets"]).into_iter().chain([*panel]);
        if sources.into_iter().any(|part| text(part, "/datasource/uid") != "${datasource}") {
            findings.push(format!("`{title}` asks a fixed data source"));
        }
    }
    none(&findings);
    assert!(queries().len() > 20, "only {} queries found: the reading is broken", queries().len());
}
