//! Where bytes come from: a file at any place, or a stream that gives them once.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqueduct_api::{Error, Result};
use tokio::sync::mpsc::{self, error::TryRecvError};
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
/// Files that took the name one after the other and were not read yet, and those that were left; they are kept open.
const FILES_MAX: usize = 64;
/// So long a file is looked at after it was left, and how often: whoever still has it open may write to it.
const LEFT_FOR: Duration = Duration::from_secs(600);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The source of the bytes.
pub(crate) enum Input {
    /// A file on a disk.
    File {
        file: Arc<File>,
        following: Option<Following>,
    },
    Stream(Stream),
}

/// What gives its bytes once, to who asks for them first.
pub(crate) struct Stream {
    config: Arc<SourceConfig>,
    chunks: Option<mpsc::Receiver<io::Result<Vec<u8>>>>,
}

/// Streams that somebody reads, or has read.
static TAKEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// What comes behind a file that is followed.
pub(crate) struct Following {
    /// Files that took its name, in their order.
    files: mpsc::Receiver<File>,
    next: Option<File>,
    /// Since when there has been nothing new, with a next file at hand.
    quiet_since: Option<Instant>,
    /// Files that were read to their ends, in their order.
    left: VecDeque<Left>,
    look_at: Option<Instant>,
}

/// A file that was read to its end, and had so many bytes then.
struct Left {
    file: Arc<File>,
    bytes: u64,
    since: Instant,
}

