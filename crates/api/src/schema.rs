//! The shape of typed values, whatever format they come in: types as nodes of one graph, so that a type may contain
//! itself. The names and the logical types are those of Avro, which says the most of all formats.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::registry::SchemaText;

/// A schema: types, one of which is the whole value's. Behind an `Arc` it is shared by all values of that shape.
#[derive(Debug)]
pub struct Schema {
    types: Box<[Type]>,
    root: TypeId,
    written: Option<SchemaText>,
}

/// Two schemas are equal when they say the same, in whatever words.
impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.types == other.types && self.root == other.root
    }
}

/// A type inside its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(u32);

/// One type.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    /// What its values are made of.
    pub kind: Kind,
    /// What they mean.
    pub logical: Option<Logical>,
    /// What the schema says beside that, under names that its format does not know: `connect.name`, `avro.java.string`.
    pub attributes: BTreeMap<String, Json>,
}

/// What values are made of.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Anything: values without a schema, as JSON has them. What a value is, only it can say.
    Any,
    /// Nothing but null.
    Null,
    /// True or false.
    Boolean,
    /// 32 bits with a sign.
    Int,
    /// 64 bits with a sign.
    Long,
    /// IEEE 754, 32 bits.
    Float,
    /// IEEE 754, 64 bits.
    Double,
    /// Bytes of any number.
    Bytes,
    /// UTF-8 text.
    Text,
    /// Bytes of one number.
    Fixed {
        /// What it is called.
        name: Name,
        /// How many bytes.
        bytes: usize,
    },
    /// One of a list of symbols.
    Enum(Enumeration),
    /// Fields by name, values by position.
    Record(RecordType),
    /// Any number of values of one type, in order.
    List(TypeId),
    /// Texts, each with a value of one type.
    Map(TypeId),
    /// One of several types; `[null, T]` makes T optional.
    Union(Box<[TypeId]>),
}

/// What values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Logical {
    /// Of bytes or fixed: a whole number, big-endian in two's complement, divided by 10 to the `scale`.
    Decimal {
        /// Decimal digits at most.
        precision: u32,
        /// Of these behind the point.
        scale: u32,
    },
    /// Of an int: days since 1970-01-01.
    Date,
    /// Of an int: milliseconds since midnight.
    TimeMillis,
    /// Of a long: microseconds since midnight.
    TimeMicros,
    /// Of a long: since 1970-01-01T00:00:00, in UTC or in nobody's zone.
    Timestamp {
        /// How fine.
        unit: Unit,
        /// A point on somebody's wall clock, nobody says whose.
        local: bool,
    },
    /// Of text or 16 fixed bytes.
    Uuid,
    /// Of 12 fixed bytes: months, days and milliseconds, little-endian and without sign.
    Duration,
}

/// How fine a timestamp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Thousandths of a second.
    Millis,
    /// Millionths.
    Micros,
    /// Thousand-millionths.
    Nanos,
}

/// What a type is called, and was called before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// With its namespace: `shop.Order`.
    pub full: Arc<str>,
    /// Earlier names, with their namespaces.
    pub aliases: Box<[Arc<str>]>,
    /// For people.
    pub doc: Option<Arc<str>>,
}

/// A list of symbols.
#[derive(Clone, Debug, PartialEq)]
pub struct Enumeration {
    /// What it is called.
    pub name: Name,
    /// The symbols; a value is a position here.
    pub symbols: Box<[Arc<str>]>,
    /// What a reader takes for a symbol it does not know.
    pub default: Option<u32>,
}

/// The fields of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordType {
    /// What it is called.
    pub name: Name,
    /// In the order of the values.
    pub fields: Box<[Field]>,
    positions: HashMap<Arc<str>, u32>,
}

/// One field.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// What it is called.
    pub name: Arc<str>,
    /// Earlier names.
    pub aliases: Box<[Arc<str>]>,
    /// For people.
    pub doc: Option<Arc<str>>,
    /// What its values are.
    pub of: TypeId,
    /// What a reader takes where the writer had no such field, as the schema says it.
    pub default: Option<Json>,
    /// What the schema says beside that.
    pub attributes: BTreeMap<String, Json>,
}

impl Schema {
    /// The same schema, remembering the words it was written in: registered elsewhere, it keeps them.
    #[must_use]
    pub fn written_as(self: Arc<Self>, text: SchemaText) -> Arc<Self> {
        match Arc::try_unwrap(self) {
            Ok(schema) => Arc::new(Schema { written: Some(text), ..schema }),
            Err(shared) => {
                let types = shared.types.clone();
                Arc::new(Schema { types, root: shared.root, written: Some(text) })
            }
        }
    }

    /// The words it was written in, where it was read from some.
    pub fn written(&self) -> Option<&SchemaText> {
        self.written.as_ref()
    }

