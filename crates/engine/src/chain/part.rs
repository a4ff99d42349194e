//! One part of a record on its way through the formats.

use std::ops::Range;
use std::sync::Arc;

use aqueduct_api::{
    Decoder, Encoded, Encoder, Error, Headers, Part, Payload, Piece, Record, Result, Schema, Side, Translator,
};
use aqueduct_spec::Pipeline;
use bytes::Bytes;

use crate::route::{ReadPlan, Route, WritePlan, context};

/// The formats of one part, opened.
pub(super) struct PartFormats {
    pub(super) part: Part,
    pub(super) read: Reading,
    pub(super) write: Writing,
}

pub(super) enum Reading {
    Pass,
    Check(Box<dyn Decoder>),
    Decode(Box<dyn Decoder>),
}

pub(super) enum Writing {
    Pass,
    Encode(Box<dyn Encoder>),
    Translate(Box<dyn Translator>),
}

/// What became of a part before the sink.
pub(super) enum Left {
    /// It is as it was.
    Untouched,
    /// Its bytes are these of the buffer.
    At(Range<usize>),
    /// [`PartFormats::prepare`] has to be called first; the schema, where the value has structure.
    Unprepared(Option<Arc<Schema>>),
}

impl PartFormats {
    pub(super) fn open(pipeline: &Pipeline, route: &Route) -> Result<Self> {
        let part = route.part;
        let source = || context(pipeline, Side::Source, part);
        let sink = || context(pipeline, Side::Sink, part);
        let read = match &route.read {
            ReadPlan::Pass | ReadPlan::Typed => Reading::Pass,
            ReadPlan::Check(format) => Reading::Check(format.configured.decoder(&source()?)?),
            ReadPlan::Decode(format) => Reading::Decode(format.configured.decoder(&source()?)?),
            ReadPlan::Project(format, fields) => {
                let mut decoder = format.configured.decoder(&source()?)?;
                decoder.project(fields);
                Reading::Decode(decoder)
            }
        };
        let write = match &route.write {
            WritePlan::Pass => Writing::Pass,
            WritePlan::Encode(format) => Writing::Encode(format.configured.encoder(&sink()?)?),
            WritePlan::Translate(format) => {
                let from = source()?.registry.ok_or_else(|| Error::config("the source has no registry"))?;
                Writing::Translate(format.configured.translator(&from, &sink()?)?)
            }
        };
        Ok(Self { part, read, write })
    }

    pub(super) fn passes(&self) -> bool {
        matches!((&self.read, &self.write), (Reading::Pass, Writing::Pass))
    }

    /// Whether the part of this record can be read.
    pub(super) fn is_ready(&self, record: &Record) -> bool {
        match &self.read {
            Reading::Pass => true,
            Reading::Check(decoder) | Reading::Decode(decoder) => {
                piece_of(record, self.part).is_none_or(|piece| decoder.is_ready(piece))
            }
        }
    }

    /// Gets what is missing to read this part of these records.
    pub(super) async fn prepare_reading(&mut self, records: &[Record]) -> Result<()> {
        let (Reading::Check(decoder) | Reading::Decode(decoder)) = &mut self.read else { return Ok(()) };
        let pieces: Vec<Piece<'_>> =
            records.iter().filter_map(|record| piece_of(record, self.part)).collect();
        decoder.prepare(&pieces).await
    }

    /// Checks or decodes the key or the value.
    pub(super) fn read(&mut self, record: &mut Record) -> Result<()> {
        let Some(piece) = piece_of(record, self.part) else { return Ok(()) };
        match &mut self.read {
            Reading::Pass => Ok(()),
            Reading::Check(decoder) => decoder.check(piece),
            Reading::Decode(decoder) => {
                let typed = decoder.decode(piece)?;
                *slot(record, self.part) = Payload::Typed(typed);
                Ok(())
            }
        }
    }

    /// The value has been written: its memory may serve the next one.
    pub(super) fn take_back(&mut self, payload: Payload) {
        if let (Reading::Decode(decoder), Payload::Typed(typed)) = (&mut self.read, payload) {
            decoder.take_back(typed);
        }
    }

