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

pub use crate::avro::Avro;
pub use crate::bytes::Bytes;
pub use crate::connect_json::{ConnectDecimal, ConnectJson};
pub use crate::csv::{Column, Csv, RowEnd};
pub use crate::json::{BytesAs, DecimalAs, Json, NotANumber, TimeAs, UnknownFields, schemaless};
pub use crate::json_schema::format::JsonSchema;
pub use crate::protobuf::Protobuf;
pub use crate::text::Text;
