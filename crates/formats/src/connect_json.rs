//! `connect_json`: the envelope `{"schema", "payload"}` of Kafka Connect's JsonConverter, both ways.
//! <https://github.com/apache/kafka/blob/4.0/connect/json/src/main/java/org/apache/kafka/connect/json/JsonConverter.java>

mod from_schema;
mod into_schema;
mod names;

use std::ops::Range;
use std::sync::Arc;

use aqueduct_api::catalog::{Block, FormatKind};
use aqueduct_api::registry::SchemaKind;
use aqueduct_api::schema::Schema;
use aqueduct_api::{Decoder, Encoded, Encoder, FormatContext, Piece, Problem, Result, Side, Typed, Value};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::compiled::{Compiled, Counted};
use crate::json::config::{BytesAs, DecimalAs, NotANumber, Style, TimeAs};
use crate::json::declared::{DeclaredReader, Rules, TextBytes};
use crate::json::fault::{Fault, InText};
use crate::json::plan::{PerSchema, Plan};
use crate::json::read::Reader;
use crate::json::scan::{DEPTH_MAX, Scan};
use crate::json::schemaless;
use crate::json::wanted::Wanted;
use crate::json::write;
use crate::text::utf8;

/// The block of the format `connect_json`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectJson {
    /// Whether values stand in an envelope with their schema, as with `schemas.enable` of Kafka Connect.
    pub schemas: bool,
    /// How decimals are written. Both forms are read.
    pub decimal: ConnectDecimal,
}

impl Default for ConnectJson {
    fn default() -> Self {
        Self { schemas: true, decimal: ConnectDecimal::Base64 }
    }
}

/// How decimals are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectDecimal {
    /// The bytes of the whole number in base64: `decimal.format=BASE64`.
    #[default]
    Base64,
    /// All digits as a number: `decimal.format=NUMERIC`.
    Number,
}

impl Block for ConnectJson {
    const NAME: &'static str = "connect_json";
    const ABOUT: &'static str = "The envelope of Kafka Connect's JsonConverter.";
}

impl FormatKind for ConnectJson {
    fn check(&self, side: Side) -> Vec<Problem> {
        if side == Side::Source && self.decimal != ConnectDecimal::default() {
            return vec![Problem::new("decimal", "says how decimals are written, and both forms are read")];
        }
        Vec::new()
    }

    fn describe(&self, _: Side) -> String {
        if self.schemas { "connect_json".to_owned() } else { "connect_json without schemas".to_owned() }
    }

    fn decoder(&self, _: &FormatContext) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Envelopes { schemas: self.schemas, ..Envelopes::default() }))
    }

    fn encoder(&self, _: &FormatContext) -> Result<Box<dyn Encoder>> {
        let decimal = match self.decimal {
            ConnectDecimal::Base64 => DecimalAs::Base64,
            ConnectDecimal::Number => DecimalAs::Number,
        };
        let style = Style {
            decimal,
            time: TimeAs::Number,
            bytes: BytesAs::Base64,
            on_not_a_number: NotANumber::Text,
            connect: true,
        };
        Ok(Box::new(Writer { schemas: self.schemas, style, plans: PerSchema::default() }))
    }
}

/// As Kafka's converter reads structs: what is not there is null, null is the default, what is unknown is passed by.
const RULES: Rules = Rules {
    drop_unknown: true,
    bytes: TextBytes::Base64,
    decimals: TextBytes::Base64,
    null_is_default: true,
    missing_is_null: true,
};

/// What the text of a schema says; nothing for `null`.
type Schemas = Option<Arc<Wanted>>;

/// Reads envelopes.
#[derive(Default)]
struct Envelopes {
    schemas: bool,
    /// The text of the schema met last: one comparison finds that it is met again, without a look at what it says.
    last: Option<(Box<str>, Schemas)>,
    known: Compiled<Box<str>, Schemas>,
    reader: DeclaredReader,
    any: Reader,
}

