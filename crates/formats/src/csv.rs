//! `csv`: a value is one line of cells (RFC 4180), of which the file names the fields and their types.

mod cells;
mod rows;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::schema::{
    Field, Kind, Logical, Name, RecordType, Schema, SchemaBuilder, Type, TypeId, Unit,
};
use aqueduct_api::value::{Blob, Text};
use aqueduct_api::{
    Decoder, Encoded, Encoder, Error, ErrorKind, FirstRow, FormatContext, FormatTraits, Piece, Problem,
    Result, Rows, Side, Typed, Value,
};
use async_trait::async_trait;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;

use self::cells::{Cell, CellText, cells, without_end};
pub use self::rows::RowEnd;
use crate::json::config::{NotANumber, Style};
use crate::json::fault::{Fault, InText};
use crate::json::number::span;
use crate::json::plan::{PerSchema, Plan};
use crate::json::scan::Scan;
use crate::json::{decimal, time, write};
use crate::text::utf8;

/// The block of the format `csv`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Csv {
    /// The fields, in the order of the cells: a name, which is text, or `name: type` with the type `text`, `int`, `long`,
    /// `float`, `double`, `boolean`, `date`, `time`, `timestamp` or `decimal(12, 2)`. A sink may leave them out: then all
    /// fields of a record are written, in their order. Where the first line of a file names the fields, only those that are
    /// not text need to be here.
    pub fields: Vec<Column>,
    /// The first line of the file names its fields, and is no record. Of the source `file` alone; unless given, it does where
    /// there are no `fields`.
    pub header: Option<bool>,
    /// What stands between two cells: one character.
    pub separator: char,
    /// What a cell without quotes says where there is no value.
    pub null: String,
    /// Where the source puts that first line.
    #[serde(skip)]
    first: FirstRow,
}

impl Default for Csv {
    fn default() -> Self {
        let (fields, first) = (Vec::new(), FirstRow::default());
        Self { fields, header: None, separator: ',', null: String::new(), first }
    }
}

impl Csv {
    /// Whether a source reads the names of the fields from a first line.
    fn named_by_file(&self) -> bool {
        self.header.unwrap_or(self.fields.is_empty())
    }

    /// Names and types of the cells, with this first line where the file has one.
    fn columns(&self, first: Option<&str>) -> Result<Vec<(Cow<'_, str>, Type)>> {
        let of =
            |name: &str| type_of(name).ok_or_else(|| Error::config("`fields` has a field without a type"));
        let fields: Vec<_> = self.fields.iter().filter_map(Column::parts).collect();
        let Some(first) = first else {
            return fields.into_iter().map(|(name, kind)| Ok((name.into(), of(kind)?))).collect();
        };
        let mut columns: Vec<(Cow<'_, str>, Type)> = Vec::new();
        for cell in cells(first, self.separator) {
            let cell = cell.map_err(|(says, at)| {
                Error::config(format!(
                    "the first line of the file does not name the fields: {says}, at byte {at}"
                ))
            })?;
            let name = cell.text.get();
            if columns.iter().any(|(other, _)| other == name) {
                let says = format!("the first line of the file names the field `{name}` twice");
                return Err(Error::config(says).remedy("give one of the two another name"));
            }
            let kind = fields.iter().find(|(other, _)| *other == name).map_or("text", |(_, kind)| kind);
            columns.push((name.to_owned().into(), of(kind)?));
        }
        if let Some((name, _)) =
            fields.iter().find(|(name, _)| columns.iter().all(|(other, _)| other != name))
        {
            let there = columns.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            let says = format!("the first line of the file names no field `{name}`");
            return Err(
                Error::config(says).remedy(format!("it names {there}; write `header: false` if it is a row"))
            );
        }
        Ok(columns)
    }
}

/// A field: a name, or a name and a type.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Column {
    /// Text.
    Text(String),
    /// One name, and its type.
    Typed(BTreeMap<String, String>),
}

