//! Durations and sizes, which are written with a unit.

use std::time::Duration;

use super::super::declare::{Absent, ValueForm};
use super::super::parse::units;
use super::super::read::{Kind, Section};

/// Durations beyond a year are mistakes, and some clocks cannot count them.
const LONGEST: WithUnit<Duration> = WithUnit::duration("8760h");

/// What Linux takes for the times of TCP keep-alive (tcp(7)).
const MOST_SECONDS: u64 = 32_767;

/// What is written as a string with a unit.
#[derive(Clone, Copy)]
struct WithUnit<T> {
    text: &'static str,
    value: T,
}

impl WithUnit<Duration> {
    const fn duration(text: &'static str) -> Self {
        match units::duration(text) {
            Some(value) => Self { text, value },
            None => panic!("this is no duration"),
        }
    }
}

impl WithUnit<usize> {
    const fn size(text: &'static str) -> Self {
        match units::size(text) {
            Some(value) => Self { text, value },
            None => panic!("this is no size"),
        }
    }
}

impl<T> WithUnit<T> {
    fn absent(&self) -> Absent {
        Absent::Value(format!("\"{}\"", self.text))
    }
}

/// A duration such as `"30s"`, up to a year.
pub(in crate::config) struct Time {
    default: WithUnit<Duration>,
    least: WithUnit<Duration>,
}

impl Time {
    pub(in crate::config) const fn new(default: &'static str, least: &'static str) -> Self {
        let default = WithUnit::duration(default);
        let least = WithUnit::duration(least);
        assert!(default.value.as_nanos() >= least.value.as_nanos());
        Self { default, least }
    }

    /// What holds without the key.
    pub(in crate::config) const fn default(&self) -> Duration {
        self.default.value
    }
}

impl Kind for Time {
    type Output<'a> = Duration;

    fn read(&self, section: &Section<'_>, key: &'static str) -> Duration {
        read_duration(&self.least, section, key).unwrap_or(self.default.value)
    }

    fn form(&self) -> ValueForm {
        duration_form(&self.least)
    }

    fn absent(&self) -> Absent {
        self.default.absent()
    }
}

/// A duration up to a year, or none.
pub(in crate::config) struct OptionalTime {
    least: WithUnit<Duration>,
    /// What holds without the key, in words.
    without: &'static str,
}

impl OptionalTime {
    pub(in crate::config) const fn new(least: &'static str, without: &'static str) -> Self {
        let least = WithUnit::duration(least);
        Self { least, without }
    }
}

impl Kind for OptionalTime {
    type Output<'a> = Option<Duration>;

    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Duration> {
        read_duration(&self.least, section, key)
    }

    fn form(&self) -> ValueForm {
        duration_form(&self.least)
    }

    fn absent(&self) -> Absent {
        Absent::Words(self.without)
    }
}

fn duration_form(least: &WithUnit<Duration>) -> ValueForm {
    ValueForm::Duration {
        least: least.text,
        most: LONGEST.text,
    }
}

/// The duration that is written; `None` without, and after a mistake.
fn read_duration(
    least: &WithUnit<Duration>,
    section: &Section<'_>,
    key: &'static str,
) -> Option<Duration> {
    let value = section.shown(key)?;
    let text = value.text(units::DURATION)?;
    let parsed = match units::duration(text) {
        Some(time) if (least.value..=LONGEST.value).contains(&time) => Ok(time),
        Some(_) => Err(format!("expected {} to {} (a year)", least.text, LONGEST.text).into()),
        None => Err(format!("expected {}", units::DURATION).into()),
    };
    value.check(parsed)
}

/// A duration in whole seconds, as the system counts those of TCP keep-alive.
pub(in crate::config) struct Seconds {
    default: WithUnit<Duration>,
}

impl Seconds {
    pub(in crate::config) const fn new(default: &'static str) -> Self {
        let default = WithUnit::duration(default);
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

    fn form(&self) -> ValueForm {
        ValueForm::Seconds { most: MOST_SECONDS }
    }

    fn absent(&self) -> Absent {
        self.default.absent()
    }
}

/// A size such as `"64KiB"`, in bytes.
pub(in crate::config) struct Size<N = usize> {
    default: WithUnit<N>,
    least: WithUnit<usize>,
    most: WithUnit<usize>,
}

impl Size {
    pub(in crate::config) const fn new(
        default: &'static str,
        least: &'static str,
        most: &'static str,
    ) -> Self {
        let default = WithUnit::size(default);
        Self::within(default, default.value, least, most)
    }

    /// What holds without the key.
    pub(in crate::config) const fn default(&self) -> usize {
        self.default.value
    }
}

impl Size<u32> {
    /// The same, of a number that is no larger than this.
    pub(in crate::config) const fn new_u32(
        default: &'static str,
        least: &'static str,
        most: &'static str,
    ) -> Self {
        let WithUnit { text, value: bytes } = WithUnit::size(default);
        assert!(bytes <= u32::MAX as usize);
        let value = bytes as u32;
        Self::within(WithUnit { text, value }, bytes, least, most)
    }
}

impl<N: Copy> Size<N> {
    const fn within(
        default: WithUnit<N>,
        bytes: usize,
        least: &'static str,
        most: &'static str,
    ) -> Self {
        let (least, most) = (WithUnit::size(least), WithUnit::size(most));
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

    fn form(&self) -> ValueForm {
        ValueForm::Size {
            least: self.least.text,
            most: self.most.text,
        }
    }

    fn absent(&self) -> Absent {
        self.default.absent()
    }
}
