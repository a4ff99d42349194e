//! `aqueduct run`: every pipeline found, in one process, until all have ended or a signal comes.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::live::{self, Screen};
use crate::supervise::Fleet;
use crate::{Exit, admin, catalog, logging};

/// Exit code after a second signal: 128 and the number of SIGINT, as shells have it.
const AT_ONCE: i32 = 130;

/// Run pipelines until they end or are stopped
///
/// Every pipeline found runs in this one process. One that fails is started again from its stored offsets, after 1 s
/// at first and 60 s at most; one whose configuration cannot work, or that met a bad record under `on_bad_record:
/// stop`, is not. SIGINT or SIGTERM: no more is read, what was read is written, offsets are stored. A second one ends
/// the process at once.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Pipeline files, or folders of them
    #[arg(required = true, value_name = "FILE_OR_DIR")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    log: LogArguments,
}

/// How much is logged.
#[derive(clap::Args)]
pub(crate) struct LogArguments {
    /// error, warn, info, debug or trace; per module as in info,aqueduct_engine=debug
    #[arg(long, env = "AQUEDUCT_LOG", default_value = "info", value_name = "LEVEL")]
    pub(crate) log_level: String,
    /// No live table on a terminal, only the log
    #[arg(long)]
    pub(crate) no_table: bool,
}

/// Runs them.
pub(crate) async fn run(arguments: Arguments) -> Exit {
    // First of all: the first process of a container does not even get a signal that it has not asked for.
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return wrong(&format!("cannot listen for signals: {error}")),
    };
    let catalog = catalog::catalog();
    let Some(loaded) = super::load(&arguments.paths, &catalog) else { return Exit::Wrong };
    let runtime = loaded.runtime;
    let screen = Arc::new(Screen::default());
    let started = logging::start(&arguments.log.log_level, runtime.log_json, &screen);
    let listener = match (started, &runtime.listen) {
        (Err(says), _) => return wrong(&says),
        (Ok(()), None) => None,
        (Ok(()), Some(address)) => match admin::bind(address).await {
            Ok(listener) => Some(listener),
            Err(says) => return wrong(&says),
        },
    };
    let mut fleet = Fleet::start(loaded.pipelines, &runtime, &catalog);
    info!(pipelines = fleet.members().len(), "started");
    if let Some(listener) = listener {
        tokio::spawn(admin::serve(listener, fleet.members(), fleet.stopping()));
    }
    let table = !arguments.log.no_table && !runtime.log_json && Screen::can_draw();
    if table {
        tokio::spawn(live::keep_drawing(Arc::clone(&screen), fleet.members()));
    }
    let good = until_ended(&mut fleet, signals).await;
    Exit::from(good)
}

fn wrong(says: &str) -> Exit {
    eprintln!("error: {says}");
    Exit::Wrong
}

/// Waits for the pipelines; the first signal stops them in good order, the second one ends the process.
pub(crate) async fn until_ended(fleet: &mut Fleet, mut signals: Signals) -> bool {
    let stopping = fleet.stopping();
    loop {
        let name = tokio::select! {
            biased;
            good = fleet.ended() => return good,
            name = signals.next() => name,
        };
        if stopping.requested() {
            warn!(signal = name, "second signal, ending at once; what is not yet stored will be read again");
            std::process::exit(AT_ONCE);
        }
        info!(signal = name, "stopping: what was read is written first; a second signal ends at once");
        fleet.stop();
    }
}

/// SIGINT and SIGTERM.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on they are ours.
    pub(crate) fn new() -> std::io::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
