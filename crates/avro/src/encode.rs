//! Rows to bytes.

use std::sync::{Arc, Mutex, PoisonError};

use aqueduct_api::schema::Schema;
use aqueduct_api::value::{Blob, Text};
use aqueduct_api::{Typed, Value};

use crate::fault::Fault;
use crate::plan::{Plan, Promotion, Step, StepId};
use crate::resolve::resolve;

pub use crate::resolve::UnknownFields;

/// Writes values as one schema says. A row of another schema is brought into it first, by the rules of resolution.
#[derive(Debug)]
pub struct Encoder {
    plan: Plan,
    unknown: UnknownFields,
    /// How rows of the schema met last come into this one: a stream of records seldom changes its schema.
    from: Mutex<Option<(Arc<Schema>, Arc<Plan>)>>,
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
        let written = if self.is_mine(typed.schema()) {
            Writing { plan: &self.plan, payload: typed.payload(), out }.value(self.plan.root, typed.value())
        } else {
            self.brought_in(typed).and_then(|value| {
                Writing { plan: &self.plan, payload: typed.payload(), out }.value(self.plan.root, &value)
            })
        };
        written.inspect_err(|_| out.truncate(from))
    }

    fn is_mine(&self, schema: &Arc<Schema>) -> bool {
        Arc::ptr_eq(schema, &self.plan.schema)
    }

    fn brought_in(&self, typed: &Typed) -> Result<Value, Fault> {
        let mut from = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match &*from {
            Some((schema, plan)) if Arc::ptr_eq(schema, typed.schema()) => Arc::clone(plan),
            _ => {
                let plan = Arc::new(resolve(typed.schema(), &self.plan.schema, self.unknown)?);
                *from = Some((Arc::clone(typed.schema()), Arc::clone(&plan)));
                plan
            }
        };
        drop(from);
        bring(&plan, plan.root, typed.value(), typed.payload())
    }
}

struct Writing<'a> {
    plan: &'a Plan,
    payload: &'a [u8],
    out: &'a mut Vec<u8>,
}

impl Writing<'_> {
    fn value(&mut self, step: StepId, value: &Value) -> Result<(), Fault> {
        let plan = self.plan;
        match (plan.step(step), value) {
            (Step::Null, Value::Null) => {}
            (Step::Boolean, Value::Boolean(flag)) => self.out.push(u8::from(*flag)),
            (Step::Int, Value::Int(number)) => self.long((*number).into()),
            (Step::Long, Value::Long(number)) => self.long(*number),
            (Step::Float, Value::Float(number)) => self.out.extend_from_slice(&number.to_le_bytes()),
            (Step::Double, Value::Double(number)) => self.out.extend_from_slice(&number.to_le_bytes()),
            (Step::Bytes, Value::Bytes(bytes)) => self.counted(bytes.get(self.payload)),
            (Step::Text, Value::Text(text)) => self.counted(text.bytes(self.payload)),
            (Step::Fixed(size), Value::Bytes(bytes)) => {
                let bytes = bytes.get(self.payload);
                if bytes.len() != *size {
                    return Err(Fault::new(format!("{} bytes where {size} belong", bytes.len())));
                }
                self.out.extend_from_slice(bytes);
            }
            (Step::Enum(symbols), Value::Enum(symbol)) if *symbol < symbols.count => {
                self.long((*symbol).into())
            }
            (Step::Record(fields), Value::Record(values)) if fields.take.len() == values.len() => {
                for (take, value) in fields.take.iter().zip(values) {
                    self.value(take.step, value).map_err(|fault| fault.in_field(&take.name))?;
                }
            }
            (Step::List(items), Value::List(values)) => {
                self.count(values.len());
                for (index, value) in values.iter().enumerate() {
                    self.value(items.step, value).map_err(|fault| fault.in_item(index))?;
                }
                self.long(0);
            }
            (Step::Map(items), Value::Map(entries)) => {
                self.count(entries.len());
                for (name, value) in entries {
                    self.counted(name.bytes(self.payload));
                    let written = self.value(items.step, value);
                    written.map_err(|fault| fault.in_entry(name.get(self.payload)))?;
                }
                self.long(0);
            }
            (Step::Optional { null, .. }, Value::Null) => self.long((*null).into()),
            (Step::Optional { null, other }, value) => {
                self.long(i64::from(1 - null));
                self.value(*other, value)?;
            }
            (Step::Union(steps), Value::Union(branch)) if (branch.0 as usize) < steps.len() => {
                self.long(branch.0.into());
                self.value(steps[branch.0 as usize], &branch.1)?;
            }
            (_, value) => return Err(Fault::new(format!("{} does not belong here", kind_of(value)))),
        }
        Ok(())
    }

    /// The block of all items, if there are any.
    fn count(&mut self, items: usize) {
        if items > 0 {
            self.long(items as i64);
        }
    }

    fn counted(&mut self, bytes: &[u8]) {
        self.long(bytes.len() as i64);
        self.out.extend_from_slice(bytes);
    }

    #[inline]
    fn long(&mut self, number: i64) {
        let mut rest = (number << 1 ^ number >> 63) as u64;
        while rest >= 0x80 {
            self.out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.out.push(rest as u8);
    }
}

