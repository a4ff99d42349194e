//! A schema, or a writer's schema resolved into a reader's, as steps: everything that can be decided without a value
//! is decided here, once.

use std::sync::Arc;

use aqueduct_api::Value;
use aqueduct_api::schema::{Kind, Schema, TypeId};

/// The number of a step in its plan.
pub(crate) type StepId = u32;

/// What to do with the bytes, or the value, of one type.
#[derive(Debug)]
pub(crate) enum Step {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(usize),
    /// A number as a wider one, text as bytes, bytes as text.
    Promote(Promotion),
    Enum(Symbols),
    Record(Fields),
    List(Items),
    Map(Items),
    /// A union of null, which is its branch `null`, and one other type.
    Optional {
        null: u32,
        other: StepId,
    },
    /// A union of more: the value keeps its branch.
    Union(Box<[StepId]>),
    /// What becomes of each of the writer's branches in a reader's other type.
    Branches {
        steps: Box<[StepId]>,
        /// The writer's branch for null, where its union makes a type optional.
        null: Option<u32>,
    },
    /// The value becomes this branch of the reader's union.
    Into {
        branch: u32,
        of: StepId,
    },
    /// What the writer may write here the reader cannot take, for this reason.
    Refuse(Box<str>),
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
}

/// What becomes of a field.
#[derive(Debug)]
pub(crate) struct Take {
    pub(crate) name: Arc<str>,
    pub(crate) step: StepId,
    /// The reader's position; nowhere for a field that only the writer has.
    pub(crate) to: Option<u32>,
}

/// The items of a list or a map.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items {
    pub(crate) step: StepId,
    /// An item may take no bytes at all, so that the length of the payload bounds nothing.
    pub(crate) may_be_empty: bool,
}

/// Steps, one of which is the whole value's.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Box<[Step]>,
    pub(crate) root: StepId,
    /// What the values are of afterwards.
    pub(crate) schema: Arc<Schema>,
}

impl Plan {
    /// Values of this schema as they are. The number of a step is that of its type.
    pub(crate) fn of(schema: &Arc<Schema>) -> Self {
        let step = |(id, of): (TypeId, &aqueduct_api::schema::Type)| match &of.kind {
            Kind::Null | Kind::Any => Step::Null,
            Kind::Boolean => Step::Boolean,
            Kind::Int => Step::Int,
            Kind::Long => Step::Long,
            Kind::Float => Step::Float,
            Kind::Double => Step::Double,
            Kind::Bytes => Step::Bytes,
            Kind::Text => Step::Text,
            Kind::Fixed { bytes, .. } => Step::Fixed(*bytes),
            Kind::Enum(of) => {
                Step::Enum(Symbols { count: of.symbols.len() as u32, to: None, names: of.symbols.clone() })
            }
            Kind::Record(of) => {
                let take = (0..).zip(&of.fields).map(|(at, field)| Take {
                    name: Arc::clone(&field.name),
                    step: field.of.index() as StepId,
                    to: Some(at),
                });
                Step::Record(Fields { take: take.collect(), before: None })
            }
            Kind::List(of) => Step::List(items(schema, *of, of.index() as StepId)),
            Kind::Map(of) => Step::Map(items(schema, *of, of.index() as StepId)),
            Kind::Union(branches) => match schema.optional(id) {
                Some((null, other)) => Step::Optional { null: null as u32, other: other.index() as StepId },
                None => Step::Union(branches.iter().map(|branch| branch.index() as StepId).collect()),
            },
        };
        let steps = schema.types().map(step).collect();
        Plan { steps, root: schema.root().index() as StepId, schema: Arc::clone(schema) }
    }

    pub(crate) fn step(&self, id: StepId) -> &Step {
        &self.steps[id as usize]
    }
}

/// The items of a list of `of`.
pub(crate) fn items(schema: &Schema, of: TypeId, step: StepId) -> Items {
    Items { step, may_be_empty: may_be_empty(schema, of, 0) }
}

/// Whether a value of this type may take no bytes.
fn may_be_empty(schema: &Schema, of: TypeId, depth: usize) -> bool {
    match &schema.get(of).kind {
        Kind::Null | Kind::Any | Kind::Fixed { bytes: 0, .. } => true,
        // A record inside itself, without a list or a union between, is never finished: it takes no bytes, and no
        // value has it.
        Kind::Record(of) => {
            depth > 32 || of.fields.iter().all(|field| may_be_empty(schema, field.of, depth + 1))
        }
        _ => false,
    }
}