impl Input {
    /// Opens it; the file can be read from any place.
    pub(crate) async fn open(config: &Arc<SourceConfig>) -> Result<Self> {
        if config.path == STANDARD {
            return Stream::of(config).map(Self::Stream);
        }
        let (about, of) = (Arc::clone(config), Arc::clone(config));
        let about =
            blocking(move || fs::metadata(&about.path).map_err(|error| cannot_open(&about, error))).await?;
        if about.is_dir() {
            let error = Error::config("this is a folder, not a file").with("path", &config.path);
            return Err(error.remedy("name one file"));
        }
        if !about.is_file() {
            return Stream::of(config).map(Self::Stream);
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

    /// What follows `seen`; nothing is the end, for now. `None` when the time is over. What was seen must still be there: a
    /// file that is written anew while it is read would be read from the middle.
    pub(crate) async fn read(&mut self, seen: &Trail, wait: Duration) -> Result<Option<Vec<u8>>> {
        let failed = |error| Error::fatal("cannot read the file").caused_by(error);
        match self {
            Self::Stream(stream) => match timeout(wait, stream.chunks()?.recv()).await {
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
    pub(crate) fn is_replaced(&mut self) -> Result<bool> {
        match self {
            Self::File { following: Some(following), .. } => following.is_due(),
            _ => Ok(false),
        }
    }

    /// An error where a file that was left has grown since.
    pub(crate) fn look_back(&mut self) -> Result<()> {
        match self {
            Self::File { following: Some(following), .. } => following.look_back(),
            _ => Ok(()),
        }
    }

    /// There was something new.
    pub(crate) fn stirred(&mut self) {
        if let Self::File { following: Some(following), .. } = self {
            following.quiet_since = None;
        }
    }

    /// Goes on with the next file; so much of this one was read.
    pub(crate) fn turn(&mut self, bytes: u64) {
        if let Self::File { file, following: Some(following) } = self
            && let Some(next) = following.next.take()
        {
            following.quiet_since = None;
            let left = Left { file: std::mem::replace(file, Arc::new(next)), bytes, since: Instant::now() };
            following.left.push_back(left);
            if following.left.len() > FILES_MAX {
                following.left.pop_front();
            }
        }
    }
}

impl Stream {
    fn of(config: &Arc<SourceConfig>) -> Result<Self> {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.contains(&config.path) {
            true => Err(read_already(&config.path)),
            false => Ok(Self { config: Arc::clone(config), chunks: None }),
        }
    }

    /// The bytes, from the first call on: whoever was only opened may be opened again. Reads on a thread of its own, which
    /// nobody waits for when the process stops: a terminal may never give a line. Once in the life of the process: what was
    /// read of it and not delivered cannot be read again.
    fn chunks(&mut self) -> Result<&mut mpsc::Receiver<io::Result<Vec<u8>>>> {
        let path = self.config.path.clone();
        if self.chunks.is_none() && !TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone())
        {
            return Err(read_already(&path));
        }
        if self.chunks.is_none() {
            let (give, take) = mpsc::channel(2);
            let follow = self.config.follow;
            let read = move || match path.as_str() {
                STANDARD => read_on(&mut io::stdin(), &give, follow),
                path => match File::open(path) {
                    Ok(mut file) => read_on(&mut file, &give, follow),
                    Err(error) => drop(give.blocking_send(Err(error))),
                },
            };
            let thread = std::thread::Builder::new().name("file-source".to_owned()).spawn(read);
            thread.map_err(|error| Error::fatal("cannot start a thread to read on").caused_by(error))?;
            self.chunks = Some(take);
        }
        self.chunks.as_mut().ok_or_else(|| read_already(&self.config.path))
    }
}

/// Until nobody wants more, or there is no more.
fn read_on(input: &mut dyn Read, give: &mpsc::Sender<io::Result<Vec<u8>>>, follow: bool) {
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
}

fn read_already(path: &str) -> Error {
    let what = if path == STANDARD { "standard input" } else { "what is no file on a disk" };
    Error::config(format!("{what} was read already and cannot be read again"))
        .with("path", path)
        .remedy("give the records in a file, from which a pipeline can resume")
}

impl Following {
    /// Watches that name on a task of its own: while a sink keeps the source waiting, files may come and go.
    fn of(path: String, file: &File) -> io::Result<Self> {
        let mut last = identity(&file.metadata()?);
        let (give, files) = mpsc::channel(FILES_MAX);
        tokio::spawn(async move {
            let mut closed = None;
            loop {
                tokio::select! {
                    biased;
                    () = give.closed() => return,
                    () = sleep(FOLLOW_EVERY) => {}
                }
                let Ok(about) = tokio::fs::metadata(&path).await else { continue };
                let now = identity(&about);
                if now == last || !about.is_file() {
                    continue;
                }
                if closed.is_some_and(|before| before != now) {
                    return warn!(
                        path,
                        "the file was replaced twice, and the one between could not be opened"
                    );
                }
                let opened = match tokio::fs::File::open(&path).await {
                    Ok(file) => file.into_std().await,
                    Err(error) => {
                        if closed.replace(now).is_none() {
                            warn!(path, %error, "the file was replaced, and the new one cannot be opened");
                        }
                        continue;
                    }
                };
                // It may have been replaced once more.
                let Ok(about) = opened.metadata() else { continue };
                (last, closed) = (identity(&about), None);
                info!(
                    path,
                    "the file was replaced: it is read to its end, then the new one from its beginning"
                );
                // Whoever waited here would not see what comes and goes meanwhile.
                if give.try_send(opened).is_err() {
                    return warn!(path, "the file was replaced {FILES_MAX} times, and none of them was read");
                }
            }
        });
        let (left, look_at) = (VecDeque::new(), None);
        Ok(Self { files, next: None, quiet_since: None, left, look_at })
    }

    fn is_due(&mut self) -> Result<bool> {
        if self.next.is_none() {
            self.next = match self.files.try_recv() {
                Ok(file) => Some(file),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => {
                    let says =
                        "more files had this name, one after the other, than could be kept open to be read";
                    return Err(Error::config(says).remedy(
                        "start the pipeline again: it goes on behind what is delivered, or says what it does not find",
                    ));
                }
            };
        }
        let Some(next) = &self.next else { return Ok(false) };
        // One that is empty may have been made before those who write have heard of it.
        let begun = !self.files.is_empty() || next.metadata().is_ok_and(|about| about.len() > 0);
        Ok(begun && self.quiet_since.get_or_insert_with(Instant::now).elapsed() >= QUIET)
    }

    /// What comes behind the end that was read is in no position any more: nobody would ever read it.
    fn look_back(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.left.is_empty() || self.look_at.is_some_and(|at| now < at) {
            return Ok(());
        }
        for Left { file, bytes, .. } in &self.left {
            let about = file.metadata();
            let about = about.map_err(|error| Error::fatal("cannot look at the file").caused_by(error))?;
            if about.len() > *bytes {
                let says = format!("the renamed file grew after it was left: {} bytes", about.len() - bytes);
                let remedy = format!(
                    "let whoever writes it open the new file after a rotation; add what is missing to that, with \
                     `tail -c +{} RENAMED >> PATH`, and start the pipeline again",
                    bytes + 1
                );
                return Err(Error::config(says)
                    .with("inode", about.ino())
                    .with("read", bytes)
                    .remedy(remedy));
            }
        }
        self.left.retain(|left| left.since.elapsed() < LEFT_FOR);
        self.look_at = Some(now + LOOK_EVERY);
        Ok(())
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test says where it failed by panicking")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_that_nobody_could_keep_are_told() {
        let folder = std::env::temp_dir().join(format!("aqueduct-many-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("in.txt");
        let make = |number: usize| {
            fs::write(folder.join("next"), format!("{number}\n")).unwrap();
            fs::rename(folder.join("next"), &path).unwrap();
        };
        make(0);
        let first = File::open(&path).unwrap();
        let mut following = Following::of(path.to_str().unwrap().to_owned(), &first).unwrap();
        for number in 1..=FILES_MAX {
            make(number);
            while following.files.len() < number {
                sleep(FOLLOW_EVERY / 10).await;
            }
        }
        // One more than can be kept, and one behind it.
        for number in 1..=2 {
            make(FILES_MAX + number);
            sleep(FOLLOW_EVERY * 3).await;
        }
        let mut names = Vec::new();
        let error = loop {
            following.quiet_since = Instant::now().checked_sub(QUIET);
            match following.is_due() {
                Ok(due) => assert!(due),
                Err(error) => break error,
            }
            names.push(io::read_to_string(following.next.take().unwrap()).unwrap());
        };
        assert_eq!(names, (1..=FILES_MAX).map(|number| format!("{number}\n")).collect::<Vec<_>>());
        assert!(error.says().starts_with("more files had this name"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
