//! What a key may hold. Each kind reads a value, says what its form is, and knows what holds without
//! the key. What is written wrong is reported; after that the default holds, or nothing.

mod choices;
mod lists;
mod numbers;
mod quantities;
mod secrets;
mod tables;
mod texts;

pub(super) use choices::{Choice, Chosen, Flag, FlagOr};
pub(super) use lists::List;
pub(super) use numbers::{Integer, OptionalInteger, Ports, Ratio};
pub(super) use quantities::{OptionalTime, Seconds, Size, Time};
pub(super) use secrets::{SecretText, Whitespace};
pub(super) use tables::{SecretsByName, SubTable, TableArray, TablesByName, TextsByName};
pub(super) use texts::{HttpUrl, IfAbsent, NoValue, Parsed, Raw, Text};
