//! A message as rows have it: the schema of its rows, and beside it the numbers and encodings of its fields.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::schema::Schema;
use aqueduct_api::{SchemaText, Value};

use aqueduct_api::Fault;

/// How messages are read where Protobuf can say more than rows can, or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// What becomes of `google.protobuf.Timestamp`, and of what is finer than a microsecond.
    pub timestamps: Timestamps,
    /// What becomes of `uint64` and `fixed64`.
    pub unsigned: Unsigned,
    /// What becomes of fields that the schema does not know: those of a newer version of it, and extensions. By default
    /// they are left out, as everywhere in Protobuf.
    pub unknown_fields: UnknownFields,
}

impl Default for Options {
    fn default() -> Self {
        let (timestamps, unsigned) = (Timestamps::default(), Unsigned::default());
        Self { timestamps, unsigned, unknown_fields: UnknownFields::Drop }
    }
}

/// What becomes of `google.protobuf.Timestamp`, which has nanoseconds and ten thousand years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Timestamps {
    /// Microseconds; a time that is finer is an error.
    #[default]
    Micros,
    /// Microseconds; what is finer is cut off.
    MicrosCut,
    /// Nanoseconds; a time before 1677 or after 2262 is an error.
    Nanos,
}

/// What becomes of `uint64` and `fixed64`, the upper half of which no long holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Unsigned {
    /// A long; a number above 2^63 - 1 is an error.
    #[default]
    Long,
    /// A decimal of 20 digits.
    Decimal,
}

/// What happens to a field that the schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum UnknownFields {
    /// It is an error.
    #[default]
    Error,
    /// It is left out.
    Drop,
}

/// A message with all those inside it.
#[derive(Debug)]
pub struct Shape {
    pub(crate) messages: Box<[Message]>,
    pub(crate) enums: Box<[Symbols]>,
    pub(crate) root: Item,
    pub(crate) schema: Arc<Schema>,
    pub(crate) options: Options,
}

/// The fields of a message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: Arc<str>,
    /// In the order of the row.
    pub(crate) members: Box<[Member]>,
    /// The numbers, ascending, with the places in the row.
    pub(crate) by_number: Box<[(u32, u32)]>,
    /// The places by name, and by the name in Protobuf's JSON.
    pub(crate) by_name: HashMap<Box<str>, u32>,
    /// The row of a message without bytes.
    pub(crate) before: Box<[Value]>,
    /// How many members are lists or maps.
    pub(crate) slots: usize,
    /// Whether it has members that must be there.
    pub(crate) requires: bool,
}

/// One field.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    pub(crate) number: u32,
    pub(crate) item: Item,
    pub(crate) label: Label,
    /// Those of one number exclude each other.
    pub(crate) oneof: Option<u32>,
}

/// How often a field is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    /// Once; an error where it is not.
    Required,
    /// Its zero is not written.
    Implicit,
    /// Null where it is not there.
    Optional,
    /// The default that the schema declares where it is not there.
    Declared,
    /// Any number of times.
    List { slot: usize, packed: bool },
    /// Entries of a key and a value.
    Map { slot: usize, key: Scalar },
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Scalar(Scalar),
    /// A 64-bit number without sign as a decimal.
    Decimal64(Scalar),
    Enum(u32),
    Message(u32),
    Timestamp,
    Date,
    TimeOfDay,
    /// `confluent.type.Decimal`, of this scale.
    Decimal {
        precision: u32,
        scale: u32,
    },
    /// One of google.protobuf's messages around a scalar.
    Wrapper(Scalar),
    Wrapper64(Scalar),
}

/// The types that are no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
    Bool,
    Text,
    Bytes,
}

/// The values of an enum.
#[derive(Debug)]
pub(crate) struct Symbols {
    pub(crate) name: Arc<str>,
    pub(crate) names: Box<[Arc<str>]>,
    /// By position.
    pub(crate) numbers: Box<[i32]>,
    /// The first position of each number.
    positions: HashMap<i32, u32>,
}

impl Shape {
    /// The same, its schema remembering the words it was written in.
    #[must_use]
    pub fn written_as(self, text: SchemaText) -> Self {
        Self { schema: self.schema.written_as(text), ..self }
    }

    /// The schema of its rows.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }
}

impl Message {
    /// The place of a field; `next` is where it is expected, since most producers write fields in order.
    #[inline]
    pub(crate) fn position(&self, number: u32, next: &mut usize) -> Option<usize> {
        if let Some((expected, at)) = self.by_number.get(*next)
            && *expected == number
        {
            return Some(*at as usize);
        }
        let found = self.by_number.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        *next = found;
        Some(self.by_number[found].1 as usize)
    }
}

impl Symbols {
    pub(crate) fn new(name: Arc<str>, names: Box<[Arc<str>]>, numbers: Box<[i32]>) -> Self {
        let mut positions = HashMap::with_capacity(numbers.len());
        for (at, number) in (0..).zip(&numbers) {
            positions.entry(*number).or_insert(at);
        }
        Self { name, names, numbers, positions }
    }

    /// The symbol of a number. One that the schema does not have is refused: it was written with another schema, and
    /// whatever stood for it would be a guess.
    pub(crate) fn position(&self, number: i32) -> Result<u32, Fault> {
        // Most enums count from 0.
        match u32::try_from(number) {
            Ok(at) if self.numbers.get(at as usize) == Some(&number) => Ok(at),
            _ => self.positions.get(&number).copied().ok_or_else(|| {
                Fault::new(format!("the enum `{}` has no symbol of the number {number}", self.name))
            }),
        }
    }
}