impl Envelopes {
    fn read(&mut self, text: &str) -> std::result::Result<(Value, Schemas), Fault> {
        let mut scan = Scan::new(text);
        if !self.schemas {
            let value = self.any.value(&mut scan, DEPTH_MAX)?;
            scan.end()?;
            return Ok((value, None));
        }
        scan.take(b'{', "an envelope with `schema` and `payload`")?;
        let (mut schema, mut value, mut later, mut first) = (None, None, None, true);
        while scan.more(b'}', first)? {
            first = false;
            let name = scan.name()?;
            match name.get(text) {
                "schema" => {
                    let range = self.skip_schema(&mut scan)?;
                    schema = Some(self.compiled(&text[range.clone()]).map_err(|says| {
                        Fault::new(format!("the schema of the envelope: {says}")).at(range.start)
                    })?);
                }
                // A schema stands in front of its payload, nearly always.
                "payload" => match &schema {
                    Some(compiled) => {
                        value = Some(payload(&mut self.reader, &mut self.any, compiled, &mut scan)?)
                    }
                    None => {
                        scan.token();
                        later = Some(scan.at);
                        scan.skip(DEPTH_MAX)?;
                    }
                },
                _ => {
                    return Err(scan
                        .fault("an envelope has `schema` and `payload` and nothing else")
                        .in_field(name.get(text)));
                }
            }
        }
        scan.end()?;
        match (schema, value, later) {
            (Some(compiled), Some(value), _) => Ok((value, compiled)),
            (Some(compiled), None, Some(at)) => {
                scan.at = at;
                Ok((payload(&mut self.reader, &mut self.any, &compiled, &mut scan)?, compiled))
            }
            _ => Err(Fault::new("an envelope has `schema` and `payload`; `schemas: false` reads plain JSON")),
        }
    }

    /// Goes past the schema, in one step if it is the one met last.
    fn skip_schema(&self, scan: &mut Scan<'_>) -> std::result::Result<Range<usize>, Fault> {
        scan.token();
        let begin = scan.at;
        match &self.last {
            Some((last, Some(_))) if scan.text[begin..].starts_with(&**last) => scan.at += last.len(),
            _ => scan.skip(DEPTH_MAX)?,
        }
        Ok(begin..scan.at)
    }

    fn compiled(&mut self, text: &str) -> std::result::Result<Schemas, String> {
        if let Some((last, compiled)) = &self.last
            && **last == *text
        {
            return Ok(compiled.clone());
        }
        let compiled = match self.known.get(text) {
            Some(known) => known.clone(),
            None => {
                let json: serde_json::Value =
                    serde_json::from_str(text).map_err(|error| error.to_string())?;
                let compiled = match json.is_null() {
                    true => None,
                    false => Some(Arc::new(Wanted::of(&into_schema::convert(&json)?)?)),
                };
                let counted = Counted::compiled(SchemaKind::Json, text.len());
                self.known.keep(text.into(), compiled.clone(), counted);
                compiled
            }
        };
        self.last = Some((text.into(), compiled.clone()));
        Ok(compiled)
    }
}

fn payload(
    reader: &mut DeclaredReader,
    any: &mut Reader,
    compiled: &Schemas,
    scan: &mut Scan<'_>,
) -> std::result::Result<Value, Fault> {
    let Some(wanted) = compiled else { return any.value(scan, DEPTH_MAX) };
    let root = wanted.schema.root();
    if scan.token() == b'n'
        && let Some(default) = &wanted.root_default
    {
        scan.literal("null")?;
        return Ok(default.clone());
    }
    reader.value(wanted, RULES, scan, root)
}

#[async_trait]
impl Decoder for Envelopes {
    fn decode(&mut self, piece: Piece<'_>) -> Result<Typed> {
        let (value, compiled) =
            self.read(utf8(piece.bytes)?).map_err(|fault| fault.into_error(piece.bytes))?;
        let schema = compiled.as_ref().map_or(schemaless(), |wanted| &wanted.schema);
        Ok(Typed::new(Arc::clone(schema), piece.bytes.clone(), value))
    }
}

/// Writes envelopes.
struct Writer {
    schemas: bool,
    style: Style,
    plans: PerSchema<Prepared>,
}

/// What is the same for all values of a schema: the envelope up to the payload, or why it cannot be.
struct Prepared {
    plan: Plan,
    before: std::result::Result<Vec<u8>, Fault>,
}

fn prepared(schema: &Arc<Schema>, schemas: bool, style: Style) -> Prepared {
    let before = if schemas {
        from_schema::convert(schema, style).map(|text| [b"{\"schema\":", &*text, b",\"payload\":"].concat())
    } else {
        Ok(Vec::new())
    };
    Prepared { plan: Plan::for_connect(schema), before }
}

#[async_trait]
impl Encoder for Writer {
    fn encode(&mut self, _: &Arc<str>, typed: &Typed, out: &mut Vec<u8>) -> Result<Encoded> {
        let begin = out.len();
        let (schemas, style) = (self.schemas, self.style);
        let prepared = self.plans.get(typed.schema(), |schema| prepared(schema, schemas, style));
        out.extend_from_slice(
            prepared.before.as_ref().map_err(|fault| aqueduct_api::Error::from(fault.clone()))?,
        );
        if let Err(fault) = write::write(&prepared.plan, self.style, typed, out) {
            out.truncate(begin);
            return Err(fault.into());
        }
        if schemas {
            out.push(b'}');
        }
        Ok(Encoded::Done)
    }
}
