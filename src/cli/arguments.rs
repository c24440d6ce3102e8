//! Which configuration a command works with: a file, or arguments and environment variables in its place.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, ValueHint, value_parser,
};

use crate::config::{
    ARGUMENT_KEYS, Argument, ArgumentKey, Arguments, ConfigOrigin, SECRET_VARIABLE,
    misspelt_variable,
};

/// Over the arguments of a configuration in the help of a command.
const HEADING: &str = "In place of a file";

const FILE: &str = "config";
const NEW_FILE: &str = "path";
const FILE_VARIABLE: &str = "SIDEBEARER_CONFIG";
/// Where `health`, `reload` and `explain --live` ask, whatever a file says.
const ADMIN: &str = "admin";
pub(super) const ADMIN_VARIABLE: &str = "SIDEBEARER_ADMIN";
/// Whether a command asks a running process.
pub(super) const LIVE: &str = "live";
const USUAL_FILE: &str = "/etc/sidebearer/sidebearer.toml";

/// Which configuration file.
#[derive(Debug)]
pub struct ConfigPath {
    /// The file, or a directory of files.
    pub path: PathBuf,
}

impl Args for ConfigPath {
    fn augment_args(command: Command) -> Command {
        let help = "Configuration file, or a directory of *.toml files";
        command.arg(file(FILE, help).long(FILE))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigPath {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        path(matches, FILE, "--config").map(|path| Self { path })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Where a configuration file is to be made.
#[derive(Debug)]
pub struct NewConfigPath {
    /// The file.
    pub path: PathBuf,
}

impl Args for NewConfigPath {
    fn augment_args(command: Command) -> Command {
        let help = "Where the file is written; a file that exists is never overwritten";
        command.arg(file(NEW_FILE, help))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for NewConfigPath {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        path(matches, NEW_FILE, "PATH").map(|path| Self { path })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

fn file(id: &'static str, help: &'static str) -> Arg {
    Arg::new(id)
        .value_name("PATH")
        .env(FILE_VARIABLE)
        .hide_env_values(true)
        .default_value(USUAL_FILE)
        .value_hint(ValueHint::AnyPath)
        .value_parser(value_parser!(OsString))
        .help(help)
}

/// The path that was given, or the usual one. An empty variable is as good as none; an empty argument is more likely a
/// variable of a script that is not set, and must not lead to another file.
fn path(matches: &ArgMatches, id: &str, name: &str) -> Result<PathBuf, Error> {
    let given = matches.get_one::<OsString>(id);
    match given.filter(|path| !path.is_empty()) {
        Some(path) => Ok(path.into()),
        None if matches.value_source(id) == Some(ValueSource::CommandLine) => {
            let message = format!("{name} is empty: expected a path");
            Err(error(ErrorKind::InvalidValue, &message))
        }
        None => Ok(USUAL_FILE.into()),
    }
}

/// A configuration of either kind.
#[derive(Debug)]
pub struct ConfigChoice {
    /// Where it comes from.
    pub origin: ConfigOrigin,
    /// The admin address that was said, be it a part of the configuration or beside a file.
    pub admin: Option<String>,
}

impl Args for ConfigChoice {
    fn augment_args(command: Command) -> Command {
        ConfigArguments::augment_args(ConfigPath::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigChoice {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let file = ConfigPath::from_arg_matches(matches)?;
        let ConfigArguments {
            arguments,
            mut names,
        } = ConfigArguments::from_arg_matches(matches)?;
        let admin = arguments.get(ADMIN).map(|said| said.value.clone());
        // A container has one environment for `run` and for what asks that, to which alone it says something beside a file.
        let is_live = matches!(matches.try_get_one::<bool>(LIVE), Ok(Some(true)));
        let is_all = admin.is_some() && names.len() == 1;
        if names.iter().all(|name| name == ADMIN_VARIABLE) || is_live && is_all {
            return Ok(Self {
                origin: file.path.into(),
                admin,
            });
        }
        names.retain(|name| name != ADMIN_VARIABLE);
        let is_empty = matches
            .get_one::<OsString>(FILE)
            .is_none_or(|path| path.is_empty());
        let named = match matches.value_source(FILE) {
            Some(ValueSource::CommandLine) => Some("--config"),
            Some(ValueSource::EnvVariable) if !is_empty => Some(FILE_VARIABLE),
            _ => None,
        };
        if let Some(named) = named {
            let names = names.join(", ");
            let message = format!(
                "{named} names a configuration file, which leaves no room for {names}: say that in the file, or name none"
            );
            return Err(error(ErrorKind::ArgumentConflict, &message));
        }
        Ok(Self {
            origin: ConfigOrigin::Arguments(arguments),
            admin,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What stands in place of a file.
#[derive(Debug)]
pub struct ConfigArguments {
    /// What was said.
    pub arguments: Arguments,
    /// By which names; arguments that say nothing included.
    pub names: Vec<String>,
}

impl Args for ConfigArguments {
    fn augment_args(command: Command) -> Command {
        let known = ARGUMENT_KEYS.iter().filter(|key| !key.is_variable_only());
        let command = known.map(argument).fold(command, Command::arg);
        command.arg(refused_secret())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        if matches.value_source(REFUSED_SECRET).is_some() {
            let message = format!(
                "a secret is not taken as an argument, since every user of the machine can read those: write it to a file \
                 and name that by --client-secret-file, or put it into the variable {SECRET_VARIABLE}"
            );
            return Err(error(ErrorKind::ArgumentConflict, &message));
        }
        let (mut arguments, mut names) = (Arguments::default(), Vec::new());
        for key in &ARGUMENT_KEYS {
            let Some(argument) = given(key, matches)? else {
                continue;
            };
            names.push(argument.name());
            let added = arguments.add(argument);
            added.map_err(|twice| error(ErrorKind::ArgumentConflict, &twice.to_string()))?;
        }
        if !names.is_empty()
            && let Some((name, help)) = misspelt()
        {
            let message = format!("{name} is no variable that is read: {help}");
            return Err(error(ErrorKind::UnknownArgument, &message));
        }
        Ok(Self { arguments, names })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

const REFUSED_SECRET: &str = "client-secret";

/// Who tries it is told why it is not there.
fn refused_secret() -> Arg {
    Arg::new(REFUSED_SECRET)
        .long(REFUSED_SECRET)
        .value_parser(value_parser!(OsString))
        .num_args(0..)
        .hide(true)
}

fn argument(key: &'static ArgumentKey) -> Arg {
    let argument = Arg::new(key.name)
        .long(key.name)
        .env(key.variable)
        .hide_env_values(true)
        .value_name(key.value_name)
        .help(key.help)
        .help_heading(HEADING)
        .action(ArgAction::Set)
        .value_parser(value_parser!(OsString));
    if key.is_switch() {
        argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else {
        argument
    }
}

/// What a key was given. An empty variable is as good as none.
fn given(key: &'static ArgumentKey, matches: &ArgMatches) -> Result<Option<Argument>, Error> {
    if key.is_variable_only() {
        // It is read later, by what knows that it is a secret.
        let is_set = env::var_os(key.variable).is_some_and(|value| !value.is_empty());
        let value = String::new();
        return Ok(is_set.then_some(Argument {
            key,
            by_variable: true,
            value,
        }));
    }
    let Some(value) = matches.get_one::<OsString>(key.name) else {
        return Ok(None);
    };
    let by_variable = matches.value_source(key.name) == Some(ValueSource::EnvVariable);
    if by_variable && value.is_empty() {
        return Ok(None);
    }
    let argument = |value: &str| Argument {
        key,
        by_variable,
        value: value.to_owned(),
    };
    match value.to_str() {
        Some(value) => Ok(Some(argument(value))),
        None => {
            let message = format!("{} is not UTF-8 text", argument("").name());
            Err(error(ErrorKind::InvalidUtf8, &message))
        }
    }
}

/// A variable that looks as if it were meant for us, and is not read.
fn misspelt() -> Option<(String, String)> {
    env::vars_os().find_map(|(name, _)| {
        let name = name
            .into_string()
            .ok()
            .filter(|name| name != FILE_VARIABLE)?;
        let help = misspelt_variable(&name)?;
        Some((name, help))
    })
}

fn error(kind: ErrorKind, message: &str) -> Error {
    Error::raw(kind, message)
}
