//! The kinds of values that connector configurations share, read the way people write them.

mod duration;
pub mod file;
mod secret;
mod size;
mod template;

pub use duration::Duration;
pub use secret::Secret;
pub use size::Size;
pub use template::{Piece, Template};
