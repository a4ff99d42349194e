//! What tests need: memory ends that misbehave by seed, and the crash simulation of a whole pipeline.
//! A dev-dependency only.

pub mod awkward;
pub mod conformance;
pub mod dice;
pub mod ends;
pub mod simulation;
pub mod transactions;
pub mod world;
