//! What is done to a terminal while a person waits or types, and undone whatever ends the process.

use std::future::Future;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// How often a line is drawn again.
const TICK: Duration = Duration::from_millis(120);

/// What a signal has to undo.
static CHANGED: Mutex<Changed> = Mutex::new(Changed {
    modes: None,
    line: None,
});

struct Changed {
    /// The modes of the terminal on stdin, from before what is typed was hidden.
    modes: Option<Termios>,
    /// The line that is drawn again and again.
    line: Option<ProgressBar>,
}

impl Changed {
    fn undo(&mut self) {
        if let Some(modes) = self.modes.take() {
            // There is nobody left to tell.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
            let _ = writeln!(io::stderr());
        }
        if let Some(line) = self.line.take() {
            line.finish_and_clear();
        }
    }

    /// Whoever had the terminal while this process was stopped has shown what is typed.
    fn redo(&self) {
        if let Some(before) = &self.modes {
            // What fails here was fine before: the terminal is gone.
            let _ = hide(before);
        }
    }
}

fn changed() -> MutexGuard<'static, Changed> {
    CHANGED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on a signal that ends the process undoes first what was done to the terminal. Nothing is done to what is no
/// terminal, and signals are left alone.
///
/// # Errors
/// The system has no thread or no file to give.
pub(super) fn undo_at_signals() -> io::Result<()> {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    if !io::stderr().is_terminal() || BEGUN.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCONT])?;
    let wait = move || {
        for signal in signals.forever() {
            // Held to the end: nothing may be done to the terminal any more.
            let mut changed = changed();
            if signal == SIGCONT {
                changed.redo();
                continue;
            }
            changed.undo();
            // It ends the process.
            let _ = emulate_default_handler(signal);
        }
    };
    thread::Builder::new()
        .name("terminal".to_owned())
        .spawn(wait)
        .map(drop)
}

/// Does what a signal must not end halfway.
pub(super) fn without_interruption<T>(work: impl FnOnce() -> T) -> T {
    let _held = changed();
    work()
}

/// Whether somebody sits at a terminal who can answer questions.
pub(super) fn is_attended() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Waits for something, and meanwhile tells for what and for how long: on a terminal that can draw a line again, and
/// nowhere else.
pub(super) async fn waiting<T>(what: String, work: impl Future<Output = T>) -> T {
    let line = ProgressBar::new_spinner();
    if line.is_hidden() {
        return work.await;
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
    line.set_style(style.tick_chars("|/-\\ "));
    line.set_message(what);
    line.enable_steady_tick(TICK);
    let _drawn = DrawnLine;
    changed().line = Some(line);
    work.await
}

/// A line that is taken away when it is dropped.
struct DrawnLine;

impl Drop for DrawnLine {
    fn drop(&mut self) {
        if let Some(line) = changed().line.take() {
            line.finish_and_clear();
        }
    }
}

/// The next line that is typed, without its end; `None` at the end of the input. Errors are those of stdin, and text that
/// is not UTF-8 ([`io::ErrorKind::InvalidData`]).
pub(super) fn read_line() -> io::Result<Option<String>> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let end = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(end);
    Ok(Some(line))
}

/// The same of what nobody should see. It is hidden before it is asked for: who answers may be a program.
pub(super) fn read_hidden_line(ask: impl FnOnce()) -> io::Result<Option<String>> {
    let _hidden = HiddenInput::begin()?;
    ask();
    read_line()
}

/// What is typed is not shown until this is dropped.
struct HiddenInput;

impl HiddenInput {
    fn begin() -> io::Result<Self> {
        let mut changed = changed();
        let before = tcgetattr(io::stdin())?;
        hide(&before)?;
        changed.modes = Some(before);
        Ok(Self)
    }
}

/// Shows no more of what is typed than the ends of lines. Ctrl-Z does nothing meanwhile: a shell would show it again.
fn hide(before: &Termios) -> io::Result<()> {
    const NO_KEY: u8 = 0;
    let mut modes = before.clone();
    modes.local_modes.remove(LocalModes::ECHO);
    modes.local_modes.insert(LocalModes::ECHONL);
    modes.special_codes[SpecialCodeIndex::VSUSP] = NO_KEY;
    tcsetattr(io::stdin(), OptionalActions::Now, &modes)?;
    Ok(())
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        if let Some(modes) = changed().modes.take() {
            // What fails here was fine a moment ago: the terminal is gone.
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
        }
    }
}
