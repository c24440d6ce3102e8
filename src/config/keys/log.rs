//! `[log]`

use tracing::Level;

use super::super::kinds::{Choice, Size};
use super::super::settings::{AccessLog, LogFormat};

const FORMATS: &[(&str, LogFormat)] = &[
    ("auto", LogFormat::Auto),
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
];

const LEVELS: &[(&str, Level)] = &[
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

const ACCESS: &[(&str, AccessLog)] = &[
    ("off", AccessLog::Off),
    ("errors", AccessLog::Errors),
    ("all", AccessLog::All),
];

keys! {
    /// The log on standard error.
    LOG: Log, LOG_TABLE = "[log]" {
        /// How lines are written. `auto` is text on a terminal and JSON elsewhere.
        format: Choice<LogFormat> = Choice::new(FORMATS, "auto");

        /// How much is logged. Libraries always stay at `warn`.
        level: Choice<Level> = Choice::new(LEVELS, "info");

        /// Which requests get an access line.
        access: Choice<AccessLog> = Choice::new(ACCESS, "errors");

        /// How many bytes of lines wait while nobody reads standard error. More lines are dropped, and the
        /// log says how many as soon as it is read again. No request waits for a reader of the log.
        buffer: Size = Size::new("4MiB", "4KiB", "1GiB");
    }
}
