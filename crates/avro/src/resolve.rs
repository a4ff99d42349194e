//! A writer's schema resolved into a reader's, by the rules of the specification ("Schema Resolution"): what is read
//! are the writer's bytes, what comes out are the reader's values.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::Value;
use aqueduct_api::schema::{Kind, Logical, Name, RecordType, Schema, TypeId};

use crate::default;
use crate::plan::{Plan, Promotion, Step, StepId, Symbols, Tables, Take, UnknownFields, fixed, may_be_empty};
use aqueduct_api::Fault;

/// The steps from the writer's values to the reader's.
///
/// # Errors
/// When no value at all could be read: the types have nothing in common, a field has no default.
pub(crate) fn resolve(
    writer: &Arc<Schema>,
    reader: &Arc<Schema>,
    unknown: UnknownFields,
) -> Result<Plan, Fault> {
    let mut resolving = Resolving {
        writer,
        reader,
        unknown,
        steps: Vec::new(),
        tables: Tables::default(),
        known: HashMap::new(),
    };
    let root = resolving.of(writer.root(), reader.root())?;
    let steps = resolving.steps.into_iter().map(|step| step.unwrap_or(Step::Null)).collect();
    Ok(Plan::new(steps, resolving.tables, root, Arc::clone(reader)))
}

struct Resolving<'a> {
    writer: &'a Schema,
    reader: &'a Schema,
    unknown: UnknownFields,
    /// A step that is being worked on is not there yet: types may contain themselves.
    steps: Vec<Option<Step>>,
    tables: Tables,
    known: HashMap<(TypeId, TypeId), StepId>,
}

