//! The records of one batch, as they are gathered.

use std::sync::Arc;

use aqueduct_api::{Error, Headers, Packer, Record, Records, Result};
use aqueduct_formats::record_line::{self, Defaults};

use crate::config::OffsetsOf;
use crate::place::Place;

/// The only partition of a file whose records name none.
const PARTITION: i32 = 0;

/// Records of one manner: whole records, values, or lines that are none of both.
pub(crate) struct Gathered {
    topic: Arc<str>,
    offsets: OffsetsOf,
    records: Vec<Record>,
    record_bytes: usize,
    values: Packer,
    refused: Vec<(usize, Error)>,
}

impl Gathered {
    pub(crate) fn new(topic: &Arc<str>, offsets: OffsetsOf, bytes: usize) -> Self {
        Self {
            topic: Arc::clone(topic),
            offsets,
            records: Vec::new(),
            record_bytes: 0,
            values: Packer::new(topic, PARTITION, 0, bytes),
            refused: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len() + self.values.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.record_bytes + self.values.bytes()
    }

    /// Adds the record that a line says. False where it has to wait for the next batch.
    pub(crate) fn record_line(&mut self, at: &Place, line: &[u8]) -> Result<bool> {
        let defaults = Defaults { topic: Arc::clone(&self.topic), partition: PARTITION, offset: at.offset() };
        let mut record = record_line::read(line, defaults)?;
        if self.offsets == OffsetsOf::Lines {
            record.origin.offset = at.offset();
        }
        if self.values.is_empty() {
            self.record_bytes += record.memory_bytes();
            self.records.push(record);
            return Ok(true);
        }
        Ok(false)
    }

    /// Adds a record of which the line is the value.
    pub(crate) fn value(&mut self, at: &Place, line: &[u8]) -> bool {
        let fits = self.refused.is_empty();
        if fits {
            self.values.add(at.offset(), None, None, Some(line), Headers::default());
        }
        fits
    }

    /// Adds a line that is no record.
    pub(crate) fn refuse(&mut self, at: &Place, line: &[u8], error: Error) -> bool {
        let fits = self.refused.len() == self.len();
        if fits {
            self.refused.push((self.values.len(), error));
            self.values.add(at.offset(), None, None, Some(line), Headers::default());
        }
        fits
    }

    /// All of them.
    pub(crate) fn finish(self) -> Option<Records> {
        match (self.records.is_empty(), self.values.is_empty()) {
            (true, true) => None,
            (false, _) if self.offsets == OffsetsOf::Lines => Some(Records::from(self.records)),
            // Their lines say where they come from.
            (false, _) => Some(Records::from(self.records).carried()),
            (true, false) => Some(self.values.finish().with_refused(self.refused)),
        }
    }
}
