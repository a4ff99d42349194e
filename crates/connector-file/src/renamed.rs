//! A followed file that got another name while nobody read it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::place::{Place, Trail};

/// The file that was read up to that place, beside its old name and under one that begins with it: `app.log.1`,
/// `app.log-20261130`. Nothing where two may be meant, or where others were written after it and would be left out.
pub(crate) fn find(path: &Path, place: &Place) -> io::Result<Option<(PathBuf, File)>> {
    let Some(name) = path.file_name().filter(|_| place.fingerprint.is_some()) else { return Ok(None) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (other, about) = (entry.file_name(), entry.metadata()?);
        let belongs = other.as_encoded_bytes().starts_with(name.as_encoded_bytes()) && other != name;
        if !belongs || !about.is_file() {
            continue;
        }
        let file = File::open(entry.path())?;
        match Trail::of(&file, place.byte) {
            Ok(trail) if trail.fingerprint() == place.fingerprint => {
                found.push((about.modified()?, entry.path(), file));
            }
            _ => others.push(about.modified()?),
        }
    }
    match found.pop() {
        Some((modified, path, file)) if found.is_empty() && others.iter().all(|other| *other <= modified) => {
            Ok(Some((path, file)))
        }
        _ => Ok(None),
    }
}