impl Resolving<'_> {
    fn of(&mut self, w: TypeId, r: TypeId) -> Result<StepId, Fault> {
        // What a value without a schema is, only it can say.
        if self.writer.get(w).kind == Kind::Any {
            return Ok(self.add(Step::Adopt { of: r, unknown: self.unknown }));
        }
        // An optional type needs no mark: its value says whether it is null.
        if let Some((null, other)) = self.reader.optional(r)
            && let Kind::Union(branches) = &self.reader.get(r).kind
            && !matches!(self.writer.get(w).kind, Kind::Union(_))
        {
            let of = if self.writer.get(w).kind == Kind::Null { branches[null] } else { other };
            return self.of(w, of);
        }
        if let Some(step) = self.known.get(&(w, r)) {
            return Ok(*step);
        }
        let id = self.steps.len() as StepId;
        self.steps.push(None);
        self.known.insert((w, r), id);
        match self.step(w, r) {
            Ok(step) => {
                self.steps[id as usize] = Some(step);
                Ok(id)
            }
            Err(fault) => {
                self.known.remove(&(w, r));
                // What lies inside it may be known already, and must not meet a hole here.
                self.steps[id as usize] = Some(self.tables.refuse(&fault));
                Err(fault)
            }
        }
    }

    fn add(&mut self, step: Step) -> StepId {
        self.steps.push(Some(step));
        self.steps.len() as StepId - 1
    }

    fn step(&mut self, w: TypeId, r: TypeId) -> Result<Step, Fault> {
        let (writer, reader) = (self.writer, self.reader);
        if let Kind::Union(branches) = &writer.get(w).kind {
            return self.writers_union(w, branches, r);
        }
        if let Kind::Union(branches) = &reader.get(r).kind {
            return self.readers_union(w, branches);
        }
        let (from, to) = (writer.get(w), reader.get(r));
        same_meaning(from.logical, to.logical)?;
        Ok(match (&from.kind, &to.kind) {
            (Kind::Null, Kind::Null) => Step::Null,
            (Kind::Boolean, Kind::Boolean) => Step::Boolean,
            (Kind::Int, Kind::Int) => Step::Int,
            (Kind::Int, Kind::Long) => Step::Promote(Promotion::IntToLong),
            (Kind::Int, Kind::Float) => Step::Promote(Promotion::IntToFloat),
            (Kind::Int, Kind::Double) => Step::Promote(Promotion::IntToDouble),
            (Kind::Long, Kind::Long) => Step::Long,
            (Kind::Long, Kind::Float) => Step::Promote(Promotion::LongToFloat),
            (Kind::Long, Kind::Double) => Step::Promote(Promotion::LongToDouble),
            (Kind::Float, Kind::Float) => Step::Float,
            (Kind::Float, Kind::Double) => Step::Promote(Promotion::FloatToDouble),
            (Kind::Double, Kind::Double) => Step::Double,
            (Kind::Bytes, Kind::Bytes) => Step::Bytes,
            (Kind::Bytes, Kind::Text) => Step::Promote(Promotion::BytesToText),
            (Kind::Text, Kind::Text) => Step::Text,
            (Kind::Text, Kind::Bytes) => Step::Promote(Promotion::TextToBytes),
            (Kind::Fixed { name: from, bytes: a }, Kind::Fixed { name: to, bytes: b }) if a == b => {
                same_name(from, to)?;
                fixed(*a)
            }
            (Kind::Enum(from), Kind::Enum(to)) => {
                same_name(&from.name, &to.name)?;
                let position =
                    |symbol| to.symbols.iter().position(|known| known == symbol).map(|at| at as u32);
                let map: Box<[_]> =
                    from.symbols.iter().map(|symbol| position(symbol).or(to.default)).collect();
                let same = from.symbols.len() <= to.symbols.len()
                    && from.symbols.iter().zip(&to.symbols).all(|(from, to)| from == to);
                let (count, names) = (from.symbols.len() as u32, from.symbols.clone());
                self.tables.of_enum(Symbols { count, to: (!same).then_some(map), names })
            }
            (Kind::Record(from), Kind::Record(to)) => {
                same_name(&from.name, &to.name)?;
                self.record(from, to)?
            }
            (Kind::List(from), Kind::List(to)) => {
                let may_be_empty = may_be_empty(writer, *from);
                Step::List { item: self.of(*from, *to)?, may_be_empty }
            }
            (Kind::Map(from), Kind::Map(to)) => Step::Map { value: self.of(*from, *to)? },
            (from, to) => return Err(Fault::new(format!("`{from}` cannot be read as `{to}`"))),
        })
    }

    /// Which branch is written, only the value says; one that the reader cannot take is refused when it is met.
    fn writers_union(&mut self, w: TypeId, branches: &[TypeId], r: TypeId) -> Result<Step, Fault> {
        let mut steps = Vec::with_capacity(branches.len());
        let mut fault = None;
        for branch in branches {
            steps.push(match self.of(*branch, r) {
                Ok(step) => step,
                Err(why) => {
                    let step = self.tables.refuse(&why);
                    fault = Some(why);
                    self.add(step)
                }
            });
        }
        let refused = |step: &StepId| matches!(self.steps[*step as usize], Some(Step::Refuse(_)));
        if let Some(fault) = fault
            && steps.iter().all(refused)
        {
            return Err(fault);
        }
        Ok(match (self.writer.optional(w), self.reader.optional(r)) {
            (Some((null, _)), Some(_)) => Step::Optional { null: null as u8, other: steps[1 - null] },
            (null, _) => {
                Step::Branches { union: self.tables.union(steps.into()), null: null.map(|(at, _)| at as u8) }
            }
        })
    }

    /// The branch of the very same type, else the first that takes it.
    fn readers_union(&mut self, w: TypeId, branches: &[TypeId]) -> Result<Step, Fault> {
        let same = branches.iter().position(|branch| self.is_same(w, *branch));
        for at in same.into_iter().chain(0..branches.len()) {
            // A step has two bytes for a branch. Nobody has more of them.
            if let (Ok(branch), Ok(of)) = (u16::try_from(at), self.of(w, branches[at])) {
                return Ok(Step::Into { branch, of });
            }
        }
        let names: Vec<&str> = branches.iter().map(|branch| self.reader.get(*branch).kind.name()).collect();
        let from = &self.writer.get(w).kind;
        Err(Fault::new(format!("`{from}` cannot be read as any of {}", names.join(", "))))
    }

    fn is_same(&self, w: TypeId, r: TypeId) -> bool {
        let (from, to) = (self.writer.get(w), self.reader.get(r));
        let same = match (&from.kind, &to.kind) {
            (Kind::List(_), Kind::List(_)) | (Kind::Map(_), Kind::Map(_)) => true,
            (from, to) => {
                std::mem::discriminant(from) == std::mem::discriminant(to) && from.name() == to.name()
            }
        };
        same && same_meaning(from.logical, to.logical).is_ok()
    }

    fn record(&mut self, from: &RecordType, to: &RecordType) -> Result<Step, Fault> {
        let mut take: Vec<Take> = Vec::with_capacity(from.fields.len());
        let mut given = vec![false; to.fields.len()];
        for field in &from.fields {
            // A field that an earlier one took already is not taken twice.
            // Nor by an earlier name where the writer has a field of the name of today.
            let named = |at: &usize| {
                to.fields[*at].name == field.name || from.position(&to.fields[*at].name).is_none()
            };
            let at = place(to, &field.name).filter(named);
            let at = at.filter(|at| !std::mem::replace(&mut given[*at], true));
            let step = match at {
                Some(at) => {
                    self.of(field.of, to.fields[at].of).map_err(|fault| fault.in_field(&field.name))?
                }
                None if self.unknown == UnknownFields::Error => {
                    let says = format!("the schema `{}` has no such field", to.name.full);
                    return Err(Fault::new(says).in_field(&field.name));
                }
                None => self.as_it_is(field.of),
            };
            take.push(Take { name: Arc::clone(&field.name), step, to: at.map(|at| at as u32) });
        }
        let in_order =
            take.len() == to.fields.len() && (0..).zip(&take).all(|(at, take)| take.to == Some(at));
        let before = if in_order { None } else { Some(self.before(to, &given)?) };
        Ok(self.tables.record(take.into(), before))
    }

    fn before(&self, to: &RecordType, given: &[bool]) -> Result<Box<[Value]>, Fault> {
        let value = |(field, given): (&aqueduct_api::schema::Field, &bool)| {
            if *given {
                return Ok(Value::Absent);
            }
            let Some(json) = &field.default else {
                let says = "the writer has no such field, and it has no default";
                return Err(Fault::new(says).in_field(&field.name));
            };
            default::value(self.reader, field.of, json).ok_or_else(|| {
                Fault::new(format!("the default {json} is not of the field's type")).in_field(&field.name)
            })
        };
        to.fields.iter().zip(given).map(value).collect()
    }

    /// What only the writer has is read all the same, to come behind it.
    fn as_it_is(&mut self, w: TypeId) -> StepId {
        let mut both = Resolving {
            writer: self.writer,
            reader: self.writer,
            unknown: UnknownFields::Drop,
            steps: std::mem::take(&mut self.steps),
            tables: std::mem::take(&mut self.tables),
            known: HashMap::new(),
        };
        let step = both.of(w, w);
        (self.steps, self.tables) = (both.steps, both.tables);
        // A type can always be read as itself.
        step.unwrap_or_else(|fault| {
            let step = self.tables.refuse(&fault);
            self.add(step)
        })
    }
}

