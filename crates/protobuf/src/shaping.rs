//! From the compiler's descriptors to shapes: what each message, enum and scalar is in a row.
//!
//! - A field of implicit presence is never null: where it is not there it has its zero. One with presence (`optional`, a
//!   message, a member of a `oneof`) is null where it is not there, unless proto2 declares a default: then it has that.
//! - The members of a `oneof` are optional fields of the record; the last one in the bytes counts.
//! - `uint32` and `fixed32` are longs. The keys of maps are text: numbers and booleans as Protobuf's JSON writes them.
//! - google.protobuf.Timestamp is a timestamp, google.type.Date a date, google.type.TimeOfDay a time in microseconds,
//!   confluent.type.Decimal with a scale in its field's options a decimal, and google.protobuf's wrappers are optional
//!   scalars (scalars in lists, in maps and as the whole value). All other messages are records, Duration, Any and
//!   Struct among them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use aqueduct_api::Value;
use aqueduct_api::schema::{
    Enumeration, Field, Kind, Logical, Name, RecordType, SchemaBuilder, Type, TypeId, Unit,
};
use aqueduct_api::value::{Blob, Span, Text};
use protox::prost_reflect::prost_types::FieldDescriptorProto;
use protox::prost_reflect::{
    self as reflect, Cardinality, EnumDescriptor, FieldDescriptor, MapKey, MessageDescriptor, Syntax,
};
use serde_json::{Value as Json, json};

use crate::error::ProtoError;
use crate::logical::unsigned_bytes;
use crate::shape::{Item, Label, Member, Message, Options, Scalar, Shape, Symbols, Timestamps, Unsigned};
use crate::wire::Wire;

/// A schema has fewer fields than this.
const FIELDS_MAX: usize = 100_000;

pub(crate) struct Shaping {
    options: Options,
    schema: SchemaBuilder,
    messages: Vec<Message>,
    enums: Vec<Symbols>,
    /// Messages and enums by their full names.
    known_messages: HashMap<String, (u32, TypeId)>,
    known_enums: HashMap<String, (u32, TypeId)>,
    /// Promised, and to be looked into: messages may contain themselves, and chains of them may be long.
    waiting: VecDeque<(MessageDescriptor, TypeId)>,
    fields: usize,
}

impl Shape {
    /// # Errors
    /// When the message, or one inside it, cannot be read.
    pub(crate) fn of(message: &MessageDescriptor, options: Options) -> Result<Self, ProtoError> {
        let mut shaping = Shaping::new(options);
        let (root, root_type) = shaping.root(message)?;
        let (messages, enums, schema): (_, _, SchemaBuilder) = shaping.finish();
        Ok(Self { messages, enums, root, schema: schema.finish(root_type), options })
    }
}

