//! Rows to bytes.

use std::sync::{Arc, Mutex, PoisonError};

use aqueduct_api::schema::Schema;
use aqueduct_api::value::{Blob, Span, Text};
use aqueduct_api::{Typed, Value};

use crate::adopt::{adopt, kind_of};
use crate::plan::{Fields, Plan, Promotion, Step, StepId};
use crate::resolve::resolve;
use crate::write::write;
use aqueduct_api::Fault;

pub use crate::plan::UnknownFields;

/// Writes values as one schema says. A row of another schema is brought into it first, by the rules of resolution.
#[derive(Debug)]
pub struct Encoder {
    plan: Plan,
    unknown: UnknownFields,
    /// How rows of the schema met last come into this one: a stream of records seldom changes its schema.
    from: Mutex<Option<(Arc<Schema>, Way)>>,
}

/// From another schema into this one.
#[derive(Clone, Debug)]
enum Way {
    /// It says the same in other words.
    Same,
    Through(Arc<Plan>),
}

impl Encoder {
    /// Values go out as this schema says.
    pub fn new(schema: &Arc<Schema>, unknown: UnknownFields) -> Self {
        Self { plan: Plan::of(schema), unknown, from: Mutex::new(None) }
    }

    /// The schema of what goes out.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.plan.schema
    }

    /// Appends a value to `out`.
    ///
    /// # Errors
    /// When the value does not fit the schema; `out` is then as it was.
    pub fn encode(&self, typed: &Typed, out: &mut Vec<u8>) -> Result<(), Fault> {
        let from = out.len();
        let written = self.brought_in(typed).and_then(|brought| {
            let value = brought.as_ref().unwrap_or(typed.value());
            let end = Writing::new(&self.plan, typed.payload(), out).one(self.plan.root(), value, from)?;
            out.truncate(end);
            Ok(())
        });
        written.inspect_err(|_| out.truncate(from))
    }

    /// The value as this schema has it; nothing where it is so already.
    fn brought_in(&self, typed: &Typed) -> Result<Option<Value>, Fault> {
        if Arc::ptr_eq(typed.schema(), &self.plan.schema) {
            return Ok(None);
        }
        match self.way(typed.schema())? {
            Way::Same => Ok(None),
            Way::Through(plan) => bring(&plan, plan.root(), typed.value(), typed.payload()).map(Some),
        }
    }

    fn way(&self, schema: &Arc<Schema>) -> Result<Way, Fault> {
        let mut from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, way)) = &*from
            && Arc::ptr_eq(known, schema)
        {
            return Ok(way.clone());
        }
        // Types may be numbered otherwise and still say the same.
        let way = if *schema == self.plan.schema || write(schema) == write(&self.plan.schema) {
            Way::Same
        } else {
            Way::Through(Arc::new(resolve(schema, &self.plan.schema, self.unknown)?))
        };
        *from = Some((Arc::clone(schema), way.clone()));
        Ok(way)
    }
}

/// What is made room for at once beyond the size of what was read.
const SLACK_BYTES: usize = 128;
/// So many bytes are copied in one go where fewer are meant, as long as there are as many on both sides.
const COPY_BYTES: usize = 32;

struct Writing<'a> {
    plan: &'a Plan,
    payload: &'a [u8],
    /// Longer than what is written, so that a byte is put in its place and no length is kept up to date.
    out: &'a mut Vec<u8>,
}

/// Everything is given the place where it begins and tells where it ends. Kept in here, the place would go through memory with
/// each number, and the next number would wait for it.
impl<'a> Writing<'a> {
    fn new(plan: &'a Plan, payload: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        out.resize(out.len() + payload.len() + SLACK_BYTES, 0);
        Self { plan, payload, out }
    }

