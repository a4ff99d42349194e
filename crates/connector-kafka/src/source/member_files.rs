//! One file for each group member on this machine, locked while its process lives. The kernel releases the lock of a process that
//! ends, whatever ended it, so a file that is not locked is that of a dead member, which can be removed from its group without
//! waiting for the end of its session. See docs/decisions/2026-11-30-dead-members.md.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A file of Linux with an id that differs each time it is started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The extension of their names.
const EXTENSION: &str = "member";
/// No file is longer.
const BYTES_MAX: usize = 64 << 10;
/// No session lasts so long: `group.max.session.timeout.ms` is half an hour.
const SESSION_MAX: Duration = Duration::from_secs(3_600);
/// How often a live member writes its file anew: one that is older than the longest session is that of a member that has been
/// dead for as long.
pub(crate) const WRITE_AGAIN: Duration = Duration::from_secs(600);
/// A file that was just made may be deleted by another process, which takes it for that of a dead member.
const TRIES_MAX: usize = 10;

/// Where the files are.
#[derive(Clone, Debug)]
pub(crate) struct MemberFiles {
    folder: PathBuf,
    lock_scope: LockScope,
}

/// Where the lock of a file is visible. A folder may be on a disk that machines share, or that one machine has mounted twice, and
/// a lock that was taken on one mount is not always visible on the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LockScope {
    /// See [`kernel`].
    kernel: String,
    /// The number of the device that the folder is on.
    device: u64,
}

/// The member that a file is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The cluster, as the pipeline names it.
    pub(crate) brokers: String,
    /// The group.
    pub(crate) group: String,
    /// Its id in the group.
    pub(crate) member: String,
    /// It joined by the protocol of KIP-848.
    pub(crate) consumer_protocol: bool,
    /// Where its file is locked.
    #[serde(rename = "place")]
    pub(crate) lock_scope: LockScope,
}

/// The file of a member of this process. Its lock is free when it is dropped.
#[derive(Debug)]
pub(crate) struct MemberFile {
    path: PathBuf,
    file: File,
}

/// The file of a member whose process is dead. No other process can lock it meanwhile.
#[derive(Debug)]
pub(crate) struct Dead {
    /// The member.
    pub(crate) entry: Entry,
    file: MemberFile,
}

impl MemberFiles {
    /// In `$XDG_RUNTIME_DIR/aqueduct`, or else in `aqueduct-UID` in the folder for temporary files.
    ///
    /// # Errors
    /// When nothing can be written there, or others can write there, or this kernel has no id.
    pub(crate) fn find() -> io::Result<Self> {
        let (uid, kernel) = (rustix::process::geteuid().as_raw(), kernel(BOOT_ID)?);
        let of_session = std::env::var_os("XDG_RUNTIME_DIR").map(|path| PathBuf::from(path).join("aqueduct"));
        let in_session =
            of_session.filter(|path| path.is_absolute()).map(|path| Self::at(&path, uid, &kernel));
        match in_session {
            Some(Ok(files)) => Ok(files),
            _ => Self::at(&std::env::temp_dir().join(format!("aqueduct-{uid}")), uid, &kernel),
        }
    }

