//! Single-message transforms, one file each.

mod field;
mod mask;

pub use mask::MaskConfig;
