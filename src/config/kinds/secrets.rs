//! What a key may hold: a secret, or where it is read from.

use super::super::declare::{Absent, ValueForm};
use super::super::read::{Kind, Section};
use super::super::value::Value;

/// What white space at the ends of a secret is.
#[derive(Clone, Copy)]
pub(in crate::config) enum Whitespace {
    /// A part of it.
    Kept,
    /// Nothing: a key or a token is used without it.
    Trimmed,
}

/// What a key may hold: a secret, or where it is read from.
pub(in crate::config) struct SecretText {
    /// What is expected of one that is needed.
    pub(in crate::config) expected: &'static str,
    pub(in crate::config) whitespace: Whitespace,
    /// What holds without the key, in words.
    without: &'static str,
    /// Whether the choice that it belongs to needs it.
    required_by_choice: bool,
    /// Whether an empty string is as good as absent.
    empty_is_absent: bool,
}

impl SecretText {
    /// White space at its ends is a part of it.
    pub(in crate::config) const fn secret(expected: &'static str, without: &'static str) -> Self {
        Self {
            expected,
            whitespace: Whitespace::Kept,
            without,
            required_by_choice: false,
            empty_is_absent: false,
        }
    }

    /// White space at its ends is left out.
    pub(in crate::config) const fn key_or_token(
        expected: &'static str,
        without: &'static str,
    ) -> Self {
        Self {
            expected,
            whitespace: Whitespace::Trimmed,
            ..Self::secret(expected, without)
        }
    }

    /// One that the choice needs which it belongs to: `without` says so.
    pub(in crate::config) const fn required_by_choice(self) -> Self {
        Self {
            required_by_choice: true,
            ..self
        }
    }

    /// One whose empty string is as good as absent.
    pub(in crate::config) const fn empty_is_absent(self) -> Self {
        Self {
            empty_is_absent: true,
            ..self
        }
    }
}

impl Kind for SecretText {
    type Output<'a> = Option<Value<'a>>;

    fn read<'a>(&self, section: &Section<'a>, key: &'static str) -> Self::Output<'a> {
        section.value(key)
    }

    fn form(&self) -> ValueForm {
        ValueForm::Secret {
            empty_is_absent: self.empty_is_absent,
        }
    }

    fn absent(&self) -> Absent {
        if self.required_by_choice {
            Absent::RequiredByChoice(self.without)
        } else {
            Absent::Words(self.without)
        }
    }
}