impl Column {
    /// Name and type; nothing where there is another number of names than one.
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Column::Text(name) => Some((name, "text")),
            Column::Typed(map) if map.len() == 1 => map.iter().next().map(|(name, of)| (&**name, &**of)),
            Column::Typed(_) => None,
        }
    }
}

/// What a type in the file is in a schema.
fn type_of(name: &str) -> Option<Type> {
    let (kind, logical) = match name {
        "text" | "string" => (Kind::Text, None),
        "int" => (Kind::Int, None),
        "long" => (Kind::Long, None),
        "float" => (Kind::Float, None),
        "double" => (Kind::Double, None),
        "boolean" => (Kind::Boolean, None),
        "date" => (Kind::Int, Some(Logical::Date)),
        "time" => (Kind::Long, Some(Logical::TimeMicros)),
        "timestamp" => (Kind::Long, Some(Logical::Timestamp { unit: Unit::Micros, local: false })),
        decimal => {
            let (precision, scale) = decimal.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            let (precision, scale) = (precision.trim().parse().ok()?, scale.trim().parse().ok()?);
            if precision == 0 || scale > precision {
                return None;
            }
            (Kind::Bytes, Some(Logical::Decimal { precision, scale }))
        }
    };
    Some(Type { kind, logical, attributes: BTreeMap::new() })
}

impl Block for Csv {
    const NAME: &'static str = "csv";
    const ABOUT: &'static str = "One line of comma-separated cells.";
}

impl FormatKind for Csv {
    fn check(&self, side: Side) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.fields.is_empty() && side == Side::Source && !self.named_by_file() {
            let remedy = "write `fields: [id: long, name, placed_at: timestamp]`";
            problems.push(Problem::new("fields", "a line does not name its fields").remedy(remedy));
        }
        if self.header == Some(true) && side == Side::Sink {
            let problem = Problem::new("header", "a sink writes no line of names");
            problems.push(problem.remedy("leave it out: each record is a line of cells"));
        }
        for (index, column) in self.fields.iter().enumerate() {
            let path = format!("fields[{index}]");
            match column.parts() {
                None => problems.push(Problem::new(path, "a field is a name, or one name and its type")),
                Some((name, of)) if type_of(of).is_none() => {
                    let remedy = "types are `text`, `int`, `long`, `float`, `double`, `boolean`, `date`, `time`, `timestamp` and `decimal(12, 2)`";
                    problems
                        .push(Problem::new(path, format!("`{name}` is of no type `{of}`")).remedy(remedy));
                }
                Some((name, _))
                    if self.fields[..index]
                        .iter()
                        .any(|other| other.parts().is_some_and(|(other, _)| other == name)) =>
                {
                    problems.push(Problem::new(path, format!("there is a field `{name}` already")));
                }
                Some(_) => {}
            }
        }
        if matches!(self.separator, '"' | '\n' | '\r') {
            problems.push(Problem::new("separator", "quotes and line ends have a meaning already"));
        }
        problems
    }

    fn traits(&self) -> FormatTraits {
        FormatTraits { declared: true, ..FormatTraits::default() }
    }

    fn describe(&self, _: Side) -> String {
        Self::NAME.to_owned()
    }

    fn rows(&self) -> Option<Rows> {
        let named = self.named_by_file();
        let cells = (!named).then_some(self.fields.len());
        Some(Rows { separator: self.separator, cells, first: named.then(|| self.first.clone()) })
    }

    fn decoder(&self, _: &FormatContext) -> Result<Box<dyn Decoder>> {
        let named = self.named_by_file();
        let columns = if named { Vec::new() } else { self.columns(None)? };
        Ok(Box::new(Lines {
            config: Arc::new(self.clone()),
            schema: schema(columns),
            named,
            first: Bytes::new(),
        }))
    }

    fn encoder(&self, _: &FormatContext) -> Result<Box<dyn Encoder>> {
        let names = self.fields.iter().filter_map(Column::parts).map(|(name, _)| name.into()).collect();
        Ok(Box::new(Writer {
            config: Arc::new(self.clone()),
            names,
            plans: PerSchema::default(),
            json: Vec::new(),
            line: Vec::new(),
        }))
    }
}

