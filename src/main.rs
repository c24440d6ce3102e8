//! The `sidebearer` binary: parses arguments, runs one command, turns its result into an exit
//! code.

use std::process::ExitCode;

use clap::Parser;
use sidebearer::cli::{self, Cli};

fn main() -> ExitCode {
    match Cli::parse().command.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            cli::tell(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
