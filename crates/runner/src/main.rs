//! The binary `aqueduct`: reads the command line, starts the runtime, answers with an exit code.

mod admin;
mod allocator;
mod catalog;
mod commands;
mod listener;
mod live;
mod logging;
mod loops;
mod memory;
mod metrics;
mod process;
mod recurrence;
mod supervise;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0    all went well: pipelines ended or were stopped in good order, files are fine, tests passed
  1    a pipeline failed, or was not drained within its stop_timeout; a test failed
  2    the command line or a file is wrong; nothing was started
  130  a second SIGINT, SIGTERM or SIGHUP ended the process at once";

/// Kafka Connect in one binary, declared in YAML.
#[derive(Parser)]
#[command(name = "aqueduct", version, about, after_help = EXIT_CODES, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(commands::run::Arguments),
    Check(commands::check::Arguments),
    Plan(commands::plan::Arguments),
    Offsets(commands::offsets::Arguments),
    Test(commands::test::Arguments),
    Connectors(commands::connectors::Arguments),
    /// Print a JSON Schema of pipeline files, for editors
    Schema,
    Dev(commands::dev::Arguments),
    Bench(commands::bench::Arguments),
    Health(commands::health::Arguments),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Good = 0,
    Failed = 1,
    Wrong = 2,
}

impl From<bool> for Exit {
    fn from(good: bool) -> Self {
        if good { Exit::Good } else { Exit::Failed }
    }
}

fn main() -> ExitCode {
    process::keep_memory_private();
    process::use_small_pages();
    process::end_quietly_without_reader();
    let exit = match CommandLine::parse().command {
        Command::Run(arguments) => within_runtime(commands::run::run(arguments)),
        Command::Check(arguments) => within_runtime(commands::check::run(arguments)),
        Command::Plan(arguments) => commands::plan::run(&arguments),
        Command::Offsets(arguments) => within_runtime(commands::offsets::run(arguments)),
        Command::Test(arguments) => within_runtime(commands::test::run(arguments)),
        Command::Connectors(arguments) => commands::connectors::run(&arguments),
        Command::Schema => commands::schema::run(),
        Command::Dev(arguments) => within_runtime(commands::dev::run(arguments)),
        Command::Bench(arguments) => commands::bench::run(&arguments),
        Command::Health(arguments) => commands::health::run(&arguments),
    };
    ExitCode::from(exit as u8)
}

/// More threads than this find nothing to do: a task is one chain of stations.
const WORKERS_MAX: usize = 4;

fn within_runtime(command: impl Future<Output = Exit>) -> Exit {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS_MAX))
        .thread_name("aqueduct")
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(command);
            // A thread that still waits for standard input would hold the process for ever.
            runtime.shutdown_background();
            exit
        }
        Err(error) => {
            eprintln!("error: cannot start threads: {error}");
            Exit::Failed
        }
    }
}