impl Shaping {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options,
            schema: SchemaBuilder::default(),
            messages: Vec::new(),
            enums: Vec::new(),
            known_messages: HashMap::new(),
            known_enums: HashMap::new(),
            waiting: VecDeque::new(),
            fields: 0,
        }
    }

    pub(crate) fn root(&mut self, message: &MessageDescriptor) -> Result<(Item, TypeId), ProtoError> {
        let root = self.message(message, None);
        while let Some((message, id)) = self.waiting.pop_front() {
            self.fill(&message, id)?;
        }
        Ok(root)
    }

    pub(crate) fn finish(self) -> (Box<[Message]>, Box<[Symbols]>, SchemaBuilder) {
        (self.messages.into(), self.enums.into(), self.schema)
    }

    fn fill(&mut self, message: &MessageDescriptor, id: TypeId) -> Result<(), ProtoError> {
        let (mut members, mut before, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        let mut by_name = HashMap::new();
        let mut slots = 0;
        // In the order of the text, which is that of a row; the descriptor's own is that of the numbers.
        let numbers = message.descriptor_proto().field.iter().map(FieldDescriptorProto::number);
        for field in numbers.filter_map(|number| message.get_field(number as u32)) {
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                return Err(ProtoError(format!("the schema has more than {FIELDS_MAX} fields")));
            }
            if field.is_group() {
                let says = format!("`{}` is a group, and groups are not read", field.full_name());
                return Err(ProtoError(says));
            }
            let (member, of, value, default) = self.member(&field, &mut slots);
            let mut attributes = BTreeMap::from([("protobuf.number".to_owned(), json!(member.number))]);
            if let Some(name) = unusual(member.item) {
                attributes.insert("protobuf.type".to_owned(), json!(name));
            }
            if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
                attributes.insert("protobuf.oneof".to_owned(), json!(oneof.name()));
            }
            let name = Arc::clone(&member.name);
            by_name.entry(field.json_name().into()).or_insert(members.len() as u32);
            by_name.insert((*name).into(), members.len() as u32);
            fields.push(Field { name, aliases: Box::default(), doc: None, of, default, attributes });
            members.push(member);
            before.push(value);
        }
        let name: Arc<str> = message.full_name().into();
        self.schema.give(id, Kind::Record(RecordType::new(Name::new(Arc::clone(&name)), fields)));
        let mut by_number: Vec<(u32, u32)> =
            (0..).zip(&members).map(|(at, member): (u32, &Member)| (member.number, at)).collect();
        by_number.sort_unstable();
        let requires = members.iter().any(|member| member.label == Label::Required);
        let (members, by_number, before) = (members.into(), by_number.into(), before.into());
        self.messages.push(Message { name, members, by_number, by_name, before, slots, requires });
        Ok(())
    }

    /// The field, its type in rows, its value where it is not there, and that value for other readers.
    fn member(
        &mut self,
        field: &FieldDescriptor,
        slots: &mut usize,
    ) -> (Member, TypeId, Value, Option<Json>) {
        let mut slot = || {
            *slots += 1;
            *slots - 1
        };
        let entry = field.kind().as_message().filter(|_| field.is_map()).cloned();
        let (label, item, of) = if let Some(entry) = entry {
            let key = scalar(&entry.map_entry_key_field().kind()).unwrap_or(Scalar::Text);
            let value = entry.map_entry_value_field();
            let (item, of) = self.item(&value, field);
            (Label::Map { slot: slot(), key }, item, self.schema.add(Kind::Map(of)))
        } else {
            let (item, of) = self.item(field, field);
            if field.is_list() {
                let label = Label::List { slot: slot(), packed: is_packed(field, item) };
                (label, item, self.schema.add(Kind::List(of)))
            } else {
                let declared = field.field_descriptor_proto().default_value.is_some();
                let label = match (field.cardinality(), field.supports_presence()) {
                    (Cardinality::Required, _) => Label::Required,
                    (_, true) if declared && field.containing_oneof().is_none() => Label::Declared,
                    (_, true) => Label::Optional,
                    (_, false) => Label::Implicit,
                };
                let of = if label == Label::Optional { self.optional(of) } else { of };
                (label, item, of)
            }
        };
        let (value, default) = match label {
            Label::Required => (Value::Absent, None),
            Label::Optional => (Value::Null, Some(Json::Null)),
            Label::List { .. } => (Value::List(Box::default()), Some(json!([]))),
            Label::Map { .. } => (Value::Map(Box::default()), Some(json!({}))),
            Label::Implicit | Label::Declared => self.default(&field.default_value(), item),
        };
        let oneof = field.containing_oneof().filter(|oneof| !oneof.is_synthetic());
        let oneof = oneof.and_then(|of| of.parent_message().oneofs().position(|other| other == of));
        let oneof = oneof.map(|at| at as u32);
        let member = Member { name: field.name().into(), number: field.number(), item, label, oneof };
        (member, of, value, default)
    }

    fn optional(&mut self, of: TypeId) -> TypeId {
        let null = self.schema.add(Kind::Null);
        self.schema.add(Kind::Union([null, of].into()))
    }

    /// What a field holds; the options that say more stand at the field `said`.
    fn item(&mut self, field: &FieldDescriptor, said: &FieldDescriptor) -> (Item, TypeId) {
        match field.kind() {
            reflect::Kind::Message(message) => self.message(&message, Some(said)),
            reflect::Kind::Enum(of) => self.enumeration(&of),
            // What is neither is a scalar.
            kind => self.scalar(scalar(&kind).unwrap_or(Scalar::Bytes)),
        }
    }

    fn scalar(&mut self, scalar: Scalar) -> (Item, TypeId) {
        if scalar.is_unsigned64() && self.options.unsigned == Unsigned::Decimal {
            let logical = Some(Logical::Decimal { precision: 20, scale: 0 });
            let of = Type { logical, ..Kind::Bytes.into() };
            return (Item::Decimal64(scalar), self.schema.add(of));
        }
        (Item::Scalar(scalar), self.schema.add(scalar.kind()))
    }

    /// What a message is; `field` is the one that holds it, whose options may say more.
    fn message(&mut self, message: &MessageDescriptor, field: Option<&FieldDescriptor>) -> (Item, TypeId) {
        let full = message.full_name();
        let (kind, logical, item) = match full {
            "google.protobuf.Timestamp" => {
                let nanos = self.options.timestamps == Timestamps::Nanos;
                let unit = if nanos { Unit::Nanos } else { Unit::Micros };
                (Kind::Long, Logical::Timestamp { unit, local: false }, Item::Timestamp)
            }
            "google.type.Date" => (Kind::Int, Logical::Date, Item::Date),
            "google.type.TimeOfDay" => (Kind::Long, Logical::TimeMicros, Item::TimeOfDay),
            "confluent.type.Decimal" => match field.and_then(scale) {
                Some((precision, scale)) => {
                    let logical = Logical::Decimal { precision, scale };
                    (Kind::Bytes, logical, Item::Decimal { precision, scale })
                }
                None => return self.record(message),
            },
            _ => {
                return match wrapped(full).map(|of| self.scalar(of)) {
                    Some((Item::Decimal64(scalar), of)) => (Item::Wrapper64(scalar), of),
                    Some((Item::Scalar(scalar), of)) => (Item::Wrapper(scalar), of),
                    _ => self.record(message),
                };
            }
        };
        (item, self.schema.add(Type { logical: Some(logical), ..kind.into() }))
    }

    fn record(&mut self, message: &MessageDescriptor) -> (Item, TypeId) {
        // Numbers are given in the order in which messages are met, which is that of the queue.
        let number = self.known_messages.len() as u32;
        let (number, id) = match self.known_messages.get(message.full_name()) {
            Some(known) => *known,
            None => {
                let id = self.schema.promise();
                self.known_messages.insert(message.full_name().to_owned(), (number, id));
                self.waiting.push_back((message.clone(), id));
                (number, id)
            }
        };
        (Item::Message(number), id)
    }

    fn enumeration(&mut self, of: &EnumDescriptor) -> (Item, TypeId) {
        if let Some((number, id)) = self.known_enums.get(of.full_name()) {
            return (Item::Enum(*number), *id);
        }
        // In the order of the text.
        let values = &of.enum_descriptor_proto().value;
        let names: Box<[Arc<str>]> = values.iter().map(|value| value.name().into()).collect();
        let numbers: Box<[i32]> = values.iter().map(|value| value.number()).collect();
        let name: Arc<str> = of.full_name().into();
        let mut kind = Type::from(Kind::Enum(Enumeration {
            name: Name::new(Arc::clone(&name)),
            symbols: names.clone(),
            default: None,
        }));
        if (0..).zip(&numbers).any(|(at, number)| *number != at) {
            kind.attributes.insert("protobuf.numbers".to_owned(), json!(numbers));
        }
        let id = self.schema.add(kind);
        let number = self.enums.len() as u32;
        self.enums.push(Symbols::new(name, names, numbers));
        self.known_enums.insert(of.full_name().to_owned(), (number, id));
        (Item::Enum(number), id)
    }

    /// A value of the compiler's in a row, and as the JSON of a default.
    fn default(&self, value: &reflect::Value, item: Item) -> (Value, Option<Json>) {
        match value {
            reflect::Value::Bool(flag) => (Value::Boolean(*flag), Some(json!(flag))),
            reflect::Value::I32(number) => (Value::Int(*number), Some(json!(number))),
            reflect::Value::I64(number) => (Value::Long(*number), Some(json!(number))),
            reflect::Value::U32(number) => (Value::Long((*number).into()), Some(json!(number))),
            reflect::Value::U64(number) => match (item, i64::try_from(*number)) {
                (Item::Scalar(_), Ok(number)) => (Value::Long(number), Some(json!(number))),
                // One that no long holds is an error where it is met, not here.
                (Item::Scalar(_), Err(_)) => (Value::Absent, None),
                _ => {
                    let bytes = unsigned_bytes(*number);
                    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
                    (Value::from(&bytes[..]), Some(json!(text)))
                }
            },
            // JSON has neither NaN nor the infinities: no default then.
            reflect::Value::F32(number) => (Value::Float(*number), number.is_finite().then(|| json!(number))),
            reflect::Value::F64(number) => {
                (Value::Double(*number), number.is_finite().then(|| json!(number)))
            }
            // Nothing to share and nothing to count: a message begins with a copy of these.
            reflect::Value::String(text) if text.is_empty() => (empty(Scalar::Text), Some(json!(""))),
            reflect::Value::Bytes(bytes) if bytes.is_empty() => (empty(Scalar::Bytes), Some(json!(""))),
            reflect::Value::String(text) => (Value::from(text.as_str()), Some(json!(text))),
            reflect::Value::Bytes(bytes) => {
                let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
                (Value::from(&bytes[..]), Some(json!(text)))
            }
            reflect::Value::EnumNumber(number) => {
                let Item::Enum(of) = item else { return (Value::Absent, None) };
                let symbols = &self.enums[of as usize];
                match symbols.position(*number) {
                    Ok(at) => (Value::Enum(at), Some(json!(&*symbols.names[at as usize]))),
                    Err(_) => (Value::Absent, None),
                }
            }
            reflect::Value::Message(_) | reflect::Value::List(_) | reflect::Value::Map(_) => {
                (Value::Absent, None)
            }
        }
    }
}

