//! Rows of some schema brought into a message: which of their fields goes where, decided once for each pair of the two.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use aqueduct_api::schema::{Kind, Logical, RecordType, Schema, TypeId, Unit};

use crate::shape::{Item, Label, Member, Scalar, Shape, Symbols, UnknownFields};
use aqueduct_api::Fault;

/// How values of one schema are written as a shape says.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rows: Box<[Row]>,
    pub(crate) root: Put,
}

/// How the fields of one record are written.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// How many values a row has.
    pub(crate) values: usize,
    /// In the order of the numbers, as the official libraries write them.
    pub(crate) writes: Box<[Write]>,
}

/// How one field is written.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) name: Arc<str>,
    /// Its place in the row.
    pub(crate) from: usize,
    pub(crate) number: u32,
    pub(crate) label: Label,
    pub(crate) oneof: Option<u32>,
    pub(crate) put: Put,
}

/// How one value is written.
#[derive(Debug)]
pub(crate) enum Put {
    Scalar(Scalar),
    /// A decimal without places as a whole number.
    Digits(Scalar),
    /// The number of each symbol.
    Symbol(Box<[i32]>),
    /// A symbol by its name, of this enum.
    Named(u32),
    /// The name of each symbol as text.
    Name(Box<[Arc<str>]>),
    Row(u32),
    /// The branch of a union as the member of a message that is called like its type.
    Branches(Box<[Write]>),
    /// `per_second` of which are a second.
    Timestamp {
        per_second: i64,
    },
    Date,
    /// So many microseconds each.
    TimeOfDay {
        micros: i64,
    },
    Decimal {
        from: u32,
        to: u32,
    },
    Wrapper(Box<Put>),
    /// What the value is, only it can say.
    Any(Item),
    /// Never anything but null.
    Null,
}

/// # Errors
/// When no row of this schema could be written.
pub(crate) fn resolve(from: &Schema, shape: &Shape, unknown: UnknownFields) -> Result<Plan, Fault> {
    let mut resolving = Resolving {
        from,
        shape,
        unknown,
        rows: Vec::new(),
        known: HashMap::new(),
        waiting: VecDeque::new(),
        path: String::new(),
    };
    let root = resolving.put(from.root(), shape.root)?;
    while let Some((record, message, row, path)) = resolving.waiting.pop_front() {
        resolving.path = path;
        resolving.rows[row as usize] =
            resolving.row(record, message).map_err(|fault| match resolving.path.as_str() {
                "" => fault,
                path => fault.in_field(path),
            })?;
    }
    Ok(Plan { rows: resolving.rows.into(), root })
}

struct Resolving<'a> {
    from: &'a Schema,
    shape: &'a Shape,
    unknown: UnknownFields,
    rows: Vec<Row>,
    known: HashMap<(TypeId, u32), u32>,
    /// Records may contain themselves, and chains of them may be long.
    waiting: VecDeque<(&'a RecordType, u32, u32, String)>,
    path: String,
}

impl<'a> Resolving<'a> {
    fn row(&mut self, record: &'a RecordType, message: u32) -> Result<Row, Fault> {
        let target = &self.shape.messages[message as usize];
        if self.unknown == UnknownFields::Error {
            let known = |name: &str| target.members.iter().any(|member| *member.name == *name);
            if let Some(field) = record.fields.iter().find(|field| !known(&field.name)) {
                let says = format!("the schema `{}` has no such field", target.name);
                return Err(Fault::new(says).in_field(&field.name));
            }
        }
        let mut writes = Vec::new();
        for (_, at) in &target.by_number {
            let member = &target.members[*at as usize];
            match record.position(&member.name) {
                Some(from) => {
                    let write = self.write(record.fields[from].of, from, member);
                    writes.push(write.map_err(|fault| fault.in_field(&member.name))?);
                }
                None if member.label == Label::Required => {
                    let says = format!("`{}` has no such field, and it is required", record.name.full);
                    return Err(Fault::new(says).in_field(&member.name));
                }
                None => {}
            }
        }
        Ok(Row { values: record.fields.len(), writes: writes.into() })
    }

