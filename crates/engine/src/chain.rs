//! Decode and transform as one plain function over records: the same for a running pipeline and for the tests that
//! people write beside it.

use aqueduct_api::{Error, Format, Payload, Record, Result, Transform};
use aqueduct_spec::Pipeline;

use crate::set_aside::{Bad, Stage};

/// The stations between the source and the lanes.
#[derive(Default)]
pub struct Chain {
    key: Option<Box<dyn Format>>,
    value: Option<Box<dyn Format>>,
    transforms: Vec<Box<dyn Transform>>,
}

/// What became of a batch.
#[derive(Default)]
pub struct Passed {
    /// What goes on, in order.
    pub kept: Vec<Record>,
    /// How many records a transform dropped; they count as delivered.
    pub dropped: usize,
    /// What will never pass.
    pub bad: Vec<Bad>,
}

impl Chain {
    /// What the pipeline names, built once for each task.
    pub fn build(pipeline: &Pipeline) -> Result<Self> {
        let build = |format: &aqueduct_spec::pipeline::Named<dyn aqueduct_api::catalog::ConfiguredFormat>| {
            format.configured.build()
        };
        Ok(Self {
            key: pipeline.source.key.as_ref().map(build).transpose()?,
            value: pipeline.source.value.as_ref().map(build).transpose()?,
            transforms: pipeline.transforms.iter().map(|t| t.configured.build()).collect::<Result<_>>()?,
        })
    }

    /// A chain of just these transforms.
    pub fn of(transforms: Vec<Box<dyn Transform>>) -> Self {
        Self { key: None, value: None, transforms }
    }

    /// Sends records through, in order.
    pub fn apply(&mut self, records: Vec<Record>) -> Passed {
        if self.key.is_none() && self.value.is_none() && self.transforms.is_empty() {
            return Passed { kept: records, ..Passed::default() };
        }
        let mut passed = Passed { kept: Vec::with_capacity(records.len()), ..Passed::default() };
        for record in records {
            self.apply_one(record, &mut passed);
        }
        passed
    }

    fn apply_one(&mut self, record: Record, passed: &mut Passed) {
        let checked = check(self.key.as_deref(), &record.key, "key")
            .and_then(|()| check(self.value.as_deref(), &record.value, "value"));
        if let Err(error) = checked {
            passed.bad.push(Bad { record, stage: Stage::Decode, error });
            return;
        }
        if self.transforms.is_empty() {
            passed.kept.push(record);
            return;
        }
        // What is set aside is the record as the source gave it: a few reference counts, never a re-encoding.
        let original = record.clone();
        let mut current = record;
        for transform in &mut self.transforms {
            match transform.apply(current) {
                Ok(Some(next)) => current = next,
                Ok(None) => {
                    passed.dropped += 1;
                    return;
                }
                Err(error) => {
                    passed.bad.push(Bad { record: original, stage: Stage::Transform, error });
                    return;
                }
            }
        }
        passed.kept.push(current);
    }
}

fn check(format: Option<&dyn Format>, payload: &Payload, part: &'static str) -> Result<(), Error> {
    match (format, payload) {
        (Some(format), Payload::Raw(bytes)) => format.check(bytes).map_err(|error| error.with("part", part)),
        _ => Ok(()),
    }
}
