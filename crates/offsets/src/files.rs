//! `file`: offsets in a folder, one small JSON file for each pipeline.
//!
//! A save writes the whole file beside the old one, syncs it, renames it over the old one and syncs the
//! folder: after a crash the file is the old one or the new one, never a part of either.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aqueduct_api::catalog::{Block, OffsetStoreKind};
use aqueduct_api::{Error, OffsetStore, Offsets, Result};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The offset store `file`.
#[derive(Debug)]
pub struct Files(Arc<Folder>);

/// The block of `file`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// The folder that holds one file for each pipeline; it is made when it is missing.
    pub path: PathBuf,
}

impl Block for FilesConfig {
    const NAME: &'static str = "file";
    const ABOUT: &'static str = "Keeps offsets in a folder on the local disk, one file for each pipeline.";
}

#[async_trait]
impl OffsetStoreKind for FilesConfig {
    async fn open(&self) -> Result<Arc<dyn OffsetStore>> {
        let path = self.path.clone();
        blocking(move || {
            fs::create_dir_all(&path)
                .map_err(|error| failed("make the folder of the offset store", &path, error))?;
            Ok(Arc::new(Files(Arc::new(Folder { path, saving: Mutex::new(()) }))) as Arc<dyn OffsetStore>)
        })
        .await
    }
}

#[async_trait]
impl OffsetStore for Files {
    async fn load(&self, pipeline: &str) -> Result<Offsets> {
        let (folder, pipeline) = (Arc::clone(&self.0), pipeline.to_owned());
        blocking(move || folder.load(&pipeline)).await
    }

    async fn save(&self, pipeline: &str, moved: &Offsets) -> Result<()> {
        let (folder, pipeline, moved) = (Arc::clone(&self.0), pipeline.to_owned(), moved.clone());
        blocking(move || folder.save(pipeline, moved)).await
    }
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// The tasks of a pipeline save different partitions into one file, one after the other.
    saving: Mutex<()>,
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    pipeline: String,
    offsets: Offsets,
}

impl Folder {
    fn load(&self, pipeline: &str) -> Result<Offsets> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        self.read(pipeline)
    }

    fn save(&self, pipeline: String, moved: Offsets) -> Result<()> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut offsets = self.read(&pipeline)?;
        offsets.extend(moved);
        let path = self.file(&pipeline);
        let json = serde_json::to_vec_pretty(&Kept { pipeline, offsets })
            .map_err(|error| Error::bug("cannot write offsets as JSON").caused_by(error))?;
        self.replace(&path, &json).map_err(|error| failed("write offsets", &path, error))
    }

    fn read(&self, pipeline: &str) -> Result<Offsets> {
        let path = self.file(pipeline);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Offsets::new()),
            Err(error) => return Err(failed("read offsets", &path, error)),
        };
        let damaged = |says: String| {
            Error::config(says)
                .with("path", path.display())
                .remedy("put back a copy of the file, or delete it to read the source from its beginning")
        };
        let kept: Kept = serde_json::from_slice(&json)
            .map_err(|error| damaged("the file of offsets is damaged".to_owned()).caused_by(error))?;
        if kept.pipeline != pipeline {
            return Err(damaged(format!("the file of offsets is that of the pipeline `{}`", kept.pipeline)));
        }
        Ok(kept.offsets)
    }

    fn replace(&self, path: &Path, json: &[u8]) -> io::Result<()> {
        let new = path.with_extension("json.new");
        let mut file = File::create(&new)?;
        file.write_all(json)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // The new name is durable when the folder is.
        File::open(&self.path)?.sync_all()
    }

    fn file(&self, pipeline: &str) -> PathBuf {
        self.path.join(format!("{}.json", escape(pipeline)))
    }
}

/// A name for any pipeline that every file system takes: letters, digits, `-` and `_` stand for themselves,
/// all else is `%` and two digits. Dots too, so that no name is hidden, or a way out of the folder.
fn escape(pipeline: &str) -> String {
    use std::fmt::Write;
    let mut name = String::with_capacity(pipeline.len());
    for byte in pipeline.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            let _ = write!(name, "%{byte:02x}");
        }
    }
    name
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::bug("the work on the file of offsets died").caused_by(error))?
}

fn failed(doing: &str, path: &Path, error: io::Error) -> Error {
    let says = format!("cannot {doing}");
    let failed = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::transient(says).remedy("free some space on that disk")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::config(says).remedy("allow writing there, or name another path for the offset store")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            Error::config(says).remedy("name a folder; it will hold one file for each pipeline")
        }
        _ => Error::transient(says),
    };
    failed.with("path", path.display()).caused_by(error)
}
