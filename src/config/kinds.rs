//! What a key may hold: booleans, numbers, durations, sizes and words. What is written wrong is
//! reported, and the default holds.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::declare::{Absent, Form, Kind};
use super::read::{Section, one_of};
use super::report::{did_you_mean, resembles};
use super::units;

/// Durations beyond a year are mistakes, and some clocks cannot count them.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What Linux takes for the times of TCP keep-alive (tcp(7)).
const MOST_SECONDS: u64 = 32_767;

/// `true` or `false`
pub(super) struct Flag {
    default: bool,
}

impl Flag {
    pub(super) const fn new(default: bool) -> Self {
        Self { default }
    }
}

impl Kind for Flag {
    type Output<'a> = bool;

    fn read(&self, section: &Section<'_>, key: &'static str) -> bool {
        let value = section.value(key);
        let read = value.and_then(|value| match value.boolean() {
            None => value.mistyped("true or false"),
            found => found,
        });
        read.unwrap_or(self.default)
    }

    fn form(&self) -> Form {
        Form::Boolean
    }

    fn absent(&self) -> Absent {
        Absent::Value(self.default.to_string())
    }
}

/// `true`, `false`, or one word.
pub(super) struct FlagOr {
    default: bool,
    word: &'static str,
}

/// What was chosen.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Chosen {
    Flag(bool),
    Word,
}

impl FlagOr {
    pub(super) const fn new(default: bool, word: &'static str) -> Self {
        Self { default, word }
    }
}

impl Kind for FlagOr {
    /// `None` after a mistake.
    type Output<'a> = Option<Chosen>;

    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Chosen> {
        let Some(value) = section.value(key) else {
            return Some(Chosen::Flag(self.default));
        };
        if let Some(flag) = value.boolean() {
            return Some(Chosen::Flag(flag));
        }
        let expected = format!("true, false or \"{}\"", self.word);
        let is_word = value.text(&expected)? == self.word;
        value.check(match is_word {
            true => Ok(Chosen::Word),
            false => Err(format!("expected {expected}").into()),
        })
    }

    fn form(&self) -> Form {
        Form::BooleanOr(self.word)
    }

    fn absent(&self) -> Absent {
        Absent::Value(self.default.to_string())
    }
}

/// A whole number.
pub(super) struct Integer<N> {
    default: N,
    range: RangeInclusive<usize>,
}

impl<N> Integer<N> {
    pub(super) const fn new(default: N, range: RangeInclusive<usize>) -> Self
    where
        N: Copy,
    {
        Self { default, range }
    }
}

impl<N: TryFrom<usize> + Copy + fmt::Display + Sync> Kind for Integer<N> {
    type Output<'a> = N;

    fn read(&self, section: &Section<'_>, key: &'static str) -> N {
        let read = || {
            let value = section.shown(key)?;
            let (least, most) = (self.range.start(), self.range.end());
            let expected = format!("a whole number from {least} to {most}");
            let parsed = value
                .integer(&expected)?
                .filter(|number| self.range.contains(number))
                .and_then(|number| N::try_from(number).ok());
            value.check(parsed.ok_or_else(|| format!("expected {expected}").into()))
        };
        read().unwrap_or(self.default)
    }

    fn form(&self) -> Form {
        Form::Integer {
            least: *self.range.start(),
            most: *self.range.end(),
        }
    }

    fn absent(&self) -> Absent {
        Absent::Value(self.default.to_string())
    }
}

/// What is written as a string with a unit.
#[derive(Clone, Copy)]
struct Written<T> {
    text: &'static str,
    value: T,
}

impl Written<Duration> {
    const fn duration(text: &'static str) -> Self {
        match units::duration(text) {
            Some(value) => Self { text, value },
            None => panic!("this is no duration"),
        }
    }
}

impl Written<usize> {
    const fn size(text: &'static str) -> Self {
        match units::size(text) {
            Some(value) => Self { text, value },
            None => panic!("this is no size"),
        }
    }
}

impl<T> Written<T> {
    fn absent(&self) -> Absent {
        Absent::Value(format!("\"{}\"", self.text))
    }
}

/// A duration such as `"30s"`, up to a year.
pub(super) struct Time {
    default: Written<Duration>,
    least: Written<Duration>,
}

impl Time {
    pub(super) const fn new(default: &'static str, least: &'static str) -> Self {
        let default = Written::duration(default);
        let least = Written::duration(least);
        assert!(default.value.as_nanos() >= least.value.as_nanos());
        Self { default, least }
    }

    /// What holds without the key.
    pub(super) const fn default(&self) -> Duration {
        self.default.value
    }
}

impl Kind for Time {
    type Output<'a> = Duration;

    fn read(&self, section: &Section<'_>, key: &'static str) -> Duration {
        let read = || {
            let value = section.shown(key)?;
            let text = value.text(units::DURATION)?;
            let parsed = match units::duration(text) {
                Some(time) if (self.least.value..=LONGEST).contains(&time) => Ok(time),
                Some(_) => Err(format!("expected {} to 8760h (a year)", self.least.text).into()),
                None => Err(format!("expected {}", units::DURATION).into()),
            };
            value.check(parsed)
        };
        read().unwrap_or(self.default.value)
    }

    fn form(&self) -> Form {
        Form::Duration {
            least: self.least.text,
        }
    }

    fn absent(&self) -> Absent {
        self.default.absent()
    }
}

/// A duration in whole seconds, as the system counts those of TCP keep-alive.
pub(super) struct Seconds {
    default: Written<Duration>,
}

