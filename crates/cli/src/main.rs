//! The `skein` binary: the one program that a user installs.

mod args;
mod commands;
mod context;
mod demo;
mod failure;
mod log_file;
mod logging;
mod password;
mod place;
mod process;
mod ui;
mod value;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match args::parse().and_then(commands::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(line) = failure.line() {
                // With standard error closed there is nobody left to tell.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
