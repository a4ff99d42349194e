//! The whole thing from outside: the real binary between a real Kafka and a real S3 server, through crashes and faults.

mod cluster;
mod crash;
mod dev;
mod fixture;
mod group;
mod harness;
mod membership;
mod moves;
mod offsets;
mod returns;
mod runners;
mod storm;
mod subjects;
mod typed;
mod wrong_inputs;
