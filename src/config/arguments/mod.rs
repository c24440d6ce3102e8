//! A configuration without a file: what arguments and environment variables say, as the text that a file would have.
//!
//! The same reader reads it. What is wrong with it is told in the words of the command line.

mod given;
mod keys;
mod text;
mod words;

pub use given::{Argument, Arguments, ArgumentsError, misspelt_variable};
pub use keys::{ARGUMENT_KEYS, ArgumentKey, SECRET_VARIABLE, SECRET_VARIABLE_OF_FILE};
pub(super) use text::ArgumentText;
