//! The program `tracejob`; the library implements it.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tracejob::main()
}
