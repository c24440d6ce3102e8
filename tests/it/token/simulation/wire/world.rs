//! What is true at one moment, and what a client, its machine and its servers know of it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use sidebearer::oauth::{
    BoxFuture, Client, InputFault, OnSend, TokenEndpoint, TokenError, TokenErrorKind, TokenResponse,
};
use sidebearer::token::{Clock, Moment};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::super::super::fakes::VirtualClock;
use super::super::pace::Pace;
use super::Setting;
use super::api::Api;
use super::authorization_server::{AuthorizationServer, Mood, Outcome};
use super::files::Files;

/// A wall clock this far from the truth harms nobody, in seconds.
const NEARLY_RIGHT: u64 = 20;
/// What servers accept, in seconds.
const ACCEPTED: u64 = 60;

/// One moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// As the machine tells it.
    pub(super) now: Moment,
    /// As servers tell it, in seconds since the Unix epoch.
    pub(super) truth: u64,
}

/// What is made is dated back by this many seconds.
const BACK: u64 = 3;

impl Times {
    /// As the machine tells it, in seconds since the Unix epoch.
    pub(super) fn machine(self) -> u64 {
        self.now.wall.as_secs()
    }

    /// When the machine says that something was made which it makes now.
    pub(super) fn dated(self) -> u64 {
        self.machine() - BACK
    }

    pub(super) fn servers_agree(self) -> bool {
        self.machine().abs_diff(self.truth) <= ACCEPTED
    }
}

pub(super) struct World {
    pub(super) clock: Arc<VirtualClock>,
    /// From the boot clock to the wall clock of all others.
    true_wall: Duration,
    /// Tells of each token request.
    pub(super) arrived: Notify,
    state: Mutex<WorldState>,
}

pub(super) struct WorldState {
    pub(super) setting: Setting,
    pub(super) server: AuthorizationServer,
    pub(super) files: Files,
    pub(super) api: Api,
    pub(super) pace: Pace,
    pub(super) fetch: Fetch,
    /// When something last happened after which time has to pass.
    pub(super) disturbed: Duration,
    /// The key that a client made for itself, by its thumbprint.
    pub(super) own_key: Option<String>,
}

/// What one fetch has sent so far, and what came back.
#[derive(Default)]
pub(super) struct Fetch {
    pub(super) requests: u32,
    pub(super) answered: Option<Outcome>,
    /// The files that it may know.
    writes: u64,
}

