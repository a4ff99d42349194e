//! What `aqueduct check --connect` finds out about a folder: whether it is there or could be made, whether files can be
//! written, and how much room is left.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use aqueduct_api::Finding;

use crate::folder::{classify, classify_link, temporary_name};

/// Less room than this is worth a warning.
const ROOM_MIN_BYTES: u64 = 1 << 30;

/// Looks at it. Nothing stays behind: a folder that is missing is not made.
pub(crate) fn probe(folder: &Path) -> Vec<Finding> {
    let there = folder.is_dir();
    // What is missing would be made in the nearest folder that is there.
    let place = folder.ancestors().find(|place| place.exists() || place.as_os_str().is_empty());
    let place = place.filter(|place| !place.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut findings = Vec::new();
    match try_write(place) {
        Err(error) => return vec![classify(place, folder, error).into()],
        Ok(Err(error)) => return vec![classify_link(place, folder, error).into()],
        Ok(Ok(())) => {}
    }
    findings.push(Finding::good(match there {
        true => format!("folder `{}` exists and can be written", folder.display()),
        false => format!("folder `{}` is missing and can be made", folder.display()),
    }));
    findings.extend(room(place));
    findings
}

/// A file that gets a second name by a hard link, as each does when it is whole: the outcome of that stands inside.
fn try_write(place: &Path) -> io::Result<io::Result<()>> {
    let path = place.join(temporary_name("aqueduct-check", 0));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let written = file.write_all(b"aqueduct check").and_then(|()| file.sync_all());
    let other = place.join(temporary_name("aqueduct-check", 1));
    let linked = fs::hard_link(&path, &other).and_then(|()| fs::remove_file(&other));
    fs::remove_file(&path)?;
    written.map(|()| linked)
}

fn room(place: &Path) -> Option<Finding> {
    let disk = rustix::fs::statvfs(place).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let says = format!("{} MiB are free", free >> 20);
    Some(match free < ROOM_MIN_BYTES {
        true => {
            Finding::warning(says, "free some: a full disk is waited for, and nothing is written meanwhile")
        }
        false => Finding::good(says),
    })
}
