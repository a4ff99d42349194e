//! Logs: to standard error, as text or as JSON, one line an event; above the live table where there is one.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::live::Screen;

const NAMES: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
const LEVELS: &str = "write error, warn, info, debug or trace, also per module as in info,aqueduct_engine=debug; off logs nothing";

/// Starts logging at this level: `info`, or per module `info,aqueduct_engine=debug`. An error names the fault.
pub(crate) fn start(level: &str, json: bool, screen: &Arc<Screen>) -> Result<(), String> {
    let filter = EnvFilter::try_new(directives(level)?)
        .map_err(|error| format!("`{level}` is not a log level: {error}; {LEVELS}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines(Arc::clone(screen)));
    if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).compact().init();
    }
    report_panics();
    Ok(())
}

/// What the filter is told. It takes a word that is no level for a module, and logs nothing else: not even errors.
fn directives(levels: &str) -> Result<String, String> {
    let parts: Vec<&str> = levels.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let is_level = |text: &str| NAMES.iter().any(|name| text.eq_ignore_ascii_case(name));
    for part in &parts {
        let level = part.rsplit_once('=').map_or(*part, |(_, level)| level);
        if !is_level(level) {
            return Err(format!("`{level}` is not a log level; {LEVELS}"));
        }
    }
    // What no part speaks of is logged as it is when nothing is said.
    let usual = parts.iter().all(|part| part.contains('=')).then_some("info");
    Ok(usual.into_iter().chain(parts).collect::<Vec<_>>().join(","))
}

/// A panic is logged like everything else: what the runner does about it follows in the log.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let says = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(at, says, "panic");
    }));
}

/// Each event is written as a whole, between two drawings of the table.
struct Lines(Arc<Screen>);

/// One event.
struct Line {
    screen: Arc<Screen>,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { screen: Arc::clone(&self.0), text: Vec::new() }
    }
}

impl std::io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.screen.print(&self.text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use aqueduct_connector_kafka::{SinkConfig, SourceConfig};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_level_is_refused_and_what_is_not_named_stays_at_info() {
        for (levels, told) in [
            ("info", "info"),
            ("WARN", "WARN"),
            ("", "info"),
            ("aqueduct_engine=debug", "info,aqueduct_engine=debug"),
            ("warn, aqueduct_engine=debug", "warn,aqueduct_engine=debug"),
            ("off", "off"),
        ] {
            assert_eq!(directives(levels).as_deref(), Ok(told), "{levels}");
        }
        for levels in ["inof", "warning", "aqueduct_engine", "info,aqueduct_engine=debgu", "info=", "3"] {
            let says = directives(levels).unwrap_err();
            assert!(says.contains("error, warn, info, debug or trace"), "{levels}: {says}");
        }
    }

    /// Keeps what is written.
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged of a panic that tells all it knows.
    fn logged(says: &str) -> String {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let writer = kept.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || Kept(writer.clone())).finish();
        let before = std::panic::take_hook();
        report_panics();
        tracing::subscriber::with_default(subscriber, || {
            std::panic::catch_unwind(|| panic!("{says}")).unwrap_err();
        });
        std::panic::set_hook(before);
        String::from_utf8(kept.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_panic_with_a_whole_configuration_tells_no_secret() {
        let login = json!({ "user": "app", "password": "planted-1" });
        let oauth = json!({ "token_url": "http://a/", "client_id": "app", "client_secret": "planted-2" });
        let key = "-----BEGIN PRIVATE KEY-----\nplanted-3\n-----END PRIVATE KEY-----\n";
        let tls = json!({ "certificate": "./a.crt", "key": key, "key_password": "planted-4" });
        for sasl in [
            json!({ "plain": login }),
            json!({ "scram_sha_256": login }),
            json!({ "scram_sha_512": login }),
            json!({ "oauthbearer": oauth }),
        ] {
            let connection = json!({ "brokers": "there:9092", "tls": tls, "sasl": sasl });
            let source = json!({ "connection": connection, "topics": ["t"] });
            let source: SourceConfig = serde_json::from_value(source).unwrap();
            let sink: SinkConfig =
                serde_json::from_value(json!({ "connection": connection, "topic": "t" })).unwrap();
            for says in [format!("{source:?}"), format!("{sink:?}")] {
                let line = logged(&says);
                assert!(line.contains("panic") && line.contains("there:9092"), "{line}");
                assert!(!line.contains("planted"), "{line}");
            }
        }
        let s3 = json!({ "bucket": "lake", "region": "r", "access_key": "k", "secret_key": "planted-5" });
        let sink =
            json!({ "connection": s3, "path": "{topic}/{partition}-{start_offset}", "format": "lines" });
        let sink: aqueduct_connector_s3::Config = serde_json::from_value(sink).unwrap();
        let line = logged(&format!("{sink:?}"));
        assert!(line.contains("lake") && !line.contains("planted"), "{line}");
    }
}
