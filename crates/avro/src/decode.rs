//! Bytes to rows.

use std::sync::Arc;

use aqueduct_api::schema::Schema;
use aqueduct_api::value::{Blob, Span, Text};
use aqueduct_api::{Typed, Value};
use bytes::Bytes;

use crate::fault::Fault;
use crate::plan::{Fields, Items, Plan, Promotion, Step, StepId, Symbols};
use crate::resolve::{UnknownFields, resolve};

/// Deeper values are refused: each level costs stack.
const DEPTH_MAX: u32 = 200;
/// A record of more values is refused: each is 24 bytes here, and may be none in the payload.
const VALUES_MAX: usize = 1 << 22;

/// Reads values of one writer's schema.
#[derive(Debug)]
pub struct Decoder {
    plan: Plan,
}

impl Decoder {
    /// Values come out as the writer's schema says.
    pub fn new(writer: &Arc<Schema>) -> Self {
        Self { plan: Plan::of(writer) }
    }

    /// Values come out as the reader's schema says; what only the writer has is left behind.
    ///
    /// # Errors
    /// When the two do not fit together whatever is written.
    pub fn resolving(writer: &Arc<Schema>, reader: &Arc<Schema>) -> Result<Self, Fault> {
        if Arc::ptr_eq(writer, reader) || writer == reader {
            return Ok(Self { plan: Plan { schema: Arc::clone(reader), ..Plan::of(writer) } });
        }
        Ok(Self { plan: resolve(writer, reader, UnknownFields::Drop)? })
    }

    /// The schema of what comes out.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.plan.schema
    }

    /// Reads the one value that `payload` holds from byte `start` to its end.
    ///
    /// # Errors
    /// When it holds something else, or a value beyond all measure.
    pub fn decode(&self, payload: &Bytes, start: usize) -> Result<Typed, Fault> {
        let mut reading = Reading {
            plan: &self.plan,
            bytes: payload,
            at: start.min(payload.len()),
            values_left: VALUES_MAX,
        };
        let value = reading.value(self.plan.root, DEPTH_MAX).map_err(|fault| fault.at(reading.at))?;
        match payload.len() - reading.at {
            0 => Ok(Typed::new(Arc::clone(&self.plan.schema), payload.clone(), value)),
            left => {
                Err(Fault::new(format!("the value ends {left} bytes before the payload does")).at(reading.at))
            }
        }
    }
}

struct Reading<'a> {
    plan: &'a Plan,
    bytes: &'a [u8],
    at: usize,
    values_left: usize,
}

