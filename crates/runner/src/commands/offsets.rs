//! `aqueduct offsets`: where pipelines stand, and moving one on purpose. What a move would do is shown first.

mod ground;
mod listed;
mod prometheus;

use std::collections::BTreeMap;
use std::path::PathBuf;

use aqueduct_api::{Error, OffsetSpec, Offsets, Partition, PartitionOffsets, Result};

use self::ground::Ground;
use crate::{Exit, catalog};

/// Show where pipelines stand in their sources, or move one on purpose
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Show(Show),
    Set(Set),
}

/// Print what is stored for each partition, what is there, and how far it is behind
#[derive(clap::Args)]
struct Show {
    /// Names of pipelines, files or folders; all pipelines if none is given
    #[arg(value_name = "PIPELINE_OR_FILE")]
    what: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// One JSON object for a single pipeline, as --from-file takes it
    #[arg(long)]
    json: bool,
}

/// Move a pipeline that does not run: shows what would be skipped or repeated, and does it with --apply
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["to", "from_file", "from_prometheus"])))]
struct Set {
    /// The name of a pipeline, or a file with a single one
    #[arg(value_name = "PIPELINE_OR_FILE")]
    what: String,
    #[command(flatten)]
    files: Files,
    /// Where to: earliest, latest, a time as 2026-01-31T12:00:00Z, +N or -N records from what is stored, or an offset
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true, value_parser = target)]
    to: Option<OffsetSpec>,
    /// Offsets by partition from a file: JSON as `show --json` prints it, or lines of topic,partition,offset
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// The offsets that a Prometheus server saw last: http://prometheus:9090
    #[arg(long, value_name = "URL")]
    from_prometheus: Option<String>,
    /// Whose metric is asked for: our own, or that of kafka-lag-exporter
    #[arg(long, value_name = "METRIC", default_value = "aqueduct", requires = "from_prometheus")]
    metric: prometheus::Metric,
    /// The authority that signed the certificate of Prometheus, in PEM; those of the system if it is left out
    #[arg(long, value_name = "FILE", requires = "from_prometheus")]
    ca: Option<PathBuf>,
    /// Not the last offsets, but those of that time
    #[arg(long, value_name = "TIME", requires = "from_prometheus", value_parser = time)]
    at: Option<i64>,
    /// Only this partition, as orders/3; may be given more than once
    #[arg(long, value_name = "PARTITION")]
    partition: Vec<String>,
    /// Do it
    #[arg(long)]
    apply: bool,
}

/// Where names of pipelines are looked up.
#[derive(clap::Args)]
struct Files {
    /// Where a pipeline is looked for by its name
    #[arg(long = "in", value_name = "FILE_OR_DIR", default_value = ".")]
    files: Vec<PathBuf>,
}

/// Shows or moves.
pub(crate) async fn run(arguments: Arguments) -> Exit {
    let done = match arguments.command {
        Command::Show(arguments) => show(arguments).await,
        Command::Set(arguments) => set(arguments).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        Exit::Failed
    })
}

async fn show(arguments: Show) -> Result<Exit> {
    let catalog = catalog::catalog();
    let everything = [".".to_owned()];
    let what = if arguments.what.is_empty() { &everything } else { arguments.what.as_slice() };
    let mut pipelines = Vec::new();
    for what in what {
        let Some(found) = ground::find(what, &arguments.files.files, &catalog) else {
            return Ok(Exit::Wrong);
        };
        pipelines.extend(found);
    }
    if arguments.json && pipelines.len() != 1 {
        return Err(Error::config(format!("--json is for one pipeline, and these are {}", pipelines.len()))
            .remedy("name one of them"));
    }
    let mut good = true;
    for pipeline in pipelines {
        let list = match Ground::open(&pipeline, &catalog).await {
            Ok(mut ground) => ground.list().await,
            Err(error) => Err(error),
        };
        match list {
            Ok(list) if arguments.json => println!("{}", listed::json(&list)),
            Ok(list) => {
                println!(
                    "{}: {}",
                    pipeline.name,
                    pipeline.source.connector.configured.describe(&pipeline.name)
                );
                table(&["partition", "stored", "first", "end", "behind"], list.iter().map(row).collect());
            }
            Err(error) => {
                good = false;
                eprintln!("error: {}: {error}", pipeline.name);
            }
        }
    }
    Ok(Exit::from(good))
}

fn row(standing: &PartitionOffsets) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let position =
        |position: &Option<aqueduct_api::Position>| or_dash(position.as_ref().map(ToString::to_string));
    vec![
        standing.partition.to_string(),
        position(&standing.stored),
        position(&standing.first),
        position(&standing.end),
        or_dash(standing.lag_records.map(|records| records.to_string())),
    ]
}

