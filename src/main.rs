//! The `sidebearer` binary: parses arguments, runs one command, turns its result into an exit
//! code.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use sidebearer::cli::{self, Cli};

/// A request allocates some thirty times: `benches/README.md` has what each allocator costs.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    cli::conclude(Cli::from_arguments().command.execute()).into()
}