    /// In this folder, which is made. It has to be accessible to this user alone.
    fn at(path: &Path, uid: u32, kernel: &str) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Not through a link, which another user may have put there.
        let found = path.symlink_metadata()?;
        if !found.is_dir() || found.uid() != uid || found.mode() & 0o077 != 0 {
            let says = format!("{} is not a folder of this user alone", path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, says));
        }
        let lock_scope = LockScope { kernel: kernel.to_owned(), device: found.dev() };
        Ok(Self { folder: path.to_owned(), lock_scope })
    }

    /// Where they are locked.
    pub(crate) fn lock_scope(&self) -> LockScope {
        self.lock_scope.clone()
    }

    /// A file for one more member of this process, empty until its id is known.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn begin(&self) -> io::Result<MemberFile> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for _ in 0..TRIES_MAX {
            let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            // In a container every process has the same number.
            let begun = jiff::Timestamp::now().as_nanosecond();
            let path = self.folder.join(format!("{process}-{begun}-{number}.{EXTENSION}"));
            let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            let file = match made {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            // Before the lock is taken another process may have taken it for the file of a dead member, and have deleted it.
            if file.try_lock().is_ok() && is_at(&file, &path) {
                return Ok(MemberFile { path, file });
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The members of this group whose process is dead. Files that cannot be read or are too old are deleted.
    pub(crate) fn dead(&self, brokers: &str, group: &str) -> Vec<Dead> {
        let Ok(folder) = self.folder.read_dir() else { return Vec::new() };
        let paths = folder.filter_map(|entry| Some(entry.ok()?.path()));
        let files = paths.filter(|path| path.extension().is_some_and(|found| found == EXTENSION));
        files.filter_map(|path| self.dead_at(path, brokers, group)).collect()
    }

    /// The member of a file, if its process is dead and it is of this group.
    fn dead_at(&self, path: PathBuf, brokers: &str, group: &str) -> Option<Dead> {
        let file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        file.try_lock().ok()?;
        if !is_at(&file, &path) {
            return None;
        }
        let file = MemberFile { path, file };
        let session_over = file.age().is_some_and(|age| age >= SESSION_MAX);
        match file.read().filter(|_| !session_over) {
            Some(entry)
                if entry.brokers == brokers
                    && entry.group == group
                    && entry.lock_scope == self.lock_scope =>
            {
                Some(Dead { entry, file })
            }
            // Of another group, or of another machine, whose members look for it.
            Some(_) => None,
            None => {
                file.delete();
                None
            }
        }
    }
}

/// An id that differs from that of every other kernel, and of this one before it was started anew.
///
/// # Errors
/// When it cannot be read: without it no member is taken for dead.
fn kernel(boot_id: &str) -> io::Result<String> {
    let id = std::fs::read_to_string(boot_id)?;
    match id.trim() {
        "" => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{boot_id} is empty"))),
        id => Ok(id.to_owned()),
    }
}

/// Whether the name still leads to this file.
fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), path.symlink_metadata()) else { return false };
    (open.dev(), open.ino()) == (named.dev(), named.ino())
}

impl MemberFile {
    /// Writes which member this is.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        // In this order a death in between leaves a line that is whole.
        self.file.write_all_at(&line, 0)?;
        self.file.set_len(line.len() as u64)
    }

    fn read(&self) -> Option<Entry> {
        let mut bytes = vec![0; usize::try_from(self.file.metadata().ok()?.len()).ok()?.min(BYTES_MAX)];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next()?).ok()
    }

    fn age(&self) -> Option<Duration> {
        self.file.metadata().ok()?.modified().ok()?.elapsed().ok()
    }

    /// The member has left.
    pub(crate) fn delete(self) {
        // Before the lock is free.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the file of a member is not deleted");
        }
    }
}

