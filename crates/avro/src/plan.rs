//! A schema, or a writer's schema resolved into a reader's, as steps: everything that can be decided without a value
//! is decided here, once.

use std::collections::HashSet;
use std::sync::Arc;

use aqueduct_api::Value;
use aqueduct_api::schema::{Kind, Schema, TypeId};

use aqueduct_api::Fault;

/// What happens to a field that the reader does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// It is an error.
    #[default]
    Error,
    /// It is left out.
    Drop,
}

/// The number of a step in its plan.
pub(crate) type StepId = u32;

/// What to do with the bytes, or the value, of one type. It is eight bytes, and what does not fit into them stands in
/// a table of the plan under its number: the decoder's loop runs over a row of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    /// Bytes of this number; a payload of more than 4 GiB is refused anyway.
    Fixed(u32),
    /// A number as a wider one, text as bytes, bytes as text.
    Promote(Promotion),
    /// Of `Plan::enums`.
    Enum(u32),
    /// Of `Plan::records`.
    Record(u32),
    List {
        item: StepId,
        /// An item may take no bytes at all, so that the length of the payload bounds nothing.
        may_be_empty: bool,
    },
    Map {
        value: StepId,
    },
    /// A union of null, which is its branch `null`, and one other type.
    Optional {
        null: u8,
        other: StepId,
    },
    /// A union of more: the value keeps its branch. The steps are those of `Plan::unions`.
    Union(u32),
    /// What becomes of each of the writer's branches in a reader's other type.
    Branches {
        /// The steps, of `Plan::unions`.
        union: u32,
        /// The writer's branch for null, where its union makes a type optional.
        null: Option<u8>,
    },
    /// The value becomes this branch of the reader's union.
    Into {
        branch: u16,
        of: StepId,
    },
    /// A value without a schema becomes one of this type of the reader's.
    Adopt {
        of: TypeId,
        unknown: UnknownFields,
    },
    /// What the writer may write here the reader cannot take, for this reason of `Plan::reasons`.
    Refuse(u32),
}

/// From what to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promotion {
    IntToLong,
    IntToFloat,
    IntToDouble,
    LongToFloat,
    LongToDouble,
    FloatToDouble,
    BytesToText,
    TextToBytes,
}

/// The symbols of an enum.
#[derive(Debug)]
pub(crate) struct Symbols {
    /// How many the writer has.
    pub(crate) count: u32,
    /// The reader's position for each of the writer's; none of them where the lists are the same.
    pub(crate) to: Option<Box<[Option<u32>]>>,
    /// The writer's, for messages.
    pub(crate) names: Box<[Arc<str>]>,
}

/// The fields of a record, as the writer has them.
#[derive(Debug)]
pub(crate) struct Fields {
    /// What becomes of each.
    pub(crate) take: Box<[Take]>,
    /// The reader's record before anything is read: what the writer does not have stands there with its default.
    /// Nothing where the writer has exactly the reader's fields, in their order.
    pub(crate) before: Option<Box<[Value]>>,
    /// The steps of `take` side by side.
    pub(crate) steps: Box<[Step]>,
}

/// What becomes of a field.
#[derive(Debug)]
pub(crate) struct Take {
    pub(crate) name: Arc<str>,
    pub(crate) step: StepId,
    /// The reader's position; nowhere for a field that only the writer has.
    pub(crate) to: Option<u32>,
}

/// Steps, one of which is the whole value's.
#[derive(Debug)]
pub(crate) struct Plan {
    steps: Box<[Step]>,
    tables: Tables,
    root: StepId,
    /// What the values are of afterwards.
    pub(crate) schema: Arc<Schema>,
}

/// What steps point at by number.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) enums: Vec<Symbols>,
    pub(crate) records: Vec<Fields>,
    pub(crate) unions: Vec<Box<[StepId]>>,
    pub(crate) reasons: Vec<Box<str>>,
}

impl Tables {
    pub(crate) fn of_enum(&mut self, symbols: Symbols) -> Step {
        self.enums.push(symbols);
        Step::Enum(self.enums.len() as u32 - 1)
    }

    pub(crate) fn record(&mut self, take: Box<[Take]>, before: Option<Box<[Value]>>) -> Step {
        self.records.push(Fields { take, before, steps: Box::default() });
        Step::Record(self.records.len() as u32 - 1)
    }

