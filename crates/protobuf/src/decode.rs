//! Bytes to rows.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::schema::Schema;
use aqueduct_api::value::{Blob, Span, Text};
use aqueduct_api::{Typed, Value};
use bytes::Bytes;

use crate::logical;
use crate::shape::{Item, Label, Member, Message, Scalar, Shape, UnknownFields};
use crate::shaping::empty;
use crate::wire::{Cursor, DEPTH_MAX, Wire, deeper, unzigzag};
use aqueduct_api::Fault;

/// A record of more values is refused: each is 24 bytes here, and may be none in the payload.
const VALUES_MAX: usize = 1 << 22;

/// Reads messages of one shape.
#[derive(Debug)]
pub struct Decoder {
    shape: Arc<Shape>,
}

impl Decoder {
    /// Rows come out as the shape's schema says.
    pub fn new(shape: Arc<Shape>) -> Self {
        Self { shape }
    }

    /// The schema of what comes out.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.shape.schema
    }

    /// Reads the message that `payload` holds from byte `start` to its end.
    ///
    /// # Errors
    /// When it holds something else, or a value beyond all measure.
    pub fn decode(&self, payload: &Bytes, start: usize) -> Result<Typed, Fault> {
        let cursor = Cursor { bytes: payload, at: start.min(payload.len()), end: payload.len() };
        let mut reading = Reading { shape: &self.shape, cursor, values_left: VALUES_MAX };
        let value = reading.whole().map_err(|fault| fault.at(reading.cursor.at))?;
        Ok(Typed::new(Arc::clone(&self.shape.schema), payload.clone(), value))
    }
}

struct Reading<'a> {
    shape: &'a Shape,
    cursor: Cursor<'a>,
    values_left: usize,
}

/// What a repeated field has so far.
enum Grown {
    Nothing,
    List(Vec<Value>),
    Map(Vec<(Text, Value)>),
}