    fn write(&mut self, of: TypeId, from: usize, member: &Member) -> Result<Write, Fault> {
        let outer = self.path.len();
        let dot = if self.path.is_empty() { "" } else { "." };
        self.path.push_str(&format!("{dot}{}", member.name));
        let bare = self.bare(of);
        let put = match (member.label, &self.from.get(bare).kind) {
            (_, Kind::Null) => Ok(Put::Null),
            (_, Kind::Any) => Ok(Put::Any(member.item)),
            (Label::List { .. }, Kind::List(items)) => self.put(*items, member.item),
            (Label::Map { .. }, Kind::Map(values)) => self.put(*values, member.item),
            (Label::List { .. }, kind) => Err(Fault::new(format!("`{kind}` is no list"))),
            (Label::Map { .. }, kind) => Err(Fault::new(format!("`{kind}` is no map"))),
            _ => self.put(bare, member.item),
        };
        self.path.truncate(outer);
        let (name, number, label, oneof) =
            (Arc::clone(&member.name), member.number, member.label, member.oneof);
        Ok(Write { name, from, number, label, oneof, put: put? })
    }

    /// Without the null of an optional type: a value says by itself whether it is null.
    fn bare(&self, of: TypeId) -> TypeId {
        self.from.optional(of).map_or(of, |(_, other)| other)
    }

    fn put(&mut self, of: TypeId, item: Item) -> Result<Put, Fault> {
        let from = self.from;
        let of = self.bare(of);
        let source = from.get(of);
        Ok(match (item, &source.kind) {
            (_, Kind::Any) => Put::Any(item),
            (_, Kind::Null) => Put::Null,
            (Item::Message(message), Kind::Union(branches)) => {
                let writes = branches.iter().map(|branch| self.branch(*branch, message));
                Put::Branches(writes.collect::<Result<_, Fault>>()?)
            }
            (Item::Message(message), Kind::Record(record)) => {
                let next = self.rows.len() as u32;
                let row = *self.known.entry((of, message)).or_insert(next);
                if row == next {
                    self.rows.push(Row::default());
                    self.waiting.push_back((record, message, row, self.path.clone()));
                }
                Put::Row(row)
            }
            (Item::Wrapper(scalar) | Item::Wrapper64(scalar), _) => {
                Put::Wrapper(Box::new(self.put(of, Item::Scalar(scalar))?))
            }
            (Item::Enum(to), Kind::Enum(symbols)) => {
                let to = &self.shape.enums[to as usize];
                Put::Symbol(symbols.symbols.iter().map(|symbol| to.number(symbol)).collect::<Result<_, _>>()?)
            }
            (Item::Enum(to), Kind::Text) => Put::Named(to),
            (Item::Scalar(Scalar::Text), Kind::Enum(symbols)) => Put::Name(symbols.symbols.clone()),
            (Item::Timestamp, Kind::Long) => match source.logical {
                Some(Logical::Timestamp { unit, .. }) => Put::Timestamp { per_second: per_second(unit) },
                _ => return Err(Fault::new("a long that says nothing of its unit is no timestamp")),
            },
            (Item::Date, Kind::Int) if source.logical == Some(Logical::Date) => Put::Date,
            (Item::TimeOfDay, Kind::Int) if source.logical == Some(Logical::TimeMillis) => {
                Put::TimeOfDay { micros: 1000 }
            }
            (Item::TimeOfDay, Kind::Long) if source.logical == Some(Logical::TimeMicros) => {
                Put::TimeOfDay { micros: 1 }
            }
            (Item::Decimal { scale: to, .. }, Kind::Bytes | Kind::Fixed { .. }) => match source.logical {
                Some(Logical::Decimal { scale: from, .. }) => Put::Decimal { from, to },
                _ => return Err(Fault::new("bytes that say nothing of their scale are no decimal")),
            },
            (Item::Decimal64(scalar) | Item::Scalar(scalar), kind) => {
                scalar_put(scalar, kind, source.logical)?
            }
            (item, kind) => {
                return Err(Fault::new(format!("`{kind}` cannot be written as {}", self.name(item))));
            }
        })
    }

    fn branch(&mut self, of: TypeId, message: u32) -> Result<Write, Fault> {
        let target = &self.shape.messages[message as usize];
        let kind = &self.from.get(of).kind;
        let name = branch_name(kind);
        match target.members.iter().find(|member| *member.name == *name) {
            Some(member) => self.write(of, 0, member).map_err(|fault| fault.in_field(&member.name)),
            None if *kind == Kind::Null => {
                let (name, label) = ("null".into(), Label::Optional);
                Ok(Write { name, from: 0, number: 1, label, oneof: None, put: Put::Null })
            }
            None => {
                Err(Fault::new(format!("`{}` has no field `{name}` for the union's branch", target.name)))
            }
        }
    }

