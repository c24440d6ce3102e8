//! `{ file = "PATH" }` and `{ env = "NAME" }`

use super::super::kinds::{IfAbsent, Raw, Text};

keys! {
    /// Where a secret is read from: exactly one of both.
    SECRET_SOURCE: SecretSource, SECRET_SOURCE_TABLE = "{ file } or { env }" {
        /// The file that holds it. One newline at its end is left out.
        file: Text = Text::new("path of a file", IfAbsent::Words("none"));

        /// The environment variable that holds it. One newline at its end is left out.
        env: Raw = Raw::new("name of an environment variable", IfAbsent::Words("none"));
    }
}
