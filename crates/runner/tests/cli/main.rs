//! The binary as people use it: exit codes, what is printed, signals, restarts, the HTTP listener, `dev`.

// A test that cannot go on says where by panicking.
#![allow(clippy::unwrap_used)]

mod dev;
mod files;
mod http;
mod pages;
mod process;
mod running;
mod secrets;
mod source_files;
mod test_command;