/// A record of optional fields.
fn schema(columns: Vec<(Cow<'_, str>, Type)>) -> Arc<Schema> {
    let mut schema = SchemaBuilder::default();
    let mut fields = Vec::with_capacity(columns.len());
    for (name, of) in columns {
        let (null, of) = (schema.add(Kind::Null), schema.add(of));
        fields.push(Field {
            name: name.as_ref().into(),
            aliases: Box::default(),
            doc: None,
            of: schema.add(Kind::Union([null, of].into())),
            default: Some(serde_json::Value::Null),
            attributes: BTreeMap::new(),
        });
    }
    let root = schema.add(Kind::Record(RecordType::new(Name::new("Line"), fields)));
    schema.finish(root)
}

/// Reads lines.
struct Lines {
    config: Arc<Csv>,
    schema: Arc<Schema>,
    /// The first line of the file names the fields; this one is what `schema` was made of.
    named: bool,
    first: Bytes,
}

impl Lines {
    /// The names that the rows have now: the file may be another one than at the start before.
    fn name(&mut self) -> Result<()> {
        let first = self.config.first.get().ok_or_else(|| {
            Error::config("no first line was read that names the fields")
                .remedy("write `fields: [id: long, name, placed_at: timestamp]`")
        })?;
        if first.as_ptr() != self.first.as_ptr() || first.len() != self.first.len() {
            let text = utf8(&first).map_err(|error| error.into_kind(ErrorKind::Config))?;
            self.schema = schema(self.config.columns(Some(without_end(text)))?);
            self.first = first;
        }
        Ok(())
    }

    fn read(&self, line: &str) -> std::result::Result<Box<[Value]>, Fault> {
        let Kind::Record(record) = &self.schema.get(self.schema.root()).kind else {
            return Err(Fault::new("the schema of a line is no record"));
        };
        let mut values = Vec::with_capacity(record.fields.len());
        for cell in cells(line, self.config.separator) {
            let cell = cell.map_err(|(says, at)| Fault::new(says).at(at))?;
            let Some(field) = record.fields.get(values.len()) else {
                return Err(Fault::new(format!(
                    "the line has more cells than the {} fields",
                    record.fields.len()
                )));
            };
            let of = self.schema.optional(field.of).map_or(field.of, |(_, of)| of);
            let value = self.value(of, cell).map_err(|fault| fault.in_field(&*field.name))?;
            values.push(value);
        }
        if values.len() < record.fields.len() {
            let says = format!("the line has {} cells for {} fields", values.len(), record.fields.len());
            return Err(Fault::new(says));
        }
        Ok(values.into())
    }

    fn value(&self, of: TypeId, cell: Cell<'_>) -> std::result::Result<Value, Fault> {
        let of = self.schema.get(of);
        let text = cell.text.get();
        if !cell.quoted && *text == *self.config.null {
            return Ok(Value::Null);
        }
        let not = |what: &str| Fault::new(format!("the cell is no {what}"));
        Ok(match (of.logical, &of.kind) {
            (Some(Logical::Date), _) => Value::Int(time::read_date(text)?),
            (Some(Logical::TimeMicros), _) => Value::Long(time::read_time(text, Unit::Micros)?),
            (Some(Logical::Timestamp { unit, local }), _) => {
                Value::Long(time::read_timestamp(text, unit, local)?)
            }
            (Some(Logical::Decimal { precision, scale }), _) => {
                Value::Bytes(Blob::Own(decimal::read(text, precision, scale)?.into()))
            }
            (_, Kind::Int) => Value::Int(text.parse().map_err(|_| not("int"))?),
            (_, Kind::Long) => Value::Long(text.parse().map_err(|_| not("long"))?),
            (_, Kind::Float) => Value::Float(text.parse().map_err(|_| not("float"))?),
            (_, Kind::Double) => Value::Double(text.parse().map_err(|_| not("double"))?),
            (_, Kind::Boolean) => {
                Value::Boolean(text.parse().map_err(|_| not("boolean, `true` or `false`"))?)
            }
            _ => Value::Text(match cell.text {
                CellText::Span(_, range) => Text::Span(span(range)?),
                CellText::Own(text) => Text::Own(text.into()),
            }),
        })
    }
}

#[async_trait]
impl Decoder for Lines {
    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        if self.named {
            self.name()?;
        }
        let line = without_end(utf8(piece.bytes)?);
        let values = self.read(line).map_err(|fault| fault.into_error(piece.bytes))?;
        Ok(Typed::new(Arc::clone(&self.schema), piece.bytes.clone(), Value::Record(values)))
    }
}

