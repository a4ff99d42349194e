//! Offset stores for sources that have no place of their own to keep offsets in.

mod files;
mod memory;

pub use files::{Files, FilesConfig};
pub use memory::{Memory, MemoryConfig};
