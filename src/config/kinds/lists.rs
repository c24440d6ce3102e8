//! What a key may hold: arrays of strings, and what each of them says. A wrong element is reported, and is then read
//! as if it were absent.

use super::super::declare::{Absent, ElementForm, ListForm, ValueForm};
use super::super::parse::syntax::Syntax;
use super::super::read::{Kind, Section};
use super::super::value::Value;

/// What holds without a list.
#[derive(Clone, Copy)]
enum AbsentList {
    /// An empty one.
    Empty,
    /// It has to be there, and must not be empty. What is expected, for the message.
    Required(&'static str),
    /// Something else than an empty one.
    Words {
        /// What is expected in place of an empty one, for the message.
        expected: &'static str,
        /// What holds, in words.
        without: &'static str,
    },
    /// This one; but some tables have to have the key, which their section looks after.
    Default {
        default: &'static [&'static str],
        /// Which tables, for people.
        required_where: &'static str,
    },
}

/// An array of strings that mean something.
pub(in crate::config) struct List<T> {
    /// What each string says, for the documentation.
    says: &'static str,
    syntax: Syntax<T>,
    without: AbsentList,
    /// A string that stands for all others, and therefore alone.
    every: Option<&'static str>,
}

impl<T> List<T> {
    pub(in crate::config) const fn new(says: &'static str, syntax: Syntax<T>) -> Self {
        Self {
            says,
            syntax,
            without: AbsentList::Empty,
            every: None,
        }
    }

    /// One that may not be empty.
    pub(in crate::config) const fn required(
        says: &'static str,
        syntax: Syntax<T>,
        expected: &'static str,
    ) -> Self {
        Self {
            says,
            syntax,
            without: AbsentList::Required(expected),
            every: None,
        }
    }

    /// One that may be left out, and else not be empty: what holds without it is something else.
    pub(in crate::config) const fn not_empty(
        says: &'static str,
        syntax: Syntax<T>,
        expected: &'static str,
        without: &'static str,
    ) -> Self {
        Self {
            says,
            syntax,
            without: AbsentList::Words { expected, without },
            every: None,
        }
    }

    /// One that some tables have to have, and that holds `default` where it is left out of another.
    pub(in crate::config) const fn required_where(
        says: &'static str,
        syntax: Syntax<T>,
        required_where: &'static str,
        default: &'static [&'static str],
    ) -> Self {
        Self {
            says,
            syntax,
            without: AbsentList::Default {
                default,
                required_where,
            },
            every: None,
        }
    }

    /// One in which this string stands for all others, and therefore alone.
    pub(in crate::config) const fn or_every(self, every: &'static str) -> Self {
        Self {
            every: Some(every),
            ..self
        }
    }
}

impl<T> Kind for List<T> {
    /// One for each string; `None` for one with a mistake.
    type Output<'a> = Vec<Option<T>>;

    fn read(&self, section: &Section<'_>, key: &'static str) -> Vec<Option<T>> {
        let Some(value) = section.shown_address(key, self.syntax.is_address) else {
            return match self.without {
                AbsentList::Empty | AbsentList::Words { .. } => Vec::new(),
                AbsentList::Required(expected) => {
                    section.report_missing(key, expected);
                    Vec::new()
                }
                AbsentList::Default { default, .. } => {
                    let default = default.iter().map(|text| (self.syntax.parse)(text).ok());
                    default.collect()
                }
            };
        };
        let elements = value.elements("an array of strings");
        let elements = elements.and_then(|elements| match self.without {
            AbsentList::Required(expected) | AbsentList::Words { expected, .. }
                if elements.is_empty() =>
            {
                value.check(Err(format!("expected {expected}").into()))
            }
            _ => Some(elements),
        });
        let parsed = |element: Value<'_>| {
            let text = element.text("a string")?;
            element.check((self.syntax.parse)(text))
        };
        elements.into_iter().flatten().map(parsed).collect()
    }

    fn form(&self) -> ValueForm {
        ValueForm::List(ListForm {
            says: self.says,
            elements: ElementForm::Text(self.syntax.pattern, self.syntax.except),
            may_be_empty: matches!(self.without, AbsentList::Empty | AbsentList::Default { .. }),
            every: self.every,
        })
    }

    fn absent(&self) -> Absent {
        match self.without {
            AbsentList::Empty => Absent::Value("[]".to_owned()),
            AbsentList::Required(_) => Absent::Required,
            AbsentList::Words { without, .. } => Absent::Words(without),
            AbsentList::Default {
                default,
                required_where,
            } => Absent::ValueOrRequired {
                value: format!("{default:?}"),
                required_where,
            },
        }
    }
}
