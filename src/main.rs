//! The `sidebearer` binary: parses arguments, runs one command, turns its result into an exit
//! code.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;
use sidebearer::cli::{self, Cli};
use sidebearer::telemetry;

/// A request allocates some thirty times: `benches/README.md` has what each allocator costs.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let code = match Cli::parse().command.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            cli::print_note(&failure);
            ExitCode::from(failure.exit_code())
        }
    };
    telemetry::flush();
    code
}