impl World {
    pub(super) fn new(
        setting: Setting,
        clock: Arc<VirtualClock>,
        dir: TempDir,
        mut rng: Rng,
    ) -> Arc<Self> {
        let now = clock.now();
        let true_wall = now.wall - now.boot;
        let truth = now.wall.as_secs();
        Arc::new(Self {
            clock,
            true_wall,
            arrived: Notify::new(),
            state: Mutex::new(WorldState {
                setting,
                server: AuthorizationServer::new(rng.fork(), now.boot),
                files: Files::new(dir, Times { now, truth }),
                api: Api::new(rng.fork()),
                pace: Pace::default(),
                fetch: Fetch::default(),
                disturbed: now.boot,
                own_key: None,
            }),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, WorldState> {
        self.state.lock().expect("no panic inside")
    }

    pub(super) fn times(&self) -> Times {
        let now = self.clock.now();
        let truth = (self.true_wall + now.boot).as_secs();
        Times { now, truth }
    }

    /// What the machine's wall clock says.
    pub(super) fn wall(&self) -> SystemTime {
        UNIX_EPOCH + self.clock.now().wall
    }

    pub(super) fn check(&self, holds: bool, otherwise: impl FnOnce() -> String) {
        self.lock().pace.check(holds, otherwise);
    }

    pub(super) fn turn(&self, mood: Mood) {
        let now = self.clock.now().boot;
        self.lock().server.turn(mood, now);
    }

    /// The machine was suspended, or its wall clock set.
    pub(super) fn disturbed(&self) {
        let now = self.clock.now().boot;
        let mut state = self.lock();
        state.disturbed = now;
        state.pace.disturbed();
    }

    /// How long server, files and machine have all been well.
    pub(super) fn well_for(&self) -> Option<Duration> {
        let times = self.times();
        let state = self.lock();
        let mut since = state.server.healthy_since()?.max(state.disturbed);
        if state.setting.shows_assertion() {
            since = since.max(state.files.assertion_since(times)?);
        }
        let right = times.machine().abs_diff(times.truth) <= NEARLY_RIGHT;
        right.then(|| times.now.boot.saturating_sub(since))
    }
}

/// The client, and what can be said of each of its fetches as a whole.
pub(super) struct Observed {
    pub(super) client: Client,
    pub(super) world: Arc<World>,
}

impl TokenEndpoint for Observed {
    fn request(&self) -> BoxFuture<'_, Result<TokenResponse, TokenError>> {
        self.request_telling(&|| ())
    }

    fn request_telling<'a>(
        &'a self,
        on_send: OnSend<'a>,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenError>> {
        Box::pin(async move {
            {
                let sent = self.world.clock.now();
                let state = &mut *self.world.lock();
                let writes = state.files.writes;
                state.pace.begin(sent, writes != state.fetch.writes);
                state.fetch = Fetch {
                    writes,
                    ..Fetch::default()
                };
            }
            let sent = Mutex::new(self.world.clock.now());
            let note_time = || {
                *sent.lock().expect("no panic inside") = self.world.clock.now();
                on_send();
            };
            let mut under_way = UnderWay {
                world: &self.world,
                sent: &sent,
                result: None,
            };
            let result = self.client.request_telling(&note_time).await;
            under_way.result.insert(result).clone()
        })
    }

    fn secret_changed(&self) -> bool {
        let times = self.world.times();
        self.world.lock().files.look(times);
        self.client.secret_changed()
    }

    fn faults(&self) -> Vec<InputFault> {
        self.client.faults()
    }
}

/// A fetch; when it ends, well or cut off, it is judged.
struct UnderWay<'a> {
    world: &'a World,
    /// When its last request went out.
    sent: &'a Mutex<Moment>,
    result: Option<Result<TokenResponse, TokenError>>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let times = self.world.times();
        let state = &mut *self.world.lock();
        let error = match self.result.take() {
            Some(Ok(token)) => {
                let granted = state.fetch.granted(&token);
                state
                    .pace
                    .check(granted, || format!("a token out of nowhere: {token:?}"));
                let sent = *self.sent.lock().expect("no panic inside");
                return state.pace.granted(sent, times.now, &token);
            }
            Some(Err(error)) => error,
            None => TokenError {
                kind: TokenErrorKind::Timeout,
                message: "cut off".to_owned(),
                retry_after: None,
            },
        };
        let explained = match error.kind {
            TokenErrorKind::Local => {
                state.files.look(times);
                state.setting.shows_assertion() && state.files.to_show(times).is_none()
            }
            _ => state.fetch.explains(&error, times),
        };
        let Fetch {
            requests, answered, ..
        } = &state.fetch;
        state.pace.check(explained, || {
            format!("{error:?} after {requests} requests, the last answered {answered:?}")
        });
        state.pace.failed(times.now, &error);
    }
}

impl Fetch {
    /// Whether the server gave out this token for a proof by the key that it is bound to.
    fn granted(&self, token: &TokenResponse) -> bool {
        let key = token.proof_key.as_ref().map(|key| key.thumbprint());
        matches!(&self.answered, Some(Outcome::Granted { value, thumbprint })
            if value == token.access_token.expose() && Some(&**thumbprint) == key)
    }

    /// Whether it had to fail so.
    fn explains(&self, error: &TokenError, times: Times) -> bool {
        match (&self.answered, self.requests) {
            (Some(Outcome::Granted { .. }), _) => false,
            // It was to be asked once more.
            (Some(Outcome::WantsNonce { brought: true }), 1) => false,
            (Some(Outcome::WantsNonce { .. }), _) => error.kind == TokenErrorKind::ServerError,
            (Some(Outcome::Failed { retry_after }), _) => {
                // Dates are in whole seconds, are read by the clock of the machine, and were on their
                // way for a while.
                let off = times.machine().abs_diff(times.truth) + 2;
                let asked = error.retry_after.unwrap_or_default();
                retry_after.is_none_or(|after| asked.abs_diff(after) <= Duration::from_secs(off))
            }
            (None, requests) => requests > 0 && error.kind == TokenErrorKind::Timeout,
        }
    }
}
