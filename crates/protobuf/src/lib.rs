//! Protobuf at memory speed: a message of a `.proto` text is compiled once into a decoder or an encoder over compact rows
//! (`aqueduct_api::value`). <https://protobuf.dev/programming-guides/encoding/>

mod any;
mod compile;
mod decode;
mod encode;
mod error;
mod indexes;
mod logical;
mod resolve;
mod shape;
mod shaping;
mod wire;
mod write;

pub use aqueduct_api::Fault;
pub use compile::Proto;
pub use decode::Decoder;
pub use encode::Encoder;
pub use error::ProtoError;
pub use indexes::{read_indexes, write_indexes};
pub use shape::{Options, Shape, Timestamps, UnknownFields, Unsigned};
pub use write::write;
