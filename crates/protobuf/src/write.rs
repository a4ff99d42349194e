//! From the schema of rows to a `.proto` text, named as Confluent's converters name: the message like the record, the
//! package like its namespace, a message or an enum inside the one that uses it first.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use aqueduct_api::schema::{Enumeration, Field, Kind, Logical, RecordType, Schema, Type, TypeId};
use serde_json::Value as Json;

use crate::compile::Proto;
use crate::error::ProtoError;
use crate::resolve::{branch_name, shouted};

/// What a record without a name is called.
const NAMELESS: &str = "ConnectDefault1";
/// Records that lie deeper in each other, counted by where they are first used, are refused.
const DEPTH_MAX: usize = 30;

/// The text of a schema that rows of this one can be written with.
///
/// Numbers, kinds of integers and `oneof`s that came from Protobuf stay what they were; other fields are numbered in
/// their order. What may be null is `optional`; lists and maps cannot be null there, and are empty instead. A union of
/// more is a message with a `oneof`, whose members are called like the types. Dates, times and timestamps become
/// google.type's and google.protobuf's, decimals Confluent's. A scalar alone becomes google.protobuf's wrapper.
///
/// # Errors
/// When the schema has what Protobuf cannot say: a list of lists, values of any type, names with other letters.
pub fn write(schema: &Schema) -> Result<String, ProtoError> {
    let text = text(schema)?;
    // What else Protobuf has against names and numbers, its compiler knows.
    Proto::compile(&text, &[])?;
    Ok(text)
}

fn text(schema: &Schema) -> Result<String, ProtoError> {
    let root = bare(schema, schema.root());
    let Kind::Record(record) = &schema.get(root).kind else {
        return wrapper(schema.get(root));
    };
    let package = record.name.full.rsplit_once('.').map_or("", |(package, _)| package);
    package.split('.').filter(|part| !part.is_empty()).try_for_each(|part| identifier(part).map(drop))?;
    let name = match record.name.short() {
        "" => NAMELESS,
        name => identifier(name)?,
    };
    let dot = if package.is_empty() { "" } else { "." };
    let path = format!("{dot}{package}.{name}");
    let mut writing = Writing { schema, imports: BTreeSet::new(), placed: HashMap::new() };
    writing.placed.insert(root, path.clone());
    let message = writing.message(record, name, &path, 0)?;
    let mut text = "syntax = \"proto3\";\n".to_owned();
    if !package.is_empty() {
        let _ = writeln!(text, "package {package};");
    }
    for import in &writing.imports {
        let _ = write!(text, "\nimport \"{import}\";");
    }
    let _ = write!(text, "{}\n{message}", if writing.imports.is_empty() { "" } else { "\n" });
    Ok(text)
}

fn wrapper(of: &Type) -> Result<String, ProtoError> {
    let (name, scalar) = match (&of.kind, of.logical) {
        (Kind::Boolean, _) => ("BoolValue", "bool"),
        (Kind::Int, None) => ("Int32Value", "int32"),
        (Kind::Long, None) => ("Int64Value", "int64"),
        (Kind::Float, _) => ("FloatValue", "float"),
        (Kind::Double, _) => ("DoubleValue", "double"),
        (Kind::Text, _) => ("StringValue", "string"),
        (Kind::Bytes | Kind::Fixed { .. }, None) => ("BytesValue", "bytes"),
        (kind, _) => return Err(ProtoError(format!("`{kind}` alone is no message"))),
    };
    Ok(format!(
        "syntax = \"proto3\";\npackage google.protobuf;\n\nmessage {name} {{\n  {scalar} value = 1;\n}}\n"
    ))
}

struct Writing<'a> {
    schema: &'a Schema,
    imports: BTreeSet<&'static str>,
    /// The full names, with a point in front, of the messages and enums that stand somewhere already.
    placed: HashMap<TypeId, String>,
}

/// A message that is being written.
struct Scope {
    /// Its full name, with a point in front.
    path: String,
    /// How deep it lies.
    depth: usize,
    /// Names of fields, messages, enums and symbols: Protobuf has one space for all of them.
    taken: HashSet<String>,
    /// The messages and enums inside.
    inner: String,
}

