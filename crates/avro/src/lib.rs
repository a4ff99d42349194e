//! Avro at memory speed: a schema is compiled once into a decoder or an encoder over compact rows
//! (`aqueduct_api::value`), and a reader's schema, where it differs, is resolved while compiling, not per record.
//! <https://avro.apache.org/docs/1.12.0/specification/>

mod adopt;
mod compatible;
mod decode;
mod default;
mod digits;
mod encode;
mod moment;
mod plan;
mod resolve;
pub mod schema;
mod write;

pub use aqueduct_api::Fault;
pub use compatible::{Incompatibility, Rule, incompatibilities};
pub use decode::Decoder;
pub use encode::{Encoder, UnknownFields};
pub use schema::{SchemaError, parse};
pub use write::{canonical, fingerprint, write};
