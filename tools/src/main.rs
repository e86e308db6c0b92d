//! `orlop`: look inside, load, dump, verify and try out Orlop stores. All of it is in the library
//! beside this file.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    orlop_tools::main()
}