impl Seconds {
    pub(super) const fn new(default: &'static str) -> Self {
        let default = Written::duration(default);
        assert!(default.value.as_secs() <= MOST_SECONDS);
        Self { default }
    }
}

impl Kind for Seconds {
    type Output<'a> = Duration;

    fn read(&self, section: &Section<'_>, key: &'static str) -> Duration {
        let is_whole = |time: &Duration| {
            time.subsec_nanos() == 0 && (1..=MOST_SECONDS).contains(&time.as_secs())
        };
        let read = || {
            let value = section.shown(key)?;
            let text = value.text(units::DURATION)?;
            let parsed = match units::duration(text) {
                Some(time) if is_whole(&time) => Ok(time),
                Some(_) => Err(format!("expected whole seconds, 1s to {MOST_SECONDS}s").into()),
                None => Err(format!("expected {}", units::DURATION).into()),
            };
            value.check(parsed)
        };
        read().unwrap_or(self.default.value)
    }

    fn form(&self) -> Form {
        Form::Seconds { most: MOST_SECONDS }
    }

    fn absent(&self) -> Absent {
        self.default.absent()
    }
}

/// A size such as `"64KiB"`, in bytes.
pub(super) struct Size<N = usize> {
    default: Written<N>,
    least: Written<usize>,
    most: Written<usize>,
}

impl Size {
    pub(super) const fn new(
        default: &'static str,
        least: &'static str,
        most: &'static str,
    ) -> Self {
        let default = Written::size(default);
        Self::within(default, default.value, least, most)
    }

    /// What holds without the key.
    pub(super) const fn default(&self) -> usize {
        self.default.value
    }
}

impl Size<u32> {
    /// The same, of a number that is no larger than this.
    pub(super) const fn new_u32(
        default: &'static str,
        least: &'static str,
        most: &'static str,
    ) -> Self {
        let Written { text, value: bytes } = Written::size(default);
        assert!(bytes <= u32::MAX as usize);
        let value = bytes as u32;
        Self::within(Written { text, value }, bytes, least, most)
    }
}

impl<N: Copy> Size<N> {
    const fn within(
        default: Written<N>,
        bytes: usize,
        least: &'static str,
        most: &'static str,
    ) -> Self {
        let (least, most) = (Written::size(least), Written::size(most));
        assert!(least.value <= bytes && bytes <= most.value);
        Self {
            default,
            least,
            most,
        }
    }
}

impl<N: TryFrom<usize> + Copy + Sync> Kind for Size<N> {
    type Output<'a> = N;

    fn read(&self, section: &Section<'_>, key: &'static str) -> N {
        let read = || {
            let value = section.shown(key)?;
            let text = value.text(units::SIZE)?;
            let bounds = self.least.value..=self.most.value;
            let parsed = match units::size(text) {
                Some(size) if bounds.contains(&size) => Ok(size),
                Some(_) => {
                    Err(format!("expected {} to {}", self.least.text, self.most.text).into())
                }
                None => Err(format!("expected {}", units::SIZE).into()),
            };
            N::try_from(value.check(parsed)?).ok()
        };
        read().unwrap_or(self.default.value)
    }

    fn form(&self) -> Form {
        Form::Size {
            least: self.least.text,
            most: self.most.text,
        }
    }

    fn absent(&self) -> Absent {
        self.default.absent()
    }
}

/// One of several words, and what each means.
pub(super) struct Choice<T: 'static> {
    words: &'static [(&'static str, T)],
    default: Default<T>,
}

/// What holds where no word is chosen.
enum Default<T> {
    /// That of `words` at this index.
    Word(usize),
    /// This, which has no word; and what people are told instead.
    Wordless(T, &'static str),
}

impl<T: Copy> Choice<T> {
    /// One of these words, `default` if none is chosen.
    pub(super) const fn new(words: &'static [(&'static str, T)], default: &str) -> Self {
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
    pub(super) const fn wordless(
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

    /// The word that is chosen or holds without the key, and what it means. Only what `fits` is there
    /// to choose from. `None` after a mistake.
    pub(super) fn choose(
        &self,
        section: &Section<'_>,
        key: &'static str,
        fits: impl Fn(T) -> bool,
    ) -> Option<(&'static str, T)> {
        let Some(value) = section.shown(key) else {
            return Some(self.default());
        };
        let fitting = self.words.iter().filter(|(_, meaning)| fits(*meaning));
        let words: Vec<_> = fitting.clone().map(|(word, _)| *word).collect();
        let expected = one_of(&words, '"');
        let text = value.text(&expected)?;
        let help = || {
            let close = words.iter().copied().filter(|word| resembles(text, word));
            let close = did_you_mean(text, close);
            close
                .unwrap_or_else(|| format!("expected {expected}"))
                .into()
        };
        let chosen = fitting.clone().find(|(word, _)| *word == text);
        value.check(chosen.copied().ok_or_else(help))
    }
}

impl<T: Copy + Sync> Kind for Choice<T> {
    type Output<'a> = T;

    fn read(&self, section: &Section<'_>, key: &'static str) -> T {
        let chosen = self.choose(section, key, |_| true);
        chosen.unwrap_or_else(|| self.default()).1
    }

    fn form(&self) -> Form {
        Form::Words(self.words.iter().map(|(word, _)| *word).collect())
    }

    fn absent(&self) -> Absent {
        match self.default {
            Default::Word(index) => Absent::Value(format!("\"{}\"", self.words[index].0)),
            Default::Wordless(_, said) => Absent::Words(said),
        }
    }
}
