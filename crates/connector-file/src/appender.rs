//! A file that grows by whole lines, by one pipeline alone: its tasks share it, everyone else is kept out.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aqueduct_api::{Error, Result};
use aqueduct_formats::record_line::{self, Defaults};
use tracing::warn;

/// An open file. Work on it blocks.
pub(crate) struct Appender {
    path: PathBuf,
    pipeline: Arc<str>,
    state: Mutex<State>,
}

struct State {
    file: File,
    /// Its file system counts names: some say 0 of each file.
    counts_names: bool,
    /// What is in the file is not known any more: it has to be opened anew.
    failed: bool,
}

/// Files that this process has open, so that the tasks of a pipeline find the one they share. The lock of the
/// file itself keeps other processes out.
static OPEN: Mutex<BTreeMap<PathBuf, Weak<Appender>>> = Mutex::new(BTreeMap::new());

impl Appender {
    /// Opens the file for that pipeline, or joins the tasks of it that have it open. Cuts off the part of a
    /// line that a crash has left.
    pub(crate) fn open(path: &Path, pipeline: &Arc<str>) -> Result<Arc<Self>> {
        let failed = |error| failed("cannot open the file", path, error);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            make_folder(folder).map_err(failed)?;
        }
        if fs::metadata(path).is_ok_and(|about| !about.is_file()) {
            return Err(Error::config("this is not a regular file")
                .with("path", path.display())
                .remedy("name a file, `-` for standard output, or use the sink `discard`"));
        }
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(failed)?;
        // The name of a new file is durable when its folder is.
        let path = fs::canonicalize(path).map_err(failed)?;
        if let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        if let Some(other) = open.get(&path).and_then(Weak::upgrade) {
            if other.pipeline == *pipeline {
                return Ok(other);
            }
            return Err(Error::config(format!(
                "the pipeline `{}` writes to this file already",
                other.pipeline
            ))
            .with("path", path.display())
            .remedy("name another file: lines of two pipelines must not mix"));
        }
        match file.try_lock() {
            Ok(()) => {}
            // It may be a process that is about to stop.
            Err(TryLockError::WouldBlock) => {
                return Err(Error::transient("another process writes to this file")
                    .with("path", path.display())
                    .remedy("stop it, or name another file"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        mend(&mut file, &path)?;
        let counts_names = file.metadata().map_err(failed)?.nlink() > 0;
        let state = Mutex::new(State { file, counts_names, failed: false });
        let appender = Arc::new(Self { path: path.clone(), pipeline: Arc::clone(pipeline), state });
        open.retain(|_, appender| appender.strong_count() > 0);
        open.insert(path, Arc::downgrade(&appender));
        Ok(appender)
    }

    /// Adds lines at the end: all of them, or none after an error.
    pub(crate) fn append(&self, lines: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.usable(&self.path)?;
        let failed = |error| failed("cannot write to the file", &self.path, error);
        let before = state.file.metadata().map_err(failed)?.len();
        state.file.write_all(lines).map_err(|error| {
            // The part that was written would stand in the middle of the next try.
            state.failed = state.file.set_len(before).is_err();
            failed(error)
        })
    }

    /// Returns when all that was added is on the disk, in a file that still has a name.
    pub(crate) fn sync(&self) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.usable(&self.path)?;
        state.file.sync_data().map_err(|error| {
            // The system may have dropped what it could not write; to sync again would only seem to succeed.
            state.failed = true;
            Error::fatal("cannot sync the file").with("path", self.path.display()).caused_by(error)
        })?;
        // Nobody will ever read a file without a name. What was not reported yet is written again, into a new one.
        if is_deleted(&state.file, state.counts_names, &self.path) {
            state.failed = true;
            return Err(
                Error::fatal("the file was deleted while it was written").with("path", self.path.display())
            );
        }
        Ok(())
    }
}

/// Whether the file has no name any more that somebody could read it by. One that was renamed is still there.
fn is_deleted(file: &File, counts_names: bool, path: &Path) -> bool {
    let Ok(about) = file.metadata() else { return false };
    let is_it = |other: &Metadata| (other.dev(), other.ino()) == (about.dev(), about.ino());
    match fs::metadata(path) {
        Ok(there) if is_it(&there) => return false,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return counts_names && about.nlink() == 0,
        _ => {}
    }
    // NFS keeps a file that is open under such a name, until it is closed.
    let kept = |entry: DirEntry| {
        entry.file_name().as_encoded_bytes().starts_with(b".nfs")
            && entry.metadata().is_ok_and(|of| is_it(&of))
    };
    let folder = path.parent().and_then(|folder| fs::read_dir(folder).ok());
    !counts_names || about.nlink() == 0 || folder.into_iter().flatten().flatten().any(kept)
}

/// Makes the folder. The name of each new one is durable when the folder it stands in is.
fn make_folder(folder: &Path) -> io::Result<()> {
    let there = folder.ancestors().find(|above| above.as_os_str().is_empty() || above.exists());
    let made = folder.ancestors().take_while(|above| Some(*above) != there).collect::<Vec<_>>();
    fs::create_dir_all(folder)?;
    for folder in made {
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
        File::open(above.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

impl State {
    fn usable(&self, path: &Path) -> Result<()> {
        if self.failed {
            return Err(
                Error::fatal("the file failed before and has to be opened anew").with("path", path.display())
            );
        }
        Ok(())
    }
}

/// Makes the file end in a newline, if it has anything: what follows the last one is the part of a line that
/// was being written when the process or the machine died (it was never reported), or a whole record from
/// another hand.
fn mend(file: &mut File, path: &Path) -> Result<()> {
    let failed = |error| failed("cannot read the end of the file", path, error);
    let (keep, rest) = last_line(file).map_err(failed)?;
    if rest.is_empty() {
        return Ok(());
    }
    let defaults = Defaults { topic: "".into(), partition: 0, offset: 0 };
    if record_line::read(&rest, defaults).is_ok() {
        return file.write_all(b"\n").map_err(failed);
    }
    const BEGINS: &[u8] = br#"{"topic":"#;
    if !rest.starts_with(&BEGINS[..rest.len().min(BEGINS.len())]) {
        return Err(Error::config("the file ends in something that is not the line of a record")
            .with("path", path.display())
            .remedy("name another file, or end that line with a newline if it may stay"));
    }
    warn!(path = %path.display(), bytes = rest.len(), "cut off the line that a crash has left unfinished");
    file.set_len(keep).map_err(failed)
}

/// What follows the last newline, and where that begins.
fn last_line(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    const CHUNK_BYTES: u64 = 64 * 1024;
    let len = file.metadata()?.len();
    let mut begin = len;
    let mut rest = Vec::new();
    while begin > 0 {
        let end = begin;
        begin = end.saturating_sub(CHUNK_BYTES);
        let mut chunk = vec![0; (end - begin) as usize];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut chunk)?;
        if let Some(newline) = memchr::memrchr(b'\n', &chunk) {
            rest.splice(..0, chunk.drain(newline + 1..));
            break;
        }
        rest.splice(..0, chunk);
    }
    Ok((len - rest.len() as u64, rest))
}

fn failed(says: &str, path: &Path, error: io::Error) -> Error {
    use io::ErrorKind::{
        FileTooLarge, IsADirectory, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
        StorageFull,
    };
    let failed = match error.kind() {
        StorageFull | QuotaExceeded => Error::transient(says).remedy("free some space on that disk"),
        FileTooLarge => {
            Error::transient(says).remedy("move the file away, or raise the limit on the size of files")
        }
        PermissionDenied | ReadOnlyFilesystem => {
            Error::config(says).remedy("allow writing there, or name another path")
        }
        IsADirectory | NotADirectory => Error::config(says).remedy("name a file in a folder"),
        _ => Error::fatal(says),
    };
    failed.with("path", path.display()).caused_by(error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says where it failed by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_deleted_when_it_has_no_name_to_read_it_by() {
        let folder = std::env::temp_dir().join(format!("aqueduct-deleted-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (path, other) = (folder.join("out.jsonl"), folder.join("out.jsonl.1"));
        let deleted = |file: &File| (is_deleted(file, true, &path), is_deleted(file, false, &path));
        let file = File::create(&path).unwrap();
        assert_eq!(deleted(&file), (false, false), "its path says so, where names are not counted");
        fs::rename(&path, &other).unwrap();
        assert_eq!(deleted(&file), (false, true), "renamed, unless nobody can tell");
        File::create(&path).unwrap();
        assert_eq!(deleted(&file), (false, true), "also when another one has its name");
        fs::rename(&other, folder.join(".nfs0001")).unwrap();
        assert_eq!(deleted(&file), (true, true), "as NFS keeps what was deleted");
        fs::remove_file(folder.join(".nfs0001")).unwrap();
        assert_eq!(deleted(&file), (true, true));
        fs::remove_dir_all(&folder).unwrap();
    }
}
