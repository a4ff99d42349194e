//! Where bytes come from: a file at any place, or a stream that gives them once.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqueduct_api::{Error, Result};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::config::SourceConfig;
use crate::place::{Place, Trail};
use crate::{STANDARD, blocking, renamed};

/// So much is read at a time.
const READ_BYTES: usize = 256 * 1024;
/// How often the end of a followed file is looked at, and whether its name is that of another file now.
pub(crate) const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// So long a file that has lost its name has to be quiet, while the next one has bytes, before it counts as done: whoever
/// writes it may not have heard yet that there is a new one.
const QUIET: Duration = Duration::from_secs(1);
/// Files that took the name one after the other and were not read yet; they are kept open.
const NEXT_MAX: usize = 64;

/// The source of the bytes.
pub(crate) enum Input {
    /// A file on a disk.
    File {
        file: Arc<File>,
        following: Option<Following>,
    },
    Stream(mpsc::Receiver<io::Result<Vec<u8>>>),
}

/// What comes behind a file that is followed.
pub(crate) struct Following {
    /// Files that took its name, in their order.
    files: mpsc::Receiver<File>,
    next: Option<File>,
    /// Since when there has been nothing new, with a next file at hand.
    quiet_since: Option<Instant>,
}

impl Input {
    /// Opens it; the file can be read from any place.
    pub(crate) async fn open(config: &Arc<SourceConfig>) -> Result<Self> {
        if config.path == STANDARD {
            return Self::stream(config, || Ok(Box::new(io::stdin())));
        }
        let (about, of) = (Arc::clone(config), Arc::clone(config));
        let about =
            blocking(move || fs::metadata(&about.path).map_err(|error| cannot_open(&about, error))).await?;
        if about.is_dir() {
            let error = Error::config("this is a folder, not a file").with("path", &config.path);
            return Err(error.remedy("name one file"));
        }
        if !about.is_file() {
            let path = config.path.clone();
            return Self::stream(config, move || Ok(Box::new(File::open(path)?)));
        }
        let file = blocking(move || File::open(&of.path).map_err(|error| cannot_open(&of, error))).await?;
        let following = match config.follow {
            true => {
                Some(Following::of(config.path.clone(), &file).map_err(|error| cannot_open(config, error))?)
            }
            false => None,
        };
        Ok(Self::File { file: Arc::new(file), following })
    }