/// Text or bytes of no length: they stand at the beginning of whatever payload there is.
pub(crate) fn empty(of: Scalar) -> Value {
    match (of, Span::new(0, 0)) {
        (Scalar::Text, Some(span)) => Value::Text(Text::Span(span)),
        (Scalar::Text, None) => Value::from(""),
        (_, Some(span)) => Value::Bytes(Blob::Span(span)),
        (_, None) => Value::from(&[][..]),
    }
}

impl Scalar {
    pub(crate) fn is_unsigned64(self) -> bool {
        matches!(self, Scalar::Uint64 | Scalar::Fixed64)
    }

    fn kind(self) -> Kind {
        match self {
            Scalar::Int32 | Scalar::Sint32 | Scalar::Sfixed32 => Kind::Int,
            Scalar::Uint32 | Scalar::Fixed32 => Kind::Long,
            Scalar::Int64 | Scalar::Sint64 | Scalar::Sfixed64 => Kind::Long,
            Scalar::Uint64 | Scalar::Fixed64 => Kind::Long,
            Scalar::Float => Kind::Float,
            Scalar::Double => Kind::Double,
            Scalar::Bool => Kind::Boolean,
            Scalar::Text => Kind::Text,
            Scalar::Bytes => Kind::Bytes,
        }
    }
}

