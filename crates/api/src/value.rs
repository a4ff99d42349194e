//! Typed values: compact rows over one shared schema. A value is 24 bytes; text and bytes are slices of what was
//! decoded, so that a field which nobody looks at costs next to nothing.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::schema::{Schema, TypeId};

/// The memory of a value with a larger payload is not kept for the next one.
const USED_PAYLOAD_BYTES_MAX: usize = 1 << 16;

/// A value with its schema and the bytes it was decoded from. A copy of it is a count, until one of the two is changed.
#[derive(Clone)]
pub struct Typed(Arc<Inner>);

/// The memory of a value that nobody needs any more.
pub struct Used(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    schema: Arc<Schema>,
    payload: Bytes,
    root: Value,
}

/// One value. Which of several equal-looking types it is of, its schema says: a date is an `Int`, a decimal is `Bytes`.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A field that was not there at all; what that means, the reader decides. Not the same as null.
    Absent,
    /// Null.
    Null,
    /// True or false.
    Boolean(bool),
    /// Also dates and times of day in milliseconds.
    Int(i32),
    /// Also times of day in microseconds, and timestamps.
    Long(i64),
    /// NaN and the infinities too.
    Float(f32),
    /// NaN and the infinities too.
    Double(f64),
    /// The digits of a number that neither a long nor a double holds exactly; only of [`crate::schema::Kind::Any`], where
    /// JSON bounds no number.
    Number(Text),
    /// UTF-8 text.
    Text(Text),
    /// Also fixed bytes, decimals and durations.
    Bytes(Blob),
    /// A position in the list of symbols.
    Enum(u32),
    /// By position.
    Record(Box<[Value]>),
    /// In order.
    List(Box<[Value]>),
    /// In the order in which they were met.
    Map(Box<[(Text, Value)]>),
    /// Of a union that is more than an optional type: which of its types, and the value.
    Union(Box<(u32, Value)>),
    /// A field that nobody in the pipeline looks at, as the payload has it; fields behind it may stand in the same span, and
    /// have an empty one then. Only where [`crate::Decoder::project`] allowed it, for the encoder of the same format.
    Opaque(Span),
}

/// UTF-8 text: a slice of the payload, or text of its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Text {
    /// In the payload; checked when it was made.
    Span(Span),
    /// Put in later.
    Own(Arc<str>),
}

/// Bytes: a slice of the payload, or bytes of their own.
#[derive(Clone, Debug, PartialEq)]
pub enum Blob {
    /// In the payload.
    Span(Span),
    /// Put in later.
    Own(Arc<[u8]>),
}

/// Where something stands in the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    bytes: u32,
}

impl Span {
    /// `bytes` bytes from `start`; `None` beyond 4 GiB, where no record is.
    pub fn new(start: usize, bytes: usize) -> Option<Self> {
        Some(Self { start: u32::try_from(start).ok()?, bytes: u32::try_from(bytes).ok()? })
    }

    /// The slice of this payload; nothing where it has none, which only a span of another payload meets.
    pub fn of(self, payload: &[u8]) -> &[u8] {
        let start = self.start as usize;
        payload.get(start..start + self.bytes as usize).unwrap_or_default()
    }

    /// The payload from where the slice begins, on to its end.
    pub fn on(self, payload: &[u8]) -> &[u8] {
        payload.get(self.start as usize..).unwrap_or_default()
    }
}

impl Text {
    /// The text; spans are looked up in `payload`.
    pub fn get<'a>(&'a self, payload: &'a [u8]) -> &'a str {
        match self {
            // It was checked when the span was made. Looked at again it costs a nanosecond for each eight bytes, and
            // the alternative is a promise that no compiler sees kept.
            Text::Span(span) => std::str::from_utf8(span.of(payload)).unwrap_or_default(),
            Text::Own(text) => text,
        }
    }

    /// The bytes of the text, which need no second look.
    pub fn bytes<'a>(&'a self, payload: &'a [u8]) -> &'a [u8] {
        match self {
            Text::Span(span) => span.of(payload),
            Text::Own(text) => text.as_bytes(),
        }
    }
}

impl Blob {
    /// The bytes; spans are looked up in `payload`.
    pub fn get<'a>(&'a self, payload: &'a [u8]) -> &'a [u8] {
        match self {
            Blob::Span(span) => span.of(payload),
            Blob::Own(bytes) => bytes,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(Text::Own(text.into()))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Value::Bytes(Blob::Own(bytes.into()))
    }
}

impl Typed {
    /// A value of the schema's root type; its spans stand in `payload`.
    pub fn new(schema: Arc<Schema>, payload: Bytes, root: Value) -> Self {
        Self(Arc::new(Inner { schema, payload, root }))
    }

    /// What is left of a value that nobody needs any more: its memory, for [`Typed::over`]. Nothing where somebody else has
    /// it still, or where it is more than is worth keeping.
    pub fn used(mut self) -> Option<Used> {
        let inner =
            Arc::get_mut(&mut self.0).filter(|inner| inner.payload.len() <= USED_PAYLOAD_BYTES_MAX)?;
        inner.payload = Bytes::new();
        Some(Used(self.0))
    }

    /// A value of that schema in the memory of another one, written by `write` over what stands there.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn over<E>(
        used: Option<Used>,
        schema: &Arc<Schema>,
        payload: &Bytes,
        write: impl FnOnce(&mut Value) -> Result<(), E>,
    ) -> Result<Self, E> {
        let Some(Used(mut inner)) = used else {
            let mut root = Value::Absent;
            write(&mut root)?;
            return Ok(Self::new(Arc::clone(schema), payload.clone(), root));
        };
        // Nobody else has it, so nothing is copied.
        let value = Arc::make_mut(&mut inner);
        if !Arc::ptr_eq(&value.schema, schema) {
            (value.schema, value.root) = (Arc::clone(schema), Value::Absent);
        }
        write(&mut value.root)?;
        value.payload = payload.clone();
        Ok(Self(inner))
    }