    /// Part of each loop over fields or items, as in the decoder: a call for each number costs more than its digits.
    #[inline(always)]
    fn value(&mut self, step: Step, value: &Value, at: usize) -> Result<usize, Fault> {
        let plan = self.plan;
        let (step, at) = match (step, value) {
            (Step::Optional { null, .. }, Value::Null) => return Ok(self.long(null.into(), at)),
            (_, Value::Opaque(span)) => return Ok(self.bytes(span.of(self.payload), at)),
            (Step::Optional { null, other }, _) => (plan.step(other), self.long(i64::from(1 - null), at)),
            _ => (step, at),
        };
        Ok(match (step, value) {
            (Step::Text, Value::Text(Text::Span(span))) => self.span(*span, at),
            (Step::Text, Value::Text(Text::Own(text))) => self.counted(text.as_bytes(), at),
            (Step::Long, Value::Long(number)) => self.long(*number, at),
            (Step::Int, Value::Int(number)) => self.long((*number).into(), at),
            (Step::Bytes, Value::Bytes(Blob::Span(span))) => self.span(*span, at),
            (Step::Bytes, Value::Bytes(Blob::Own(bytes))) => self.counted(bytes, at),
            (Step::Double, Value::Double(number)) => self.bytes(&number.to_le_bytes(), at),
            (Step::Boolean, Value::Boolean(flag)) => self.bytes(&[u8::from(*flag)], at),
            (Step::Enum(of), Value::Enum(symbol)) if *symbol < plan.symbols(of).count => {
                self.long((*symbol).into(), at)
            }
            (Step::Record(of), Value::Record(values)) => self.record(plan.fields(of), values, at)?,
            (Step::List { item, .. }, Value::List(values)) => self.list(plan.step(item), values, at)?,
            (step, value) => self.seldom(step, value, at)?,
        })
    }

    #[inline(never)]
    fn seldom(&mut self, step: Step, value: &Value, at: usize) -> Result<usize, Fault> {
        let plan = self.plan;
        Ok(match (step, value) {
            (Step::Null, Value::Null) => at,
            (Step::Float, Value::Float(number)) => self.bytes(&number.to_le_bytes(), at),
            (Step::Fixed(size), Value::Bytes(bytes)) => {
                let bytes = bytes.get(self.payload);
                if bytes.len() != size as usize {
                    return Err(Fault::new(format!("{} bytes where {size} belong", bytes.len())));
                }
                self.bytes(bytes, at)
            }
            (Step::Map { value: of }, Value::Map(entries)) => {
                let step = plan.step(of);
                let mut at = self.count(entries.len(), at);
                for (name, value) in entries {
                    at = self.counted(name.bytes(self.payload), at);
                    let written = self.one(step, value, at);
                    at = written.map_err(|fault| fault.in_entry(name.get(self.payload)))?;
                }
                self.long(0, at)
            }
            // Of an optional type whose other type is a union.
            (Step::Optional { .. }, value) => self.one(step, value, at)?,
            (Step::Union(of), Value::Union(branch)) if (branch.0 as usize) < plan.union(of).len() => {
                let at = self.long(branch.0.into(), at);
                self.one(plan.step(plan.union(of)[branch.0 as usize]), &branch.1, at)?
            }
            (_, value) => return Err(Fault::new(format!("{} does not belong here", kind_of(value)))),
        })
    }

    /// A value that stands alone.
    #[inline(never)]
    fn one(&mut self, step: Step, value: &Value, at: usize) -> Result<usize, Fault> {
        self.value(step, value, at)
    }

    #[inline(never)]
    fn record(&mut self, fields: &Fields, values: &[Value], mut at: usize) -> Result<usize, Fault> {
        if fields.steps.len() != values.len() {
            let (here, wanted) = (values.len(), fields.steps.len());
            return Err(Fault::new(format!("a record of {here} fields where {wanted} belong")));
        }
        for (index, (step, value)) in fields.steps.iter().zip(values).enumerate() {
            let written = self.value(*step, value, at);
            at = written.map_err(|fault| fault.in_field(&fields.take[index].name))?;
        }
        Ok(at)
    }

