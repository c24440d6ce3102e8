//! Log lines on stderr: text for people or JSON for machines, changeable while running.
//!
//! Events of this crate pass at `log.level`, access lines at every level, and those of libraries from
//! `warn` up. Before [`init`]
//! there is no log: what fails earlier is told in plain words by the command itself.
//!
//! From [`init`] on nothing of this process writes to stderr but a thread of the log: a reader that
//! has stopped reading costs lines, never requests.

mod lines;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

use self::lines::Lines;
use crate::config::{Log, LogFormat};
use crate::supervisor::Supervisor;

/// The target of access lines.
pub const ACCESS: &str = "sidebearer::access";

type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// The last lines have this long to be read.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// The way of this process to stderr, once there is a log.
static STDERR: OnceLock<Lines> = OnceLock::new();

/// Changes the log of the running process.
#[derive(Clone)]
pub struct LogHandle {
    output: reload::Handle<Output, Registry>,
    lines: Lines,
}

/// Starts logging to stderr, panics included. The first call of a process decides where lines go;
/// the handle of a later one changes nothing but how many bytes may wait.
///
/// # Errors
/// The system has no thread for the log.
pub fn init(log: &Log) -> io::Result<LogHandle> {
    let lines = match STDERR.get() {
        Some(lines) => lines.clone(),
        None => {
            let lines = Lines::start(io::stderr(), log.buffer, log_dropped_lines)?;
            STDERR.get_or_init(|| lines).clone()
        }
    };
    let (layer, output) = reload::Layer::new(to_stderr(log, &lines));
    // Fails only when a subscriber is there already.
    if tracing::subscriber::set_global_default(Registry::default().with(layer)).is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
    Ok(LogHandle { output, lines })
}

/// Writes a line for people to stderr, behind what the log still has to write; `false` when there is
/// no log, or its thread has died.
pub fn print_line(text: impl Display) -> bool {
    let Some(lines) = STDERR.get() else {
        return false;
    };
    lines.enqueue(format!("{text}\n").into_bytes())
}

/// How many lines were dropped because too many waited to be read.
pub fn dropped_lines() -> u64 {
    STDERR.get().map_or(0, Lines::dropped_lines)
}

/// Waits until the last lines have been read, but not for long.
pub fn flush() {
    if let Some(lines) = STDERR.get() {
        lines.flush(FLUSH_PATIENCE);
    }
}

impl LogHandle {
    /// From now on a panic of the thread that writes the log is reported there.
    pub fn report_to(&self, supervisor: &Supervisor) {
        self.lines.report_to(supervisor);
    }

    /// Takes over format, level and buffer; every later line follows them.
    pub fn apply(&self, log: &Log) {
        self.lines.set_max_waiting(log.buffer);
        // Fails only when the subscriber is gone, and every line with it.
        let _ = self.output.reload(to_stderr(log, &self.lines));
    }
}

fn to_stderr(log: &Log, lines: &Lines) -> Output {
    let lines = lines.clone();
    output(log, io::stderr().is_terminal(), move || lines.clone())
}

fn log_dropped_lines(_: &Lines, dropped: u64) {
    tracing::error!(
        lines = dropped,
        "log lines were dropped: stderr was not read in time"
    );
}

/// The usual hook writes to stderr itself.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("without a message");
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let location = panic.location().map(ToString::to_string);
    let location = location.as_deref().unwrap_or("unknown");
    if STDERR.get().is_some_and(Lines::is_writer) {
        // Nobody would write what it leaves to be written.
        let _ = writeln!(
            io::stderr(),
            "the log has ended: thread {thread} panicked at {location}: {message}"
        );
        return;
    }
    tracing::error!(thread, location, "panicked: {message}");
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        tracing::error!(thread, "{trace}");
    }
}

