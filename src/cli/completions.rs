//! `completions`: what a shell goes by that completes commands and options.

use clap::Command;
use clap_complete::Shell;

use super::output::{CommandError, print};

/// Prints the completions of `command` for a shell.
pub(super) fn run(shell: Shell, command: &Command) -> Result<(), CommandError> {
    print(script(shell, command))
}

fn script(shell: Shell, command: &Command) -> String {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut without_hidden(command), name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The command without the arguments that its help does not show, since completions would offer those too. No argument can
/// be removed from a command, so a new one is built with everything that completions need.
fn without_hidden(command: &Command) -> Command {
    // Of a process that ends when it has printed them.
    let kept = |text: &str| -> &'static str { text.to_owned().leak() };
    let shown = command.get_arguments().filter(|one| !one.is_hide_set());
    let below = command.get_subcommands().filter(|one| !one.is_hide_set());
    let mut bare = Command::new(kept(command.get_name()))
        .args(shown.cloned())
        .subcommands(below.map(without_hidden));
    if let Some(about) = command.get_about() {
        bare = bare.about(about.clone());
    }
    match command.get_version() {
        Some(version) => bare.version(kept(version)),
        None => bare,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, ValueEnum};

    use super::super::Cli;
    use super::*;

    #[test]
    fn no_shell_offers_what_help_does_not_show() {
        for shell in Shell::value_variants() {
            let script = script(*shell, &Cli::command());
            // PowerShell and elvish quote each option, zsh and bash put signs behind it; fish leaves out the dashes.
            for end in ["'", "\"", " ", "=", "["] {
                for option in ["--client-secret", "-l client-secret"] {
                    let offered = format!("{option}{end}");
                    assert!(!script.contains(&offered), "{shell}: {offered}");
                }
            }
            for shown in [
                "client-secret-file",
                "private-key-file",
                "print",
                "version",
                "help",
            ] {
                assert!(script.contains(shown), "{shell}: {shown}");
            }
        }
    }
}