impl<'a> Writing<'a> {
    fn message(
        &mut self,
        record: &'a RecordType,
        name: &str,
        path: &str,
        depth: usize,
    ) -> Result<String, ProtoError> {
        let mut scope = Scope {
            path: path.to_owned(),
            depth,
            taken: record.fields.iter().map(|field| field.name.to_string()).collect(),
            inner: String::new(),
        };
        let numbers = numbers(record);
        let pad = "  ".repeat(depth + 1);
        let (mut text, mut oneofs) = (String::new(), HashSet::new());
        for (at, field) in record.fields.iter().enumerate() {
            let Some(oneof) = self.oneof(field) else {
                let line = self.field(field, numbers[at], true, &mut scope);
                let _ = writeln!(text, "{pad}{}", line.map_err(|error| within(error, &field.name))?);
                continue;
            };
            if !oneofs.insert(oneof) {
                continue;
            }
            let _ = writeln!(text, "{pad}oneof {} {{", identifier(oneof)?);
            for (at, field) in record.fields.iter().enumerate().skip(at) {
                if self.oneof(field) == Some(oneof) {
                    let line = self.field(field, numbers[at], false, &mut scope);
                    let _ = writeln!(text, "{pad}  {}", line.map_err(|error| within(error, &field.name))?);
                }
            }
            let _ = writeln!(text, "{pad}}}");
        }
        let outer = "  ".repeat(depth);
        Ok(format!("{outer}message {name} {{\n{text}{}{outer}}}\n", scope.inner))
    }

