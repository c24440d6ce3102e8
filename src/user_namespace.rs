//! Which users have a number where this process runs (user_namespaces(7)).
//!
//! Whoever has none is shown as one and the same number, which may be that of a user too: nobody can tell them apart.

use std::fs;
use std::sync::OnceLock;

/// As which number the system shows users without one, unless it says so.
const OVERFLOW: u32 = 65_534;
/// How many numbers there are; the last one is none.
const ALL: u64 = u32::MAX as u64;

/// The numbers of users in the namespace of this process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UserNamespace {
    /// Each range: its first number, and how many it has.
    ranges: Vec<(u64, u64)>,
    overflow: u32,
}

impl UserNamespace {
    /// That of this process, whose map is written once and for all. Where the system does not tell, every number has its
    /// user, as outside of all namespaces.
    pub(crate) fn current() -> &'static Self {
        static CURRENT: OnceLock<UserNamespace> = OnceLock::new();
        CURRENT.get_or_init(Self::read)
    }

    fn read() -> Self {
        let read = |path| fs::read_to_string(path).ok();
        let ranges = read("/proc/self/uid_map").map(|map| ranges(&map));
        let overflow =
            read("/proc/sys/kernel/overflowuid").and_then(|text| text.trim().parse().ok());
        Self {
            ranges: ranges.unwrap_or_else(|| vec![(0, ALL)]),
            overflow: overflow.unwrap_or(OVERFLOW),
        }
    }

    /// Whether a user has this number here.
    pub(crate) fn has(&self, uid: u32) -> bool {
        let uid = u64::from(uid);
        self.ranges
            .iter()
            .any(|(first, count)| (*first..first + count).contains(&uid))
    }

    /// Whether this number stands for users that have none here too.
    pub(crate) fn stands_for_others(&self, uid: u32) -> bool {
        let known: u64 = self.ranges.iter().map(|(_, count)| count).sum();
        uid == self.overflow && known < ALL
    }
}

/// The ranges of a `uid_map`: on each line the first number inside, the first outside, and how many.
fn ranges(map: &str) -> Vec<(u64, u64)> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse);
        let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
        Some((first.ok()?, count.ok()?))
    };
    map.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(map: &str) -> UserNamespace {
        UserNamespace {
            ranges: ranges(map),
            overflow: OVERFLOW,
        }
    }

    #[test]
    fn outside_of_all_namespaces_nobody_is_one_user() {
        let all = namespace("         0          0 4294967295\n");
        assert!(all.has(0) && all.has(OVERFLOW) && all.has(u32::MAX - 1));
        assert!(!all.has(u32::MAX));
        assert!(!all.stands_for_others(OVERFLOW));
    }

    #[test]
    fn users_without_a_number_are_all_shown_as_one() {
        // As `PrivateUsers=yes` of systemd has it, a container, and a namespace that was given no map.
        let two = namespace("0 0 1\n998 998 1\n");
        assert!(two.has(0) && two.has(998) && !two.has(1) && !two.has(999));
        for map in ["0 0 1\n998 998 1\n", "0 100000 65536\n", ""] {
            let some = namespace(map);
            assert!(some.stands_for_others(OVERFLOW), "{map:?}");
            assert!(!some.stands_for_others(998), "{map:?}");
        }
    }

    #[test]
    fn this_process_has_a_number() {
        let uid = rustix::process::geteuid().as_raw();
        let here = UserNamespace::current();
        assert!(here.has(uid) || here.stands_for_others(uid), "{here:?}");
    }
}