    /// Encodes or translates the key or the value into `out`.
    pub(super) fn write(&mut self, topic: &Arc<str>, record: &Record, out: &mut Vec<u8>) -> Result<Left> {
        let start = out.len();
        let payload = if self.part == Part::Key { &record.key } else { &record.value };
        let encoded = match (&mut self.write, payload) {
            (_, Payload::Absent) | (Writing::Pass, Payload::Raw(_)) => return Ok(Left::Untouched),
            (Writing::Encode(encoder), Payload::Typed(typed)) => match encoder.encode(topic, typed, out)? {
                Encoded::Done => Encoded::Done,
                Encoded::Unprepared => return Ok(Left::Unprepared(Some(Arc::clone(typed.schema())))),
            },
            (Writing::Translate(translator), Payload::Raw(bytes)) => translator.translate(
                topic,
                Piece { topic: &record.topic, headers: &record.headers, bytes },
                out,
            )?,
            // A transform put bytes where a value was.
            (Writing::Encode(_), Payload::Raw(_)) => return Ok(Left::Untouched),
            // A sink would take it for a tombstone.
            (Writing::Pass | Writing::Translate(_), Payload::Typed(_)) => {
                return Err(Error::config(format!(
                    "the {} has structure, and nothing says how it is written",
                    self.part
                ))
                .remedy("name a format at the sink"));
            }
        };
        Ok(match encoded {
            Encoded::Done => Left::At(start..out.len()),
            Encoded::Unprepared => Left::Unprepared(None),
        })
    }

    /// Gets what `write` was missing.
    pub(super) async fn prepare_writing(
        &mut self,
        topic: &Arc<str>,
        record: &Record,
        schema: Option<&Arc<Schema>>,
    ) -> Result<()> {
        match (&mut self.write, schema) {
            (Writing::Encode(encoder), Some(schema)) => encoder.prepare(topic, schema).await,
            (Writing::Translate(translator), _) => match piece_of(record, self.part) {
                Some(piece) => translator.prepare(topic, piece).await,
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// The header that said how the bytes were to be read, and would say it of the new ones too.
    pub(super) fn frame_header(&self) -> Option<&'static str> {
        match (&self.read, &self.write) {
            (Reading::Decode(decoder), Writing::Encode(_)) => decoder.frame_header(),
            (_, Writing::Translate(translator)) => translator.frame_header(),
            _ => None,
        }
    }

    /// Reads and writes the value of each header.
    pub(super) fn headers(&mut self, record: &mut Record) -> Result<()> {
        if record.headers.is_empty() {
            return Ok(());
        }
        let mut headers: Headers = record.headers.iter().cloned().collect();
        let mut out = Vec::new();
        for header in headers.iter_mut() {
            let Some(bytes) = &header.value else { continue };
            let piece = Piece { topic: &record.topic, headers: &record.headers, bytes };
            let named = |error: Error| error.with("header", &header.name);
            match (&mut self.read, &mut self.write) {
                (Reading::Check(decoder), _) => decoder.check(piece).map_err(named)?,
                (Reading::Decode(decoder), Writing::Encode(encoder)) => {
                    let typed = decoder.decode(piece).map_err(named)?;
                    out.clear();
                    if encoder.encode(&record.topic, &typed, &mut out).map_err(named)? == Encoded::Unprepared
                    {
                        return Err(named(Error::bug("the format of a header wants to be prepared")));
                    }
                    header.value = Some(Bytes::copy_from_slice(&out));
                }
                _ => {}
            }
        }
        record.headers = headers;
        Ok(())
    }
}

fn piece_of(record: &Record, part: Part) -> Option<Piece<'_>> {
    let bytes = match part {
        Part::Key => record.key.bytes(),
        Part::Value => record.value.bytes(),
        Part::Headers => None,
    };
    Some(Piece { topic: &record.topic, headers: &record.headers, bytes: bytes? })
}

pub(super) fn slot(record: &mut Record, part: Part) -> &mut Payload {
    if part == Part::Key { &mut record.key } else { &mut record.value }
}