/// A value of the plan's writer as its reader has it.
fn bring(plan: &Plan, step: StepId, value: &Value, payload: &[u8]) -> Result<Value, Fault> {
    let through = |step: StepId, value: &Value| bring(plan, step, value, payload);
    Ok(match (plan.step(step), value) {
        (Step::Promote(promotion), value) => promoted(*promotion, value, payload)?,
        (Step::Enum(symbols), Value::Enum(symbol)) => match &symbols.to {
            None => Value::Enum(*symbol),
            Some(to) => to.get(*symbol as usize).copied().flatten().map(Value::Enum).ok_or_else(|| {
                let name = symbols.names.get(*symbol as usize).map_or("", |name| name);
                Fault::new(format!("the schema does not know the symbol `{name}`"))
            })?,
        },
        (Step::Record(fields), Value::Record(values)) if fields.take.len() == values.len() => {
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
        (Step::List(items), Value::List(values)) => {
            let item = |(index, value)| through(items.step, value).map_err(|fault| fault.in_item(index));
            Value::List(values.iter().enumerate().map(item).collect::<Result<_, _>>()?)
        }
        (Step::Map(items), Value::Map(entries)) => {
            let entry = |(name, value): &(Text, Value)| {
                let value = through(items.step, value).map_err(|fault| fault.in_entry(name.get(payload)))?;
                Ok((name.clone(), value))
            };
            Value::Map(entries.iter().map(entry).collect::<Result<_, Fault>>()?)
        }
        (Step::Optional { .. }, Value::Null) => Value::Null,
        (Step::Optional { other, .. }, value) => through(*other, value)?,
        (Step::Union(steps), Value::Union(branch)) if (branch.0 as usize) < steps.len() => {
            Value::Union(Box::new((branch.0, through(steps[branch.0 as usize], &branch.1)?)))
        }
        (Step::Branches { steps, null: Some(null) }, value) => {
            let branch = if *value == Value::Null { *null } else { 1 - null };
            through(steps[branch as usize], value)?
        }
        (Step::Branches { steps, null: None }, Value::Union(branch)) if (branch.0 as usize) < steps.len() => {
            through(steps[branch.0 as usize], &branch.1)?
        }
        (Step::Into { branch, of }, value) => Value::Union(Box::new((*branch, through(*of, value)?))),
        (Step::Refuse(why), _) => return Err(Fault::new(&**why)),
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

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Absent => "a field that is absent and has no default",
        Value::Null => "null",
        Value::Boolean(_) => "a boolean",
        Value::Int(_) => "an int",
        Value::Long(_) => "a long",
        Value::Float(_) => "a float",
        Value::Double(_) => "a double",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
        Value::Enum(_) => "a symbol",
        Value::Record(_) => "a record",
        Value::List(_) => "an array",
        Value::Map(_) => "a map",
        Value::Union(_) => "a branch of a union",
    }
}