async fn set(arguments: Set) -> Result<Exit> {
    let catalog = catalog::catalog();
    let Some(found) = ground::find(&arguments.what, &arguments.files.files, &catalog) else {
        return Ok(Exit::Wrong);
    };
    let [pipeline] = found.as_slice() else {
        let names: Vec<&str> = found.iter().map(|pipeline| &*pipeline.name).collect();
        return Err(Error::config(format!(
            "`{}` holds several pipelines: {}",
            arguments.what,
            names.join(", ")
        ))
        .remedy("name one of them, with --in for the file"));
    };
    let mut ground = Ground::open(pipeline, &catalog).await?;
    let list = ground.list().await?;
    let targets = targets(&arguments, pipeline, &list).await?;
    let (mut moved, mut rows) = (Offsets::new(), Vec::new());
    for standing in &list {
        let Some(target) = targets.get(&standing.partition) else { continue };
        let new = ground.resolve(standing, target).await?;
        let stored = standing.stored.as_ref().map_or("-".to_owned(), ToString::to_string);
        rows.push(vec![standing.partition.to_string(), stored, new.to_string(), change(standing, &new)]);
        if standing.stored.as_ref() != Some(&new) {
            moved.insert(standing.partition.clone(), new);
        }
    }
    println!("{}: {}", pipeline.name, pipeline.source.connector.configured.describe(&pipeline.name));
    table(&["partition", "stored", "new", "change"], rows);
    if moved.is_empty() {
        println!("nothing to change");
    } else if arguments.apply {
        ground.store(&moved).await?;
        println!("stored");
    } else {
        println!("nothing was changed; add --apply to do it");
    }
    Ok(Exit::Good)
}

/// Where each partition is to go.
async fn targets(
    arguments: &Set,
    pipeline: &aqueduct_spec::Pipeline,
    list: &[PartitionOffsets],
) -> Result<BTreeMap<Partition, OffsetSpec>> {
    let mut targets: BTreeMap<Partition, OffsetSpec> = match (&arguments.to, &arguments.from_file) {
        (Some(target), _) => {
            list.iter().map(|standing| (standing.partition.clone(), target.clone())).collect()
        }
        (None, Some(path)) => listed::read(path)?,
        (None, None) => {
            let url = arguments.from_prometheus.clone().unwrap_or_default();
            let server = prometheus::Server::new(url, arguments.ca.as_deref())?;
            prometheus::offsets(server, arguments.metric, pipeline, arguments.at).await?
        }
    };
    let known = |name: &str| list.iter().any(|standing| &*standing.partition == name);
    let unknown = targets.keys().map(|name| &**name).chain(arguments.partition.iter().map(String::as_str));
    if let Some(name) = unknown.into_iter().find(|name| !known(name)) {
        let names: Vec<&str> = list.iter().take(12).map(|standing| &*standing.partition).collect();
        return Err(Error::config(format!(
            "pipeline `{}` does not read a partition `{name}`",
            pipeline.name
        ))
        .remedy(format!("it reads {}", names.join(", "))));
    }
    if !arguments.partition.is_empty() {
        targets.retain(|name, _| arguments.partition.iter().any(|wanted| **wanted == **name));
    }
    if targets.is_empty() {
        return Err(Error::config("no partition is named"));
    }
    Ok(targets)
}

/// What a move does, in records.
fn change(standing: &PartitionOffsets, new: &str) -> String {
    let number = |text: &str| text.parse::<i64>().ok();
    let Some(stored) = &standing.stored else { return "is stored for the first time".to_owned() };
    match number(stored).zip(number(new)).map(|(stored, new)| new - stored) {
        Some(0) => "stays".to_owned(),
        Some(records) if records > 0 => format!("skips {records}"),
        Some(records) => format!("repeats {}", -records),
        None if **stored == *new => "stays".to_owned(),
        None => "moves".to_owned(),
    }
}

/// Columns as wide as they need to be; numbers stand to the right.
fn table(head: &[&str], rows: Vec<Vec<String>>) {
    let head = head.iter().map(ToString::to_string).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let numeric = rows[0][column] != "partition" && rows[0][column] != "change";
            let width = width(column);
            line += &if numeric { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
        }
        println!("  {}", line.trim_end());
    }
}

fn target(text: &str) -> Result<OffsetSpec, String> {
    if text == "earliest" || text == "latest" {
        return Ok(if text == "earliest" { OffsetSpec::Earliest } else { OffsetSpec::Latest });
    }
    if let Ok(number) = text.parse::<i64>() {
        let relative = text.starts_with(['+', '-']);
        return Ok(if relative { OffsetSpec::By(number) } else { OffsetSpec::At(text.into()) });
    }
    if let Ok(ms) = time(text) {
        return Ok(OffsetSpec::Time(ms));
    }
    Ok(OffsetSpec::At(text.into()))
}

fn time(text: &str) -> Result<i64, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "a time is written as in 2026-01-31T12:00:00Z".to_owned())?;
    Ok(time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        for (text, expected) in [
            ("earliest", OffsetSpec::Earliest),
            ("latest", OffsetSpec::Latest),
            ("+10", OffsetSpec::By(10)),
            ("-10", OffsetSpec::By(-10)),
            ("10", OffsetSpec::At("10".into())),
            ("1970-01-01T00:00:01Z", OffsetSpec::Time(1_000)),
        ] {
            assert_eq!(target(text), Ok(expected));
        }
    }
}
