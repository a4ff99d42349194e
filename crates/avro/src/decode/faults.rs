//! What goes wrong, put into words out of the way of what goes right.

use aqueduct_api::Fault;

use super::DEPTH_MAX;
use crate::plan::Symbols;

#[cold]
pub(super) fn no_symbol(symbol: i64, of: &Symbols) -> Fault {
    Fault::new(format!("symbol {symbol} of an enum that has {}", of.count))
}

#[cold]
pub(super) fn unknown_symbol(symbol: u32, of: &Symbols) -> Fault {
    Fault::new(format!("the reader does not know the symbol `{}`", of.names[symbol as usize]))
}

#[cold]
pub(super) fn no_branch(branch: i64, of: usize) -> Fault {
    Fault::new(format!("branch {branch} of a union that has {of}"))
}

#[cold]
pub(super) fn no_boolean(byte: u8) -> Fault {
    Fault::new(format!("a boolean is 0 or 1, not {byte}"))
}

#[cold]
pub(super) fn too_large(long: i64) -> Fault {
    Fault::new(format!("{long} is too large for an int"))
}

#[cold]
pub(super) fn no_text(start: usize, bytes: &[u8]) -> Fault {
    let valid = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
    Fault::new("the text is not UTF-8").at(start + valid)
}

#[cold]
pub(super) fn no_length(count: i64) -> Fault {
    Fault::new(format!("a length of {count}"))
}

#[cold]
pub(super) fn cut_off(bytes: usize, left: usize) -> Fault {
    Fault::new(format!("{bytes} bytes are announced and {left} are there"))
}

#[cold]
pub(super) fn too_long() -> Fault {
    Fault::new("the payload has more than 4 GiB")
}

#[cold]
pub(super) fn ends_early() -> Fault {
    Fault::new("the value is cut off")
}

#[cold]
pub(super) fn too_deep() -> Fault {
    Fault::new(format!("the value is nested more than {DEPTH_MAX} deep"))
}
