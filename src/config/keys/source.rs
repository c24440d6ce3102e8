//! `{ file = "PATH" }` and `{ env = "NAME" }`

use super::super::declare::keys;
use super::super::texts::{Raw, Text, Without};

keys! {
    /// Where a secret is read from: exactly one of both.
    SOURCE: Source, SOURCE_TABLE = "{ file } or { env }" {
        /// The file that holds it. One newline at its end is left out.
        file: Text = Text::new("path of a file", Without::Words("none"));

        /// The environment variable that holds it. One newline at its end is left out.
        env: Raw = Raw::new("name of an environment variable", Without::Words("none"));
    }
}
