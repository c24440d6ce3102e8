//! `schema`: what an editor goes by that completes and checks a configuration.

use super::output::{CommandError, print};
use crate::config;

/// Prints the JSON Schema of the configuration.
pub(super) fn run() -> Result<(), CommandError> {
    print(format_args!("{:#}", config::schema()))
}
