//! What time it is, for deciding whether a token is still good.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since boot, time in suspend included (`CLOCK_BOOTTIME`); never jumps.
    pub boot: Duration,
    /// Since the Unix epoch; may be set by hand.
    pub wall: Duration,
}

impl Moment {
    /// The moment `by` later on both clocks.
    pub fn plus(self, by: Duration) -> Self {
        Self {
            boot: self.boot.saturating_add(by),
            wall: self.wall.saturating_add(by),
        }
    }

    /// Whether either clock has reached `deadline`: the earlier end counts.
    pub fn reached(self, deadline: Self) -> bool {
        self.boot >= deadline.boot || self.wall >= deadline.wall
    }

    /// The time left until the earlier of both ends; zero when reached.
    pub fn until(self, deadline: Self) -> Duration {
        let boot = deadline.boot.saturating_sub(self.boot);
        boot.min(deadline.wall.saturating_sub(self.wall))
    }
}

/// The clock of a token's life; tests replace it.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Both clocks now. Called once per proxied request: no system call, no allocation.
    fn now(&self) -> Moment;

    /// How long a timer may sleep before it looks at this clock again. Timers do not count
    /// suspend, so this is how late a resumed machine notices.
    fn longest_sleep(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        let boot = clock_gettime(ClockId::Boottime);
        Moment {
            boot: Duration::new(
                boot.tv_sec.unsigned_abs(),
                boot.tv_nsec.unsigned_abs() as u32,
            ),
            // A clock set before 1970 makes every token look expired: closed, not open.
            wall: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or(Duration::MAX),
        }
    }
}
