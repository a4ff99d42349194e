//! One object being written: lines, compressor, upload.

use aqueduct_api::{Error, Result};
use tracing::debug;

use crate::checkpoint::ObjectId;
use crate::compression::Compressor;
use crate::config::{Compression, Lines};
use crate::content::read_back;
use crate::digest::Digest;
use crate::footer::{self, Footprint};
use crate::store::{Finished, Store, Upload};

/// Lines are compressed in pieces of this size: a call for each record would cost more than the record.
const CHUNK_BYTES: usize = 128 * 1024;

/// An object that takes records.
pub(crate) struct Object {
    pub(crate) id: ObjectId,
    name: String,
    pub(crate) footprint: Footprint,
    /// Lines that the compressor has not seen.
    pub(crate) lines: Vec<u8>,
    digest: Digest,
    /// Bytes given to the upload.
    written_bytes: u64,
    upload: Box<dyn Upload>,
    /// Begun with the first chunk, since most of what an object takes in memory is this. And what it holds.
    compressor: Option<(Compressor, usize)>,
    lines_config: Lines,
}

impl Object {
    pub(crate) fn new(
        id: ObjectId,
        name: String,
        footprint: Footprint,
        upload: Box<dyn Upload>,
        lines_config: Lines,
    ) -> Self {
        let (lines, digest) = (Vec::new(), Digest::new());
        Self { id, name, footprint, lines, digest, written_bytes: 0, upload, compressor: None, lines_config }
    }

    /// Whether the lines are enough to be handed on.
    pub(crate) fn is_chunk(&self) -> bool {
        self.lines.len() >= CHUNK_BYTES
    }

    /// Its length so far, without what the compressor keeps back.
    pub(crate) fn bytes(&mut self) -> u64 {
        let out = self.compressor.as_mut().map_or(0, |(compressor, _)| compressor.out().len());
        self.written_bytes + out as u64
    }

    /// Its length at most, were all its lines written now: what compresses badly is counted as it is.
    pub(crate) fn bytes_max(&mut self) -> u64 {
        self.bytes() + self.lines.len() as u64
    }

    /// What it holds in memory.
    pub(crate) fn memory_bytes(&mut self) -> usize {
        let compressor = self.compressor.as_mut();
        let compressor = compressor.map_or(0, |(compressor, bytes)| *bytes + compressor.out().capacity());
        compressor + self.lines.capacity() + self.upload.buffered()
    }

    /// Hands the lines on; to the upload when they are enough for it, too. A compressor that is begun now should hold
    /// no more than `compressor_bytes_max`.
    pub(crate) async fn drain(&mut self, compressor_bytes_max: usize) -> Result<()> {
        self.compress(compressor_bytes_max)?;
        if let Some((compressor, _)) = &mut self.compressor
            && compressor.out().len() >= CHUNK_BYTES
        {
            let out = compressor.out();
            self.written_bytes += out.len() as u64;
            self.upload.write(out).await?;
        }
        Ok(())
    }

    fn compress(&mut self, compressor_bytes_max: usize) -> Result<()> {
        self.digest.update(&self.lines);
        if self.compressor.is_none() {
            let compressor = Compressor::new(&self.lines_config, compressor_bytes_max);
            self.compressor = Some(compressor.map_err(broken)?);
        }
        match &mut self.compressor {
            Some((compressor, _)) => compressor.push(&mut self.lines).map_err(broken),
            None => Ok(()),
        }
    }

    /// Hands everything on, with the footer; what is left to do is to finish the upload.
    pub(crate) async fn seal(mut self, compressor_bytes_max: usize) -> Result<Sealed> {
        self.compress(compressor_bytes_max)?;
        let rest = self.compressor.map(|(compressor, _)| compressor.finish());
        let mut rest = rest.transpose().map_err(broken)?.unwrap_or_default();
        self.footprint.digest = self.digest.hex();
        footer::write(self.lines_config.compression, &self.footprint, &mut rest)?;
        let bytes = self.written_bytes + rest.len() as u64;
        if !rest.is_empty() {
            self.upload.write(&mut rest).await?;
        }
        Ok(Sealed { id: self.id, name: self.name, footprint: self.footprint, bytes, upload: self.upload })
    }
}

/// An object that takes no more records, and is not finished yet.
pub(crate) struct Sealed {
    pub(crate) id: ObjectId,
    name: String,
    footprint: Footprint,
    bytes: u64,
    upload: Box<dyn Upload>,
}

impl Sealed {
    /// Makes it visible and durable. One that stands there already is as good if it holds the same records:
    /// then the answer to our own request was lost, or a writer that lost the partition was as far.
    pub(crate) async fn finish(self, store: &dyn Store, compression: Compression) -> Result<ObjectId> {
        let Self { id, name, footprint, bytes, upload } = self;
        if upload.finish(&footprint).await? == Finished::Refused
            && !holds(store, &name, compression, &footprint, bytes).await?
        {
            // If it holds other records than ours, and not just more or fewer of them, that comes out then.
            return Err(Error::fatal(format!("another writer finished `{name}` first"))
                .remedy("starting again from the stored offsets, where its records are recognised"));
        }
        debug!(object = name, records = footprint.records, bytes, "object finished");
        Ok(id)
    }
}

/// Whether the object that stands there holds these very records.
async fn holds(
    store: &dyn Store,
    name: &str,
    compression: Compression,
    footprint: &Footprint,
    bytes: u64,
) -> Result<bool> {
    let Some(found) = store.find(name).await? else { return Ok(false) };
    if compression != Compression::None {
        return Ok(footer::read(compression, &found.tail).is_some_and(|theirs| theirs == *footprint));
    }
    if found.bytes != bytes {
        return Ok(false);
    }
    let content = read_back(store, name, compression, bytes).await?;
    Ok(content.is_some_and(|content| content.digest == footprint.digest))
}

fn broken(error: std::io::Error) -> Error {
    Error::fatal("the compressor failed").caused_by(error)
}
