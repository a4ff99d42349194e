//! Record formats: how the bytes of a key, a value or a header become values with structure, and back; and the record
//! line, a whole record as one line of JSON.

mod avro;
mod bytes;
mod compiled;
mod connect_json;
mod csv;
pub mod framed;
mod json;
mod json_schema;
mod protobuf;
pub mod record_line;
mod text;

use schemars::JsonSchema as Described;
use serde::Deserialize;

pub use crate::avro::Avro;
pub use crate::bytes::Bytes;
pub use crate::connect_json::{ConnectDecimal, ConnectJson, ConnectJsonOptions};
pub use crate::csv::{Column, Csv, CsvOptions, RowEnd};
pub use crate::json::{BytesAs, DecimalAs, Json, JsonOptions, NotANumber, TimeAs, UnknownFields, schemaless};
pub use crate::json_schema::JsonSchema;
pub use crate::protobuf::Protobuf;
pub use crate::text::Text;

/// The block of a format that has no options.
#[derive(Clone, Copy, Debug, Default, Deserialize, Described)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}