/// Writes lines.
struct Writer {
    config: Arc<Csv>,
    names: Vec<Arc<str>>,
    plans: PerSchema<Plan>,
    json: Vec<u8>,
    line: Vec<u8>,
}

impl Writer {
    fn write(&mut self, typed: &Typed) -> std::result::Result<(), Fault> {
        self.line.clear();
        let plan = Arc::clone(self.plans.get(typed.schema(), Plan::of));
        let root = typed.view().inner();
        match (&root.schema.get(root.of).kind, root.value) {
            (Kind::Record(record), Value::Record(values)) if self.names.is_empty() => {
                for (field, value) in record.fields.iter().zip(values) {
                    self.cell(&plan, typed, field.of, value).map_err(|fault| fault.in_field(&*field.name))?;
                }
            }
            (Kind::Record(record), Value::Record(values)) => {
                for name in self.names.clone() {
                    let at =
                        record.position(&name).and_then(|at| Some((record.fields[at].of, values.get(at)?)));
                    let (of, value) =
                        at.ok_or_else(|| Fault::new("the record has no such field").in_field(&*name))?;
                    self.cell(&plan, typed, of, value).map_err(|fault| fault.in_field(&*name))?;
                }
            }
            (Kind::Any | Kind::Map(_), Value::Map(entries)) if !self.names.is_empty() => {
                let of = match &root.schema.get(root.of).kind {
                    Kind::Map(of) => *of,
                    _ => root.of,
                };
                for name in self.names.clone() {
                    let found =
                        entries.iter().find(|(other, _)| other.bytes(root.payload) == name.as_bytes());
                    let value = found.map_or(&Value::Absent, |(_, value)| value);
                    self.cell(&plan, typed, of, value).map_err(|fault| fault.in_field(&*name))?;
                }
            }
            _ if self.names.is_empty() => {
                return Err(Fault::new(
                    "the value is no record; `fields` says which fields of a map become cells",
                ));
            }
            _ => return Err(Fault::new("the value has no fields")),
        }
        // A separator stands in front of each cell.
        self.line.drain(..self.config.separator.len_utf8().min(self.line.len()));
        Ok(())
    }

    fn cell(
        &mut self,
        plan: &Plan,
        typed: &Typed,
        of: TypeId,
        value: &Value,
    ) -> std::result::Result<(), Fault> {
        let Self { config, json, line, .. } = self;
        let Csv { separator, null, .. } = &**config;
        line.extend_from_slice(separator.encode_utf8(&mut [0; 4]).as_bytes());
        match value {
            Value::Absent | Value::Null => line.extend_from_slice(null.as_bytes()),
            Value::Text(text) => cells::write(text.get(typed.payload()), *separator, null, line),
            // What is not text is written as JSON writes it, without the quotes.
            value => {
                json.clear();
                let style = Style { on_not_a_number: NotANumber::Text, ..Style::default() };
                write::write_part(plan, style, typed.payload(), of, value, json)?;
                let text = std::str::from_utf8(json).map_err(|error| Fault::new(error.to_string()))?;
                match text.strip_prefix('"') {
                    Some(_) => cells::write(Scan::new(text).string()?.get(text), *separator, null, line),
                    None => cells::write(text, *separator, null, line),
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Encoder for Writer {
    fn encode(&mut self, _: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        self.write(typed).map_err(Error::from)?;
        out.extend_from_slice(&self.line);
        Ok(Encoded::Done)
    }
}
