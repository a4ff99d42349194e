//! The whole thing from outside: the real binary between a real Kafka and a real S3 server, through crashes and faults.

mod cluster;
mod crash;
mod dev;
mod group;
mod harness;
mod herd;
mod membership;
mod moves;
mod offsets;
mod returns;
mod scene;
mod storm;
mod subjects;
mod typed;
mod wrong_inputs;