    #[inline(never)]
    fn list(&mut self, item: Step, values: &[Value], at: usize) -> Result<usize, Fault> {
        let mut at = self.count(values.len(), at);
        for (index, value) in values.iter().enumerate() {
            at = self.value(item, value, at).map_err(|fault| fault.in_item(index))?;
        }
        Ok(self.long(0, at))
    }

    /// The block of all items, if there are any.
    fn count(&mut self, items: usize, at: usize) -> usize {
        if items > 0 { self.long(items as i64, at) } else { at }
    }

    /// What stands in the payload, with its length.
    #[inline(always)]
    fn span(&mut self, span: Span, at: usize) -> usize {
        let bytes = span.of(self.payload);
        let at = self.long(bytes.len() as i64, at);
        let (from, to) = (span.on(self.payload).first_chunk(), self.out.get_mut(at..));
        if let (Some(from), Some(to)) = (from, to.and_then(|to| to.first_chunk_mut::<COPY_BYTES>()))
            && bytes.len() <= COPY_BYTES
        {
            *to = *from;
            at + bytes.len()
        } else {
            self.bytes(bytes, at)
        }
    }

    fn counted(&mut self, bytes: &[u8], at: usize) -> usize {
        let at = self.long(bytes.len() as i64, at);
        self.bytes(bytes, at)
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8], at: usize) -> usize {
        self.room(bytes.len(), at)[..bytes.len()].copy_from_slice(bytes);
        at + bytes.len()
    }

    #[inline(always)]
    fn long(&mut self, number: i64, at: usize) -> usize {
        let zigzag = (number << 1 ^ number >> 63) as u64;
        if zigzag < 0x80 {
            self.room(1, at)[0] = zigzag as u8;
            at + 1
        } else {
            self.long_of_many(zigzag, at)
        }
    }

    /// A number of two bytes and more. Up to eight are made at once: seven bits for each, moved apart in halves, and a mark on all but
    /// the last.
    #[inline(never)]
    fn long_of_many(&mut self, zigzag: u64, at: usize) -> usize {
        let count = (70 - zigzag.leading_zeros() as usize) / 7;
        if count > 8 {
            return self.long_byte_by_byte(zigzag, at);
        }
        let word = (zigzag & 0x0fff_ffff) | (zigzag & 0x00ff_ffff_f000_0000) << 4;
        let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x0fff_c000_0fff_c000) << 2;
        let word = (word & 0x007f_007f_007f_007f) | (word & 0x3f80_3f80_3f80_3f80) << 1;
        let marks = 0x8080_8080_8080_8080 & ((1 << (8 * (count - 1))) - 1);
        self.room(8, at)[..8].copy_from_slice(&(word | marks).to_le_bytes());
        at + count
    }

    #[cold]
    fn long_byte_by_byte(&mut self, mut rest: u64, at: usize) -> usize {
        let room = self.room(10, at);
        let mut count = 0;
        while rest >= 0x80 {
            room[count] = rest as u8 | 0x80;
            rest >>= 7;
            count += 1;
        }
        room[count] = rest as u8;
        at + count + 1
    }

    /// Where to write next; so many bytes at least.
    #[inline(always)]
    fn room(&mut self, bytes: usize, at: usize) -> &mut [u8] {
        if self.out.len() - at < bytes {
            self.grow(bytes, at);
        }
        &mut self.out[at..]
    }

    #[cold]
    fn grow(&mut self, bytes: usize, at: usize) {
        self.out.resize(at + bytes + SLACK_BYTES, 0);
    }
}