    /// The `oneof` that a field came from, if it can stand in one still.
    fn oneof(&self, field: &'a Field) -> Option<&'a str> {
        let (_, of) = self.schema.optional(field.of)?;
        let single = !matches!(self.schema.get(of).kind, Kind::List(_) | Kind::Map(_));
        field.attributes.get("protobuf.oneof").and_then(Json::as_str).filter(|_| single)
    }

    /// `optional string note = 3;`
    fn field(
        &mut self,
        field: &'a Field,
        number: u32,
        label: bool,
        scope: &mut Scope,
    ) -> Result<String, ProtoError> {
        let of = bare(self.schema, field.of);
        let kept = field.attributes.get("protobuf.type").and_then(Json::as_str);
        let (before, item) = match &self.schema.get(of).kind {
            Kind::List(items) => ("repeated ", bare(self.schema, *items)),
            Kind::Map(values) => ("map", bare(self.schema, *values)),
            _ => ("", of),
        };
        let name = self.item(item, &field.name, kept, scope)?;
        // A message can be absent by itself.
        let is_message =
            name.starts_with('.') || matches!(self.schema.get(item).kind, Kind::Record(_) | Kind::Union(_));
        let is_message = is_message && !matches!(self.schema.get(item).kind, Kind::Enum(_));
        let options = match self.schema.get(item).logical {
            Some(Logical::Decimal { precision, scale }) if name == DECIMAL => format!(
                " [(confluent.field_meta) = {{\n{pad}  params: [\n{pad}    {{ key: \"precision\", value: \"{precision}\" \
                 }},\n{pad}    {{ key: \"scale\", value: \"{scale}\" }}\n{pad}  ]\n{pad}}}]",
                pad = "  ".repeat(scope.depth + 1)
            ),
            _ => String::new(),
        };
        let optional = label && !is_message && before.is_empty() && of != field.of;
        let before = if optional { "optional " } else { before };
        let written =
            if before == "map" { format!("map<string, {name}>") } else { format!("{before}{name}") };
        Ok(format!("{written} {} = {number}{options};", identifier(&field.name)?))
    }

    /// The name of a type; a message or an enum that stands nowhere yet is put into the scope.
    fn item(
        &mut self,
        of: TypeId,
        field: &str,
        kept: Option<&str>,
        scope: &mut Scope,
    ) -> Result<String, ProtoError> {
        let schema = self.schema;
        let kind = &schema.get(of).kind;
        if let Some(path) = self.placed.get(&of) {
            return Ok(path.clone());
        }
        Ok(match kind {
            Kind::Record(record) => {
                let (name, path) = self.place(of, record.name.short(), field, scope)?;
                let message = self.message(record, &name, &path, scope.depth + 1)?;
                scope.inner.push_str(&message);
                name
            }
            Kind::Enum(symbols) => {
                let (name, _) = self.place(of, symbols.name.short(), field, scope)?;
                let text = enumeration(schema.get(of), symbols, &name, scope)?;
                scope.inner.push_str(&text);
                name
            }
            Kind::Union(branches) => {
                let (name, path) = self.place(of, &format!("{}Union", camel(field)), field, scope)?;
                let text = self.union(branches, &name, path, scope.depth + 1)?;
                scope.inner.push_str(&text);
                name
            }
            kind => self.scalar(kind, schema.get(of).logical, kept)?.to_owned(),
        })
    }

    /// Finds a name that is free in the scope.
    fn place(
        &mut self,
        of: TypeId,
        wanted: &str,
        field: &str,
        scope: &mut Scope,
    ) -> Result<(String, String), ProtoError> {
        if scope.depth > DEPTH_MAX {
            return Err(ProtoError(format!("records lie more than {DEPTH_MAX} deep in each other")));
        }
        let wanted = if wanted.is_empty() { camel(field) } else { identifier(wanted)?.to_owned() };
        let other = format!("{wanted}Message");
        let more = (2..).map(|count| format!("{wanted}{count}"));
        let name = [wanted.clone(), other].into_iter().chain(more).find(|name| !scope.taken.contains(name));
        let name = name.unwrap_or_default();
        scope.taken.insert(name.clone());
        let path = format!("{}.{name}", scope.path);
        self.placed.insert(of, path.clone());
        Ok((name, path))
    }

    fn union(
        &mut self,
        branches: &'a [TypeId],
        name: &str,
        path: String,
        depth: usize,
    ) -> Result<String, ProtoError> {
        let kind = |branch: &TypeId| &self.schema.get(*branch).kind;
        let branches: Vec<TypeId> =
            branches.iter().filter(|branch| *kind(branch) != Kind::Null).copied().collect();
        let taken: HashSet<String> = branches
            .iter()
            .map(|branch| branch_name(kind(branch)).to_owned())
            .chain(["value".into()])
            .collect();
        if taken.len() != branches.len() + 1 {
            return Err(ProtoError("a union has two types of one name".to_owned()));
        }
        let mut scope = Scope { path, depth, taken, inner: String::new() };
        let (pad, mut text) = ("  ".repeat(depth + 1), String::new());
        for (number, branch) in (1..).zip(branches) {
            let of = self.schema.get(branch);
            let field = branch_name(&of.kind);
            if let (Kind::Bytes | Kind::Fixed { .. }, Some(Logical::Decimal { .. })) = (&of.kind, of.logical)
            {
                return Err(ProtoError("a decimal in a union has no scale in Protobuf".to_owned()));
            }
            let name = self.item(branch, field, None, &mut scope)?;
            let _ = writeln!(text, "{pad}  {name} {} = {number};", identifier(field)?);
        }
        let outer = "  ".repeat(depth);
        Ok(format!(
            "{outer}message {name} {{\n{pad}oneof value {{\n{text}{pad}}}\n{}{outer}}}\n",
            scope.inner
        ))
    }

    fn scalar(
        &mut self,
        kind: &Kind,
        logical: Option<Logical>,
        kept: Option<&str>,
    ) -> Result<&'static str, ProtoError> {
        let keep = |among: &[&'static str]| among.iter().find(|name| Some(**name) == kept).copied();
        let (name, import) = match (kind, logical) {
            (_, Some(Logical::Timestamp { .. })) => {
                (".google.protobuf.Timestamp", "google/protobuf/timestamp.proto")
            }
            (_, Some(Logical::Date)) => (".google.type.Date", "google/type/date.proto"),
            (_, Some(Logical::TimeMillis | Logical::TimeMicros)) => {
                (".google.type.TimeOfDay", "google/type/timeofday.proto")
            }
            (_, Some(Logical::Decimal { scale: 0, .. })) if keep(&["uint64", "fixed64"]).is_some() => {
                return Ok(keep(&["uint64", "fixed64"]).unwrap_or_default());
            }
            (_, Some(Logical::Decimal { .. })) => {
                self.imports.insert("confluent/meta.proto");
                (DECIMAL, "confluent/type/decimal.proto")
            }
            (Kind::Boolean, _) => ("bool", ""),
            (Kind::Int, _) => (keep(&["sint32", "sfixed32"]).unwrap_or("int32"), ""),
            (Kind::Long, _) => {
                let kept = keep(&["uint32", "fixed32", "uint64", "sint64", "fixed64", "sfixed64"]);
                (kept.unwrap_or("int64"), "")
            }
            (Kind::Float, _) => ("float", ""),
            (Kind::Double, _) => ("double", ""),
            (Kind::Text, _) => ("string", ""),
            (Kind::Bytes | Kind::Fixed { .. }, _) => ("bytes", ""),
            (Kind::List(_) | Kind::Map(_), _) => {
                return Err(ProtoError(format!(
                    "{kind} inside a list, a map or a union cannot be said in Protobuf"
                )));
            }
            (kind, _) => return Err(ProtoError(format!("`{kind}` has no type in Protobuf"))),
        };
        if !import.is_empty() {
            self.imports.insert(import);
        }
        Ok(name)
    }
}

const DECIMAL: &str = ".confluent.type.Decimal";

/// Symbols are numbered from 0, unless they came with numbers. They share the space of names with everything beside
/// their enum, so they get its name in front where one of them is taken there.
fn enumeration(
    of: &Type,
    symbols: &Enumeration,
    name: &str,
    scope: &mut Scope,
) -> Result<String, ProtoError> {
    let kept = of.attributes.get("protobuf.numbers").and_then(Json::as_array);
    let kept: Option<Vec<i64>> = kept.map(|numbers| numbers.iter().filter_map(Json::as_i64).collect());
    let numbers = kept.filter(|numbers| numbers.len() == symbols.symbols.len());
    let numbers = numbers.unwrap_or_else(|| (0..).take(symbols.symbols.len()).collect());
    let prefix = shouted(name);
    let is_taken = symbols.symbols.iter().any(|symbol| scope.taken.contains(&**symbol));
    let pad = "  ".repeat(scope.depth + 1);
    let mut text = String::new();
    if numbers.iter().collect::<HashSet<_>>().len() < numbers.len() {
        let _ = writeln!(text, "{pad}  option allow_alias = true;");
    }
    // The first is the one that a reader takes where nothing is written, and has to be the zero.
    if numbers.first() != Some(&0) {
        if numbers.contains(&0) {
            return Err(ProtoError(format!("the enum `{name}` has its zero not at its beginning")));
        }
        let _ = writeln!(text, "{pad}  {prefix}_UNSPECIFIED = 0;");
    }
    for (symbol, number) in symbols.symbols.iter().zip(numbers) {
        let symbol = identifier(symbol)?;
        let symbol = if is_taken { format!("{prefix}_{symbol}") } else { symbol.to_owned() };
        let _ = writeln!(text, "{pad}  {symbol} = {number};");
        if !scope.taken.insert(symbol) {
            return Err(ProtoError(format!("the symbols of `{name}` are taken by others beside it")));
        }
    }
    Ok(format!("{pad}enum {name} {{\n{text}{pad}}}\n"))
}

/// The numbers that fields came with, and for the others the next ones.
fn numbers(record: &RecordType) -> Vec<u32> {
    let kept = |field: &Field| {
        let number = field.attributes.get("protobuf.number").and_then(Json::as_u64);
        number.and_then(|number| u32::try_from(number).ok()).filter(|number| may_be(*number))
    };
    let mut taken = HashSet::new();
    let kept: Vec<Option<u32>> =
        record.fields.iter().map(|field| kept(field).filter(|number| taken.insert(*number))).collect();
    let last = taken.iter().max().copied().unwrap_or_default();
    let mut next = (last + 1..).filter(|number| may_be(*number));
    kept.into_iter().map(|number| number.or_else(|| next.next()).unwrap_or_default()).collect()
}

/// The highest numbers, and those of Protobuf itself, are nobody's.
fn may_be(number: u32) -> bool {
    matches!(number, 1..19_000 | 20_000..0x2000_0000)
}

fn bare(schema: &Schema, of: TypeId) -> TypeId {
    schema.optional(of).map_or(of, |(_, other)| other)
}

fn identifier(name: &str) -> Result<&str, ProtoError> {
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(name);
    }
    Err(ProtoError(format!("`{name}` is no name in Protobuf, which has letters, digits and `_`")))
}

/// `line_items` as `LineItems`.
fn camel(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map_or(String::new(), |first| format!("{}{}", first.to_ascii_uppercase(), letters.as_str()))
    };
    name.split('_').map(word).collect()
}

fn within(error: ProtoError, field: &str) -> ProtoError {
    ProtoError(format!("field `{field}`: {}", error.0))
}