impl Reading<'_> {
    fn value(&mut self, step: StepId, depth: u32) -> Result<Value, Fault> {
        let plan = self.plan;
        Ok(match plan.step(step) {
            Step::Null => Value::Null,
            Step::Boolean => Value::Boolean(self.boolean()?),
            Step::Int => Value::Int(self.int()?),
            Step::Long => Value::Long(self.long()?),
            Step::Float => Value::Float(f32::from_le_bytes(self.array()?)),
            Step::Double => Value::Double(f64::from_le_bytes(self.array()?)),
            Step::Bytes => Value::Bytes(Blob::Span(self.counted()?)),
            Step::Text => Value::Text(self.text()?),
            Step::Fixed(bytes) => Value::Bytes(Blob::Span(self.span(*bytes)?)),
            Step::Promote(promotion) => self.promoted(*promotion)?,
            Step::Enum(symbols) => Value::Enum(self.symbol(symbols)?),
            Step::Record(fields) => Value::Record(self.record(fields, deeper(depth)?)?),
            Step::List(items) => Value::List(self.list(*items, deeper(depth)?)?),
            Step::Map(items) => Value::Map(self.map(*items, deeper(depth)?)?),
            Step::Optional { null, other } => match self.branch(2)? {
                branch if branch == *null => Value::Null,
                _ => self.value(*other, depth)?,
            },
            Step::Union(steps) => {
                let branch = self.branch(steps.len())?;
                Value::Union(Box::new((branch, self.value(steps[branch as usize], deeper(depth)?)?)))
            }
            Step::Branches { steps, .. } => {
                let branch = self.branch(steps.len())?;
                self.value(steps[branch as usize], deeper(depth)?)?
            }
            Step::Into { branch, of } => Value::Union(Box::new((*branch, self.value(*of, deeper(depth)?)?))),
            Step::Refuse(why) => return Err(Fault::new(&**why)),
        })
    }

    fn record(&mut self, fields: &Fields, depth: u32) -> Result<Box<[Value]>, Fault> {
        self.spend(fields.take.len())?;
        let Some(before) = &fields.before else {
            let mut values = Vec::with_capacity(fields.take.len());
            for take in &fields.take {
                values.push(self.value(take.step, depth).map_err(|fault| fault.in_field(&take.name))?);
            }
            return Ok(values.into_boxed_slice());
        };
        self.spend(before.len())?;
        let mut values = before.clone();
        for take in &fields.take {
            let value = self.value(take.step, depth).map_err(|fault| fault.in_field(&take.name))?;
            if let Some(to) = take.to {
                values[to as usize] = value;
            }
        }
        Ok(values)
    }

    fn list(&mut self, items: Items, depth: u32) -> Result<Box<[Value]>, Fault> {
        let mut values = Vec::new();
        loop {
            let count = self.count(items)?;
            if count == 0 {
                return Ok(values.into_boxed_slice());
            }
            values.reserve_exact(count);
            for _ in 0..count {
                let index = values.len();
                values.push(self.value(items.step, depth).map_err(|fault| fault.in_item(index))?);
            }
        }
    }

    fn map(&mut self, items: Items, depth: u32) -> Result<Box<[(Text, Value)]>, Fault> {
        let mut entries = Vec::new();
        // An entry has a name, so it takes a byte at least.
        let items = Items { may_be_empty: false, ..items };
        loop {
            let count = self.count(items)?;
            if count == 0 {
                return Ok(entries.into_boxed_slice());
            }
            entries.reserve_exact(count);
            for _ in 0..count {
                let name = self.text()?;
                let value = self.value(items.step, depth);
                let value = value.map_err(|fault| fault.in_entry(name.get(self.bytes)))?;
                entries.push((name, value));
            }
        }
    }

    /// The count of a block; 0 after the last. A negative one is followed by the size of the block in bytes.
    fn count(&mut self, items: Items) -> Result<usize, Fault> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        let left = self.bytes.len() - self.at;
        if count > left && !items.may_be_empty {
            return Err(Fault::new(format!("a block of {count} items in {left} bytes")));
        }
        self.spend(count)?;
        Ok(count)
    }

    fn spend(&mut self, values: usize) -> Result<(), Fault> {
        match self.values_left.checked_sub(values) {
            Some(left) => {
                self.values_left = left;
                Ok(())
            }
            None => Err(Fault::new(format!("the record has more than {VALUES_MAX} values"))),
        }
    }

    fn symbol(&mut self, symbols: &Symbols) -> Result<u32, Fault> {
        let symbol = self.long()?;
        let symbol = u32::try_from(symbol)
            .ok()
            .filter(|symbol| *symbol < symbols.count)
            .ok_or_else(|| Fault::new(format!("symbol {symbol} of an enum that has {}", symbols.count)))?;
        let Some(to) = &symbols.to else { return Ok(symbol) };
        to[symbol as usize].ok_or_else(|| {
            Fault::new(format!("the reader does not know the symbol `{}`", symbols.names[symbol as usize]))
        })
    }

    fn branch(&mut self, branches: usize) -> Result<u32, Fault> {
        let branch = self.long()?;
        u32::try_from(branch)
            .ok()
            .filter(|branch| (*branch as usize) < branches)
            .ok_or_else(|| Fault::new(format!("branch {branch} of a union that has {branches}")))
    }

    fn promoted(&mut self, promotion: Promotion) -> Result<Value, Fault> {
        Ok(match promotion {
            Promotion::IntToLong => Value::Long(self.int()?.into()),
            Promotion::IntToFloat => Value::Float(self.int()? as f32),
            Promotion::IntToDouble => Value::Double(self.int()?.into()),
            Promotion::LongToFloat => Value::Float(self.long()? as f32),
            Promotion::LongToDouble => Value::Double(self.long()? as f64),
            Promotion::FloatToDouble => Value::Double(f32::from_le_bytes(self.array()?).into()),
            Promotion::BytesToText => Value::Text(self.text()?),
            Promotion::TextToBytes => match self.text()? {
                Text::Span(span) => Value::Bytes(Blob::Span(span)),
                Text::Own(text) => Value::Bytes(Blob::Own(text.as_bytes().into())),
            },
        })
    }

    fn boolean(&mut self) -> Result<bool, Fault> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [byte] => Err(Fault::new(format!("a boolean is 0 or 1, not {byte}"))),
        }
    }

    fn int(&mut self) -> Result<i32, Fault> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| Fault::new(format!("{long} is too large for an int")))
    }

    #[inline]
    fn long(&mut self) -> Result<i64, Fault> {
        // One byte does for most lengths, counts and branches.
        if let Some(byte) = self.bytes.get(self.at).filter(|byte| **byte < 0x80) {
            self.at += 1;
            return Ok(unzigzag(u64::from(*byte)));
        }
        self.long_of_many()
    }

    fn long_of_many(&mut self) -> Result<i64, Fault> {
        let mut number = 0;
        for (index, byte) in self.bytes[self.at..].iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                // The tenth byte has room for one bit.
                if index == 9 && *byte > 1 {
                    break;
                }
                self.at += index + 1;
                return Ok(unzigzag(number));
            }
        }
        Err(Fault::new(match self.bytes.len() - self.at {
            0..10 => "a number ends behind the last byte",
            _ => "a number of more than 64 bits",
        }))
    }

    fn text(&mut self) -> Result<Text, Fault> {
        let from = self.at;
        let span = self.counted()?;
        match std::str::from_utf8(span.of(self.bytes)) {
            Ok(_) => Ok(Text::Span(span)),
            Err(error) => {
                let start = self.at - span.of(self.bytes).len();
                self.at = from;
                Err(Fault::new("the text is not UTF-8").at(start + error.valid_up_to()))
            }
        }
    }

    fn counted(&mut self) -> Result<Span, Fault> {
        let count = self.long()?;
        match usize::try_from(count) {
            Ok(count) => self.span(count),
            Err(_) => Err(Fault::new(format!("a length of {count}"))),
        }
    }

    fn span(&mut self, bytes: usize) -> Result<Span, Fault> {
        let left = self.bytes.len() - self.at;
        if bytes > left {
            return Err(Fault::new(format!("{bytes} bytes are announced and {left} are there")));
        }
        let span = Span::new(self.at, bytes).ok_or_else(|| Fault::new("the payload has more than 4 GiB"))?;
        self.at += bytes;
        Ok(span)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let array = self.bytes[self.at..].first_chunk().ok_or_else(|| Fault::new("the value is cut off"))?;
        self.at += N;
        Ok(*array)
    }
}

fn deeper(depth: u32) -> Result<u32, Fault> {
    depth.checked_sub(1).ok_or_else(|| Fault::new(format!("the value is nested more than {DEPTH_MAX} deep")))
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
