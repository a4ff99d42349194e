//! A declared schema as the reader needs it: what has to stand for a value of each type, and what stands for a field that
//! is not there.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::Value;
use aqueduct_api::schema::{Kind, Schema, TypeId, Unit};

/// Marks a type of records that JSON writes as pairs, `[key, value]`: entries of a map whose keys are not text.
pub(crate) const PAIR: &str = "MapEntry";
/// The attribute of that mark, as Confluent's converters have it.
pub(crate) const INTERNAL_TYPE: &str = "connect.internal.type";

/// What such a type is called where the map has no name of its own.
pub(crate) const ENTRY_NAME: &str = "io.confluent.connect.avro.MapEntry";

/// What has to stand for a value.
#[derive(Debug)]
pub(crate) enum Want {
    Any,
    Null,
    Boolean,
    /// From the first to the last of these.
    Int(i32, i32),
    Long,
    Float,
    Double,
    Text,
    Bytes,
    Fixed(usize),
    Enum {
        symbols: HashMap<Arc<str>, u32>,
        default: Option<u32>,
    },
    Record(Fields),
    /// A record of two fields in an array.
    Pair(TypeId, TypeId),
    List(TypeId),
    /// Entries of a map as records, where JSON has an object.
    Entries(TypeId, TypeId),
    Map(TypeId),
    Optional(TypeId),
    Union(Box<[TypeId]>),
    Decimal {
        precision: u32,
        scale: u32,
        fixed: Option<usize>,
    },
    Date,
    Time(Unit),
    Timestamp(Unit, bool),
    Uuid,
    Duration,
}

/// The fields of a record, in the order of the values.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) list: Box<[Slot]>,
    pub(crate) positions: HashMap<Arc<str>, usize>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) name: Arc<str>,
    pub(crate) of: TypeId,
    pub(crate) missing: Missing,
    /// It may be missing, but where it stands it is not null.
    pub(crate) not_null: bool,
}

/// What stands for a field that is not there.
#[derive(Clone, Debug)]
pub(crate) enum Missing {
    Error,
    Default(Value),
}

/// Marks an optional field that JSON leaves out where it is null, and where it may not be null when it stands there.
pub(crate) const NOT_NULL: &str = "json.not_null";

/// What has to stand for the values of a schema.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(super) wants: Box<[Want]>,
    pub(crate) schema: Arc<Schema>,
    /// What stands for null in the place of the whole value, where Kafka Connect has a default for it.
    pub(crate) root_default: Option<Value>,
}

impl Wanted {
    /// What has to stand for a value of this type.
    #[inline]
    pub(crate) fn want(&self, of: TypeId) -> &Want {
        &self.wants[of.index()]
    }
}

/// Key and value of a record that JSON writes as a pair.
pub(crate) fn pair(schema: &Schema, id: TypeId) -> Option<(TypeId, TypeId)> {
    let of = schema.get(id);
    let marked = of.attributes.get(INTERNAL_TYPE).and_then(|mark| mark.as_str()) == Some(PAIR);
    match &of.kind {
        Kind::Record(record) if (marked || *record.name.full == *ENTRY_NAME) && record.fields.len() == 2 => {
            Some((record.fields[0].of, record.fields[1].of))
        }
        _ => None,
    }
}

/// Key and value of entries that JSON writes as members of an object, because their keys are text or null.
pub(crate) fn entries(schema: &Schema, items: TypeId) -> Option<(TypeId, TypeId)> {
    let (key, value) = pair(schema, items)?;
    let text = schema.optional(key).map_or(key, |(_, of)| of);
    (schema.get(text).kind == Kind::Text).then_some((key, value))
}