    /// Reads on a thread of its own, which nobody waits for when the process stops: a terminal may never give a line. Once in
    /// the life of the process: what was read of it and not delivered cannot be read again.
    fn stream(
        config: &SourceConfig,
        open: impl FnOnce() -> io::Result<Box<dyn Read>> + Send + 'static,
    ) -> Result<Self> {
        static TAKEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        if !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(config.path.clone()) {
            let what = if config.path == STANDARD { "standard input" } else { "what is no file on a disk" };
            return Err(Error::config(format!("{what} was read already and cannot be read again"))
                .with("path", &config.path)
                .remedy("give the records in a file, from which a pipeline can resume"));
        }
        let (give, take) = mpsc::channel(2);
        let follow = config.follow;
        let read = move || {
            let mut input = match open() {
                Ok(input) => input,
                Err(error) => return drop(give.blocking_send(Err(error))),
            };
            while !give.is_closed() {
                let mut chunk = vec![0; READ_BYTES];
                let read = input.read(&mut chunk).map(|len| {
                    chunk.truncate(len);
                    chunk
                });
                match &read {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(chunk) if chunk.is_empty() && follow => {
                        std::thread::sleep(FOLLOW_EVERY);
                        continue;
                    }
                    _ => {}
                }
                let last = !matches!(&read, Ok(chunk) if !chunk.is_empty());
                if give.blocking_send(read).is_err() || last {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("file-source".to_owned()).spawn(read);
        thread.map_err(|error| Error::transient("cannot start a thread to read on").caused_by(error))?;
        Ok(Self::Stream(take))
    }

    /// What follows `seen`; nothing is the end, for now. `None` when the time is over. What was seen must still be there: a
    /// file that is written anew while it is read would be read from the middle.
    pub(crate) async fn read(&mut self, seen: &Trail, wait: Duration) -> Result<Option<Vec<u8>>> {
        let failed = |error| Error::fatal("cannot read the file").caused_by(error);
        match self {
            Self::Stream(chunks) => match timeout(wait, chunks.recv()).await {
                Err(_) => Ok(None),
                Ok(chunk) => chunk.unwrap_or(Ok(Vec::new())).map(Some).map_err(failed),
            },
            Self::File { file, .. } => {
                let (file, seen) = (Arc::clone(file), seen.clone());
                let read = move || {
                    let mut chunk = vec![0; READ_BYTES];
                    let len = file.read_at(&mut chunk, seen.byte).map_err(failed)?;
                    chunk.truncate(len);
                    match seen.is_in(&file).map_err(failed)? {
                        true => Ok(Some(chunk)),
                        false => Err(Error::config("the file was cut off or written anew while it was read")
                            .with("read", seen.byte)
                            .remedy(
                                "what was added before that and not read yet is not in it any more; give a new file \
                                 by renaming, and read this one from its beginning with \
                                 `aqueduct offsets set PIPELINE --to 0@0 --apply`",
                            )),
                    }
                };
                blocking(read).await
            }
        }
    }

    /// The file to resume in, if this is one.
    pub(crate) fn file(&self) -> Option<&Arc<File>> {
        match self {
            Self::File { file, .. } => Some(file),
            Self::Stream(_) => None,
        }
    }

    /// Turns to the file that was read up to there, where one is followed that got another name since; the one that has its
    /// name now comes behind it.
    pub(crate) async fn renamed(
        &mut self,
        config: &SourceConfig,
        place: &Place,
    ) -> Result<Option<Arc<File>>> {
        let Self::File { file, following: Some(following) } = self else { return Ok(None) };
        let (path, place) = (PathBuf::from(&config.path), place.clone());
        let failed =
            |error| Error::transient("cannot look for the file that was read before").caused_by(error);
        let found = blocking(move || renamed::find(&path, &place).map_err(failed)).await?;
        let Some((renamed, found)) = found else { return Ok(None) };
        info!(path = config.path, renamed = %renamed.display(), "the file was renamed: it is read to its end first");
        *following = Following::of(config.path.clone(), &found).map_err(failed)?;
        *file = Arc::new(found);
        Ok(Some(Arc::clone(file)))
    }

    /// At the end of the file: whether it is the end for good, because another one has its name by now.
    pub(crate) fn is_replaced(&mut self) -> bool {
        match self {
            Self::File { following: Some(following), .. } => following.is_due(),
            _ => false,
        }
    }

    /// There was something new.
    pub(crate) fn stirred(&mut self) {
        if let Self::File { following: Some(following), .. } = self {
            following.quiet_since = None;
        }
    }

    /// Goes on with the next file.
    pub(crate) fn turn(&mut self) {
        if let Self::File { file, following: Some(following) } = self
            && let Some(next) = following.next.take()
        {
            following.quiet_since = None;
            *file = Arc::new(next);
        }
    }
}

impl Following {
    /// Watches that name on a task of its own: while a sink keeps the source waiting, files may come and go.
    fn of(path: String, file: &File) -> io::Result<Self> {
        let mut last = identity(&file.metadata()?);
        let (give, files) = mpsc::channel(NEXT_MAX);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = give.closed() => return,
                    () = sleep(FOLLOW_EVERY) => {}
                }
                let Ok(about) = tokio::fs::metadata(&path).await else { continue };
                if identity(&about) == last || !about.is_file() {
                    continue;
                }
                let opened = tokio::fs::File::open(&path).await;
                let opened = match opened {
                    Ok(file) => file.into_std().await,
                    Err(error) => {
                        warn!(path, %error, "the file was replaced, and the new one cannot be opened");
                        continue;
                    }
                };
                // It may have been replaced once more.
                let Ok(about) = opened.metadata() else { continue };
                last = identity(&about);
                info!(
                    path,
                    "the file was replaced: it is read to its end, then the new one from its beginning"
                );
                if give.send(opened).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { files, next: None, quiet_since: None })
    }

    fn is_due(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.files.try_recv().ok();
        }
        let Some(next) = &self.next else { return false };
        // One that is empty may have been made before those who write have heard of it.
        let begun = !self.files.is_empty() || next.metadata().is_ok_and(|about| about.len() > 0);
        begun && self.quiet_since.get_or_insert_with(Instant::now).elapsed() >= QUIET
    }
}

/// What stays the same when a file is renamed. A file that is open keeps its number from all others.
fn identity(about: &fs::Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

fn cannot_open(config: &SourceConfig, error: io::Error) -> Error {
    let says = "cannot open the file";
    let failed = match error.kind() {
        // It may well come later.
        io::ErrorKind::NotFound if config.follow => Error::transient(says),
        io::ErrorKind::NotFound => Error::config(says).remedy("name a file that is there"),
        io::ErrorKind::PermissionDenied => Error::config(says).remedy("allow reading it"),
        _ => Error::transient(says),
    };
    failed.with("path", &config.path).caused_by(error)
}