/// A value of the plan's writer as its reader has it.
fn bring(plan: &Plan, step: Step, value: &Value, payload: &[u8]) -> Result<Value, Fault> {
    let through = |step: StepId, value: &Value| bring(plan, plan.step(step), value, payload);
    Ok(match (step, value) {
        (_, Value::Opaque(_)) => return Err(Fault::new(format!("{} does not belong here", kind_of(value)))),
        (Step::Promote(promotion), value) => promoted(promotion, value, payload)?,
        (Step::Adopt { of, unknown }, value) => adopt(&plan.schema, of, unknown, value, payload)?,
        (Step::Enum(of), Value::Enum(symbol)) => {
            let symbols = plan.symbols(of);
            match &symbols.to {
                None => Value::Enum(*symbol),
                Some(to) => {
                    to.get(*symbol as usize).copied().flatten().map(Value::Enum).ok_or_else(|| {
                        let name = symbols.names.get(*symbol as usize).map_or("", |name| name);
                        Fault::new(format!("the schema does not know the symbol `{name}`"))
                    })?
                }
            }
        }
        (Step::Record(of), Value::Record(values)) if plan.fields(of).take.len() == values.len() => {
            let fields = plan.fields(of);
            let mut made = match &fields.before {
                Some(before) => before.clone(),
                None => vec![Value::Absent; fields.take.len()].into(),
            };
            for (take, value) in fields.take.iter().zip(values) {
                if let Some(to) = take.to {
                    made[to as usize] =
                        through(take.step, value).map_err(|fault| fault.in_field(&take.name))?;
                }
            }
            Value::Record(made)
        }
        (Step::List { item: of, .. }, Value::List(values)) => {
            let item = |(index, value)| through(of, value).map_err(|fault| fault.in_item(index));
            Value::List(values.iter().enumerate().map(item).collect::<Result<_, _>>()?)
        }
        (Step::Map { value: of }, Value::Map(entries)) => {
            let entry = |(name, value): &(Text, Value)| {
                let value = through(of, value).map_err(|fault| fault.in_entry(name.get(payload)))?;
                Ok((name.clone(), value))
            };
            Value::Map(entries.iter().map(entry).collect::<Result<_, Fault>>()?)
        }
        (Step::Optional { .. }, Value::Null) => Value::Null,
        (Step::Optional { other, .. }, value) => through(other, value)?,
        (Step::Union(of), Value::Union(branch)) if (branch.0 as usize) < plan.union(of).len() => {
            Value::Union(Box::new((branch.0, through(plan.union(of)[branch.0 as usize], &branch.1)?)))
        }
        (Step::Branches { union, null: Some(null) }, value) => {
            let branch = if *value == Value::Null { null } else { 1 - null };
            through(plan.union(union)[branch as usize], value)?
        }
        (Step::Branches { union, null: None }, Value::Union(branch))
            if (branch.0 as usize) < plan.union(union).len() =>
        {
            through(plan.union(union)[branch.0 as usize], &branch.1)?
        }
        (Step::Into { branch, of }, value) => Value::Union(Box::new((branch.into(), through(of, value)?))),
        (Step::Refuse(why), _) => return Err(plan.refusal(why)),
        (_, value) => value.clone(),
    })
}

fn promoted(promotion: Promotion, value: &Value, payload: &[u8]) -> Result<Value, Fault> {
    Ok(match (promotion, value) {
        (Promotion::IntToLong, Value::Int(number)) => Value::Long((*number).into()),
        (Promotion::IntToFloat, Value::Int(number)) => Value::Float(*number as f32),
        (Promotion::IntToDouble, Value::Int(number)) => Value::Double((*number).into()),
        (Promotion::LongToFloat, Value::Long(number)) => Value::Float(*number as f32),
        (Promotion::LongToDouble, Value::Long(number)) => Value::Double(*number as f64),
        (Promotion::FloatToDouble, Value::Float(number)) => Value::Double((*number).into()),
        (Promotion::TextToBytes, Value::Text(text)) => Value::Bytes(match text {
            Text::Span(span) => Blob::Span(*span),
            Text::Own(text) => Blob::Own(text.as_bytes().into()),
        }),
        (Promotion::BytesToText, Value::Bytes(bytes)) => match std::str::from_utf8(bytes.get(payload)) {
            Ok(text) => Value::from(text),
            Err(_) => return Err(Fault::new("the bytes are not UTF-8")),
        },
        (_, value) => return Err(Fault::new(format!("{} does not belong here", kind_of(value)))),
    })
}
