//! Texts as pipeline files, with shared settings before a zero byte: pipelines, or problems with their places. No problem
//! shows a secret, and what is sound once is sound again.
#![no_main]

#[path = "../../crates/spec/tests/catalog/mod.rs"]
mod catalog;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use aqueduct_api::Catalog;
use aqueduct_spec::{Environment, Loaded, load};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "hunter2-behind-a-file";

static CATALOG: LazyLock<Catalog> = LazyLock::new(catalog::catalog);
/// Files are what is read.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("aqueduct-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
});

fn read(file: &Path) -> Loaded {
    let variable = |name: &str| match name {
        "SECRET" => Some(SECRET.to_owned()),
        "BROKERS" => Some("localhost:9092".to_owned()),
        "TASKS" => Some("4".to_owned()),
        _ => None,
    };
    let secret = |path: &Path| match path.ends_with("pw") {
        true => Ok(SECRET.to_owned()),
        false => Err(io::ErrorKind::NotFound.into()),
    };
    load(&[file.to_owned()], &CATALOG, &Environment { variable: &variable, read: &secret })
}

fuzz_target!(|text: &str| {
    let (settings, pipelines) = text.split_once('\0').unwrap_or(("", text));
    let (file, beside) = (FOLDER.join("a.yaml"), FOLDER.join("aqueduct.yaml"));
    fs::write(&beside, settings).expect("a file");
    fs::write(&file, pipelines).expect("a file");
    let loaded = read(&file);
    assert!(
        !loaded.diagnostics.is_empty() || !loaded.pipelines.is_empty(),
        "neither pipelines nor a word about why there are none"
    );
    for found in &loaded.diagnostics {
        let of = if found.file == beside { settings } else { pipelines };
        // An end that is missing may be met on the line behind the last.
        let lines = of.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
        assert!(found.line <= lines + 1, "line {} of {lines}: {found}", found.line);
        for shown in [found.render(true), found.to_string()] {
            assert!(!shown.contains(SECRET) || text.contains(SECRET), "a secret is shown:\n{shown}");
        }
    }
    let names = |loaded: &Loaded| loaded.pipelines.iter().map(|it| it.name.to_string()).collect::<Vec<_>>();
    let (first, again) = (names(&loaded), read(&file));
    assert_eq!((names(&again), again.diagnostics.len()), (first.clone(), loaded.diagnostics.len()));
    for (index, name) in first.iter().enumerate() {
        assert!(!first[..index].contains(name), "two pipelines are called {name}");
    }
});
