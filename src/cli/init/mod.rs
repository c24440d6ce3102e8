//! `sidebearer init`: writes the smallest file, and tries it.

mod new_file;
mod questions;

use std::path::Path;

use clap::Args;

use self::new_file::NewFile;
use super::arguments::{ConfigArguments, NewConfigPath};
use super::output::{CommandError, block_on, print, print_note};
use super::{check, online, terminal};
use crate::config::{Arguments, ConfigOrigin, SECRET_VARIABLE, SECRET_VARIABLE_OF_FILE};

/// How the variable that holds the secret is called among the arguments.
const SECRET_VARIABLE_NAME: &str = "client-secret";

/// What is said at the top of the file.
const HEADER: &str = "\
# Written by `sidebearer init`. What else a configuration can say, and the defaults: docs/configuration.md
";

/// Where to write what.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// Where.
    #[command(flatten)]
    file: NewConfigPath,
    /// Print the file in place of writing it, and try nothing
    #[arg(long)]
    print: bool,
    /// Write the file without fetching a token and connecting to the API
    #[arg(long)]
    offline: bool,
    /// What it says.
    #[command(flatten)]
    arguments: ConfigArguments,
}

/// The whole command.
pub(super) fn run(request: InitArguments) -> Result<(), CommandError> {
    terminal::undo_at_signals()
        .map_err(|error| CommandError::Failed(format!("cannot watch for signals: {error}")))?;
    let InitArguments {
        file: NewConfigPath { path },
        print: is_printed,
        offline,
        arguments: ConfigArguments { mut arguments, .. },
    } = request;
    if !is_printed {
        new_file::check(&path).map_err(CommandError::Failed)?;
    }
    let typed = if terminal::is_attended() && questions::are_open(&arguments) {
        questions::ask(&mut arguments, &path)?
    } else {
        None
    };
    let origin = ConfigOrigin::Arguments(arguments.clone());
    // Either everything is there afterwards or nothing.
    let loaded = terminal::without_interruption(|| {
        let secret = typed.map(|secret| secret.create()).transpose();
        let secret = secret.map_err(CommandError::Failed)?;
        let loaded = check::offline(origin)?;
        if is_printed {
            print(text(&arguments))?;
        } else {
            let text = text(&arguments);
            let file = NewFile::create(&path, text.as_bytes(), new_file::FOR_ALL);
            file.map_err(CommandError::Failed)?.keep();
        }
        secret.into_iter().for_each(NewFile::keep);
        Ok::<_, CommandError>(loaded)
    })?;
    if arguments.get(SECRET_VARIABLE_NAME).is_some() {
        print_note(format_args!(
            "the file takes the secret from the variable {SECRET_VARIABLE_OF_FILE}: set that one in place of {SECRET_VARIABLE}"
        ));
    }
    if is_printed {
        return Ok(());
    }
    print(path.display())?;
    if !offline {
        block_on(online::try_out(&loaded.config, &[]))?
            .map_err(|error| still_there(&path, &error))?;
    }
    print_note(format_args!(
        "start it: sidebearer run --config {}",
        path.display()
    ));
    Ok(())
}

fn text(arguments: &Arguments) -> String {
    format!("{HEADER}\n{}", arguments.to_toml())
}

fn still_there(path: &Path, error: &CommandError) -> CommandError {
    let error = error.to_string();
    let error = error.trim_start_matches("error: ");
    CommandError::Failed(format!(
        "{error}; {path} is written all the same: when that is mended, try it by \
         `sidebearer check --online --config {path}`",
        path = path.display()
    ))
}
