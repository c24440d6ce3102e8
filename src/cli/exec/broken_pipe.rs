//! Whether this process was started to ignore `SIGPIPE`, as systemd starts what it runs (`IgnoreSIGPIPE=`).
//!
//! The standard library ignores the signal from the beginning of every program. What was inherited can only be seen
//! before that: by what the system runs ahead of `main`.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::read;
use rustix::process::Signal;

use super::signals::{ignored_by, is_within};

static IS_IGNORED: AtomicBool = AtomicBool::new(false);

/// More than what the system writes about a process.
const STATUS_BYTES: usize = 4096;

/// Runs before the standard library is ready: it may use nothing but system calls and memory of its own.
#[ctor::ctor]
fn look() {
    let mut status = [0; STATUS_BYTES];
    let Ok(file) = open(
        "/proc/self/status",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return;
    };
    let length = read(&file, &mut status).unwrap_or_default();
    let text = str::from_utf8(&status[..length]).unwrap_or_default();
    IS_IGNORED.store(is_within(Signal::PIPE, ignored_by(text)), Relaxed);
}

/// Whether whoever started this process had it ignore the signal.
pub(super) fn is_ignored() -> bool {
    IS_IGNORED.load(Relaxed)
}
