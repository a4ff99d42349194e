//! `aqueduct run`: every pipeline found, in one process, until all have ended or a signal comes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_spec::Runtime;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::listener::{self, tls::Tls};
use crate::live::{self, Screen};
use crate::supervise::Fleet;
use crate::{Exit, admin, catalog, logging, loops, process};

/// Exit code after a second signal: 128 and the number of SIGINT, as shells have it.
const AT_ONCE: i32 = 130;
/// A shell and its parent, or a terminal that is closed, send several signals for one wish; none comes later than this.
const SAME_WISH: Duration = Duration::from_secs(1);

/// Run pipelines until they end or are stopped
///
/// Every pipeline found runs in this one process. One that fails is started again from its stored offsets, after 1 s
/// at first and 60 s at most; one whose configuration cannot work, or that met a bad record under `on_bad_record:
/// stop`, is not. SIGINT, SIGTERM or SIGHUP: no more is read, what was read is written, offsets are stored. A second one,
/// a second later or more, ends the process at once.
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
    process::raise_open_files();
    let runtime = loaded.runtime;
    let screen = Arc::new(Screen::default());
    let started = logging::start(&arguments.log.log_level, runtime.log_json, &screen);
    if let Err(says) = started {
        return wrong(&says);
    }
    let listener = match listener_of(&runtime).await {
        Ok(listener) => listener,
        Err(says) => return wrong(&says),
    };
    let wrong_ends = loops::before_start(&loaded.pipelines).await;
    if !wrong_ends.is_empty() {
        return wrong(&wrong_ends.join("\nerror: "));
    }
    let mut fleet = Fleet::start(loaded.pipelines, &runtime, &catalog);
    info!(pipelines = fleet.members().len(), "started");
    if let Some((listener, tls)) = listener {
        let routes = admin::routes(fleet.members(), fleet.stopping(), runtime.token);
        tokio::spawn(listener::serve(listener, tls, routes));
    }
    let table = !arguments.log.no_table && !runtime.log_json && Screen::can_draw();
    if table {
        tokio::spawn(live::keep_drawing(Arc::clone(&screen), fleet.members()));
    }
    let good = until_ended(&mut fleet, signals).await;
    Exit::from(good)
}

/// What listens for questions after health and metrics, if anything.
async fn listener_of(runtime: &Runtime) -> Result<Option<(TcpListener, Option<Tls>)>, String> {
    let Some(address) = &runtime.listen else { return Ok(None) };
    let files = runtime.tls.clone().map(|(certificate, key)| listener::tls::Files { certificate, key });
    let tls = files.map(Tls::new).transpose()?;
    Ok(Some((listener::bind(address).await?, tls)))
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

/// SIGINT, SIGTERM and SIGHUP, each of which asks for a stop.
pub(crate) struct Signals(mpsc::Receiver<&'static str>);

impl Signals {
    /// From now on they are ours.
    pub(crate) fn new() -> std::io::Result<Self> {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        // Whoever started us under nohup wants us to outlive the terminal.
        let mut hangup = if process::ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        let (wishes, heard) = mpsc::channel(1);
        // Apart from those who wait for a wish, so that it counts when a signal came and not when somebody looked.
        tokio::spawn(async move {
            let mut first: Option<Instant> = None;
            loop {
                let name = tokio::select! {
                    biased;
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                    () = next(&mut hangup) => "SIGHUP",
                };
                if first.is_some_and(|first| first.elapsed() < SAME_WISH) {
                    info!(signal = name, "came right behind the first signal and is taken for the same wish");
                    continue;
                }
                first.get_or_insert_with(Instant::now);
                if wishes.send(name).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self(heard))
    }

    /// The name of the next one that is a wish of its own.
    pub(crate) async fn next(&mut self) -> &'static str {
        match self.0.recv().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
