//! `completions`: what a shell goes by that completes commands and options.

use clap_complete::Shell;

use super::output::{CommandError, print};

/// Prints the completions of `command` for a shell.
pub(super) fn run(shell: Shell, command: &mut clap::Command) -> Result<(), CommandError> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, command, name, &mut script);
    print(String::from_utf8_lossy(&script))
}
