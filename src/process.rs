//! What this process asks of the system: no core dumps, enough open files, its share of CPUs.

use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

/// Open files that are not client connections: pools, files, sockets of our own.
const SPARE_FILES: u64 = 256;

/// Files that neither clients nor upstreams get: probes must be answered, and files read, when
/// there are no more.
static RESERVED_FILES: AtomicU64 = AtomicU64::new(32);

/// Makes sure that tokens and secrets in memory never reach a core file, and that other processes
/// of the same user cannot read them by `ptrace` or `/proc`
/// (`RLIMIT_CORE` 0 and `PR_SET_DUMPABLE` 0).
pub fn forbid_core_dumps() -> std::io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Raises the soft open-files limit to the hard one. Returns a warning when that is not enough
/// for `max_connections` clients, each of which may need an upstream connection too.
pub fn raise_open_files(max_connections: usize) -> Option<String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    too_few_files(now, max_connections)
}

/// Whether a socket cannot be opened because the process or the system is at its limit.
pub fn is_shortage(error: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(
        errno,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

/// Reserves this many open files, which clients and upstreams cannot take; at most an eighth of the open-files
/// limit.
pub fn reserve_files(files: u64) {
    RESERVED_FILES.store(files, Relaxed);
}

/// Whether this file took a reserved place. The system always gives the lowest free number to a new file.
pub fn is_reserved(file: impl AsFd) -> bool {
    let limit = getrlimit(Resource::Nofile).current;
    let number = u64::try_from(file.as_fd().as_raw_fd()).unwrap_or_default();
    limit.is_some_and(|limit| number >= limit - RESERVED_FILES.load(Relaxed).min(limit / 8))
}

/// The error for a socket that took a reserved place: the same as if the limit had been reached.
pub fn shortage() -> std::io::Error {
    Errno::MFILE.into()
}

/// CPUs this process may use, at least 1: affinity and cgroup quotas (v1 and v2) count, and a
/// quota is rounded down.
pub fn available_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

fn too_few_files(limit: Option<u64>, max_connections: usize) -> Option<String> {
    let needed = (max_connections as u64)
        .saturating_mul(2)
        .saturating_add(SPARE_FILES);
    let limit = limit.filter(|limit| *limit < needed)?;
    Some(format!(
        "the open-files limit is {limit}, but max_connections = {max_connections} may need \
         {needed}: raise the hard limit (ulimit -Hn, LimitNOFILE) or lower max_connections"
    ))
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn a_refused_connection_is_no_shortage() {
        for (errno, shortage) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOBUFS, true),
            (Errno::NOMEM, true),
            (Errno::CONNREFUSED, false),
            // Most often a dialed IPv6 address where there is no IPv6.
            (Errno::ADDRNOTAVAIL, false),
        ] {
            assert_eq!(is_shortage(&errno.into()), shortage, "{errno}");
        }
    }

    #[test]
    fn cores_are_neither_written_nor_readable() {
        forbid_core_dumps().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }

    #[test]
    fn the_soft_file_limit_becomes_the_hard_one() {
        raise_open_files(1);
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn a_file_limit_below_two_a_connection_is_warned_about() {
        assert_eq!(too_few_files(Some(20_256), 10_000), None);
        assert_eq!(too_few_files(None, usize::MAX), None);
        let warning = too_few_files(Some(20_255), 10_000).unwrap();
        assert!(
            warning.contains("20255") && warning.contains("20256"),
            "{warning}"
        );
    }

    #[test]
    fn there_is_always_a_cpu() {
        assert!(available_cpus() >= 1);
    }
}
