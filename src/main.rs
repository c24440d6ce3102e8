//! The `sidebearer` binary: parses arguments, runs one command, turns its result into an exit
//! code.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use sidebearer::cli::{self, StandIn};

/// A request allocates some thirty times: `benches/README.md` has what each allocator costs.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let ended = match StandIn::of_this_process() {
        Some(stand_in) => Err(stand_in.become_program()),
        None => cli::execute(),
    };
    cli::conclude(ended).into()
}
