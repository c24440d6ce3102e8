//! Asks for what no argument has said, and again until the answer is good.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::output::{CommandError, print_note, print_prompt};
use super::super::terminal;
use super::new_file::{self, FOR_OWNER, NewFile};
use crate::config::{
    ARGUMENT_KEYS, Argument, ArgumentKey, Arguments, ConfigOrigin, ConfigSource, SECRET_VARIABLE,
    Secret,
};

/// Where requests arrive if nobody says otherwise.
const USUAL_LISTENER: &str = "127.0.0.1:7080";

/// A secret that was typed, for a file that is not there yet.
pub(super) struct TypedSecret {
    path: PathBuf,
    secret: Secret,
}

impl TypedSecret {
    /// Makes its file, which nobody else may read.
    pub(super) fn create(&self) -> Result<NewFile, String> {
        let line = zeroize::Zeroizing::new(format!("{}\n", self.secret.expose()));
        NewFile::create(&self.path, line.as_bytes(), FOR_OWNER)
    }
}

/// Whether something has to be known that was not said. Otherwise nothing is asked.
pub(super) fn are_open(arguments: &Arguments) -> bool {
    let is_said = |name| arguments.get(name).is_some();
    !(is_said("listen") && is_said("upstream") && is_said("client-id"))
        || !(is_said("token-endpoint") || is_said("issuer"))
        || wants_secret(arguments)
        || wants_private_key(arguments)
}

/// Whether the client authenticates with a secret, and none is there.
fn wants_secret(arguments: &Arguments) -> bool {
    let proofs = ["client-secret-file", "client-secret", "private-key-file"];
    let method = arguments.get("auth-method");
    let by_secret = method.is_none_or(|method| method.value.starts_with("client_secret_"));
    by_secret && proofs.iter().all(|name| arguments.get(name).is_none())
}

/// Whether the client authenticates with a private key, and none is there.
fn wants_private_key(arguments: &Arguments) -> bool {
    let method = arguments.get("auth-method");
    method.is_some_and(|method| method.value == "private_key_jwt")
        && arguments.get("private-key-file").is_none()
}

/// Asks. What is not said in the arguments afterwards may be left out, apart from a secret that is in no file yet.
///
/// # Errors
/// What was said is wrong: nobody should answer questions first. The input has ended, or cannot be read.
pub(super) fn ask(
    arguments: &mut Arguments,
    path: &Path,
) -> Result<Option<TypedSecret>, CommandError> {
    let source = ConfigSource::from(ConfigOrigin::Arguments(arguments.clone()));
    let wrong = source.load().err().map(|found| found.about_arguments());
    if let Some(wrong) = wrong.filter(|wrong| !wrong.is_empty()) {
        return Err(wrong.into());
    }
    print_note("Ctrl-C ends this, and nothing is written.");
    need(
        arguments,
        "upstream",
        "The API, such as https://crm.example.com",
        None,
    )?;
    if arguments.get("issuer").is_none() && arguments.get("token-endpoint").is_none() {
        let asked = "Its token endpoint, a URL (empty: known by its issuer)";
        offer(arguments, "token-endpoint", asked)?;
        if arguments.get("token-endpoint").is_none() {
            need(arguments, "issuer", "The issuer, a URL", None)?;
        }
    }
    need(arguments, "client-id", "Client id", None)?;
    if wants_private_key(arguments) {
        let asked = "The file of its private key, PEM or JWK";
        need(arguments, "private-key-file", asked, None)?;
    }
    let secret = if wants_secret(arguments) {
        ask_for_secret(arguments, path)?
    } else {
        None
    };
    offer(
        arguments,
        "scopes",
        "Scopes, with spaces between them (empty: none)",
    )?;
    offer(arguments, "audience", "Audience (empty: none)")?;
    let asked = "Where the service sends its requests";
    need(arguments, "listen", asked, Some(USUAL_LISTENER))?;
    Ok(secret)
}

/// A key that must have a value.
fn need(
    arguments: &mut Arguments,
    name: &str,
    asked: &str,
    usual: Option<&str>,
) -> Result<(), CommandError> {
    while arguments.get(name).is_none() {
        let answer = answer(asked, usual)?;
        if answer.is_empty() {
            print_note("  this has to be known");
        }
        take(arguments, name, &answer)?;
    }
    Ok(())
}

/// A key that may be left out.
fn offer(arguments: &mut Arguments, name: &str, asked: &str) -> Result<(), CommandError> {
    while arguments.get(name).is_none() {
        let answer = answer(asked, None)?;
        if answer.is_empty() {
            break;
        }
        take(arguments, name, &answer)?;
    }
    Ok(())
}

