//! Runs one pipeline: the path of a record, station by station. Knows no connector, format or transform by name.

mod ack;
pub mod budget;
pub mod chain;
pub mod plan;
mod retry;
pub mod route;
mod run;
mod set_aside;
mod stall;
mod stations;
mod status;
mod stop;

pub use budget::Limits;
pub use plan::Plan;

pub use run::{Ends, Setting, open_source, panicked, run, run_task};
pub use set_aside::{Policy, SetAside, Stage};
pub use stall::{Progress, StallWatch};
pub use status::{PartitionStatus, Phase, Status, TaskCounts};
pub use stop::{Stop, Stopper};
