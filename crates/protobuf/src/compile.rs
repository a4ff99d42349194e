//! Schemas from their text: a `.proto` file with those that it imports.

use std::sync::Arc;

use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use protox::prost_reflect::{FileDescriptor, MessageDescriptor};

use crate::error::ProtoError;
use crate::shape::{Options, Shape};

/// What messages call the file itself.
const FILE: &str = "(schema)";
/// Deeper brackets are refused before the parser, which goes down on the stack, sees them.
const DEPTH_MAX: usize = 64;

/// Files that producers import without registering them: those of google.type and of Confluent's types. The ones of
/// google.protobuf come with the compiler.
macro_rules! built_in {
    ($($name:literal),* $(,)?) => { [$(($name, include_str!(concat!("../proto/", $name)))),*] };
}
static BUILT_IN: [(&str, &str); 19] = built_in![
    "confluent/meta.proto",
    "confluent/type/decimal.proto",
    "google/type/calendar_period.proto",
    "google/type/color.proto",
    "google/type/date.proto",
    "google/type/datetime.proto",
    "google/type/dayofweek.proto",
    "google/type/decimal.proto",
    "google/type/expr.proto",
    "google/type/fraction.proto",
    "google/type/interval.proto",
    "google/type/latlng.proto",
    "google/type/localized_text.proto",
    "google/type/money.proto",
    "google/type/month.proto",
    "google/type/phone_number.proto",
    "google/type/postal_address.proto",
    "google/type/quaternion.proto",
    "google/type/timeofday.proto",
];

/// A `.proto` file, with everything it refers to.
#[derive(Clone, Debug)]
pub struct Proto {
    file: FileDescriptor,
}

impl Proto {
    /// Compiles a file of syntax proto2 or proto3. `imports` are files by the name they are imported under; those of
    /// google.protobuf, google.type and Confluent's are there already, unless they are given.
    ///
    /// # Errors
    /// When one of them is not a file of Protobuf, is of an edition, or imports what is not there.
    pub fn compile(text: &str, imports: &[(&str, &str)]) -> Result<Self, ProtoError> {
        let files: Vec<(&str, &str)> = imports.iter().copied().chain([(FILE, text)]).collect();
        for (name, text) in &files {
            if depth(text) > DEPTH_MAX {
                return Err(ProtoError(format!("{name}: nested more than {DEPTH_MAX} deep")));
            }
        }
        let given = |files: &[(&str, &str)]| {
            Imports(files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect())
        };
        let mut resolver = ChainFileResolver::new();
        resolver.add(given(&files));
        resolver.add(GoogleFileResolver::new());
        resolver.add(given(&BUILT_IN));
        let mut compiler = Compiler::with_file_resolver(resolver);
        if let Err(error) = compiler.open_file(FILE) {
            let edition = text.lines().any(|line| line.trim_start().starts_with("edition"));
            let why = if edition { "; editions are not read, only proto2 and proto3" } else { "" };
            // The debug form is the one with the line and the column.
            return Err(ProtoError(format!("{error:?}{why}")));
        }
        let file = compiler.descriptor_pool().get_file_by_name(FILE);
        file.map(|file| Self { file }).ok_or_else(|| ProtoError("the schema is not there".to_owned()))
    }

    /// The message that the indexes in front of a payload name.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn at(&self, indexes: &[u32], options: Options) -> Result<Shape, ProtoError> {
        Shape::of(&self.message(indexes)?, options)
    }

    /// The name of a message, with the package.
    ///
    /// # Errors
    /// When there is none at these indexes.
    pub fn name(&self, indexes: &[u32]) -> Result<Arc<str>, ProtoError> {
        self.message(indexes).map(|message| message.full_name().into())
    }

    fn message(&self, indexes: &[u32]) -> Result<MessageDescriptor, ProtoError> {
        let mut message = None;
        for index in indexes {
            message = match message {
                None => self.file.messages().nth(*index as usize),
                Some(outer) => inner(&outer).nth(*index as usize),
            };
            if message.is_none() {
                return Err(ProtoError(format!("the schema has no message at {indexes:?}")));
            }
        }
        message.ok_or_else(|| ProtoError("no message index".to_owned()))
    }

    /// The indexes of a message of this file: by its name with or without the package, or the first of the file.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn indexes(&self, name: Option<&str>) -> Result<Vec<u32>, ProtoError> {
        let Some(name) = name else {
            return match self.file.messages().len() {
                0 => Err(ProtoError("the schema has no message".to_owned())),
                _ => Ok(vec![0]),
            };
        };
        let mut indexes = Vec::new();
        let package = self.file.package_name();
        let wanted = |message: &MessageDescriptor| {
            let full = message.full_name();
            let short = full.strip_prefix(package).and_then(|short| short.strip_prefix('.')).unwrap_or(full);
            name == full || name == short
        };
        if find(self.file.messages(), &wanted, &mut indexes) {
            return Ok(indexes);
        }
        let mut known: Vec<String> =
            self.file.messages().map(|message| message.full_name().to_owned()).collect();
        known.truncate(10);
        Err(ProtoError(format!("the schema has no message `{name}`, but {}", known.join(", "))))
    }
}

/// The messages inside a message. The entries of maps are messages only to the compiler: the field's producers in Java
/// do not count them.
fn inner(message: &MessageDescriptor) -> impl Iterator<Item = MessageDescriptor> + '_ {
    message.child_messages().filter(|message| !message.is_map_entry())
}

fn find(
    messages: impl Iterator<Item = MessageDescriptor>,
    wanted: &dyn Fn(&MessageDescriptor) -> bool,
    indexes: &mut Vec<u32>,
) -> bool {
    for (index, message) in (0..).zip(messages) {
        indexes.push(index);
        if wanted(&message) || find(inner(&message).collect::<Vec<_>>().into_iter(), wanted, indexes) {
            return true;
        }
        indexes.pop();
    }
    false
}

/// How deep the brackets go, those in texts and comments included.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Files by name.
struct Imports(Vec<(Box<str>, Box<str>)>);

impl FileResolver for Imports {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.iter().find(|(given, _)| **given == *name) {
            Some((_, text)) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}
