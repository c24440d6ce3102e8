//! `sidebearer ca`: makes a CA beforehand, or its successor, and puts the successor in use.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, Subcommand};

use super::output::{CommandError, print};
use crate::ca::{
    CHAIN_FILE, FewerNames, KEY_FILE, KeyDirectory, KeyDirectoryError, NEXT_CHAIN_FILE,
    NEXT_KEY_FILE, Switched,
};
use crate::config;

/// What to do with a CA.
#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// Make a CA that may sign for the domains alone, or its successor
    Create(CreateCa),
    /// Put the successor in use; a running sidebearer takes it by itself
    Switch {
        /// The key directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// Switch also to a successor that may not sign for all that the CA may sign for now
        #[arg(long)]
        fewer_names: bool,
    },
}

/// What CA to make.
#[derive(Debug, Args)]
pub struct CreateCa {
    /// A domain that it may sign for, with all names below it, or an IP address; may be repeated
    #[arg(long = "domain", value_name = "DOMAIN", required = true)]
    pub domains: Vec<String>,
    /// The key directory; made if it is not there
    #[arg(long = "out", value_name = "DIR")]
    pub directory: PathBuf,
    /// Make the one that is to come after the CA that is there: clients are given both
    #[arg(long)]
    pub successor: bool,
}

/// The whole command.
///
/// # Errors
/// A domain is none, or the directory cannot be used.
pub(super) fn run(command: &CaCommand) -> Result<(), CommandError> {
    match command {
        CaCommand::Create(wanted) => create(wanted),
        CaCommand::Switch {
            directory,
            fewer_names: true,
        } => switch(directory, FewerNames::Allowed),
        CaCommand::Switch { directory, .. } => switch(directory, FewerNames::Refused),
    }
}

fn create(wanted: &CreateCa) -> Result<(), CommandError> {
    let domain = |text: &String| {
        let domain = config::interception_domain(text);
        domain.map_err(|reason| CommandError::Usage(format!("--domain {text:?}: {reason}")))
    };
    let domains: Vec<_> = wanted
        .domains
        .iter()
        .map(domain)
        .collect::<Result<_, _>>()?;
    let directory = KeyDirectory::new(&wanted.directory);
    let (made, files) = if wanted.successor {
        (
            directory.create_successor(&domains),
            [NEXT_CHAIN_FILE, NEXT_KEY_FILE],
        )
    } else {
        (directory.create(&domains), [CHAIN_FILE, KEY_FILE])
    };
    made.map_err(failed)?;
    let [chain, key] = files.map(|name| directory.file(name).display().to_string());
    print(format_args!("made {chain} and {key}"))
}

fn switch(directory: &Path, fewer_names: FewerNames) -> Result<(), CommandError> {
    let directory = KeyDirectory::new(directory);
    let switched = directory.switch(SystemTime::now(), fewer_names);
    let switched = switched.map_err(failed)?;
    let chain = directory.file(CHAIN_FILE).display().to_string();
    print(match switched {
        Switched::Whole => format!("the successor is in use: {chain}"),
        Switched::Finished => format!("an interrupted switch is finished: {chain}"),
    })
}

fn failed(error: KeyDirectoryError) -> CommandError {
    CommandError::Failed(error.to_string())
}
