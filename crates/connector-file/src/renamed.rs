//! A followed file that got another name while nobody read it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::place::{Place, Trail};

/// The file that was read up to that place, beside its old name and under one that a rotation gives: `app.log.1`,
/// `app.log-20261130`, `app.log.old`. Nothing where two may be meant, or where others were written after it and would be left
/// out.
pub(crate) fn find(path: &Path, place: &Place) -> io::Result<Option<(PathBuf, File)>> {
    let Some(name) = path.file_name().filter(|_| place.fingerprint.is_some()) else { return Ok(None) };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let other = entry.file_name();
        let added = other.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        if !added.is_some_and(is_of_rotation) {
            continue;
        }
        // It may have gone since the folder was read.
        let Ok(about) = entry.metadata() else { continue };
        let Some(modified) = about.modified().ok().filter(|_| about.is_file()) else { continue };
        let file = File::open(entry.path());
        let trail = file.and_then(|file| Ok((Trail::of(&file, place.byte)?, file)));
        match trail {
            Ok((trail, file)) if trail.fingerprint() == place.fingerprint => {
                found.push((modified, entry.path(), file));
            }
            // Another one, or one that nobody may read: its time says whether it can be what comes next.
            _ => others.push(modified),
        }
    }
    match found.pop() {
        Some((modified, path, file)) if found.is_empty() && others.iter().all(|other| *other <= modified) => {
            Ok(Some((path, file)))
        }
        _ => Ok(None),
    }
}

/// Whether a file with this behind its name is an earlier one of that name: `app-errors.log` is no earlier `app`.
fn is_of_rotation(added: &[u8]) -> bool {
    match added {
        [b'.' | b'-' | b'_', next, ..] if next.is_ascii_digit() => true,
        b"~" | b".old" | b".bak" | b".prev" => true,
        _ => false,
    }
}
