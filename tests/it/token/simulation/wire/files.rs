//! The files of a credential, and those who write them: sometimes late, often not in one go.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use sidebearer::config::SecretSource;
use sidebearer::token::TokenSource;
use tempfile::TempDir;
use tokio::time::sleep;

use super::super::log_uniform;
use super::jwt::{ASSERTER, CLIENTS, keys, looks_good};
use super::world::{Times, World};

/// Which file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// What the client signs with.
    ClientKey,
    /// What its tokens are bound to.
    ProofKey,
    /// A token of someone else.
    Assertion,
}

/// A file that someone writes.
pub(super) struct Document {
    path: PathBuf,
    /// What is in it, unless it is missing.
    now: Option<String>,
    /// What is in it, or was before it was spoilt.
    whole: Content,
    /// What it last held that was good when a client looked.
    known: Option<String>,
}

/// What a file is meant to hold.
struct Content {
    text: String,
    /// When it ends, in truth.
    ends: u64,
}

pub(super) struct Files {
    _dir: TempDir,
    documents: [Document; 3],
    /// Since when there has been a good assertion, if there is.
    assertion_since: Option<Duration>,
    /// How often any of them has been written.
    pub(super) writes: u64,
    assertions: u64,
    /// The keys that the server knows the client by.
    pub(super) registered: Vec<usize>,
}

impl Files {
    pub(super) fn new(dir: TempDir, times: Times) -> Self {
        let document = |name: &str| Document {
            path: dir.path().join(name),
            now: None,
            whole: Content::key(0),
            known: None,
        };
        let mut files = Self {
            documents: ["client_key", "proof_key", "assertion"].map(document),
            _dir: dir,
            assertion_since: None,
            writes: 0,
            assertions: 0,
            registered: vec![0],
        };
        files.write(Which::ClientKey, Content::key(0), times);
        files.write(Which::ProofKey, Content::key(1), times);
        let first = files.assertion(Duration::from_secs(3600), times);
        files.write(Which::Assertion, first, times);
        files
    }

    pub(super) fn get(&self, which: Which) -> &Document {
        &self.documents[which as usize]
    }

    pub(super) fn source(&self, which: Which) -> SecretSource {
        SecretSource::File(self.get(which).path.clone().into())
    }

    /// A client looks at all of them.
    pub(super) fn look(&mut self, times: Times) {
        for which in [Which::ClientKey, Which::ProofKey, Which::Assertion] {
            let document = &mut self.documents[which as usize];
            let now = document.now.as_deref().map(str::trim);
            let good = now.filter(|now| match which {
                Which::Assertion => looks_good(now, times.machine()),
                _ => *now == document.whole.text,
            });
            if let Some(good) = good {
                document.known = Some(good.to_owned());
            }
        }
    }

    /// The assertion to show, if there is one: what was good at the last look, and still is.
    pub(super) fn to_show(&self, times: Times) -> Option<&str> {
        let known = self.get(Which::Assertion).known.as_deref();
        known.filter(|known| looks_good(known, times.machine()))
    }

    /// Since when there has been an assertion that servers take and clients show; `None` if there
    /// is none now.
    pub(super) fn assertion_since(&self, times: Times) -> Option<Duration> {
        let good = self.get(Which::Assertion).is_good(times);
        self.assertion_since.filter(|_| good)
    }

    fn write(&mut self, which: Which, content: Content, times: Times) {
        let since = self.assertion_since(times).unwrap_or(times.now.boot);
        let document = &mut self.documents[which as usize];
        document.put(Some(&format!("{}\n", content.text)));
        document.whole = content;
        self.assertion_since = Some(since);
        self.writes += 1;
    }

    fn spoil(&mut self, which: Which, text: Option<&str>) {
        self.documents[which as usize].put(text);
        if which == Which::Assertion {
            self.assertion_since = None;
        }
        self.writes += 1;
    }

    /// A new one, good for `life`.
    fn assertion(&mut self, life: Duration, times: Times) -> Content {
        self.assertions += 1;
        let ends = times.truth + life.as_secs();
        let text = keys()[ASSERTER].sign(&json!({
            "iss": "https://platform.example.com", "sub": "billing", "jti": self.assertions,
            "iat": times.truth, "exp": ends,
        }));
        Content { text, ends }
    }
}