    fn name(&self, item: Item) -> &str {
        match item {
            Item::Scalar(scalar) | Item::Decimal64(scalar) => scalar.name(),
            Item::Wrapper(_) | Item::Wrapper64(_) => "a wrapper",
            Item::Enum(of) => &self.shape.enums[of as usize].name,
            Item::Message(of) => &self.shape.messages[of as usize].name,
            Item::Timestamp => "google.protobuf.Timestamp",
            Item::Date => "google.type.Date",
            Item::TimeOfDay => "google.type.TimeOfDay",
            Item::Decimal { .. } => "confluent.type.Decimal",
        }
    }
}

/// What the member for a branch of a union is called: like its type, without a namespace.
pub(crate) fn branch_name(kind: &Kind) -> &str {
    match kind {
        Kind::Record(of) => of.name.short(),
        Kind::Enum(of) => of.name.short(),
        Kind::Fixed { name, .. } => name.short(),
        kind => kind.name(),
    }
}

fn per_second(unit: Unit) -> i64 {
    match unit {
        Unit::Millis => 1000,
        Unit::Micros => 1_000_000,
        Unit::Nanos => 1_000_000_000,
    }
}

fn scalar_put(scalar: Scalar, kind: &Kind, logical: Option<Logical>) -> Result<Put, Fault> {
    let whole =
        !matches!(scalar, Scalar::Float | Scalar::Double | Scalar::Bool | Scalar::Text | Scalar::Bytes);
    let fits = match kind {
        Kind::Boolean => scalar == Scalar::Bool,
        // Whether a number fits is asked of each.
        Kind::Int | Kind::Long => whole || matches!(scalar, Scalar::Float | Scalar::Double),
        Kind::Float => matches!(scalar, Scalar::Float | Scalar::Double),
        Kind::Double => scalar == Scalar::Double,
        Kind::Text => matches!(scalar, Scalar::Text | Scalar::Bytes),
        Kind::Bytes | Kind::Fixed { .. } => match logical {
            Some(Logical::Decimal { scale: 0, .. }) if whole => return Ok(Put::Digits(scalar)),
            Some(Logical::Decimal { .. }) => false,
            _ => scalar == Scalar::Bytes,
        },
        _ => false,
    };
    if fits {
        return Ok(Put::Scalar(scalar));
    }
    let meant = logical.map_or(String::new(), |logical| format!(" ({logical:?})"));
    Err(Fault::new(format!("`{kind}`{meant} cannot be written as {}", scalar.name())))
}

impl Symbols {
    /// The number of a symbol of this name, or of its name behind that of the enum.
    pub(crate) fn number(&self, symbol: &str) -> Result<i32, Fault> {
        let prefix = shouted(self.name.rsplit('.').next().unwrap_or_default());
        let is_same = |name: &Arc<str>| {
            **name == *symbol
                || name.strip_prefix(&*prefix).and_then(|rest| rest.strip_prefix('_')) == Some(symbol)
        };
        // The very name first: another symbol may be called like it with the prefix.
        let at = self.names.iter().position(|name| **name == *symbol);
        match at.or_else(|| self.names.iter().position(is_same)) {
            Some(at) => Ok(self.numbers[at]),
            None => Err(Fault::new(format!("the enum `{}` has no symbol `{symbol}`", self.name))),
        }
    }
}

/// `OrderStatus` as `ORDER_STATUS`.
pub(crate) fn shouted(name: &str) -> String {
    let mut shouted = String::new();
    let mut lower = false;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && lower {
            shouted.push('_');
        }
        lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        shouted.push(letter.to_ascii_uppercase());
    }
    shouted
}

impl Scalar {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Uint32 => "uint32",
            Scalar::Uint64 => "uint64",
            Scalar::Sint32 => "sint32",
            Scalar::Sint64 => "sint64",
            Scalar::Fixed32 => "fixed32",
            Scalar::Fixed64 => "fixed64",
            Scalar::Sfixed32 => "sfixed32",
            Scalar::Sfixed64 => "sfixed64",
            Scalar::Float => "float",
            Scalar::Double => "double",
            Scalar::Bool => "bool",
            Scalar::Text => "string",
            Scalar::Bytes => "bytes",
        }
    }
}
