//! `aqueduct connectors`: what this binary knows, and the reference page of one name; both from the config types.

use aqueduct_api::Catalog;

use crate::{Exit, catalog};

/// List connectors, transforms, formats and offset stores, or print the reference page of one
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The name as it stands in a pipeline file
    name: Option<String>,
}

/// Prints the list or the page.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let catalog = catalog::catalog();
    match &arguments.name {
        None => list(&catalog),
        Some(name) => match aqueduct_spec::reference(&catalog, name) {
            Some(page) => println!("{page}"),
            None => {
                eprintln!("error: nothing is called `{name}`; `aqueduct connectors` lists what there is");
                return Exit::Wrong;
            }
        },
    }
    Exit::Good
}

fn list(catalog: &Catalog) {
    group("sources", catalog.sources.values().map(|it| (it.name, it.about)));
    group("sinks", catalog.sinks.values().map(|it| (it.name, it.about)));
    group("transforms", catalog.transforms.values().map(|it| (it.name, it.about)));
    group("record formats", catalog.formats.values().map(|it| (it.name, it.about)));
    group("offset stores", catalog.offset_stores.values().map(|it| (it.name, it.about)));
    group("registry", catalog.registry.iter().map(|it| (it.name, it.about)));
    println!("`aqueduct connectors NAME` prints the options of one of them.");
}

fn group(title: &str, entries: impl Iterator<Item = (&'static str, &'static str)>) {
    let entries: Vec<_> = entries.collect();
    if entries.is_empty() {
        return;
    }
    println!("{title}");
    for (name, about) in entries {
        println!("  {name:<12} {about}");
    }
    println!();
}