    pub(crate) fn union(&mut self, steps: Box<[StepId]>) -> u32 {
        self.unions.push(steps);
        self.unions.len() as u32 - 1
    }

    pub(crate) fn refuse(&mut self, why: &Fault) -> Step {
        self.reasons.push(why.to_string().into());
        Step::Refuse(self.reasons.len() as u32 - 1)
    }
}

impl Plan {
    /// Steps that are all known now, so that records can have theirs side by side.
    pub(crate) fn new(steps: Box<[Step]>, mut tables: Tables, root: StepId, schema: Arc<Schema>) -> Self {
        for record in &mut tables.records {
            record.steps = record.take.iter().map(|take| steps[take.step as usize]).collect();
        }
        Plan { steps, tables, root, schema }
    }

    /// Values of this schema as they are. The number of a step is that of its type.
    pub(crate) fn of(schema: &Arc<Schema>) -> Self {
        let mut tables = Tables::default();
        let step = |(id, of): (TypeId, &aqueduct_api::schema::Type)| match &of.kind {
            Kind::Null | Kind::Any => Step::Null,
            Kind::Boolean => Step::Boolean,
            Kind::Int => Step::Int,
            Kind::Long => Step::Long,
            Kind::Float => Step::Float,
            Kind::Double => Step::Double,
            Kind::Bytes => Step::Bytes,
            Kind::Text => Step::Text,
            Kind::Fixed { bytes, .. } => fixed(*bytes),
            Kind::Enum(of) => tables.of_enum(Symbols {
                count: of.symbols.len() as u32,
                to: None,
                names: of.symbols.clone(),
            }),
            Kind::Record(of) => {
                let take = (0..).zip(&of.fields).map(|(at, field)| Take {
                    name: Arc::clone(&field.name),
                    step: field.of.index() as StepId,
                    to: Some(at),
                });
                tables.record(take.collect(), None)
            }
            Kind::List(of) => {
                Step::List { item: of.index() as StepId, may_be_empty: may_be_empty(schema, *of) }
            }
            Kind::Map(of) => Step::Map { value: of.index() as StepId },
            Kind::Union(branches) => match schema.optional(id) {
                Some((null, other)) => Step::Optional { null: null as u8, other: other.index() as StepId },
                None => {
                    let steps = branches.iter().map(|branch| branch.index() as StepId);
                    Step::Union(tables.union(steps.collect()))
                }
            },
        };
        let steps = schema.types().map(step).collect();
        Plan::new(steps, tables, schema.root().index() as StepId, Arc::clone(schema))
    }

    pub(crate) fn root(&self) -> Step {
        self.step(self.root)
    }

    #[inline]
    pub(crate) fn step(&self, id: StepId) -> Step {
        self.steps[id as usize]
    }

    #[inline]
    pub(crate) fn symbols(&self, of: u32) -> &Symbols {
        &self.tables.enums[of as usize]
    }

    #[inline]
    pub(crate) fn fields(&self, of: u32) -> &Fields {
        &self.tables.records[of as usize]
    }

    #[inline]
    pub(crate) fn union(&self, of: u32) -> &[StepId] {
        &self.tables.unions[of as usize]
    }

    #[cold]
    pub(crate) fn refusal(&self, of: u32) -> Fault {
        Fault::new(&*self.tables.reasons[of as usize])
    }
}

pub(crate) fn fixed(bytes: usize) -> Step {
    Step::Fixed(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// Whether a value of this type may take no bytes: records alone, down to what takes none. A record inside itself, without
/// a list or a union between, is never finished: it takes no bytes, and no value has it.
pub(crate) fn may_be_empty(schema: &Schema, of: TypeId) -> bool {
    // Each type is looked at once, however many ways lead to it.
    let (mut seen, mut left) = (HashSet::from([of]), vec![of]);
    while let Some(of) = left.pop() {
        match &schema.get(of).kind {
            Kind::Null | Kind::Any | Kind::Fixed { bytes: 0, .. } => {}
            Kind::Record(of) => {
                left.extend(of.fields.iter().map(|field| field.of).filter(|of| seen.insert(*of)))
            }
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_stays_small() {
        assert_eq!(size_of::<Step>(), 8);
    }
}