impl Content {
    fn key(key: usize) -> Self {
        Self {
            text: keys()[key].pem.trim_end().to_owned(),
            ends: u64::MAX,
        }
    }
}

impl Document {
    /// What it holds, if that is not spoilt.
    fn whole(&self) -> Option<&Content> {
        let whole = self.now.as_deref().map(str::trim_end) == Some(&self.whole.text);
        whole.then_some(&self.whole)
    }

    /// Whether this is of what was good when a client last looked.
    pub(super) fn knows(&self, key: usize) -> bool {
        self.known.as_deref() == Some(keys()[key].pem.trim_end())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole().is_some()
    }

    fn is_good(&self, times: Times) -> bool {
        let now = times.truth.max(times.machine());
        self.whole().is_some_and(|whole| whole.ends > now)
    }

    fn put(&mut self, text: Option<&str>) {
        match text {
            Some(text) => fs::write(&self.path, text).expect("the disk has room"),
            None => fs::remove_file(&self.path).unwrap_or_default(),
        }
        self.now = text.map(str::to_owned);
    }
}

/// Everyone who writes a file of this credential, and who watches them.
#[derive(Clone)]
pub(super) struct Writers {
    pub(super) world: Arc<World>,
    pub(super) source: Arc<TokenSource>,
}

impl Writers {
    /// Another key is registered, then put in place of the one in use, which is then deregistered.
    pub(super) async fn rotate_client_key(self, mut rng: Rng) {
        let mut key = 0;
        loop {
            sleep(log_uniform(&mut rng, 600.0, 600_000.0)).await;
            let before = key;
            key = (key + 1) % CLIENTS;
            self.world.lock().files.registered.push(key);
            sleep(log_uniform(&mut rng, 1.0, 600.0)).await;
            self.write(Which::ClientKey, Content::key(key), &mut rng)
                .await;
            sleep(log_uniform(&mut rng, 1.0, 3600.0)).await;
            let registered = &mut self.world.lock().files.registered;
            registered.retain(|known| *known != before);
        }
    }

    /// Nobody needs to know the key beforehand.
    pub(super) async fn rotate_proof_key(self, mut rng: Rng) {
        let mut key = 1;
        loop {
            sleep(log_uniform(&mut rng, 600.0, 200_000.0)).await;
            if rng.bool() {
                // While a request is under way.
                self.world.arrived.notified().await;
            }
            key = (key + 1) % CLIENTS;
            self.write(Which::ProofKey, Content::key(key), &mut rng)
                .await;
        }
    }

    /// Mostly in time.
    pub(super) async fn renew_assertion(self, mut rng: Rng) {
        let mut life = Duration::from_secs(3600);
        loop {
            match rng.u8(..8) {
                0 => sleep(life + log_uniform(&mut rng, 1.0, 7200.0)).await,
                _ => sleep(life.mul_f64(0.8)).await,
            }
            life = log_uniform(&mut rng, 120.0, 20_000.0);
            let times = self.world.times();
            let next = self.world.lock().files.assertion(life, times);
            self.write(Which::Assertion, next, &mut rng).await;
        }
    }

    /// Often not at once.
    async fn write(&self, which: Which, next: Content, rng: &mut Rng) {
        if rng.bool() {
            // All of a key but its last characters may do for a reader that is not strict.
            let longest = match which {
                Which::Assertion => next.text.len(),
                _ => next.text.len() - 10,
            };
            let spoilt = match rng.u8(..4) {
                0 => None,
                1 => Some(""),
                _ => Some(&next.text[..rng.usize(1..longest)]),
            };
            self.world.lock().files.spoil(which, spoilt);
            self.tell(rng);
            sleep(log_uniform(rng, 0.05, 600.0)).await;
        }
        let times = self.world.times();
        self.world.lock().files.write(which, next, times);
        self.tell(rng);
    }

    /// A watch tells of most changes.
    fn tell(&self, rng: &mut Rng) {
        if rng.u8(..4) > 0 {
            self.source.retry_if_secret_changed();
        }
    }
}
