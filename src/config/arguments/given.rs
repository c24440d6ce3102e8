//! What was given without a file.

use super::super::words::did_you_mean;
use super::keys::{ARGUMENT_KEYS, ArgumentKey};

/// One key, and what it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The key.
    pub key: &'static ArgumentKey,
    /// Whether the environment said it.
    pub by_variable: bool,
    /// What was said; of a secret that a variable holds nothing.
    pub value: String,
}

impl Argument {
    /// By which name it was given.
    pub fn name(&self) -> String {
        if self.by_variable {
            self.key.variable.to_owned()
        } else {
            self.key.flag()
        }
    }
}

/// A whole configuration without a file. An empty value is as good as none, as it is in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arguments(Vec<Argument>);

/// What no configuration can say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentsError {
    /// One key has two values, of which neither can be preferred.
    #[error("{0} and {1} cannot be given together: keep one")]
    Twice(String, String),
}

impl Arguments {
    /// Adds one.
    ///
    /// # Errors
    /// Something else has said the same.
    pub fn add(&mut self, argument: Argument) -> Result<(), ArgumentsError> {
        if argument.value.is_empty() && !argument.key.is_variable_only() {
            return Ok(());
        }
        let is_same = |other: &&Argument| {
            other.key.key == argument.key.key && other.key.tables == argument.key.tables
        };
        if let Some(other) = self.0.iter().find(is_same) {
            return Err(ArgumentsError::Twice(other.name(), argument.name()));
        }
        self.0.push(argument);
        Ok(())
    }

    /// What was given for a key, by its name as an argument.
    pub fn get(&self, name: &str) -> Option<&Argument> {
        self.0.iter().find(|argument| argument.key.name == name)
    }

    /// All of them, in the order in which a file has them.
    pub fn iter(&self) -> impl Iterator<Item = &Argument> {
        ARGUMENT_KEYS
            .iter()
            .filter_map(|key| self.0.iter().find(|argument| argument.key == key))
    }
}

/// What a variable of the environment is a misspelling of, as a question. `None` if it is one that is known, or nothing
/// of ours: Kubernetes makes variables from the names of services.
pub fn misspelt_variable(name: &str) -> Option<String> {
    const PREFIX: &str = "SIDEBEARER_";
    let ours = name.strip_prefix(PREFIX)?;
    let known = ARGUMENT_KEYS.iter().map(|key| key.variable);
    let mut known = known.filter_map(|known| known.strip_prefix(PREFIX));
    if known.clone().any(|known| known == ours) {
        return None;
    }
    let close = known.find(|known| did_you_mean(ours, [*known]).is_some())?;
    Some(format!("did you mean {PREFIX}{close}?"))
}
