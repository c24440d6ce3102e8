//! `{ file = "PATH" }` and `{ env = "NAME" }`

use super::super::kinds::{IfAbsent, Raw};
use super::super::rules::Condition::{Always, Any, Not, Says};
use super::super::rules::Rule;

const RULES: &[&[Rule]] = &[&[
    Rule {
        says: "Either `file` or `env`.",
        when: Always,
        then: Any(&[Says("file"), Says("env")]),
    },
    Rule {
        says: "Either `file` or `env`, not both.",
        when: Says("file"),
        then: Not(&Says("env")),
    },
]];

keys! {
    /// Where a secret is read from: exactly one of both.
    SECRET_SOURCE: SecretSource, SECRET_SOURCE_TABLE = "{ file } or { env }", rules RULES {
        /// The file that holds it. One newline at its end is left out.
        file: Raw = Raw::new("path of a file", IfAbsent::Words("none"));

        /// The environment variable that holds it. One newline at its end is left out.
        env: Raw = Raw::new("name of an environment variable", IfAbsent::Words("none"));
    }
}
