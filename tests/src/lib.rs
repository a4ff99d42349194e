//! What the end-to-end tests are written with: real servers, the real binary, faults between them, and a checker that
//! knows only the topic and the bucket. Everything started here ends with the value that stands for it, also on a panic.

mod aqueduct;
mod checker;
mod checkers;
mod fault_proxy;
mod folder;
mod http;
mod kafka;
mod kerberos;
mod registry;
mod s3;
mod server;
mod toxiproxy;

pub use aqueduct::{Aqueduct, Signal, binary};
pub use checker::{Report, Stored, check, lines, objects};
pub use checkers::{Prometheus, Script, checker, documents};
pub use fault_proxy::{Answer, FaultProxy};
pub use folder::Folder;
pub use http::request;
pub use kafka::{Kafka, Load, Parts, Watch};
pub use kerberos::Kerberos;
pub use registry::{SchemaRegistry, url};
pub use s3::S3;
pub use server::{free_ports, root, until};
pub use toxiproxy::Toxiproxy;
