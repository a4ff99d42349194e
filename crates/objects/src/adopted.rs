//! An object of an earlier run, whose records are coming again. It counts for them only when it is proved to hold the very
//! same ones; otherwise the pipeline stops and says so. A name proves nothing: a topic may have been made anew.

use aqueduct_api::{Error, Result};
use tracing::info;

use crate::checkpoint::ObjectId;
use crate::config::Compression;
use crate::content::{Content, read_back};
use crate::digest::Digest;
use crate::footer::{self, Footprint};
use crate::store::{Found, Store};

/// What an object says of itself, or what reading it has shown, and the records that came again so far.
pub(crate) struct Adopted {
    pub(crate) id: ObjectId,
    name: String,
    records: u64,
    digest: String,
    /// The offset of its last record, where it says one.
    last_offset: Option<i64>,
    met_records: u64,
    met: Digest,
    /// How many bytes of what was met were compared with what stands there.
    compared_bytes: u64,
}

impl Adopted {
    /// Takes an object for one of an earlier run, if nothing speaks against it yet.
    pub(crate) async fn adopt(
        store: &dyn Store,
        compression: Compression,
        id: ObjectId,
        name: String,
        found: &Found,
        ours: &Footprint,
    ) -> Result<Self> {
        let (records, digest, last_offset) = match compression {
            Compression::None => {
                let content = whole(store, &name, found).await?;
                (content.records, content.digest, None)
            }
            _ => {
                let theirs = footer::read(compression, &found.tail)
                    .ok_or_else(|| conflict(&name, "it does not end as this pipeline's objects do"))?;
                if let Some(why) = theirs.differs_from(ours) {
                    return Err(conflict(&name, &why));
                }
                (theirs.records, theirs.digest, Some(theirs.last_offset))
            }
        };
        info!(
            object = name,
            records,
            "an object of an earlier run stands here, its records are compared with those that come again"
        );
        let (met_records, met, compared_bytes) = (0, Digest::new(), 0);
        Ok(Self { id, name, records, digest, last_offset, met_records, met, compared_bytes })
    }

    /// The next record that came again, as a line. Its last one completes the proof.
    pub(crate) fn meet(&mut self, offset: i64, line: &[u8]) -> Result<()> {
        self.met.update(line);
        self.met_records += 1;
        if let Some(last) = self.last_offset
            && (offset > last || (self.is_over() && offset != last))
        {
            let (met, records) = (self.met_records, self.records);
            return Err(self.other_records(&format!(
                "its {records} records end at offset {last}, and record {met} of those that came again has \
                 offset {offset}"
            )));
        }
        if self.is_over() && self.met.hex() != self.digest {
            return Err(self.other_records(&format!(
                "its {} records differ from those that came again, up to offset {offset}",
                self.records
            )));
        }
        Ok(())
    }

    /// Whether all its records have come again, and are the same.
    pub(crate) fn is_over(&self) -> bool {
        self.met_records >= self.records
    }

    /// Compares what came again so far with what stands there: the rest may never come.
    pub(crate) async fn compare(&mut self, store: &dyn Store, compression: Compression) -> Result<()> {
        let bytes = self.met.bytes();
        if bytes > self.compared_bytes {
            let content = read_back(store, &self.name, compression, bytes).await?;
            if content.is_none_or(|content| content.bytes != bytes || content.digest != self.met.hex()) {
                let met = self.met_records;
                let why = format!("it does not begin with the {met} records that came again");
                return Err(self.other_records(&why));
            }
            self.compared_bytes = bytes;
        }
        Ok(())
    }

    fn other_records(&self, why: &str) -> Error {
        conflict(
            &self.name,
            &format!(
                "{why}: the source has other records at these offsets now, or other transforms write them"
            ),
        )
    }
}

/// The lines of an uncompressed object, which are all that it says of itself.
pub(crate) async fn whole(store: &dyn Store, name: &str, found: &Found) -> Result<Content> {
    if found.bytes == 0 {
        return Err(conflict(name, "it is empty, so this pipeline did not write it"));
    }
    match read_back(store, name, Compression::None, found.bytes).await? {
        Some(content) if content.ends_a_line && content.bytes == found.bytes => Ok(content),
        _ => Err(conflict(name, "it ends inside a line, so this pipeline did not write it")),
    }
}

/// No restart can heal it: the same object would be found again.
fn conflict(name: &str, why: &str) -> Error {
    Error::config(format!("`{name}` exists already, and {why}"))
        .remedy("move it away, or change `path` so that names do not meet")
}
