//! Logs: to standard error, as text or as JSON, one line an event; above the live table where there is one.

use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::live::Screen;

/// Starts logging at this level: `info`, or per module `info,aqueduct_engine=debug`. An error names the fault.
pub(crate) fn start(level: &str, json: bool, screen: &Arc<Screen>) -> Result<(), String> {
    let filter = EnvFilter::try_new(level).map_err(|error| {
        format!("`{level}` is not a log level: {error}; write error, warn, info, debug or trace")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines(Arc::clone(screen)));
    if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).compact().init();
    }
    // A panic is logged like everything else: what the runner does about it follows in the log.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let says = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(at, says, "panic");
    }));
    Ok(())
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