impl Reading<'_> {
    fn whole(&mut self) -> Result<Value, Fault> {
        match self.shape.root {
            Item::Message(id) => Ok(Value::Record(self.message(id, None, DEPTH_MAX)?)),
            item => self.logical(item, None),
        }
    }

    /// A message from here to the cursor's end. Where a field of one message is there twice, the second is merged into
    /// the first, `start`.
    fn message(&mut self, id: u32, start: Option<Box<[Value]>>, depth: u32) -> Result<Box<[Value]>, Fault> {
        let shape = self.shape;
        let message = &shape.messages[id as usize];
        self.spend(message.members.len() + 1)?;
        let mut values = start.unwrap_or_else(|| message.before.clone());
        let mut grown: Vec<Grown> = (0..message.slots).map(|_| Grown::Nothing).collect();
        let mut next = 0;
        while !self.cursor.is_at_end() {
            let (number, wire) = self.cursor.tag()?;
            let Some(at) = message.position(number, &mut next) else {
                if shape.options.unknown_fields == UnknownFields::Error {
                    let says = format!("the schema `{}` has no field of the number {number}", message.name);
                    return Err(Fault::new(says));
                }
                self.cursor.skip(number, wire, depth)?;
                continue;
            };
            let member = &message.members[at];
            let read = match member.label {
                Label::List { slot, .. } => {
                    self.items(member, wire, &mut values[at], &mut grown[slot], depth)
                }
                Label::Map { slot, key } => {
                    self.entry(member, key, wire, &mut values[at], &mut grown[slot], depth)
                }
                _ => {
                    next += 1;
                    self.single(member, wire, &mut values[at], depth)
                }
            };
            read.map_err(|fault| fault.in_field(&member.name))?;
            if let Some(oneof) = member.oneof {
                clear_others(message, at, oneof, &mut values);
            }
        }
        self.finish(message, &mut values, grown)?;
        Ok(values)
    }

    fn finish(&self, message: &Message, values: &mut [Value], grown: Vec<Grown>) -> Result<(), Fault> {
        let is_slot = |member: &Member| matches!(member.label, Label::List { .. } | Label::Map { .. });
        let slots = message.members.iter().zip(values.iter_mut()).filter(|(member, _)| is_slot(member));
        // The slots were given in the order of the fields.
        for ((_, value), grown) in slots.zip(grown) {
            match grown {
                Grown::Nothing => {}
                Grown::List(items) => *value = Value::List(items.into()),
                Grown::Map(entries) => *value = Value::Map(self.last_of_each(entries).into()),
            }
        }
        if message.requires {
            for (member, value) in message.members.iter().zip(values) {
                if member.label == Label::Required && *value == Value::Absent {
                    return Err(Fault::new("a required field is not there").in_field(&member.name));
                }
            }
        }
        Ok(())
    }

    fn single(&mut self, member: &Member, wire: Wire, value: &mut Value, depth: u32) -> Result<(), Fault> {
        let before = std::mem::replace(value, Value::Null);
        *value = self.item(member.item, wire, Some(before), depth)?;
        Ok(())
    }

    fn items(
        &mut self,
        member: &Member,
        wire: Wire,
        value: &mut Value,
        grown: &mut Grown,
        depth: u32,
    ) -> Result<(), Fault> {
        if matches!(grown, Grown::Nothing) {
            let before = match std::mem::replace(value, Value::Absent) {
                Value::List(items) => items.into_vec(),
                _ => Vec::new(),
            };
            *grown = Grown::List(before);
        }
        let Grown::List(items) = grown else { return Ok(()) };
        let own = member.item.wire();
        if wire == own || own == Wire::Counted {
            self.spend(1)?;
            let index = items.len();
            items.push(self.item(member.item, wire, None, depth).map_err(|fault| fault.in_item(index))?);
            return Ok(());
        }
        // Packed, whatever the schema says of it: readers take both.
        expect(wire, Wire::Counted)?;
        let end = self.cursor.counted_end()?;
        let bytes = &self.cursor.bytes[self.cursor.at..end];
        let count = match own {
            Wire::Fixed32 => bytes.len() / 4,
            Wire::Fixed64 => bytes.len() / 8,
            _ => bytes.iter().filter(|byte| **byte < 0x80).count(),
        };
        self.spend(count)?;
        items.reserve(count);
        let outer = std::mem::replace(&mut self.cursor.end, end);
        while !self.cursor.is_at_end() {
            let index = items.len();
            items.push(self.item(member.item, own, None, depth).map_err(|fault| fault.in_item(index))?);
        }
        self.cursor.end = outer;
        Ok(())
    }

    fn entry(
        &mut self,
        member: &Member,
        key: Scalar,
        wire: Wire,
        value: &mut Value,
        grown: &mut Grown,
        depth: u32,
    ) -> Result<(), Fault> {
        expect(wire, Wire::Counted)?;
        if matches!(grown, Grown::Nothing) {
            let before = match std::mem::replace(value, Value::Absent) {
                Value::Map(entries) => entries.into_vec(),
                _ => Vec::new(),
            };
            *grown = Grown::Map(before);
        }
        let Grown::Map(entries) = grown else { return Ok(()) };
        self.spend(2)?;
        let depth = deeper(depth)?;
        let end = self.cursor.counted_end()?;
        let outer = std::mem::replace(&mut self.cursor.end, end);
        let (mut name, mut value) = (None, None);
        while !self.cursor.is_at_end() {
            match self.cursor.tag()? {
                (1, wire) => name = Some(self.key(key, wire)?),
                (2, wire) => {
                    let read = self.item(member.item, wire, value.take(), depth);
                    let name = name.as_ref().map_or("", |name: &Text| name.get(self.cursor.bytes));
                    value = Some(read.map_err(|fault| fault.in_entry(name))?);
                }
                (number, wire) => self.cursor.skip(number, wire, depth)?,
            }
        }
        self.cursor.end = outer;
        let name = match name {
            Some(name) => name,
            None => self.zero_key(key),
        };
        let value = match value {
            Some(value) => value,
            None => self.zero(member.item, depth)?,
        };
        entries.push((name, value));
        Ok(())
    }

    /// Keys are text; numbers and booleans as Protobuf's JSON writes them.
    fn key(&mut self, key: Scalar, wire: Wire) -> Result<Text, Fault> {
        expect(wire, key.wire())?;
        let text = match key {
            Scalar::Text => return self.text(),
            Scalar::Bool => (self.cursor.varint()? != 0).to_string(),
            Scalar::Uint64 => self.cursor.varint()?.to_string(),
            Scalar::Fixed64 => u64::from_le_bytes(self.cursor.array()?).to_string(),
            key => match self.scalar(key)? {
                Value::Int(number) => number.to_string(),
                Value::Long(number) => number.to_string(),
                _ => return Err(Fault::new("a key of a map that is neither a number nor text")),
            },
        };
        Ok(Text::Own(text.into()))
    }

    fn zero_key(&self, key: Scalar) -> Text {
        Text::Own(match key {
            Scalar::Text => "".into(),
            Scalar::Bool => "false".into(),
            _ => "0".into(),
        })
    }

    /// What an entry without a value has.
    fn zero(&mut self, item: Item, depth: u32) -> Result<Value, Fault> {
        match item {
            Item::Scalar(scalar) => Ok(zero(scalar)),
            Item::Decimal64(_) => Ok(Value::from(&[0_u8][..])),
            Item::Enum(of) => self.shape.enums[of as usize].position(0).map(Value::Enum),
            item => {
                let outer = std::mem::replace(&mut self.cursor.end, self.cursor.at);
                let value = match item {
                    Item::Message(id) => self.message(id, None, deeper(depth)?).map(Value::Record),
                    item => self.logical(item, None),
                };
                self.cursor.end = outer;
                value
            }
        }
    }

    /// Of a key that is there twice the last value counts.
    fn last_of_each(&self, mut entries: Vec<(Text, Value)>) -> Vec<(Text, Value)> {
        let bytes = self.cursor.bytes;
        let mut stays = vec![true; entries.len()];
        let mut last: HashMap<&[u8], usize> = HashMap::with_capacity(entries.len());
        for (at, (name, _)) in entries.iter().enumerate() {
            if let Some(before) = last.insert(name.bytes(bytes), at) {
                stays[before] = false;
            }
        }
        let repeats = last.len() < stays.len();
        drop(last);
        if repeats {
            let mut stays = stays.into_iter();
            entries.retain(|_| stays.next().unwrap_or(true));
        }
        entries
    }

    #[inline]
    fn item(&mut self, item: Item, wire: Wire, before: Option<Value>, depth: u32) -> Result<Value, Fault> {
        expect(wire, item.wire())?;
        match item {
            Item::Scalar(scalar) => self.scalar(scalar),
            Item::Decimal64(scalar) => self.unsigned(scalar).map(decimal64),
            Item::Enum(of) => {
                // A negative number is written in ten bytes; the upper half says nothing.
                let number = self.cursor.varint()? as i32;
                self.shape.enums[of as usize].position(number).map(Value::Enum)
            }
            item => {
                let end = self.cursor.counted_end()?;
                let outer = std::mem::replace(&mut self.cursor.end, end);
                let value = match (item, before) {
                    (Item::Message(id), Some(Value::Record(start))) => {
                        Value::Record(self.message(id, Some(start), deeper(depth)?)?)
                    }
                    (Item::Message(id), _) => Value::Record(self.message(id, None, deeper(depth)?)?),
                    (item, before) => self.logical(item, before)?,
                };
                self.cursor.end = outer;
                Ok(value)
            }
        }
    }

    /// A message that is one value in a row, from here to the cursor's end. Nobody splits one into two that would have
    /// to be merged, except of a wrapper: there it is the same as replacing, unless the second is empty.
    fn logical(&mut self, item: Item, before: Option<Value>) -> Result<Value, Fault> {
        let timestamps = self.shape.options.timestamps;
        match item {
            Item::Wrapper(scalar) | Item::Wrapper64(scalar) => {
                let decimal = matches!(item, Item::Wrapper64(_));
                let mut value = match before {
                    Some(value) if value != Value::Null => value,
                    _ if decimal => decimal64(0),
                    _ => zero(scalar),
                };
                while !self.cursor.is_at_end() {
                    value = match self.cursor.tag()? {
                        (1, wire) => {
                            expect(wire, scalar.wire())?;
                            if decimal { decimal64(self.unsigned(scalar)?) } else { self.scalar(scalar)? }
                        }
                        (number, wire) => {
                            self.cursor.skip(number, wire, DEPTH_MAX)?;
                            value
                        }
                    };
                }
                Ok(value)
            }
            Item::Decimal { scale, .. } => {
                let (bytes, [_, _, from, _]) = self.parts()?;
                let digits = bytes.map_or(&[][..], |span| span.of(self.cursor.bytes));
                let (from, to) = (i64::from(from as i32), i64::from(scale));
                match bytes {
                    // Without bytes there is no number to any reader of decimals: zero is one of a byte.
                    Some(span) if from == to && !digits.is_empty() => Ok(Value::Bytes(Blob::Span(span))),
                    _ => Ok(Value::from(&logical::rescaled(digits, from, to)?[..])),
                }
            }
            Item::Date => self.parts().and_then(|(_, parts)| logical::days(int32s(parts))).map(Value::Int),
            Item::TimeOfDay => {
                let (_, parts) = self.parts()?;
                logical::time_us(int32s(parts), timestamps).map(Value::Long)
            }
            // What is left is the timestamp.
            _ => {
                let (_, [seconds, nanos, ..]) = self.parts()?;
                logical::timestamp(seconds, i64::from(nanos as i32), timestamps).map(Value::Long)
            }
        }
    }

    /// The numbers of the fields 1 to 4, and the bytes of field 1.
    fn parts(&mut self) -> Result<(Option<Span>, [i64; 4]), Fault> {
        let (mut bytes, mut parts) = (None, [0; 4]);
        while !self.cursor.is_at_end() {
            match self.cursor.tag()? {
                (number @ 1..=4, Wire::Varint) => parts[number as usize - 1] = self.cursor.varint()? as i64,
                (1, Wire::Counted) => bytes = Some(self.cursor.counted()?),
                (number @ 1..=4, wire) => {
                    return Err(Fault::new(format!("field {number} is written as {wire:?}")));
                }
                (number, wire) => self.cursor.skip(number, wire, DEPTH_MAX)?,
            }
        }
        Ok((bytes, parts))
    }

    #[inline]
    fn scalar(&mut self, scalar: Scalar) -> Result<Value, Fault> {
        Ok(match scalar {
            Scalar::Int32 => Value::Int(self.cursor.varint()? as i32),
            Scalar::Int64 => Value::Long(self.cursor.varint()? as i64),
            Scalar::Uint32 => Value::Long((self.cursor.varint()? as u32).into()),
            Scalar::Sint32 => Value::Int(unzigzag((self.cursor.varint()? as u32).into()) as i32),
            Scalar::Sint64 => Value::Long(unzigzag(self.cursor.varint()?)),
            Scalar::Fixed32 => Value::Long(u32::from_le_bytes(self.cursor.array()?).into()),
            Scalar::Sfixed32 => Value::Int(i32::from_le_bytes(self.cursor.array()?)),
            Scalar::Sfixed64 => Value::Long(i64::from_le_bytes(self.cursor.array()?)),
            Scalar::Uint64 | Scalar::Fixed64 => {
                let number = self.unsigned(scalar)?;
                Value::Long(number.try_into().map_err(|_| {
                    Fault::new(format!("{number} is too large for a long: read `uint64` as `decimal`"))
                })?)
            }
            Scalar::Float => Value::Float(f32::from_le_bytes(self.cursor.array()?)),
            Scalar::Double => Value::Double(f64::from_le_bytes(self.cursor.array()?)),
            Scalar::Bool => Value::Boolean(self.cursor.varint()? != 0),
            Scalar::Text => Value::Text(self.text()?),
            Scalar::Bytes => Value::Bytes(Blob::Span(self.cursor.counted()?)),
        })
    }

    fn unsigned(&mut self, scalar: Scalar) -> Result<u64, Fault> {
        match scalar {
            Scalar::Fixed64 => Ok(u64::from_le_bytes(self.cursor.array()?)),
            _ => self.cursor.varint(),
        }
    }

    fn text(&mut self) -> Result<Text, Fault> {
        let span = self.cursor.counted()?;
        let bytes = span.of(self.cursor.bytes);
        match std::str::from_utf8(bytes) {
            Ok(_) => Ok(Text::Span(span)),
            Err(error) => {
                let start = self.cursor.at - bytes.len();
                Err(Fault::new("the text is not UTF-8").at(start + error.valid_up_to()))
            }
        }
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
}