fn output<W>(log: &Log, terminal: bool, writer: W) -> Output
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let levels = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target(env!("CARGO_PKG_NAME"), log.level)
        // Which of these are written is for `log.access` alone to say.
        .with_target(ACCESS, LevelFilter::INFO);
    // Around the lines, not below them: only the outermost layer is heard about what can never pass, and
    // the rest would be asked about again each time, by libraries that trace every frame.
    // A line that cannot be written is lost. Reporting that would write to stderr again and panic.
    let lines = fmt::layer().with_writer(writer).log_internal_errors(false);
    let text = match log.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    if text {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let lines = lines.compact().with_target(false).with_ansi(colour);
        Box::new(lines.and_then(levels))
    } else {
        let lines = lines.json().flatten_event(true).with_span_list(false);
        Box::new(lines.and_then(levels))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing::{Level, Subscriber};

    use super::*;
    use crate::config::AccessLog;

    #[derive(Clone, Default)]
    struct CapturedOutput(Arc<Mutex<Vec<u8>>>);

    impl CapturedOutput {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
    }

    impl Write for CapturedOutput {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(format: LogFormat, level: Level) -> Log {
        Log {
            format,
            level,
            access: AccessLog::Errors,
            buffer: 1 << 20,
        }
    }

    /// What `events` leave behind when logged as `log` says.
    fn logged(log: &Log, terminal: bool, events: impl FnOnce()) -> String {
        let lines = CapturedOutput::default();
        let writer = lines.clone();
        let layer = output(log, terminal, move || writer.clone());
        tracing::subscriber::with_default(Registry::default().with(layer), events);
        lines.take()
    }

    #[test]
    fn own_events_follow_the_level_and_libraries_stay_at_warn() {
        let events = || {
            tracing::debug!(target: "sidebearer::token", "ours");
            tracing::trace!(target: "sidebearer::token", "too fine");
            tracing::warn!(target: "hyper::proto", "theirs");
            tracing::info!(target: "hyper::proto", "chatter");
            tracing::info!(target: ACCESS, "asked");
        };
        let text = logged(&log(LogFormat::Text, Level::DEBUG), false, events);
        assert!(text.contains("ours") && text.contains("theirs"), "{text}");
        assert_eq!(text.lines().count(), 3, "{text}");

        let text = logged(&log(LogFormat::Text, Level::ERROR), false, events);
        assert!(text.contains("theirs") && text.contains("asked"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn libraries_are_asked_only_once_about_what_never_passes() {
        let levels = |level| {
            let layer = output(&log(LogFormat::Text, level), false, io::sink);
            Registry::default().with(layer).max_level_hint()
        };
        assert_eq!(levels(Level::INFO), Some(LevelFilter::INFO));
        // Access lines are of this level.
        assert_eq!(levels(Level::ERROR), Some(LevelFilter::INFO));
    }

    #[test]
    fn auto_is_text_on_a_terminal_and_json_elsewhere() {
        let events = || tracing::info!(target: "sidebearer", port = 7080, "ready");
        let auto = log(LogFormat::Auto, Level::INFO);

        let json: serde_json::Value = serde_json::from_str(&logged(&auto, false, events)).unwrap();
        assert_eq!(json["level"], "INFO");
        assert_eq!(json["target"], "sidebearer");
        assert_eq!(json["message"], "ready");
        assert_eq!(json["port"], 7080);
        assert!(json["timestamp"].is_string());

        let text = logged(&auto, true, events);
        assert!(text.contains("ready") && !text.starts_with('{'), "{text}");
        let plain = logged(&log(LogFormat::Text, Level::INFO), false, events);
        assert!(plain.ends_with("INFO ready port=7080\n"), "{plain}");
    }

    #[test]
    fn a_reload_changes_format_and_level() {
        let lines = CapturedOutput::default();
        let make = |log: &Log| {
            let writer = lines.clone();
            output(log, false, move || writer.clone())
        };
        let (layer, handle) = reload::Layer::new(make(&log(LogFormat::Text, Level::INFO)));
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            let events = || {
                tracing::debug!(target: "sidebearer::reload", "detail");
                tracing::info!(target: "sidebearer::reload", "news");
            };
            events();
            let before = lines.take();
            assert!(before.ends_with("INFO news\n"), "{before}");
            assert_eq!(before.lines().count(), 1);

            handle
                .reload(make(&log(LogFormat::Json, Level::DEBUG)))
                .unwrap();
            events();
            let after = lines.take();
            let levels: Vec<_> = after
                .lines()
                .map(|line| {
                    serde_json::from_str::<serde_json::Value>(line).unwrap()["level"].clone()
                })
                .collect();
            assert_eq!(levels, ["DEBUG", "INFO"]);
        });
    }
}
