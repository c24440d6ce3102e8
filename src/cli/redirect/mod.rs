//! `sidebearer redirect`: what the system needs to redirect connections to a listener of `kind = "redirected"`.

mod arguments;
mod chains;
mod table;

use clap::Subcommand;

use super::output::{CommandError, print, print_note};
pub use arguments::PrintArguments;
use table::RedirectTable;

/// What to do about redirection.
#[derive(Debug, Subcommand)]
pub enum RedirectCommand {
    /// Print an nftables table that redirects the connections of all other users to a listener
    Print(PrintArguments),
}

/// Does it.
///
/// # Errors
/// Nothing would be redirected, or there are other chains that change where connections lead.
pub fn run(command: RedirectCommand) -> Result<(), CommandError> {
    let RedirectCommand::Print(arguments) = command;
    let table = RedirectTable::new(&arguments).map_err(CommandError::Usage)?;
    if !arguments.elsewhere {
        refuse_beside_others(chains::others())?;
    }
    print(table)
}

/// Two tables that change where connections lead get in each other's way: which one a connection meets first is a matter
/// of their priorities.
fn refuse_beside_others(found: Result<Vec<String>, String>) -> Result<(), CommandError> {
    match found {
        Ok(others) if others.is_empty() => Ok(()),
        Ok(others) => Err(CommandError::Failed(format!(
            "other chains change where connections of this machine lead: {}; remove them, or say --elsewhere if the table \
             is for another machine or network namespace",
            others.join(", ")
        ))),
        Err(why) => {
            print_note(format_args!(
                "warning: nobody has looked whether other chains change where connections of this machine lead: {why}"
            ));
            Ok(())
        }
    }
}
