//! The clock of another machine, as far as its answers show it. What we date for that machine, an
//! assertion or a proof, is dated by its clock.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::DATE;

/// By how many seconds dates that we write are set back. A server whose clock is a little behind ours would
/// otherwise refuse them as dates in the future; one whose clock is a little ahead accepts them too.
const BACKDATE: i64 = 3;
/// A clock that differs from ours by more than this many seconds is not followed: an attacker who could make
/// us date assertions further ahead could keep them for later use.
const MAX_DIFFERENCE: i64 = 300;
/// In seconds. `Date` has whole seconds and takes time to arrive: a smaller difference is not significant.
const MIN_DIFFERENCE: i64 = 2;
/// Nothing measured yet.
const UNKNOWN: i64 = i64::MIN;

/// From when a request was sent until its answer was there, by our clock: at some moment of it the
/// server wrote down the `Date`, so that a slow answer says nothing about its clock.
pub type RequestPeriod = RangeInclusive<SystemTime>;

/// What is known of one server's clock. Read without a lock.
#[derive(Debug)]
pub struct ServerClock {
    /// By how many seconds it is followed.
    followed: AtomicI64,
    /// By how many seconds it was ahead of ours in the last answer.
    measured: AtomicI64,
}

impl Default for ServerClock {
    fn default() -> Self {
        Self {
            followed: AtomicI64::new(0),
            measured: AtomicI64::new(UNKNOWN),
        }
    }
}

impl ServerClock {
    /// The date for something that is sent to the server `now`, in seconds since the Unix epoch.
    pub fn date(&self, now: Duration) -> u64 {
        now.as_secs()
            .saturating_add_signed(self.followed.load(Relaxed) - BACKDATE)
    }

    /// Takes in the `Date` of an answer. Returns the difference in seconds if there is one that was not seen
    /// before: above zero when the server is ahead of us.
    pub fn measure(&self, headers: &HeaderMap, during: &RequestPeriod) -> Option<i64> {
        let offset = PossibleOffset::of(headers, during)?;
        let before = self.measured.load(Relaxed);
        let least = offset.nearest(0);
        let ahead = match least {
            0 => 0,
            _ if offset.nearest(before) == before => before,
            _ => least,
        };
        self.measured.store(ahead, Relaxed);
        let known = before != UNKNOWN && (before - ahead).abs() < MIN_DIFFERENCE;
        (!known && ahead.abs() >= MIN_DIFFERENCE).then_some(ahead)
    }

    /// The server refused what was dated for it: from now on its clock is followed as its answer
    /// shows it. Whether that changes what is dated, so that another attempt is worth it.
    pub fn learn(&self, headers: &HeaderMap, during: &RequestPeriod) -> bool {
        let Some(offset) = PossibleOffset::of(headers, during) else {
            return false;
        };
        let before = self.followed.load(Relaxed);
        let ahead = if offset.is_close_to(before) {
            before
        } else if offset.is_close_to(0) {
            0
        } else {
            // Most servers write the date down when the answer is ready.
            offset.least.clamp(-MAX_DIFFERENCE, MAX_DIFFERENCE)
        };
        let changes = (before - ahead).abs() >= MIN_DIFFERENCE;
        if changes {
            self.followed.store(ahead, Relaxed);
        }
        changes
    }

    /// How its clock differed from ours in the last answer, in words that follow a name; none if it
    /// did not, or is not known.
    pub fn difference(&self) -> Option<String> {
        let ahead = self.measured.load(Relaxed);
        (ahead != UNKNOWN && ahead.abs() >= MIN_DIFFERENCE).then(|| describe_difference(ahead))
    }
}

/// `its clock is 7 s behind ours`
pub fn describe_difference(ahead: i64) -> String {
    let way = if ahead < 0 { "behind" } else { "ahead of" };
    format!("its clock is {} s {way} ours", ahead.unsigned_abs())
}

/// By how many whole seconds a server can be ahead, as its answer shows.
struct PossibleOffset {
    least: i64,
    most: i64,
}

