//! Bytes to rows.

mod faults;
mod unread;

use std::sync::Arc;

use aqueduct_api::schema::Schema;
use aqueduct_api::value::{Blob, Span, Text, Used};
use aqueduct_api::{Typed, Value};
use bytes::Bytes;

use self::faults::{
    cut_off, ends_early, no_boolean, no_branch, no_length, no_symbol, no_text, too_deep, too_large, too_long,
    unknown_symbol,
};
use self::unread::Run;
use crate::plan::UnknownFields;
use crate::plan::{Fields, Plan, Promotion, Step};
use crate::resolve::resolve;
use aqueduct_api::Fault;

/// Deeper values are refused: each level costs stack.
const DEPTH_MAX: u32 = 200;
/// A record of more values is refused: each is 24 bytes here.
const VALUES_MAX: usize = 1 << 22;
/// An item that takes no bytes in the payload counts as many: a few bytes must not become a hundred megabytes.
const VALUES_AN_EMPTY_ITEM: usize = 64;

/// Reads values of one writer's schema.
#[derive(Debug)]
pub struct Decoder {
    plan: Plan,
    /// What is read of the outermost record, where not all of it is.
    runs: Option<Box<[Run]>>,
}

impl Decoder {
    /// Values come out as the writer's schema says.
    pub fn new(writer: &Arc<Schema>) -> Self {
        Self { plan: Plan::of(writer), runs: None }
    }

    /// The same, but of a record only these fields are read. All others come out as [`Value::Opaque`], for an encoder of
    /// the same schema; what would be an error in them is one all the same.
    pub fn looking_at(writer: &Arc<Schema>, fields: &[Arc<str>]) -> Self {
        Self { plan: Plan::of(writer), runs: unread::runs(writer, fields) }
    }

    /// Values come out as the reader's schema says; what only the writer has is left behind.
    ///
    /// # Errors
    /// When the two do not fit together whatever is written.
    pub fn resolving(writer: &Arc<Schema>, reader: &Arc<Schema>) -> Result<Self, Fault> {
        if Arc::ptr_eq(writer, reader) || writer == reader {
            return Ok(Self::new(reader));
        }
        Ok(Self { plan: resolve(writer, reader, UnknownFields::Drop)?, runs: None })
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
        self.decode_over(payload, start, None)
    }

    /// The same into the memory of another value, best one of the same schema: records and arrays that have their size
    /// already stay where they are, and a stream of records asks for no memory at all.
    ///
    /// # Errors
    /// As above.
    pub fn decode_over(&self, payload: &Bytes, start: usize, used: Option<Used>) -> Result<Typed, Fault> {
        Typed::over(used, &self.plan.schema, payload, |root| self.read(payload, start, root))
    }

