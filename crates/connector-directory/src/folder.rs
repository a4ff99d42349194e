//! A folder as a store of objects. A file is written under a hidden temporary name, synced, and linked to its
//! own name, which fails if that exists; then the folder is synced. So at any moment a file is there whole,
//! or not at all.
//!
//! The temporary name is `.MARK.START_OFFSET.UNIQUE.part`: short, since that of the file may be as long as a name can be.
//! The mark stands for the pipeline and the name of the file, so what a run that died has left is known from all else.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqueduct_api::{Condition, Error, Result};
use aqueduct_objects::store::TAIL_BYTES;
use aqueduct_objects::{Finished, Footprint, Found, Leftovers, Store, Upload, mark, persist};
use async_trait::async_trait;
use bytes::Bytes;

const TEMPORARY_SUFFIX: &str = ".part";
/// A file is read back in pieces of this length.
const PIECE_BYTES: u64 = 1 << 20;

/// A local folder.
pub(crate) struct FolderStore {
    folder: Arc<PathBuf>,
    condition: Condition,
}

impl FolderStore {
    /// Opens a folder, and makes it when missing.
    pub(crate) async fn open(folder: PathBuf, condition: Condition) -> Result<Self> {
        let store = Self { folder: Arc::new(folder), condition };
        store.attempt(|folder| make_folder(folder).map_err(|error| classify(folder, folder, error))).await?;
        Ok(store)
    }

    /// Runs a blocking step beside the runtime, again for as long as the disk is full.
    async fn attempt<T: Send + 'static>(
        &self,
        step: impl Fn(&Path) -> Result<T> + Clone + Send + Sync + 'static,
    ) -> Result<T> {
        attempt(&self.folder, &self.condition, step).await
    }
}

#[async_trait]
impl Store for FolderStore {
    async fn find(&self, name: &str) -> Result<Option<Found>> {
        let name = name.to_owned();
        self.attempt(move |folder| {
            let path = folder.join(&name);
            match look(&path) {
                Ok(found) => Ok(Some(found)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(classify(folder, &path, error)),
            }
        })
        .await
    }

    async fn read(&self, name: &str, from: u64) -> Result<Bytes> {
        let name = name.to_owned();
        self.attempt(move |folder| {
            let path = folder.join(&name);
            read(&path, from).map_err(|error| classify(folder, &path, error))
        })
        .await
    }

    async fn sweep(&self, leftovers: &Leftovers<'_>) -> Result<()> {
        let Leftovers { pipeline, head, tail, from } = *leftovers;
        let [pipeline, head, tail] = [pipeline, head, tail].map(str::to_owned);
        self.attempt(move |folder| {
            let leftovers = Leftovers { pipeline: &pipeline, head: &head, tail: &tail, from };
            sweep(folder, &leftovers).map_err(|error| classify(folder, &folder.join(&head), error))
        })
        .await
    }

    async fn begin(&self, name: &str, footprint: &Footprint) -> Result<Box<dyn Upload>> {
        let path = self.folder.join(name);
        let mark = mark(&footprint.pipeline, name);
        let temporary = path.with_file_name(temporary_name(&mark, footprint.start_offset));
        let (target, temporary_path) = (path.clone(), temporary.clone());
        let file = self
            .attempt(move |folder| {
                let open = || {
                    target.parent().map_or(Ok(()), make_folder)?;
                    // A try before this one may have made it, and failed after.
                    OpenOptions::new().write(true).create(true).truncate(true).open(&temporary_path)
                };
                open().map_err(|error| classify(folder, &temporary_path, error))
            })
            .await?;
        let (folder, condition) = (Arc::clone(&self.folder), self.condition.clone());
        Ok(Box::new(FileUpload { file: Arc::new(file), path, temporary, folder, condition }))
    }
}

/// A file that is being written.
struct FileUpload {
    file: Arc<File>,
    path: PathBuf,
    temporary: PathBuf,
    folder: Arc<PathBuf>,
    condition: Condition,
}

#[async_trait]
impl Upload for FileUpload {
    async fn write(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let chunk = Arc::new(std::mem::take(bytes));
        // What a full disk took of the chunk is not written again.
        let written = Arc::new(AtomicUsize::new(0));
        let (file, temporary, rest) = (Arc::clone(&self.file), self.temporary.clone(), Arc::clone(&chunk));
        attempt(&self.folder, &self.condition, move |folder| {
            loop {
                let at = written.load(Ordering::Relaxed);
                if at == rest.len() {
                    return Ok(());
                }
                match (&*file).write(&rest[at..]) {
                    Ok(count) => written.store(at + count, Ordering::Relaxed),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(classify(folder, &temporary, error)),
                }
            }
        })
        .await?;
        // The buffer goes back, if nobody holds it any more.
        *bytes = Arc::try_unwrap(chunk).unwrap_or_default();
        bytes.clear();
        Ok(())
    }

    async fn finish(self: Box<Self>, _: &Footprint) -> Result<Finished> {
        let (file, temporary, path) = (Arc::clone(&self.file), self.temporary.clone(), self.path.clone());
        attempt(&self.folder, &self.condition, move |folder| {
            file.sync_all().map_err(|error| classify(folder, &temporary, error))?;
            let finished = match fs::hard_link(&temporary, &path) {
                Ok(()) => Finished::Created,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Finished::Refused,
                Err(error) => return Err(classify_link(folder, &path, error)),
            };
            let clean = || {
                fs::remove_file(&temporary)?;
                path.parent().map_or(Ok(()), sync_folder)
            };
            clean().map_err(|error| classify(folder, &temporary, error))?;
            Ok(finished)
        })
        .await
    }

