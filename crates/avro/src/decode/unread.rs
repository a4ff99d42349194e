//! Fields that nobody looks at: passed over, and left where they stand in the payload.

use std::sync::Arc;

use aqueduct_api::schema::{Kind, Schema};
use aqueduct_api::value::Span;
use aqueduct_api::{Fault, Value};

use super::{DEPTH_MAX, Reading, deeper, row};
use crate::plan::Step;

/// Fields of the outermost record, side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// This one is read.
    Read(usize),
    /// Those from the first up to the second are passed over.
    Over(usize, usize),
}

/// The runs of a record of which these fields are read; nothing where that is all of it, or the value is no record.
pub(super) fn runs(schema: &Schema, fields: &[Arc<str>]) -> Option<Box<[Run]>> {
    let Kind::Record(record) = &schema.get(schema.root()).kind else { return None };
    let mut runs = Vec::new();
    for (at, field) in record.fields.iter().enumerate() {
        match runs.last_mut() {
            _ if fields.contains(&field.name) => runs.push(Run::Read(at)),
            Some(Run::Over(_, end)) => *end = at + 1,
            _ => runs.push(Run::Over(at, at + 1)),
        }
    }
    let all = runs.iter().all(|run| matches!(run, Run::Read(_)));
    (!all).then(|| runs.into())
}

impl Reading<'_> {
    /// The outermost record with some of its fields read, if it is one and ends where the payload does.
    #[inline(never)]
    pub(super) fn some(&mut self, runs: &[Run], root: &mut Value) -> Option<()> {
        let plan = self.plan;
        let Step::Record(of) = plan.root() else { return None };
        let (fields, depth) = (plan.fields(of), DEPTH_MAX - 1);
        self.spend(fields.steps.len()).ok()?;
        let read = row(root, fields.steps.len());
        for run in runs {
            match *run {
                Run::Read(at) => self.value(fields.steps[at], depth, &mut read[at]).ok()?,
                Run::Over(from, to) => {
                    let start = self.at;
                    for step in &fields.steps[from..to] {
                        self.over(*step, depth).ok()?;
                    }
                    let span = Span::new(start, self.at - start)?;
                    read[from] = Value::Opaque(span);
                    // They are so from the record before, as long as nobody has put anything there.
                    for place in &mut read[from + 1..to] {
                        if !matches!(place, Value::Opaque(_)) {
                            *place = Value::Opaque(Span::default());
                        }
                    }
                }
            }
        }
        (self.left() == 0).then_some(())
    }

    /// Passes a value over: whatever `value` would refuse is refused here.
    #[inline(always)]
    fn over(&mut self, step: Step, depth: u32) -> Result<(), Fault> {
        let step = match step {
            Step::Optional { null, other } => {
                if self.branch(2)? == u32::from(null) {
                    return Ok(());
                }
                self.plan.step(other)
            }
            step => step,
        };
        match step {
            Step::Text => self.text().map(drop),
            Step::Long => self.long().map(drop),
            Step::Int => self.int().map(drop),
            Step::Bytes => self.counted().map(drop),
            Step::Double => self.array::<8>().map(drop),
            Step::Boolean => self.boolean().map(drop),
            Step::Enum(of) => self.symbol(of).map(drop),
            step => self.over_seldom(step, depth),
        }
    }

    #[inline(never)]
    fn over_seldom(&mut self, step: Step, depth: u32) -> Result<(), Fault> {
        let plan = self.plan;
        match step {
            Step::Null => Ok(()),
            Step::Float => self.array::<4>().map(drop),
            Step::Fixed(bytes) => self.span(bytes as usize).map(drop),
            Step::Record(of) => {
                let (fields, depth) = (plan.fields(of), deeper(depth)?);
                self.spend(fields.steps.len())?;
                fields.steps.iter().try_for_each(|step| self.over(*step, depth))
            }
            Step::List { item, may_be_empty } => {
                let (item, depth) = (plan.step(item), deeper(depth)?);
                loop {
                    match self.count(may_be_empty)? {
                        0 => return Ok(()),
                        count => (0..count).try_for_each(|_| self.over(item, depth))?,
                    }
                }
            }
            Step::Map { value } => {
                let (value, depth) = (plan.step(value), deeper(depth)?);
                loop {
                    match self.count(false)? {
                        0 => return Ok(()),
                        count => (0..count).try_for_each(|_| {
                            self.text()?;
                            self.over(value, depth)
                        })?,
                    }
                }
            }
            Step::Union(of) => {
                let steps = plan.union(of);
                let branch = self.branch(steps.len())?;
                self.over_one(plan.step(steps[branch as usize]), deeper(depth)?)
            }
            // Of an optional type whose other type is a union.
            Step::Optional { .. } => self.over_one(step, depth),
            // Steps between two schemas; nothing is passed over there.
            _ => Err(Fault::new("this cannot be passed over")),
        }
    }

    #[inline(never)]
    fn over_one(&mut self, step: Step, depth: u32) -> Result<(), Fault> {
        self.over(step, depth)
    }
}