/// Of the members of a `oneof` the last in the bytes is the one that is set.
fn clear_others(message: &Message, at: usize, oneof: u32, values: &mut [Value]) {
    for (other, member) in message.members.iter().enumerate() {
        if member.oneof == Some(oneof) && other != at {
            values[other] = Value::Null;
        }
    }
}

#[inline]
fn expect(wire: Wire, own: Wire) -> Result<(), Fault> {
    if wire == own {
        return Ok(());
    }
    Err(Fault::new(format!("written as {wire:?}, where {own:?} belongs: the bytes are of another schema")))
}

fn int32s(parts: [i64; 4]) -> [i64; 4] {
    parts.map(|part| i64::from(part as i32))
}

fn decimal64(number: u64) -> Value {
    Value::from(&logical::unsigned_bytes(number)[..])
}

fn zero(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 => Value::Int(0),
        Scalar::Uint32 | Scalar::Fixed32 | Scalar::Uint64 | Scalar::Fixed64 => Value::Long(0),
        Scalar::Int64 | Scalar::Sint64 | Scalar::Sfixed64 => Value::Long(0),
        Scalar::Float => Value::Float(0.0),
        Scalar::Double => Value::Double(0.0),
        Scalar::Bool => Value::Boolean(false),
        Scalar::Text | Scalar::Bytes => empty(scalar),
    }
}

impl Item {
    #[inline]
    pub(crate) fn wire(self) -> Wire {
        match self {
            Item::Scalar(scalar) | Item::Decimal64(scalar) => scalar.wire(),
            Item::Enum(_) => Wire::Varint,
            _ => Wire::Counted,
        }
    }
}

impl Scalar {
    #[inline]
    pub(crate) fn wire(self) -> Wire {
        match self {
            Scalar::Fixed32 | Scalar::Sfixed32 | Scalar::Float => Wire::Fixed32,
            Scalar::Fixed64 | Scalar::Sfixed64 | Scalar::Double => Wire::Fixed64,
            Scalar::Text | Scalar::Bytes => Wire::Counted,
            _ => Wire::Varint,
        }
    }
}