impl PossibleOffset {
    /// None without exactly one `Date`, or if that cannot be read.
    fn of(headers: &HeaderMap, during: &RequestPeriod) -> Option<Self> {
        let mut dates = headers.get_all(DATE).iter();
        let (date, None) = (dates.next()?, dates.next()) else {
            return None;
        };
        let date = httpdate::parse_http_date(date.to_str().ok()?).ok()?;
        let seconds = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX / 2)
        };
        let (sent, arrived) = (seconds(*during.start()), seconds(*during.end()));
        Some(Self {
            least: seconds(date) - arrived,
            // Our clock may have been set back meanwhile.
            most: seconds(date) - sent.min(arrived),
        })
    }

    fn nearest(&self, ahead: i64) -> i64 {
        ahead.clamp(self.least, self.most)
    }

    fn is_close_to(&self, ahead: i64) -> bool {
        (self.nearest(ahead) - ahead).abs() < MIN_DIFFERENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn said(ahead: i64) -> HeaderMap {
        let date = UNIX_EPOCH + Duration::from_secs(NOW.as_secs().saturating_add_signed(ahead));
        let mut headers = HeaderMap::new();
        headers.insert(DATE, httpdate::fmt_http_date(date).parse().unwrap());
        headers
    }

    fn at_once() -> RequestPeriod {
        within(Duration::ZERO)
    }

    /// The answer came at [`NOW`], this long after the request was sent.
    fn within(took: Duration) -> RequestPeriod {
        let arrived = UNIX_EPOCH + NOW;
        arrived - took..=arrived
    }

    fn dated(clock: &ServerClock) -> i64 {
        clock.date(NOW).cast_signed() - NOW.as_secs().cast_signed()
    }

    #[test]
    fn what_is_dated_for_a_server_follows_its_clock_within_five_minutes() {
        let now = at_once();
        for (ahead, expected) in [
            (0, -3),
            (1, -3),
            (-1, -3),
            (2, -1),
            (-7, -10),
            (299, 296),
            (300, 297),
            (86_400, 297),
            (-86_400, -303),
        ] {
            let clock = ServerClock::default();
            assert_eq!(dated(&clock), -3);
            assert_eq!(clock.learn(&said(ahead), &now), expected != -3, "{ahead}");
            assert_eq!(dated(&clock), expected, "{ahead}");
            assert!(!clock.learn(&said(ahead), &now), "nothing new");
        }
        let clock = ServerClock::default();
        assert!(clock.learn(&said(-60), &now));
        assert!(clock.learn(&said(0), &now), "it was set right");
        assert_eq!(dated(&clock), -3);
    }

    #[test]
    fn a_difference_is_told_once_and_then_when_it_is_another() {
        let (clock, now) = (ServerClock::default(), at_once());
        assert_eq!(clock.difference(), None);
        for (ahead, told) in [
            (1, None),
            (-7, Some(-7)),
            (-7, None),
            (-6, None),
            (90, Some(90)),
            (0, None),
        ] {
            assert_eq!(clock.measure(&said(ahead), &now), told, "{ahead}");
        }
        assert_eq!(clock.difference(), None);
        clock.measure(&said(-7), &now);
        assert_eq!(clock.difference().unwrap(), "its clock is 7 s behind ours");
        assert_eq!(dated(&clock), -3, "measuring changes nothing");
    }

    #[test]
    fn a_slow_answer_is_no_difference() {
        let slow = within(Duration::from_secs(20));
        // When the date was written down, what is measured, and what is dated if it is refused.
        for (ahead, told, expected) in [
            (0, None, -3),
            (-20, None, -3),
            (-21, None, -3),
            (-27, Some(-7), -30),
            (7, Some(7), 4),
        ] {
            let clock = ServerClock::default();
            assert_eq!(clock.measure(&said(ahead), &slow), told, "{ahead}");
            assert_eq!(clock.learn(&said(ahead), &slow), expected != -3, "{ahead}");
            assert_eq!(dated(&clock), expected, "{ahead}");
        }
        // What was seen before can still be so.
        let clock = ServerClock::default();
        assert_eq!(clock.measure(&said(-30), &at_once()), Some(-30));
        assert!(clock.learn(&said(-30), &at_once()));
        assert_eq!(clock.measure(&said(-40), &slow), None);
        assert_eq!(clock.difference().unwrap(), "its clock is 30 s behind ours");
        assert!(!clock.learn(&said(-40), &slow));
        assert!(!clock.learn(&said(-31), &slow), "nor does a second count");
        assert_eq!(dated(&clock), -33);
        // Our clock was set back while it was waited for.
        let back = UNIX_EPOCH + NOW + Duration::from_secs(60)..=UNIX_EPOCH + NOW;
        assert_eq!(ServerClock::default().measure(&said(0), &back), None);
    }

    #[test]
    fn what_is_no_date_is_passed_over() {
        let now = at_once();
        let mut two = said(90);
        two.append(DATE, two[DATE].clone());
        let mut broken = HeaderMap::new();
        broken.insert(DATE, "yesterday".parse().unwrap());
        for headers in [HeaderMap::new(), two, broken] {
            let clock = ServerClock::default();
            assert!(!clock.learn(&headers, &now));
            assert_eq!(clock.measure(&headers, &now), None);
            assert_eq!(dated(&clock), -3);
        }
    }
}