/// Adds an answer, or says why it is none.
fn take(arguments: &mut Arguments, name: &str, answer: &str) -> Result<(), CommandError> {
    let mut with = arguments.clone();
    let added = with.add(Argument {
        key: key(name)?,
        by_variable: false,
        value: answer.to_owned(),
    });
    added.map_err(|twice| CommandError::Usage(twice.to_string()))?;
    match mistake(&with, name) {
        Some(mistake) => print_note(format_args!("  {mistake}")),
        None => *arguments = with,
    }
    Ok(())
}

fn key(name: &str) -> Result<&'static ArgumentKey, CommandError> {
    let found = ARGUMENT_KEYS.iter().find(|key| key.name == name);
    found.ok_or_else(|| CommandError::Failed(format!("there is no argument {name}")))
}

/// What `check` would say of one argument, whatever is missing beside it.
fn mistake(arguments: &Arguments, name: &str) -> Option<String> {
    let source = ConfigSource::from(ConfigOrigin::Arguments(arguments.clone()));
    let refused = source.load().err()?;
    let found = refused.about_argument(name)?;
    Some(format!("{}: {}", found.message, found.help))
}

/// The file of the secret; what is to be written to it, if it is not there.
fn ask_for_secret(
    arguments: &mut Arguments,
    path: &Path,
) -> Result<Option<TypedSecret>, CommandError> {
    let usual = path.with_file_name("client-secret");
    let usual = usual.to_str();
    print_note(format_args!(
        "The client secret stands in a file of its own, and is read again when that changes."
    ));
    loop {
        let answer = answer("Its file (one that does not exist is made)", usual)?;
        if answer.is_empty() {
            continue;
        }
        let file = PathBuf::from(&answer);
        let is_new =
            fs::symlink_metadata(&file).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        if !is_new {
            take(arguments, "client-secret-file", &answer)?;
            if arguments.get("client-secret-file").is_some() {
                return Ok(None);
            }
            continue;
        }
        if let Err(reason) = new_file::check(&file) {
            print_note(format_args!("  {reason}"));
            continue;
        }
        let secret = typed_secret(&answer)?;
        let added = arguments.add(Argument {
            key: key("client-secret-file")?,
            by_variable: false,
            value: answer,
        });
        added.map_err(|twice| CommandError::Usage(twice.to_string()))?;
        return Ok(Some(TypedSecret { path: file, secret }));
    }
}

fn typed_secret(path: &str) -> Result<Secret, CommandError> {
    loop {
        let typed = terminal::read_hidden_line(|| {
            print_prompt(format_args!("The secret, for {path} (it is not shown): "));
        });
        let Some(typed) = understood(typed)? else {
            continue;
        };
        let secret = Secret::new(typed);
        if secret.expose().is_empty() {
            print_note(format_args!(
                "  expected at least one character; {SECRET_VARIABLE} can hold it too"
            ));
            continue;
        }
        if let Some([what, help]) = secret.likely_mistake() {
            print_note(format_args!("  warning: it {what}: {help}"));
        }
        return Ok(secret);
    }
}

/// What is typed, or `usual` if that is nothing.
fn answer(asked: &str, usual: Option<&str>) -> Result<String, CommandError> {
    loop {
        match usual {
            Some(usual) => print_prompt(format_args!("{asked} [{usual}]: ")),
            None => print_prompt(format_args!("{asked}: ")),
        }
        let Some(typed) = understood(terminal::read_line())? else {
            continue;
        };
        let typed = typed.trim();
        return Ok(match usual {
            Some(usual) if typed.is_empty() => usual.to_owned(),
            _ => typed.to_owned(),
        });
    }
}

/// `None` for what is no text, or what keys send that were meant to do something, which has been said.
fn understood(read: io::Result<Option<String>>) -> Result<Option<String>, CommandError> {
    match read {
        Ok(Some(line)) if line.contains(char::is_control) => {
            print_note("  expected text without control characters, such as arrow keys send");
            Ok(None)
        }
        Ok(Some(line)) => Ok(Some(line)),
        Ok(None) => Err(CommandError::Failed(
            "the input has ended before all was answered; nothing was written".to_owned(),
        )),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            print_note("  expected UTF-8 text");
            Ok(None)
        }
        Err(error) => Err(CommandError::Failed(format!(
            "cannot read what is typed: {error}"
        ))),
    }
}
