//! The binary as people use it: exit codes, what is printed, signals, restarts, the HTTP listener, `dev`.

mod dev;
mod files;
mod http;
mod process;
mod running;
mod test_command;
