//! One object being written: lines, compressor, upload; and what a group is doing at the moment.

use aqueduct_api::{Error, Result};
use tokio::sync::oneshot;
use tracing::debug;

use crate::compression::Compressor;
use crate::config::{Compression, Lines};
use crate::footer::{self, Footprint, Until};
use crate::frontier::ObjectId;
use crate::store::{Finished, Store, Upload};

/// Lines are compressed in pieces of this size: a call for each record would cost more than the record.
const CHUNK_BYTES: usize = 128 * 1024;

/// A group: what shares objects, one after the other.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) state: State,
    /// Records and bytes of it in the batch that is being taken.
    pub(crate) incoming_records: u64,
    pub(crate) incoming_bytes: u64,
    /// Resolves when its last sealed object is finished. Objects of a group are finished in order: so those
    /// that stand in the store are always the first ones, and a replay finds each by the end of the one
    /// before.
    pub(crate) before: Option<oneshot::Receiver<()>>,
    /// Whether leftovers of runs that died were removed.
    pub(crate) swept: bool,
}

impl Group {
    /// Whether forgetting it changes nothing.
    pub(crate) fn is_idle(&mut self) -> bool {
        let finished = self.before.as_mut().is_none_or(|before| before.try_recv().is_ok());
        if finished {
            self.before = None;
        }
        finished && matches!(self.state, State::Closed)
    }
}

/// What becomes of the next record of a group.
#[derive(Default)]
pub(crate) enum State {
    /// It begins an object.
    #[default]
    Closed,
    /// It stands in an object of an earlier run, up to a point.
    Adopted(Adopted),
    /// It is added to this one.
    Open(Box<Object>),
}

impl State {
    /// Takes the open object out, if there is one.
    pub(crate) fn take_open(&mut self) -> Option<Object> {
        match std::mem::take(self) {
            State::Open(object) => Some(*object),
            other => {
                *self = other;
                None
            }
        }
    }
}

/// An object of an earlier run, whose records are coming again.
pub(crate) struct Adopted {
    pub(crate) id: ObjectId,
    pub(crate) name: String,
    pub(crate) until: Until,
    /// Bytes of its records met so far.
    pub(crate) met_bytes: u64,
}

impl Adopted {
    /// Whether it holds this record, whose line is so long. An object whose length ends within a line is not
    /// ours.
    pub(crate) fn holds(&mut self, offset: i64, line_bytes: u64) -> Result<bool> {
        match self.until {
            Until::Offset(last) => Ok(offset <= last),
            Until::Bytes(bytes) if self.met_bytes >= bytes => Ok(false),
            Until::Bytes(bytes) => {
                self.met_bytes += line_bytes;
                if self.met_bytes <= bytes {
                    return Ok(true);
                }
                Err(Error::config(format!(
                    "`{}` exists already, and its {bytes} bytes do not end where a record does",
                    self.name
                ))
                .remedy(
                    "it was written with other transforms or by another program: move it away, or \
                     change `path`",
                ))
            }
        }
    }

    /// Whether all its records were met, seen from the last offset of its partition.
    pub(crate) fn is_over(&self, position: i64) -> bool {
        match self.until {
            Until::Offset(last) => position >= last,
            Until::Bytes(bytes) => self.met_bytes >= bytes,
        }
    }
}

/// An object that takes records.
pub(crate) struct Object {
    pub(crate) id: ObjectId,
    name: String,
    pub(crate) footprint: Footprint,
    /// Lines that the compressor has not seen.
    pub(crate) lines: Vec<u8>,
    /// Bytes given to the upload.
    written_bytes: u64,
    pub(crate) upload: Box<dyn Upload>,
    compressor: Compressor,
    lines_config: Lines,
}

impl Object {
    pub(crate) fn new(
        id: ObjectId,
        name: String,
        footprint: Footprint,
        upload: Box<dyn Upload>,
        lines_config: Lines,
    ) -> Result<Self> {
        let compressor = Compressor::new(&lines_config).map_err(broken)?;
        let lines = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
        Ok(Self { id, name, footprint, lines, written_bytes: 0, upload, compressor, lines_config })
    }

    /// Whether the lines are enough to be handed on.
    pub(crate) fn is_chunk(&self) -> bool {
        self.lines.len() >= CHUNK_BYTES
    }

    /// Its length so far, without what the compressor keeps back.
    pub(crate) fn bytes(&mut self) -> u64 {
        self.written_bytes + self.compressor.out().len() as u64
    }

    /// Its length at most, were all its lines written now: what compresses badly is counted as it is.
    pub(crate) fn bytes_max(&mut self) -> u64 {
        self.bytes() + self.lines.len() as u64
    }

    /// Hands the lines on; to the upload when they are enough for it, too.
    pub(crate) async fn drain(&mut self) -> Result<()> {
        self.compressor.push(&mut self.lines).map_err(broken)?;
        let out = self.compressor.out();
        if out.len() >= CHUNK_BYTES {
            self.written_bytes += out.len() as u64;
            self.upload.write(out).await?;
        }
        Ok(())
    }

    /// Hands everything on, with the footer; what is left to do is to finish the upload.
    pub(crate) async fn seal(mut self) -> Result<Sealed> {
        self.compressor.push(&mut self.lines).map_err(broken)?;
        let mut rest = self.compressor.finish().map_err(broken)?;
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
        if upload.finish(&footprint).await? == Finished::Refused {
            let found = store.find(&name).await?;
            let is_same = found.is_some_and(|found| match compression {
                Compression::None => found.bytes == bytes,
                _ => footer::read(compression, &found.tail).is_some_and(|theirs| theirs == footprint),
            });
            if !is_same {
                return Err(Error::fatal(format!("another writer finished `{name}` first"))
                    .remedy("starting again from the stored offsets, where its records are recognised"));
            }
        }
        debug!(object = name, records = footprint.records, bytes, "object finished");
        Ok(id)
    }
}

fn broken(error: std::io::Error) -> Error {
    Error::fatal("the compressor failed").caused_by(error)
}
