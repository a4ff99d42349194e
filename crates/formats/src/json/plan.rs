//! A schema as the writer needs it: what to do with a value of each type, and the names as they go out.

use std::sync::Arc;

use aqueduct_api::schema::{Field, Kind, Logical, Schema, TypeId, Unit};

use super::quoted::quoted;
use super::wanted::{NOT_NULL, entries, pair};
use crate::compiled::{self, Counted};

/// Plans of so many schemas are kept; a topic seldom has more than a few.
const PLANS_MAX: usize = 64;

/// What to do with a value.
#[derive(Debug)]
pub(crate) enum Step {
    /// It is what the value says; nothing is known of it.
    Any,
    Scalar,
    Text,
    Bytes,
    /// The symbols in their quotes.
    Enum(Box<[Box<[u8]>]>),
    Record(Box<[Member]>),
    /// A record of two fields as an array.
    Pair(TypeId, TypeId),
    /// A list of pairs as an object.
    Entries(TypeId),
    List(TypeId),
    Map(TypeId),
    Optional(TypeId),
    Union(Box<[TypeId]>),
    /// A member for each branch but null, which has no name.
    Branches(Box<[Member]>),
    Decimal(u32),
    Date,
    Time(Unit),
    Timestamp(Unit, bool),
    Uuid,
    Duration,
}

/// A field of a record.
#[derive(Debug)]
pub(crate) struct Member {
    /// `,"name":`
    pub(crate) name: Box<[u8]>,
    pub(crate) of: TypeId,
    /// Null is not written.
    pub(crate) not_null: bool,
}

impl Member {
    pub(crate) fn new(name: &str, of: TypeId) -> Self {
        Self { name: in_quotes(name, b",", b":"), of, not_null: false }
    }
}

/// What to do with the values of a schema.
#[derive(Debug)]
pub(crate) struct Plan {
    steps: Box<[Step]>,
    pub(crate) schema: Arc<Schema>,
}

impl Plan {
    pub(crate) fn of(schema: &Arc<Schema>) -> Self {
        let steps = schema.types().map(|(id, _)| step(schema, id)).collect();
        Self { steps, schema: Arc::clone(schema) }
    }

    /// As Kafka Connect has it: unions are structs with a field for each branch, all but one of them null.
    pub(crate) fn for_connect(schema: &Arc<Schema>) -> Self {
        let mut plan = Self::of(schema);
        for step in &mut plan.steps {
            if let Step::Record(fields) = step {
                fields.iter_mut().for_each(|field| field.not_null = false);
            }
            let Step::Union(branches) = step else { continue };
            let member = |branch: &TypeId| match &schema.get(*branch).kind {
                Kind::Null => Member { name: Box::default(), of: *branch, not_null: false },
                kind => Member::new(branch_name(kind), *branch),
            };
            *step = Step::Branches(branches.iter().map(member).collect());
        }
        plan
    }

    #[inline]
    pub(crate) fn step(&self, of: TypeId) -> &Step {
        &self.steps[of.index()]
    }
}

/// What the field of a branch is called: as the type, without its namespace.
pub(crate) fn branch_name(kind: &Kind) -> &str {
    match kind {
        Kind::Record(of) => of.name.short(),
        Kind::Enum(of) => of.name.short(),
        Kind::Fixed { name, .. } => name.short(),
        kind => kind.name(),
    }
}

fn step(schema: &Schema, id: TypeId) -> Step {
    let of = schema.get(id);
    match (of.logical, &of.kind) {
        (Some(Logical::Decimal { scale, .. }), _) => Step::Decimal(scale),
        (Some(Logical::Date), _) => Step::Date,
        (Some(Logical::TimeMillis), _) => Step::Time(Unit::Millis),
        (Some(Logical::TimeMicros), _) => Step::Time(Unit::Micros),
        (Some(Logical::Timestamp { unit, local }), _) => Step::Timestamp(unit, local),
        (Some(Logical::Uuid), Kind::Fixed { .. }) => Step::Uuid,
        (Some(Logical::Duration), _) => Step::Duration,
        (_, Kind::Any) => Step::Any,
        (_, Kind::Null | Kind::Boolean | Kind::Int | Kind::Long | Kind::Float | Kind::Double) => Step::Scalar,
        (_, Kind::Bytes | Kind::Fixed { .. }) => Step::Bytes,
        (_, Kind::Text) => Step::Text,
        (_, Kind::Enum(of)) => {
            Step::Enum(of.symbols.iter().map(|symbol| in_quotes(symbol, b"", b"")).collect())
        }
        (_, Kind::Record(of)) => match pair(schema, id) {
            Some((key, value)) => Step::Pair(key, value),
            None => Step::Record(of.fields.iter().map(member).collect()),
        },
        (_, Kind::List(of)) => match entries(schema, *of) {
            Some((_, value)) => Step::Entries(value),
            None => Step::List(*of),
        },
        (_, Kind::Map(of)) => Step::Map(*of),
        (_, Kind::Union(branches)) => match schema.optional(id) {
            Some((_, of)) => Step::Optional(of),
            None => Step::Union(branches.clone()),
        },
    }
}

fn member(field: &Field) -> Member {
    Member { not_null: field.attributes.contains_key(NOT_NULL), ..Member::new(&field.name, field.of) }
}

fn in_quotes(text: &str, before: &[u8], behind: &[u8]) -> Box<[u8]> {
    let mut out = before.to_vec();
    quoted(text.as_bytes(), &mut out);
    out.extend_from_slice(behind);
    out.into()
}

/// Something made once for each schema. Rows of one topic share their schema, so the same pointer comes again and again.
#[derive(Debug)]
pub(crate) struct PerSchema<P>(Vec<(Arc<Schema>, Arc<P>, Counted)>);

impl<P> Default for PerSchema<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P> PerSchema<P> {
    /// What was made for this schema, or is now.
    #[inline]
    pub(crate) fn get(&mut self, schema: &Arc<Schema>, make: impl FnOnce(&Arc<Schema>) -> P) -> &Arc<P> {
        let place = self.0.iter().position(|(known, ..)| Arc::ptr_eq(known, schema)).unwrap_or_else(|| {
            // The schema is counted too: it may live on here when nobody else has it any more.
            let counted = Counted::new(3 * schema.memory_bytes());
            if self.0.len() >= PLANS_MAX || compiled::is_over() {
                self.0.clear();
            }
            self.0.push((Arc::clone(schema), Arc::new(make(schema)), counted));
            self.0.len() - 1
        });
        &self.0[place].1
    }
}