    fn read(&self, payload: &[u8], start: usize, root: &mut Value) -> Result<(), Fault> {
        let reading = || Reading {
            plan: &self.plan,
            bytes: payload,
            at: start.min(payload.len()),
            values_left: VALUES_MAX,
        };
        // What is wrong there is found again below, and put into words.
        if let Some(runs) = &self.runs
            && reading().some(runs, root).is_some()
        {
            return Ok(());
        }
        let mut reading = reading();
        let read = reading.read(self.plan.root(), DEPTH_MAX, root);
        read.map_err(|fault| fault.at(reading.at))?;
        match payload.len() - reading.at {
            0 => Ok(()),
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

impl<'a> Reading<'a> {
    /// Reads a value into its place, and into the memory of the one that stands there. This is made part of each loop over fields or items, and so are
    /// the small readers below: so each kind of value is written to its place part by part. Returned, or pushed, it is
    /// gathered on the stack and copied from there, and the processor waits for that as long as for all the rest.
    #[inline(always)]
    fn value(&mut self, step: Step, depth: u32, place: &mut Value) -> Result<(), Fault> {
        let plan = self.plan;
        let step = match step {
            Step::Optional { null, other } => {
                if self.branch(2)? == u32::from(null) {
                    *place = Value::Null;
                    return Ok(());
                }
                plan.step(other)
            }
            step => step,
        };
        // Looked at before anything is read, so that nothing that was read has to wait on the stack meanwhile.
        if place.owns_memory() && !matches!(step, Step::Record(_) | Step::List { .. }) {
            clear(place);
        }
        match step {
            Step::Text => put(place, Value::Text(Text::Span(self.text()?))),
            Step::Long => put(place, Value::Long(self.long()?)),
            Step::Int => put(place, Value::Int(self.int()?)),
            Step::Bytes => put(place, Value::Bytes(Blob::Span(self.counted()?))),
            Step::Double => put(place, Value::Double(f64::from_le_bytes(self.array()?))),
            Step::Boolean => put(place, Value::Boolean(self.boolean()?)),
            Step::Enum(of) => put(place, Value::Enum(self.symbol(of)?)),
            Step::Record(of) => self.record(plan.fields(of), deeper(depth)?, place)?,
            Step::List { item, may_be_empty } => {
                self.list(plan.step(item), may_be_empty, deeper(depth)?, place)?;
            }
            step => *place = self.seldom(step, depth)?,
        }
        Ok(())
    }

    #[inline(never)]
    fn seldom(&mut self, step: Step, depth: u32) -> Result<Value, Fault> {
        let plan = self.plan;
        Ok(match step {
            Step::Null => Value::Null,
            Step::Float => Value::Float(f32::from_le_bytes(self.array()?)),
            Step::Fixed(bytes) => Value::Bytes(Blob::Span(self.span(bytes as usize)?)),
            Step::Promote(promotion) => self.promoted(promotion)?,
            Step::Map { value } => Value::Map(self.map(plan.step(value), deeper(depth)?)?),
            Step::Union(of) => {
                let steps = plan.union(of);
                let branch = self.branch(steps.len())?;
                let value = self.one(plan.step(steps[branch as usize]), deeper(depth)?)?;
                Value::Union(Box::new((branch, value)))
            }
            Step::Branches { union, .. } => {
                let steps = plan.union(union);
                let branch = self.branch(steps.len())?;
                self.one(plan.step(steps[branch as usize]), deeper(depth)?)?
            }
            Step::Into { branch, of } => {
                Value::Union(Box::new((branch.into(), self.one(plan.step(of), deeper(depth)?)?)))
            }
            Step::Refuse(why) => return Err(plan.refusal(why)),
            Step::Adopt { .. } => return Err(Fault::new("no bytes stand for a value without a schema")),
            step => self.one(step, depth)?,
        })
    }

    /// A value that stands alone.
    #[inline(never)]
    fn one(&mut self, step: Step, depth: u32) -> Result<Value, Fault> {
        let mut one = Value::Absent;
        self.read(step, depth, &mut one)?;
        Ok(one)
    }

    #[inline(never)]
    fn read(&mut self, step: Step, depth: u32, place: &mut Value) -> Result<(), Fault> {
        self.value(step, depth, place)
    }

    #[inline(never)]
    fn record(&mut self, fields: &Fields, depth: u32, place: &mut Value) -> Result<(), Fault> {
        self.spend(fields.steps.len())?;
        if let Some(before) = &fields.before {
            *place = Value::Record(self.rearranged(fields, before, depth)?);
            return Ok(());
        }
        let places = row(place, fields.steps.len());
        for (index, (step, place)) in fields.steps.iter().zip(places).enumerate() {
            self.value(*step, depth, place).map_err(|fault| fault.in_field(&fields.take[index].name))?;
        }
        Ok(())
    }

    /// The same where the reader has other fields, or another order: what is read has its place among the defaults.
    #[inline(never)]
    fn rearranged(&mut self, fields: &Fields, before: &[Value], depth: u32) -> Result<Box<[Value]>, Fault> {
        self.spend(before.len())?;
        let mut values: Box<[Value]> = before.into();
        for (step, take) in fields.steps.iter().zip(&fields.take) {
            let read = match take.to {
                Some(to) => self.value(*step, depth, &mut values[to as usize]),
                None => self.one(*step, depth).map(drop),
            };
            read.map_err(|fault| fault.in_field(&take.name))?;
        }
        Ok(values)
    }

    #[inline(never)]
    fn list(&mut self, item: Step, may_be_empty: bool, depth: u32, place: &mut Value) -> Result<(), Fault> {
        let mut values = match std::mem::replace(place, Value::Absent) {
            Value::List(values) => values.into_vec(),
            _ => Vec::new(),
        };
        let mut read = 0;
        loop {
            let count = self.count(may_be_empty)?;
            if count == 0 {
                values.truncate(read);
                put(place, Value::List(values.into_boxed_slice()));
                return Ok(());
            }
            if let Some(more) = (read + count).checked_sub(values.len()) {
                values.reserve_exact(more);
                values.extend((0..more).map(|_| Value::Absent));
            }
            for (index, place) in values.iter_mut().enumerate().skip(read).take(count) {
                self.value(item, depth, place).map_err(|fault| fault.in_item(index))?;
            }
            read += count;
        }
    }

    fn map(&mut self, value: Step, depth: u32) -> Result<Box<[(Text, Value)]>, Fault> {
        let mut entries = Vec::new();
        loop {
            // An entry has a name, so it takes a byte at least.
            let count = self.count(false)?;
            if count == 0 {
                return Ok(entries.into_boxed_slice());
            }
            entries.reserve_exact(count);
            for _ in 0..count {
                let name = Text::Span(self.text()?);
                match self.one(value, depth) {
                    Ok(value) => entries.push((name, value)),
                    Err(fault) => return Err(fault.in_entry(name.get(self.bytes))),
                }
            }
        }
    }

    /// The count of a block; 0 after the last. A negative one is followed by the size of the block in bytes.
    fn count(&mut self, may_be_empty: bool) -> Result<usize, Fault> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        let count = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        let left = self.left();
        if count > left && !may_be_empty {
            return Err(Fault::new(format!("a block of {count} items in {left} bytes")));
        }
        self.spend(if may_be_empty { count.saturating_mul(VALUES_AN_EMPTY_ITEM) } else { count })?;
        Ok(count)
    }

    #[inline]
    fn spend(&mut self, values: usize) -> Result<(), Fault> {
        match self.values_left.checked_sub(values) {
            Some(left) => {
                self.values_left = left;
                Ok(())
            }
            None => Err(Fault::new(format!("the record has more than {VALUES_MAX} values"))),
        }
    }

    #[inline(always)]
    fn symbol(&mut self, of: u32) -> Result<u32, Fault> {
        let (symbol, symbols) = (self.long()?, self.plan.symbols(of));
        let known = u32::try_from(symbol).ok().filter(|symbol| *symbol < symbols.count);
        let Some(symbol) = known else { return Err(no_symbol(symbol, symbols)) };
        match &symbols.to {
            None => Ok(symbol),
            Some(to) => to[symbol as usize].ok_or_else(|| unknown_symbol(symbol, symbols)),
        }
    }

    #[inline(always)]
    fn branch(&mut self, branches: usize) -> Result<u32, Fault> {
        let branch = self.long()?;
        match u32::try_from(branch) {
            Ok(branch) if (branch as usize) < branches => Ok(branch),
            _ => Err(no_branch(branch, branches)),
        }
    }

    fn promoted(&mut self, promotion: Promotion) -> Result<Value, Fault> {
        Ok(match promotion {
            Promotion::IntToLong => Value::Long(self.int()?.into()),
            Promotion::IntToFloat => Value::Float(self.int()? as f32),
            Promotion::IntToDouble => Value::Double(self.int()?.into()),
            Promotion::LongToFloat => Value::Float(self.long()? as f32),
            Promotion::LongToDouble => Value::Double(self.long()? as f64),
            Promotion::FloatToDouble => Value::Double(f32::from_le_bytes(self.array()?).into()),
            Promotion::BytesToText => Value::Text(Text::Span(self.text()?)),
            Promotion::TextToBytes => Value::Bytes(Blob::Span(self.text()?)),
        })
    }

    #[inline(always)]
    fn boolean(&mut self) -> Result<bool, Fault> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [byte] => Err(no_boolean(byte)),
        }
    }