/// Where the reader has a field of this name, or one that was called so.
pub(crate) fn place(reader: &RecordType, written: &str) -> Option<usize> {
    reader.position(written).or_else(|| {
        reader.fields.iter().position(|field| field.aliases.iter().any(|alias| **alias == *written))
    })
}

/// The same name without its namespace, or an earlier name of the reader's.
fn same_name(from: &Name, to: &Name) -> Result<(), Fault> {
    let earlier = to.aliases.iter().any(|alias| {
        **alias == *from.full || alias.rsplit('.').next() == Some(from.short()) && !from.full.contains('.')
    });
    if from.short() == to.short() || earlier {
        return Ok(());
    }
    Err(Fault::new(format!("`{}` cannot be read as `{}`: the names differ", from.full, to.full)))
}

/// Numbers that mean something else by their unit or scale would be wrong by powers of ten and look right.
fn same_meaning(from: Option<Logical>, to: Option<Logical>) -> Result<(), Fault> {
    let scale = |logical| match logical {
        Some(Logical::Decimal { scale, .. }) => Some(scale),
        _ => None,
    };
    match (from, to) {
        (Some(a @ Logical::Timestamp { .. }), Some(b @ Logical::Timestamp { .. }))
        | (
            Some(a @ (Logical::TimeMillis | Logical::TimeMicros)),
            Some(b @ (Logical::TimeMillis | Logical::TimeMicros)),
        ) if a != b => Err(Fault::new(format!("{a:?} cannot be read as {b:?}"))),
        _ => match (scale(from), scale(to)) {
            (Some(a), Some(b)) if a != b => {
                Err(Fault::new(format!("a decimal of scale {a} cannot be read as one of scale {b}")))
            }
            _ => Ok(()),
        },
    }
}