    fn buffered(&self) -> usize {
        0
    }
}

impl Drop for FileUpload {
    /// What is left of an object that was not finished; of a finished one it is gone already.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

async fn attempt<T: Send + 'static>(
    folder: &Arc<PathBuf>,
    condition: &Condition,
    step: impl Fn(&Path) -> Result<T> + Clone + Send + Sync + 'static,
) -> Result<T> {
    persist(condition, || {
        let (folder, step) = (Arc::clone(folder), step.clone());
        async move {
            let done = tokio::task::spawn_blocking(move || step(&folder)).await;
            done.map_err(|error| Error::fatal("writing a file was abandoned").caused_by(error))?
        }
    })
    .await
}

/// What is no regular file is not opened: a pipe would wait for ever, a device may have no end, and a link is not what
/// `link` finds at the name.
fn look(path: &Path) -> io::Result<Found> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "what stands there is no regular file"));
    }
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES as u64)))?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES as u64).read_to_end(&mut tail)?;
    Ok(Found { bytes, tail: tail.into() })
}

fn read(path: &Path, from: u64) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut piece = Vec::new();
    file.take(PIECE_BYTES).read_to_end(&mut piece)?;
    Ok(piece.into())
}

/// Removes temporary files of these leftovers. They are where the files would be; where the start offset names a folder,
/// each in its own.
fn sweep(folder: &Path, leftovers: &Leftovers<'_>) -> io::Result<()> {
    let at = leftovers.head.rfind('/').map_or(0, |at| at + 1);
    let (level, head) = leftovers.head.split_at(at);
    let level = folder.join(level);
    let Some((tail, _)) = leftovers.tail.split_once('/') else {
        return sweep_level(&level, leftovers);
    };
    for name in names(&level)? {
        if let Some(start_offset) = leftovers.offset_between(head, &name, tail)
            && let Some(level) = folder.join(leftovers.name(start_offset)).parent()
        {
            sweep_level(level, leftovers)?;
        }
    }
    Ok(())
}

fn sweep_level(level: &Path, leftovers: &Leftovers<'_>) -> io::Result<()> {
    for name in names(level)? {
        let Some((of, start_offset)) = read_temporary_name(&name) else { continue };
        let object = leftovers.name(start_offset);
        if start_offset < leftovers.from || of != mark(leftovers.pipeline, &object) {
            continue;
        }
        match fs::remove_file(level.join(&name)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => tracing::info!(object, file = name, "removed what a run that died left half-way"),
        }
    }
    Ok(())
}

/// The names in a folder; none where there is no folder.
fn names(level: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(level) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}

/// A hidden name that no other writer has, be it in another container with the same process id.
pub(crate) fn temporary_name(mark: &str, start_offset: i64) -> String {
    let unique = RandomState::new().build_hasher().finish();
    format!(".{mark}.{start_offset:020}.{unique:016x}{TEMPORARY_SUFFIX}")
}

/// The mark and the start offset in a temporary name.
fn read_temporary_name(name: &str) -> Option<(&str, i64)> {
    let mut parts = name.strip_prefix('.')?.strip_suffix(TEMPORARY_SUFFIX)?.split('.');
    let (mark, start_offset, unique) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none() && start_offset.len() == 20 && unique.len() == 16;
    start_offset.parse().ok().filter(|_| whole).map(|start_offset| (mark, start_offset))
}

/// Makes a folder and those above it, and makes them durable.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    make_folder(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(parent),
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(if path.as_os_str().is_empty() { Path::new(".") } else { path })?.sync_all()
}

/// What an error of the file system means here. What somebody has to mend outside is waited for, as a full disk is: going
/// on is then up to him alone. What no waiting mends ends the pipeline.
pub(crate) fn classify(folder: &Path, path: &Path, error: io::Error) -> Error {
    let (folder, path) = (folder.display(), path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Error::transient(format!("no space is left for the folder `{folder}`"))
                .remedy("free some; writing goes on by itself, and nothing is lost meanwhile")
        }
        // Too many open files, of this process or of the machine.
        _ if matches!(error.raw_os_error(), Some(23 | 24)) => {
            Error::transient(format!("cannot open `{path}`"))
                .caused_by(error)
                .remedy("allow more open files (ulimit -n), or keep fewer files open with a simpler `path`")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Error::transient(format!("may not write `{path}`")).caused_by(error).remedy(format!(
                "allow this user to read and write in `{folder}`, which is tried again by itself; or name another \
                 folder"
            ))
        }
        ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::AlreadyExists => {
            Error::config(format!("cannot write `{path}`")).caused_by(error).remedy(
                "a file stands where a folder is needed, or the other way round: move it, or change `path`",
            )
        }
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => {
            Error::config(format!("the file system takes no file named `{path}`"))
                .caused_by(error)
                .remedy("change `path` or `folder` so that names are shorter, or simpler")
        }
        ErrorKind::NotFound => Error::fatal(format!("`{path}` is gone, another writer has taken its place"))
            .remedy("starting again from the stored offsets"),
        _ => Error::fatal(format!("cannot write `{path}`")).caused_by(error),
    }
}

/// A link that is refused altogether (EPERM, ENOTSUP, ENOSYS), and not for want of a right.
pub(crate) fn classify_link(folder: &Path, path: &Path, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(1 | 38 | 95) => Error::config(format!(
            "the file system of the folder `{}` has no hard links, by which a file gets its name only when it is whole",
            folder.display()
        ))
        .caused_by(error)
        .remedy("name a folder on another one"),
        _ => classify(folder, path, error),
    }
}
