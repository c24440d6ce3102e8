//! Which signals whoever started this process had it ignore, as `nohup` and systemd (`IgnoreSIGPIPE=`) do.
//!
//! The standard library ignores `SIGPIPE` from the beginning of every program. What was inherited can only be seen
//! before that: by what the system runs ahead of `main`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::read;
use rustix::process::Signal;

/// A bit for each signal.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// How the line of the mask begins in what the system writes about a process. The name of a process has no line breaks
/// there.
const LINE: &[u8] = b"\nSigIgn:\t";
/// Hexadecimal digits of a mask.
const DIGITS: usize = 16;

/// Runs before the standard library is ready: it may use nothing but system calls and memory of its own.
#[ctor::ctor]
fn look() {
    let Ok(status) = open(
        "/proc/self/status",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return;
    };
    let mask = mask_within(|piece| read(&status, piece).unwrap_or_default());
    IGNORED.store(mask, Relaxed);
}

/// Whether whoever started this process had it ignore the signal. Without `/proc` that is not known, and `false`.
pub fn was_ignored(signal: Signal) -> bool {
    is_within(signal, IGNORED.load(Relaxed))
}

fn is_within(signal: Signal, mask: u64) -> bool {
    mask >> (signal.as_raw() - 1) & 1 == 1
}

/// The mask in a text that is read piece by piece: a process may be in so many groups that it is long. Its bytes are
/// not always UTF-8, since a name is in it.
fn mask_within(mut read: impl FnMut(&mut [u8]) -> usize) -> u64 {
    let mut window = [0; 4096];
    let mut filled = 0;
    loop {
        let length = read(&mut window[filled..]);
        if length == 0 {
            return 0;
        }
        filled += length;
        if let Some(mask) = mask_of(&window[..filled]) {
            return mask;
        }
        // The line may have begun.
        let kept = filled.min(LINE.len() + DIGITS - 1);
        window.copy_within(filled - kept..filled, 0);
        filled = kept;
    }
}

fn mask_of(text: &[u8]) -> Option<u64> {
    let line = text.windows(LINE.len()).position(|part| part == LINE)?;
    let digits = text[line + LINE.len()..].get(..DIGITS)?;
    u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_is_found_whatever_the_name_and_however_many_groups() {
        let groups = "1000000 ".repeat(70_000);
        let name = b"Name:\tside\xffbear";
        let rest = format!(
            "\nGroups:\t{groups}\nSigBlk:\t0000000000000001\nSigIgn:\t8000000000001001\nSigCgt:\t0\n"
        );
        let status = [&name[..], rest.as_bytes()].concat();
        for at_once in [1, 7, 24, 4095, usize::MAX] {
            let mut left = &status[..];
            let mask = mask_within(|piece| {
                let length = left.len().min(piece.len()).min(at_once);
                let (now, later) = left.split_at(length);
                piece[..length].copy_from_slice(now);
                left = later;
                length
            });
            assert_eq!(mask, 0x8000_0000_0000_1001, "{at_once} bytes at once");
        }
        assert_eq!(mask_within(|_| 0), 0);
    }

    #[test]
    fn a_mask_has_a_bit_for_each_signal() {
        assert!(is_within(Signal::HUP, 0x1));
        assert!(is_within(Signal::PIPE, 0x1000));
        assert!(!is_within(Signal::INT, 0x1001));
    }
}
