//! Numbers: whole ones, shares of a whole, ports.

use std::fmt;
use std::ops::RangeInclusive;

use super::super::declare::{Absent, ElementForm, ListForm, ValueForm};
use super::super::read::{Kind, Section};
use super::super::report::Expected;
use super::super::value::Value;

/// A whole number.
pub(in crate::config) struct Integer<N> {
    default: N,
    range: RangeInclusive<usize>,
}

impl<N> Integer<N> {
    pub(in crate::config) const fn new(default: N, range: RangeInclusive<usize>) -> Self
    where
        N: Copy,
    {
        Self { default, range }
    }

    /// What holds without the key.
    pub(in crate::config) const fn default(&self) -> N
    where
        N: Copy,
    {
        self.default
    }
}

impl<N: TryFrom<usize> + Copy + fmt::Display + Sync> Kind for Integer<N> {
    type Output<'a> = N;

    fn read(&self, section: &Section<'_>, key: &'static str) -> N {
        read_integer(&self.range, section, key).unwrap_or(self.default)
    }

    fn form(&self) -> ValueForm {
        ValueForm::Integer {
            least: *self.range.start(),
            most: *self.range.end(),
        }
    }

    fn absent(&self) -> Absent {
        Absent::Value(self.default.to_string())
    }
}

/// A whole number, or none.
pub(in crate::config) struct OptionalInteger {
    range: RangeInclusive<usize>,
    /// What holds without the key, in words.
    without: &'static str,
}

impl OptionalInteger {
    pub(in crate::config) const fn new(
        range: RangeInclusive<usize>,
        without: &'static str,
    ) -> Self {
        Self { range, without }
    }
}

impl Kind for OptionalInteger {
    type Output<'a> = Option<u32>;

    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<u32> {
        read_integer(&self.range, section, key)
    }

    fn form(&self) -> ValueForm {
        ValueForm::Integer {
            least: *self.range.start(),
            most: *self.range.end(),
        }
    }

    fn absent(&self) -> Absent {
        Absent::Words(self.without)
    }
}

/// The number that is written; `None` without, and after a mistake.
fn read_integer<N: TryFrom<usize>>(
    range: &RangeInclusive<usize>,
    section: &Section<'_>,
    key: &'static str,
) -> Option<N> {
    let value = section.shown(key)?;
    let (least, most) = (range.start(), range.end());
    let parsed = value
        .integer(format_args!("a whole number from {least} to {most}"))?
        .filter(|number| range.contains(number))
        .and_then(|number| N::try_from(number).ok());
    let expected = || format!("expected a whole number from {least} to {most}").into();
    value.check(parsed.ok_or_else(expected))
}

/// A number from 0 to 1, with or without a fraction.
pub(in crate::config) struct Ratio {
    /// What holds without the key.
    default: &'static str,
}

impl Ratio {
    pub(in crate::config) const fn new(default: &'static str) -> Self {
        Self { default }
    }

    /// What holds without the key.
    pub(in crate::config) fn default(&self) -> f64 {
        Self::parse(self.default).unwrap_or_default()
    }

    /// What is written.
    ///
    /// # Errors
    /// What was expected.
    pub(in crate::config) fn parse(text: &str) -> Result<f64, Expected> {
        let number = text.parse().ok();
        let number = number.filter(|number| (0.0..=1.0).contains(number));
        number.ok_or("expected a number from 0 to 1".into())
    }
}

impl Kind for Ratio {
    type Output<'a> = f64;

    fn read(&self, section: &Section<'_>, key: &'static str) -> f64 {
        let read = || {
            let value = section.shown(key)?;
            let written = value.number("a number from 0 to 1")?;
            value.check(Self::parse(&written))
        };
        read().unwrap_or_else(|| self.default())
    }

    fn form(&self) -> ValueForm {
        ValueForm::Ratio
    }

    fn absent(&self) -> Absent {
        Absent::Value(self.default.to_owned())
    }
}

/// An array of TCP ports, which has one at least; without the key it is for the reader to say.
pub(in crate::config) struct Ports {
    without: &'static str,
}

impl Ports {
    /// `without` says what holds without the key.
    pub(in crate::config) const fn new(without: &'static str) -> Self {
        Self { without }
    }
}

impl Kind for Ports {
    type Output<'a> = Option<Vec<u16>>;

    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Vec<u16>> {
        const EXPECTED: &str = "an array of port numbers";
        let value = section.shown(key)?;
        let elements = value.elements(EXPECTED)?;
        if elements.is_empty() {
            return value.check(Err("expected one port at least".into()));
        }
        let port = |element: Value<'_>| {
            let number = element.integer("a port number from 1 to 65535")?;
            let number = number.and_then(|number| u16::try_from(number).ok());
            let port = number.filter(|port| *port != 0);
            element.check(port.ok_or("expected a port number from 1 to 65535".into()))
        };
        elements.into_iter().map(port).collect()
    }

    fn form(&self) -> ValueForm {
        ValueForm::List(ListForm {
            says: "port numbers",
            elements: ElementForm::Port,
            may_be_empty: false,
            every: None,
        })
    }

    fn absent(&self) -> Absent {
        Absent::Words(self.without)
    }
}