    #[inline(always)]
    fn int(&mut self) -> Result<i32, Fault> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| too_large(long))
    }

    #[inline(always)]
    fn long(&mut self) -> Result<i64, Fault> {
        // One byte does for most lengths, counts and branches, eight for most numbers that mean something.
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(unzigzag(u64::from(*byte)))
            }
            _ => self.long_of_many(),
        }
    }

    #[inline(never)]
    fn long_of_many(&mut self) -> Result<i64, Fault> {
        if let Some(next) = self.rest().first_chunk() {
            let word = u64::from_le_bytes(*next);
            let last = !word & 0x8080_8080_8080_8080;
            if last != 0 {
                // Seven bits of each byte up to the first without a mark, moved together in pairs.
                let word = word & (last ^ (last - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
                let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
                let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
                let word = (word & 0x0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4;
                self.at += last.trailing_zeros() as usize / 8 + 1;
                return Ok(unzigzag(word));
            }
        }
        self.long_byte_by_byte()
    }

    #[cold]
    fn long_byte_by_byte(&mut self) -> Result<i64, Fault> {
        let mut number = 0;
        for (index, byte) in self.rest().iter().take(10).enumerate() {
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
        Err(Fault::new(match self.left() {
            0..10 => "a number ends behind the last byte",
            _ => "a number of more than 64 bits",
        }))
    }

    #[inline(always)]
    fn text(&mut self) -> Result<Span, Fault> {
        let from = self.at;
        let span = self.counted()?;
        let bytes = span.of(self.bytes);
        if is_ascii(bytes) || std::str::from_utf8(bytes).is_ok() {
            return Ok(span);
        }
        let start = self.at - bytes.len();
        self.at = from;
        Err(no_text(start, bytes))
    }

    #[inline(always)]
    fn counted(&mut self) -> Result<Span, Fault> {
        let count = self.long()?;
        match usize::try_from(count) {
            Ok(count) => self.span(count),
            Err(_) => Err(no_length(count)),
        }
    }

    #[inline(always)]
    fn span(&mut self, bytes: usize) -> Result<Span, Fault> {
        if bytes > self.left() {
            return Err(cut_off(bytes, self.left()));
        }
        let Some(span) = Span::new(self.at, bytes) else { return Err(too_long()) };
        self.at += bytes;
        Ok(span)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        match self.rest().first_chunk() {
            Some(array) => {
                self.at += N;
                Ok(*array)
            }
            None => Err(ends_early()),
        }
    }

    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }
}

/// The place holds nothing, so there is nothing to be dropped; said this way, the compiler need not look.
#[inline(always)]
fn put(place: &mut Value, value: Value) {
    std::mem::forget(std::mem::replace(place, value));
}

/// Drops what a place holds of a record before.
#[cold]
#[inline(never)]
fn clear(place: &mut Value) {
    *place = Value::Absent;
}

/// The fields of a record in this place: those of the record that stands there, if it has so many.
#[inline]
fn row(place: &mut Value, fields: usize) -> &mut [Value] {
    if !matches!(place, Value::Record(values) if values.len() == fields) {
        *place = Value::Record((0..fields).map(|_| Value::Absent).collect());
    }
    match place {
        Value::Record(values) => values,
        _ => &mut [],
    }
}

/// Eight bytes at a time, the last eight once more where the number does not come out even: most texts are short.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (chunks, rest) = bytes.as_chunks::<8>();
    let last = match bytes.last_chunk::<8>() {
        Some(last) => u64::from_le_bytes(*last),
        None => rest.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)),
    };
    chunks.iter().fold(last, |all, chunk| all | u64::from_le_bytes(*chunk)) & HIGH == 0
}

#[inline]
fn deeper(depth: u32) -> Result<u32, Fault> {
    depth.checked_sub(1).ok_or_else(too_deep)
}

#[inline]
fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
