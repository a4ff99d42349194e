//! `aqueduct dev`: the very file that runs in production, with an embedded broker for its Kafka connections and a folder
//! for its buckets, fed with made-up records, until Ctrl-C.

mod feed;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use aqueduct_api::Catalog;
use aqueduct_devserver::Registry;
use aqueduct_devserver::{DevBroker, Limits};
use aqueduct_spec::{DevEnds, Environment, LoadOptions, Loaded, Pipeline};

use super::run::{LogArguments, Signals, until_ended};
use crate::live::Screen;
use crate::supervise::{Fleet, Member};
use crate::{Exit, catalog, logging};

/// Try a pipeline file here and now, with an embedded Kafka broker and a folder in place of a bucket
///
/// The file is the one that runs in production, unchanged. Topics that it reads are created, and filled where it says
/// `dev: { generate: orders }`. Other programs can use the broker while this runs. Ctrl-C ends it in good order.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The pipeline file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// End after this time, as in 10s
    #[arg(long = "for", value_name = "DURATION")]
    lasting: Option<aqueduct_api::config::Duration>,
    /// End when this many records were read
    #[arg(long, value_name = "N")]
    records: Option<u64>,
    /// Where the embedded broker listens on this machine; a free port by default
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Below this folder each run has one of its own
    #[arg(long, value_name = "DIR", default_value = "aqueduct-dev")]
    folder: PathBuf,
    #[command(flatten)]
    log: LogArguments,
}

/// Runs it.
pub(crate) async fn run(arguments: Arguments) -> Exit {
    match start(&arguments).await {
        Ok(Some(exit)) => exit,
        Ok(None) => Exit::Wrong,
        Err(says) => {
            eprintln!("error: {says}");
            Exit::Wrong
        }
    }
}

/// Nothing when the file has problems; they are printed by then.
async fn start(arguments: &Arguments) -> Result<Option<Exit>, String> {
    let catalog = catalog::catalog();
    let broker = DevBroker::start(("127.0.0.1", arguments.port), Limits::default())
        .await
        .map_err(|error| format!("cannot start the embedded broker on port {}: {error}", arguments.port))?;
    let brokers = broker.address().to_string();
    let other = DevBroker::start(("127.0.0.1", 0), Limits::default())
        .await
        .map_err(|error| format!("cannot start the second embedded broker: {error}"))?;
    let other_brokers = other.address().to_string();
    let registry = Registry::start(([127, 0, 0, 1], 0).into())
        .await
        .map_err(|error| format!("cannot start the embedded schema registry: {error}"))?;
    let folder = arguments.folder.join(report::time_stamp());
    let ends = DevEnds {
        kafka_brokers: brokers.clone(),
        other_brokers: other_brokers.clone(),
        folder: folder.clone(),
    };
    let options = LoadOptions { dev: Some(ends), registry_url: Some(registry.url()), settings: None };
    let paths = [arguments.file.clone()];
    let loaded = aqueduct_spec::load_with(&paths, &catalog, &Environment::of_process(), &options);
    super::print(&loaded.diagnostics);
    if !loaded.diagnostics.is_empty() {
        return Ok(None);
    }
    let screen = Arc::new(Screen::default());
    logging::start(&arguments.log.log_level, loaded.runtime.log_json, &screen)?;
    let signals = Signals::new().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let feeds = prepare(&broker, &loaded, &brokers, &catalog)?;
    report::introduce(&arguments.file, &loaded.pipelines, &brokers, &other_brokers, &folder);

    let mut feed = Fleet::start(feeds, &loaded.runtime, &catalog);
    let mut fleet = Fleet::start(loaded.pipelines, &loaded.runtime, &catalog);
    let members = fleet.members();
    let table = !arguments.log.no_table && Screen::can_draw();
    let showing =
        tokio::spawn(report::keep_showing(table.then(|| Arc::clone(&screen)), Arc::clone(&members)));
    let good = until_done(arguments, &mut feed, &mut fleet, signals).await;
    showing.abort();
    screen.draw(String::new());
    report::conclude(&arguments.file, &members, &folder);
    broker.stop().await;
    other.stop().await;
    registry.stop().await;
    Ok(Some(Exit::from(good)))
}

/// Creates the topics that are read, and plans what fills them.
fn prepare(
    broker: &DevBroker,
    loaded: &Loaded,
    brokers: &str,
    catalog: &Catalog,
) -> Result<Vec<Pipeline>, String> {
    let mut feeds = Vec::new();
    for pipeline in &loaded.pipelines {
        for topic in feed::topics(pipeline) {
            broker.create_topic(topic, feed::partitions(pipeline)).map_err(|error| error.to_string())?;
            feeds.extend(feed::plan(pipeline, topic, brokers, catalog)?);
        }
    }
    Ok(feeds)
}

/// Until a signal comes, the time is over, the records were read, or the pipelines end by themselves. What feeds them
/// ends first, so that the rest is written to the last record.
async fn until_done(
    arguments: &Arguments,
    feed: &mut Fleet,
    fleet: &mut Fleet,
    mut signals: Signals,
) -> bool {
    let members = fleet.members();
    tokio::select! {
        biased;
        good = fleet.ended() => {
            feed.stop();
            feed.ended().await;
            return good;
        }
        _ = signals.next() => {}
        () = enough(arguments, &members) => {}
    }
    feed.stop();
    feed.ended().await;
    fleet.stop();
    until_ended(fleet, signals).await
}

async fn enough(arguments: &Arguments, members: &[Arc<Member>]) {
    let time = async {
        match arguments.lasting {
            Some(time) => tokio::time::sleep(time.0).await,
            None => std::future::pending().await,
        }
    };
    let records = async {
        let Some(wanted) = arguments.records else { return std::future::pending().await };
        while members.iter().map(|member| member.status.records_read.load(Relaxed)).sum::<u64>() < wanted {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        biased;
        () = time => {}
        () = records => {}
    }
}

/// Whether an end of the pipeline stands in the folder of this run, in place of a bucket.
fn is_embedded(raw: &serde_json::Value, folder: &Path) -> bool {
    raw["folder"].as_str().is_some_and(|path| Path::new(path).starts_with(folder))
}
