//! Booleans, and one of several words.

use super::super::declare::{Absent, ValueForm};
use super::super::parse::units;
use super::super::read::{Key, Kind, Section};
use super::super::words::{did_you_mean, one_of};

/// `true` or `false`
pub(in crate::config) struct Flag {
    default: bool,
}

impl Flag {
    pub(in crate::config) const fn new(default: bool) -> Self {
        Self { default }
    }
}

impl Kind for Flag {
    type Output<'a> = bool;

    fn read(&self, section: &Section<'_>, key: &'static str) -> bool {
        let value = section.shown(key);
        let read = value.and_then(|value| match value.boolean() {
            None => value.mistyped("true or false"),
            found => found,
        });
        read.unwrap_or(self.default)
    }

    fn form(&self) -> ValueForm {
        ValueForm::Boolean
    }

    fn absent(&self) -> Absent {
        Absent::Value(self.default.to_string())
    }
}

/// `true`, `false`, or one word.
pub(in crate::config) struct FlagOr {
    default: bool,
    word: &'static str,
}

/// What was chosen.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::config) enum Chosen {
    Flag(bool),
    Word,
}

impl FlagOr {
    pub(in crate::config) const fn new(default: bool, word: &'static str) -> Self {
        Self { default, word }
    }
}

impl Kind for FlagOr {
    /// `None` after a mistake.
    type Output<'a> = Option<Chosen>;

    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Chosen> {
        let Some(value) = section.shown(key) else {
            return Some(Chosen::Flag(self.default));
        };
        if let Some(flag) = value.boolean() {
            return Some(Chosen::Flag(flag));
        }
        let expected = format!("true, false or \"{}\"", self.word);
        let is_word = value.text(&expected)? == self.word;
        value.check(if is_word {
            Ok(Chosen::Word)
        } else {
            Err(format!("expected {expected}").into())
        })
    }

    fn form(&self) -> ValueForm {
        ValueForm::BooleanOr(self.word)
    }

    fn absent(&self) -> Absent {
        Absent::Value(self.default.to_string())
    }
}

/// One of several words, and what each means.
pub(in crate::config) struct Choice<T: 'static> {
    words: &'static [(&'static str, T)],
    default: Default<T>,
}

/// What holds where no word is chosen.
enum Default<T> {
    /// That of `words` at this index.
    Word(usize),
    /// This value, which has no word, and what the documentation says in its place.
    Wordless(T, &'static str),
}

impl<T: Copy> Choice<T> {
    /// One of these words, `default` if none is chosen.
    pub(in crate::config) const fn new(words: &'static [(&'static str, T)], default: &str) -> Self {
        let mut index = 0;
        while !units::equal(words[index].0, default) {
            index += 1;
        }
        Self {
            words,
            default: Default::Word(index),
        }
    }

    /// One of these words, or `absent` if none is chosen, which `said` describes.
    pub(in crate::config) const fn wordless(
        words: &'static [(&'static str, T)],
        absent: T,
        said: &'static str,
    ) -> Self {
        Self {
            words,
            default: Default::Wordless(absent, said),
        }
    }

    /// What holds where no word is chosen.
    fn default(&self) -> (&'static str, T) {
        match self.default {
            Default::Word(index) => self.words[index],
            Default::Wordless(absent, _) => ("", absent),
        }
    }

    /// See [`Section::choose`].
    fn choose(
        &self,
        section: &Section<'_>,
        key: &'static str,
        fits: impl Fn(T) -> bool,
    ) -> Option<(&'static str, T)> {
        let Some(value) = section.shown(key) else {
            return Some(self.default());
        };
        let fitting = self.words.iter().filter(|(_, meaning)| fits(*meaning));
        let words = || -> Vec<_> { fitting.clone().map(|(word, _)| *word).collect() };
        let expected = || one_of(&words(), '"');
        let Some(text) = value.string() else {
            return value.mistyped(expected());
        };
        let help = || {
            did_you_mean(text, words())
                .unwrap_or_else(|| format!("expected {}", expected()))
                .into()
        };
        let chosen = fitting.clone().find(|(word, _)| *word == text);
        value.check(chosen.copied().ok_or_else(help))
    }
}

impl Section<'_> {
    /// The word that is chosen or holds without the key, and what it means. Only words that
    /// `fits` accepts can be chosen. `None` after a mistake.
    pub(in crate::config) fn choose<T: Copy + Sync>(
        &self,
        key: &Key<Choice<T>>,
        fits: impl Fn(T) -> bool,
    ) -> Option<(&'static str, T)> {
        self.check_declared(key);
        key.kind.choose(self, key.name, fits)
    }
}

impl<T: Copy + Sync> Kind for Choice<T> {
    type Output<'a> = T;

    fn read(&self, section: &Section<'_>, key: &'static str) -> T {
        let chosen = self.choose(section, key, |_| true);
        chosen.unwrap_or_else(|| self.default()).1
    }

    fn form(&self) -> ValueForm {
        ValueForm::Words(self.words.iter().map(|(word, _)| *word).collect())
    }

    fn absent(&self) -> Absent {
        match self.default {
            Default::Word(index) => Absent::Value(format!("\"{}\"", self.words[index].0)),
            Default::Wordless(_, said) => Absent::Words(said),
        }
    }
}
