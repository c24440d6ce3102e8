//! What this process asks of the system: no core dumps, enough open files, its share of CPUs; and what it gives back.

mod ignored_signals;
mod inherited;

use std::hint::black_box;
use std::num::NonZero;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::time::{ClockId, clock_gettime};

pub use self::ignored_signals::was_ignored;
pub use self::inherited::Inherited;
use self::inherited::set_soft;

/// Open files that are not client connections: pools, files, sockets of our own.
const SPARE_FILES: u64 = 256;

/// Files that neither clients nor upstreams get: probes must be answered, and files read, when
/// there are no more.
static RESERVED_FILES: AtomicU64 = AtomicU64::new(32);

/// What the process takes from the system at one moment.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Time of CPUs that it has used, all threads together.
    pub cpu: Duration,
    /// Memory of it that is in RAM.
    pub resident_bytes: u64,
    /// Open files, sockets included.
    pub open_files: u64,
    /// How many may be open; none if there is no limit.
    pub open_files_limit: Option<u64>,
}

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

/// Gives back to the system what memory has been freed. On the path of a request there is no use for it: what is freed
/// there is wanted again.
///
/// By itself the allocator waits for a second, and then until one of its own pages becomes free, which may never be in a
/// process that is asked nothing. At once it gives back everything only before it says that there is no memory.
pub fn give_back_memory() {
    // There are not so many addresses.
    let most = isize::MAX as usize / 2 + 1;
    let mut none: Vec<u8> = Vec::new();
    let _ = black_box(&mut none).try_reserve_exact(black_box(most));
}

/// The same for a process that starts a program: only soft limits change, which the program can have back.
pub fn forbid_own_core_dumps() -> std::io::Result<()> {
    set_soft(Resource::Core, Some(0))?;
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

/// What the process takes from the system now. It counts open files one by one, so that it takes some milliseconds
/// with thousands of them; `None` without `/proc`.
pub fn usage() -> Option<Usage> {
    let status = std::fs::read("/proc/self/status").ok()?;
    // The name of the process may be any bytes.
    let status = String::from_utf8_lossy(&status);
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    let files = std::fs::read_dir("/proc/self/fd").ok()?.count();
    Some(Usage {
        cpu: clock_gettime(ClockId::ProcessCPUTime).try_into().ok()?,
        resident_bytes: kibibytes * 1024,
        // The directory itself is open meanwhile.
        open_files: (files as u64).saturating_sub(1),
        open_files_limit: getrlimit(Resource::Nofile).current,
    })
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
    fn the_use_of_the_system_is_that_of_this_process() {
        let before = usage().unwrap();
        let files: Vec<_> = (0..50)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        let now = usage().unwrap();
        assert!(now.cpu > Duration::ZERO && now.cpu >= before.cpu, "{now:?}");
        assert!(now.resident_bytes > 1 << 20, "{now:?}");
        // Tests beside this one open and close files too.
        assert!(now.open_files >= files.len() as u64, "{now:?}");
        assert_eq!(now.open_files_limit, getrlimit(Resource::Nofile).current);
    }

    #[test]
    fn there_is_always_a_cpu() {
        assert!(available_cpus() >= 1);
    }
}