    /// The whole value's type.
    pub fn root(&self) -> TypeId {
        self.root
    }

    /// A type of this schema.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// All of them, the identifiers counted from 0.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (0..).map(TypeId).zip(&self.types)
    }

    /// What it takes in memory, roughly.
    pub fn memory_bytes(&self) -> usize {
        let of_json = |json: &Json| 2 * json.to_string().len();
        let of_attributes = |attributes: &BTreeMap<String, Json>| {
            attributes.iter().map(|(name, json)| 64 + name.len() + of_json(json)).sum::<usize>()
        };
        let of_field = |field: &Field| {
            let default = field.default.as_ref().map_or(0, of_json);
            let doc = field.doc.as_ref().map_or(0, |doc| doc.len());
            // The name stands in the index by names too.
            size_of::<Field>() + 64 + field.name.len() + doc + default + of_attributes(&field.attributes)
        };
        let of_type = |of: &Type| {
            let inside = match &of.kind {
                Kind::Record(record) => record.fields.iter().map(of_field).sum(),
                Kind::Enum(of) => of.symbols.iter().map(|symbol| 32 + symbol.len()).sum(),
                Kind::Union(branches) => size_of_val::<[TypeId]>(branches),
                _ => 0,
            };
            size_of::<Type>() + inside + of_attributes(&of.attributes)
        };
        self.types.iter().map(of_type).sum::<usize>() + self.written.as_ref().map_or(0, SchemaText::bytes)
    }

    /// The position of null and the other type, where a union makes just one type optional.
    pub fn optional(&self, id: TypeId) -> Option<(usize, TypeId)> {
        let Kind::Union(branches) = &self.get(id).kind else { return None };
        let is_null = |branch: &TypeId| self.get(*branch).kind == Kind::Null;
        match branches[..] {
            [null, other] if is_null(&null) && !is_null(&other) => Some((0, other)),
            [other, null] if is_null(&null) && !is_null(&other) => Some((1, other)),
            _ => None,
        }
    }
}

impl TypeId {
    /// Counted from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl RecordType {
    /// Fields with names that differ.
    pub fn new(name: Name, fields: impl Into<Box<[Field]>>) -> Self {
        let fields = fields.into();
        let positions = (0..).zip(&fields).map(|(at, field)| (Arc::clone(&field.name), at)).collect();
        Self { name, fields, positions }
    }

    /// Where a field stands.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).map(|at| *at as usize)
    }
}

impl Name {
    /// A name without a past.
    pub fn new(full: impl Into<Arc<str>>) -> Self {
        Self { full: full.into(), aliases: Box::default(), doc: None }
    }

    /// Without the namespace.
    pub fn short(&self) -> &str {
        self.full.rsplit('.').next().unwrap_or_default()
    }
}

impl Kind {
    /// What a type is called: its own name, or that of its kind.
    pub fn name(&self) -> &str {
        match self {
            Kind::Any => "any",
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Int => "int",
            Kind::Long => "long",
            Kind::Float => "float",
            Kind::Double => "double",
            Kind::Bytes => "bytes",
            Kind::Text => "string",
            Kind::Fixed { name, .. } => &name.full,
            Kind::Enum(of) => &of.name.full,
            Kind::Record(of) => &of.name.full,
            Kind::List(_) => "array",
            Kind::Map(_) => "map",
            Kind::Union(_) => "union",
        }
    }
}

impl From<Kind> for Type {
    fn from(kind: Kind) -> Self {
        Type { kind, logical: None, attributes: BTreeMap::new() }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Puts a schema together: a type that contains itself is promised first and given later.
#[derive(Debug, Default)]
pub struct SchemaBuilder {
    types: Vec<Option<Type>>,
}

impl SchemaBuilder {
    /// Adds a type.
    pub fn add(&mut self, of: impl Into<Type>) -> TypeId {
        let id = self.promise();
        self.give(id, of);
        id
    }

    /// A type that is not known yet.
    pub fn promise(&mut self) -> TypeId {
        self.types.push(None);
        // Nobody has four thousand million types.
        TypeId(self.types.len() as u32 - 1)
    }

    /// Keeps a promise.
    pub fn give(&mut self, id: TypeId, of: impl Into<Type>) {
        self.types[id.index()] = Some(of.into());
    }

    /// A type that was given.
    pub fn get(&self, id: TypeId) -> Option<&Type> {
        self.types[id.index()].as_ref()
    }

    /// The schema whose values are of the type `root`. A promise that was not kept is `Any`.
    pub fn finish(self, root: TypeId) -> Arc<Schema> {
        let types = self.types.into_iter().map(|of| of.unwrap_or(Kind::Any.into())).collect();
        Arc::new(Schema { types, root, written: None })
    }
}
