//! Values behind a registry, as people write them in a test: as the fields that they have, not as bytes.

use std::sync::Arc;

use aqueduct_api::catalog::FormatKind;
use aqueduct_api::{
    Catalog, Decoder, Encoded, Encoder, Error, ErrorKind, Headers, Part, Payload, Piece, Record, Result, Side,
};
use aqueduct_engine::route::context;
use aqueduct_spec::Pipeline;
use aqueduct_spec::pipeline::{Formats, Named};
use bytes::Bytes;
use serde_json::json;

/// What stands between a test and the formats of its pipeline.
pub(super) struct Translated {
    parts: Vec<OnePart>,
}

/// A part that is behind a registry at one of the ends.
struct OnePart {
    part: Part,
    json: (Box<dyn Decoder>, Box<dyn Encoder>),
    /// Writes what a test gives, as the source has it.
    given: Option<Box<dyn Encoder>>,
    /// Reads what came out, as the sink has it.
    came: Option<Box<dyn Decoder>>,
}

impl Translated {
    pub(super) fn of(pipeline: &Pipeline, catalog: &Catalog) -> Result<Self> {
        let absent = || Error::config("this binary does not have the format `json`");
        let json_format =
            catalog.formats.get("json").ok_or_else(absent)?.configure(json!({})).map_err(|_| absent())?;
        let mut parts = Vec::new();
        for part in [Part::Key, Part::Value] {
            let of = |formats: &Formats| match part {
                Part::Key => formats.key.clone(),
                _ => formats.value.clone(),
            };
            let (reads, writes) = (of(&pipeline.source.formats), of(&pipeline.sink.formats));
            let registry = |format: Option<Named<dyn FormatKind>>| {
                format.filter(|format| format.configured.traits().registry)
            };
            let (given, came) = (registry(reads.clone()), registry(writes.or(reads)));
            if given.is_none() && came.is_none() {
                continue;
            }
            let (source, sink) =
                (context(pipeline, Side::Source, part)?, context(pipeline, Side::Sink, part)?);
            let given = match given {
                None => None,
                Some(format) => {
                    let latest = catalog.formats[format.kind].configure(json!({ "schema": "latest" }));
                    let latest = latest.map_err(|_| Error::config("a format without a latest schema"))?;
                    Some(latest.encoder(&source)?)
                }
            };
            let came = came.map(|format| format.configured.decoder(&sink)).transpose()?;
            let json = (json_format.decoder(&source)?, json_format.encoder(&source)?);
            parts.push(OnePart { part, json, given, came });
        }
        Ok(Self { parts })
    }

    /// The records as bytes of the source's format, and those that its schema does not allow, as dead letters.
    pub(super) async fn as_the_source_has_it(
        &mut self,
        records: Vec<Record>,
    ) -> Result<(Vec<Record>, Vec<Record>)> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for mut record in records {
            let mut refused = None;
            for part in &mut self.parts {
                let (Some(given), Some(bytes)) =
                    (&mut part.given, slot(&mut record, part.part).bytes().cloned())
                else {
                    continue;
                };
                match write(&mut *part.json.0, &mut **given, &record, &bytes).await {
                    Ok(bytes) => *slot(&mut record, part.part) = Payload::Raw(bytes),
                    Err(error) if error.kind() == ErrorKind::BadRecord => {
                        refused = Some(error.with("part", part.part))
                    }
                    Err(error) => return Err(error),
                }
            }
            match refused {
                None => good.push(record),
                Some(error) => bad.push(letter(record, &error)),
            }
        }
        Ok((good, bad))
    }

    /// What came out, as JSON.
    pub(super) async fn as_json(&mut self, mut records: Vec<Record>) -> Result<Vec<Record>> {
        for record in &mut records {
            for part in &mut self.parts {
                let (Some(came), Some(bytes)) = (&mut part.came, slot(record, part.part).bytes().cloned())
                else {
                    continue;
                };
                let piece = Piece { topic: &record.topic, headers: &record.headers, bytes: &bytes };
                came.prepare(&[piece]).await?;
                let typed = came.decode(piece)?;
                let mut out = Vec::new();
                part.json.1.encode(&record.topic, &typed, &mut out)?;
                *slot(record, part.part) = Payload::Raw(out.into());
            }
        }
        Ok(records)
    }
}

async fn write(
    json: &mut dyn Decoder,
    given: &mut dyn Encoder,
    record: &Record,
    bytes: &Bytes,
) -> Result<Bytes> {
    let typed = json.decode(Piece { topic: &record.topic, headers: &record.headers, bytes })?;
    let mut out = Vec::new();
    if given.encode(&record.topic, &typed, &mut out)? == Encoded::Unprepared {
        given.prepare(&record.topic, typed.schema()).await?;
        given.encode(&record.topic, &typed, &mut out)?;
    }
    Ok(out.into())
}

/// As the engine writes one.
fn letter(record: Record, error: &Error) -> Record {
    let mut headers: Headers = record.headers.iter().cloned().collect();
    for (name, value) in [("aqueduct.stage", "decode".to_owned()), ("aqueduct.error", error.to_string())] {
        headers.push(Arc::<str>::from(name), Some(value.into()));
    }
    Record { headers, ..record }
}

fn slot(record: &mut Record, part: Part) -> &mut Payload {
    if part == Part::Key { &mut record.key } else { &mut record.value }
}