fn scalar(kind: &reflect::Kind) -> Option<Scalar> {
    Some(match kind {
        reflect::Kind::Int32 => Scalar::Int32,
        reflect::Kind::Int64 => Scalar::Int64,
        reflect::Kind::Uint32 => Scalar::Uint32,
        reflect::Kind::Uint64 => Scalar::Uint64,
        reflect::Kind::Sint32 => Scalar::Sint32,
        reflect::Kind::Sint64 => Scalar::Sint64,
        reflect::Kind::Fixed32 => Scalar::Fixed32,
        reflect::Kind::Fixed64 => Scalar::Fixed64,
        reflect::Kind::Sfixed32 => Scalar::Sfixed32,
        reflect::Kind::Sfixed64 => Scalar::Sfixed64,
        reflect::Kind::Float => Scalar::Float,
        reflect::Kind::Double => Scalar::Double,
        reflect::Kind::Bool => Scalar::Bool,
        reflect::Kind::String => Scalar::Text,
        reflect::Kind::Bytes => Scalar::Bytes,
        reflect::Kind::Message(_) | reflect::Kind::Enum(_) => return None,
    })
}

fn wrapped(full: &str) -> Option<Scalar> {
    Some(match full.strip_prefix("google.protobuf.")? {
        "DoubleValue" => Scalar::Double,
        "FloatValue" => Scalar::Float,
        "Int64Value" => Scalar::Int64,
        "UInt64Value" => Scalar::Uint64,
        "Int32Value" => Scalar::Int32,
        "UInt32Value" => Scalar::Uint32,
        "BoolValue" => Scalar::Bool,
        "StringValue" => Scalar::Text,
        "BytesValue" => Scalar::Bytes,
        _ => return None,
    })
}

