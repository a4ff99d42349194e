//! The contract between the engine and everything it runs: records, offsets, sources, sinks, transforms,
//! formats, errors, and the catalog that names them. No I/O and no runtime here; everything else stands on it.

pub mod batch;
pub mod catalog;
pub mod condition;
pub mod config;
pub mod error;
pub mod fault;
pub mod finding;
pub mod flow;
pub mod format;
pub mod incarnation;
pub mod murmur2;
pub mod offset_admin;
pub mod offsets;
pub mod problem;
pub mod record;
pub mod records;
pub mod registry;
pub mod schema;
pub mod sink;
pub mod source;
pub mod transform;
pub mod unfinished;
pub mod value;

pub use batch::{Batch, BatchId};
pub use catalog::Catalog;
pub use condition::Condition;
pub use error::{Error, ErrorKind, Result};
pub use fault::Fault;
pub use finding::{Finding, Verdict};
pub use flow::{Reads, System, TakesTopic, Writes};
pub use format::{
    Decoder, Encoded, Encoder, FirstRow, FormatContext, FormatTraits, Part, Piece, Rows, Side, Translator,
};
pub use incarnation::Incarnations;
pub use offset_admin::{OffsetAdmin, OffsetSpec, PartitionOffsets};
pub use offsets::{OffsetStore, Offsets, Partition, Position};
pub use problem::Problem;
pub use record::{Header, Headers, Origin, Payload, Record};
pub use records::{Packer, Records};
pub use registry::{Registered, Registry, SchemaId, SchemaText};
pub use schema::{Schema, SchemaBuilder};
pub use sink::{Durable, Rejected, Sink, Transactional, Written};
pub use source::{Lag, Ownership, Polled, Proof, Source};
pub use transform::{Fields, Outcome, Projection, Transform};
pub use unfinished::{Finishing, Unfinished};
pub use value::{Typed, Value};