    /// Its schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.0.schema
    }

    /// What its spans stand in.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.0.root
    }

    /// The value, to be changed within its schema.
    pub fn value_mut(&mut self) -> &mut Value {
        &mut Arc::make_mut(&mut self.0).root
    }

    /// The value to be changed within its schema, with that schema and with what its spans stand in.
    pub fn parts_mut(&mut self) -> (&Arc<Schema>, &[u8], &mut Value) {
        let Inner { schema, payload, root } = Arc::make_mut(&mut self.0);
        (schema, payload, root)
    }

    /// The value with its type, to walk through.
    pub fn view(&self) -> View<'_> {
        View {
            schema: &self.0.schema,
            of: self.0.schema.root(),
            payload: &self.0.payload,
            value: &self.0.root,
        }
    }

    /// Bytes it holds in memory, roughly.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Inner>() + self.0.payload.len() + self.0.root.heap_bytes()
    }
}

impl Value {
    /// Whether it has memory of its own, beyond its place.
    #[inline]
    pub fn owns_memory(&self) -> bool {
        matches!(
            self,
            Value::Record(_)
                | Value::List(_)
                | Value::Map(_)
                | Value::Union(_)
                | Value::Text(Text::Own(_))
                | Value::Bytes(Blob::Own(_))
                | Value::Number(Text::Own(_))
        )
    }

    fn heap_bytes(&self) -> usize {
        let all = |values: &[Value]| values.iter().map(|value| size_of::<Value>() + value.heap_bytes()).sum();
        match self {
            Value::Text(Text::Own(text)) | Value::Number(Text::Own(text)) => text.len(),
            Value::Bytes(Blob::Own(bytes)) => bytes.len(),
            Value::Record(values) => all(values),
            Value::List(values) => all(values),
            Value::Map(entries) => {
                entries.iter().map(|(_, value)| size_of::<(Text, Value)>() + value.heap_bytes()).sum()
            }
            Value::Union(branch) => size_of::<(u32, Value)>() + branch.1.heap_bytes(),
            _ => 0,
        }
    }
}

/// Two values are equal when they say the same, wherever their text stands.
impl PartialEq for Typed {
    fn eq(&self, other: &Self) -> bool {
        self.schema() == other.schema() && same(self.value(), self.payload(), other.value(), other.payload())
    }
}

fn same(a: &Value, in_a: &[u8], b: &Value, in_b: &[u8]) -> bool {
    let all =
        |a: &[Value], b: &[Value]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, in_a, b, in_b));
    match (a, b) {
        (Value::Text(a), Value::Text(b)) | (Value::Number(a), Value::Number(b)) => {
            a.bytes(in_a) == b.bytes(in_b)
        }
        (Value::Bytes(a), Value::Bytes(b)) => a.get(in_a) == b.get(in_b),
        // Bit by bit: NaN is NaN, and -0 is not 0.
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits(),
        (Value::Record(a), Value::Record(b)) => all(a, b),
        (Value::List(a), Value::List(b)) => all(a, b),
        (Value::Map(a), Value::Map(b)) => {
            let entry = |((name, a), (as_b, b)): (&(Text, Value), &(Text, Value))| {
                name.bytes(in_a) == as_b.bytes(in_b) && same(a, in_a, b, in_b)
            };
            a.len() == b.len() && a.iter().zip(b).all(entry)
        }
        (Value::Union(a), Value::Union(b)) => a.0 == b.0 && same(&a.1, in_a, &b.1, in_b),
        (a, b) => a == b,
    }
}

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.schema();
        write!(f, "{} {:?}", schema.get(schema.root()).kind, self.value())
    }
}

/// A value on a walk through a row: with its type, and with the payload that its text stands in.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The schema of the row.
    pub schema: &'a Schema,
    /// The value's type in it.
    pub of: TypeId,
    /// What spans stand in.
    pub payload: &'a [u8],
    /// The value.
    pub value: &'a Value,
}

impl<'a> View<'a> {
    /// The value behind optional types and unions.
    pub fn inner(self) -> Self {
        if let Value::Union(branch) = self.value
            && let crate::schema::Kind::Union(branches) = &self.schema.get(self.of).kind
            && let Some(of) = branches.get(branch.0 as usize)
        {
            return View { of: *of, value: &branch.1, ..self };
        }
        match self.schema.optional(self.of) {
            Some((_, of)) if *self.value != Value::Null => View { of, ..self },
            _ => self,
        }
    }

    /// A field of a record, by its name.
    pub fn field(self, name: &str) -> Option<View<'a>> {
        let record = self.inner();
        let (Value::Record(values), crate::schema::Kind::Record(of)) =
            (record.value, &record.schema.get(record.of).kind)
        else {
            return None;
        };
        let at = of.position(name)?;
        Some(View { of: of.fields[at].of, value: values.get(at)?, ..record })
    }

    /// The text of a text.
    pub fn text(self) -> Option<&'a str> {
        match self.value {
            Value::Text(text) => Some(text.get(self.payload)),
            _ => None,
        }
    }

    /// The bytes of bytes, fixed and decimals.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self.value {
            Value::Bytes(bytes) => Some(bytes.get(self.payload)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_small() {
        // Rows are arrays of them: a record of twelve fields is under three hundred bytes.
        assert_eq!((size_of::<Value>(), size_of::<Text>(), size_of::<Typed>()), (24, 16, 8));
    }
}