impl Dead {
    /// How long ago it was given its id or its partitions, or wrote its file anew.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.file.age()
    }

    /// It was removed from the group: its file is deleted.
    pub(crate) fn delete(self) {
        self.file.delete();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(group: &str) -> Entry {
        let (brokers, member) = ("a:9092".to_owned(), "m-1".to_owned());
        let group = group.to_owned();
        Entry { brokers, group, member, consumer_protocol: false, lock_scope: LockScope::default() }
    }

    fn of(files: &MemberFiles, group: &str) -> Entry {
        Entry { lock_scope: files.lock_scope(), ..entry(group) }
    }

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("member-files-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn files(name: &str) -> MemberFiles {
        MemberFiles::at(&folder(name), rustix::process::geteuid().as_raw(), "k").unwrap()
    }

    fn count(files: &MemberFiles) -> usize {
        files.folder.read_dir().unwrap().count()
    }

    #[test]
    fn a_dead_member_is_recognised_by_its_free_lock() {
        let files = files("lock");
        let (living, dying) = (files.begin().unwrap(), files.begin().unwrap());
        living.write(&of(&files, "g")).unwrap();
        dying.write(&entry("a name that is longer")).unwrap();
        dying.write(&of(&files, "g")).unwrap();
        assert!(files.dead("a:9092", "g").is_empty(), "both live");
        drop(dying);
        assert!(files.dead("a:9092", "other").is_empty() && files.dead("b:9092", "g").is_empty());
        let LockScope { kernel, device } = files.lock_scope();
        for lock_scope in
            [LockScope { kernel: "another".to_owned(), device }, LockScope { kernel, device: device + 1 }]
        {
            files.begin().unwrap().write(&Entry { lock_scope, ..entry("g") }).unwrap();
        }
        let mut dead = files.dead("a:9092", "g");
        assert!(files.dead("a:9092", "g").is_empty(), "it is taken by one only");
        assert_eq!(dead.len(), 1);
        let one = dead.pop().unwrap();
        assert_eq!(one.entry, of(&files, "g"));
        drop(one);
        // Not removed from the group: it is there to be tried again.
        files.dead("a:9092", "g").pop().unwrap().delete();
        assert_eq!(count(&files), 3);
        living.delete();
        assert_eq!(count(&files), 2, "of the machine that shares the folder, and of the other mount");
    }

    #[test]
    fn what_says_nothing_is_deleted_and_what_is_not_ours_is_left() {
        let files = files("damaged");
        for (name, text) in [("1-1.member", ""), ("1-2.member", "{\"brokers\":\"a:90"), ("note", "x")] {
            std::fs::write(files.folder.join(name), text).unwrap();
        }
        std::fs::write(files.folder.join("1-3.member"), vec![0xff; BYTES_MAX * 2]).unwrap();
        std::fs::create_dir(files.folder.join("1-4.member")).unwrap();
        assert!(files.dead("a:9092", "g").is_empty());
        assert_eq!(count(&files), 2, "the folder and the note");
        // The rest of a longer line behind a death.
        let text = format!("{}\n\"trailing\"}}\n", serde_json::to_string(&of(&files, "g")).unwrap());
        std::fs::write(files.folder.join("1-5.member"), text).unwrap();
        assert_eq!(files.dead("a:9092", "g").len(), 1);
    }

    #[test]
    fn a_file_is_kept_for_as_long_as_a_session_can_last() {
        let files = files("old");
        let old = std::time::SystemTime::now() - SESSION_MAX * 2;
        for asks_for in ["other", "g"] {
            let file = files.begin().unwrap();
            file.write(&of(&files, "g")).unwrap();
            file.file.set_modified(old).unwrap();
            let (path, living) = (file.path.clone(), files.begin().unwrap());
            living.write(&of(&files, "h")).unwrap();
            living.file.set_modified(old).unwrap();
            drop(file);
            assert!(files.dead("a:9092", asks_for).is_empty(), "the group has forgotten it by itself");
            assert!(!path.exists(), "nobody has to ask for it");
            assert!(living.path.exists(), "its process lives");
            living.write(&of(&files, "h")).unwrap();
            drop(living);
            assert!(files.dead("a:9092", "other").is_empty());
            assert_eq!(files.dead("a:9092", "h").len(), 1, "it lived for long, and has just died");
            files.dead("a:9092", "h").pop().unwrap().delete();
        }
    }

    #[test]
    fn without_a_boot_id_there_are_no_files() {
        let path = folder("boot-id");
        assert!(kernel(path.to_str().unwrap()).is_err());
        std::fs::write(&path, "\n").unwrap();
        assert!(kernel(path.to_str().unwrap()).is_err(), "empty equals empty");
        std::fs::remove_file(&path).unwrap();
        assert!(!kernel(BOOT_ID).unwrap().is_empty());
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let (path, uid) = (folder("open"), rustix::process::geteuid().as_raw());
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(MemberFiles::at(&path, uid, "k").is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(MemberFiles::at(&path, uid, "k").is_ok());
        assert!(MemberFiles::at(&path, uid + 1, "k").is_err(), "another's");
        let link = folder("link");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(MemberFiles::at(&link, uid, "k").is_err(), "a link");
        assert!(MemberFiles::at(&path.join("no/such"), uid, "k").is_err());
        std::fs::remove_file(&link).unwrap();
    }
}