/// The name of a type that its row's type alone would not lead back to.
fn unusual(item: Item) -> Option<&'static str> {
    Some(match item {
        Item::Scalar(Scalar::Uint32) => "uint32",
        Item::Scalar(Scalar::Sint32) => "sint32",
        Item::Scalar(Scalar::Fixed32) => "fixed32",
        Item::Scalar(Scalar::Sfixed32) => "sfixed32",
        Item::Scalar(Scalar::Uint64) | Item::Decimal64(Scalar::Uint64) => "uint64",
        Item::Scalar(Scalar::Sint64) => "sint64",
        Item::Scalar(Scalar::Fixed64) | Item::Decimal64(Scalar::Fixed64) => "fixed64",
        Item::Scalar(Scalar::Sfixed64) => "sfixed64",
        _ => return None,
    })
}

/// Whether a list of numbers is written in one piece. The compiler's own answer was given before it had read the options.
fn is_packed(field: &FieldDescriptor, item: Item) -> bool {
    let said = field.options();
    let said = said.has_field_by_name("packed").then(|| said.get_field_by_name("packed")).flatten();
    let said = said.and_then(|said| said.as_bool());
    let packs = field.parent_file().syntax() == Syntax::Proto3;
    item.wire() != Wire::Counted && said.unwrap_or(packs)
}

/// Precision and scale of a decimal, which Confluent's converters write into the field's options. Connect's decimals
/// need no precision; 64 is what Confluent's Avro converter takes then.
fn scale(field: &FieldDescriptor) -> Option<(u32, u32)> {
    let meta = field.parent_message().parent_pool().get_extension_by_name("confluent.field_meta")?;
    let options = field.options();
    let meta = options.get_extension(&meta);
    let params = meta.as_message()?.get_field_by_name("params")?;
    let number = |name: &str| -> Option<u32> {
        params.as_map()?.get(&MapKey::String(name.to_owned()))?.as_str()?.parse().ok()
    };
    let scale = number("scale")?;
    Some((number("precision").unwrap_or(64).max(scale).max(1), scale))
}
