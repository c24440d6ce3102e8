//! An issuer and an API server that follow a script.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sidebearer::caller::token::{
    FoundKeys, KeyEndpoint, KeyFetchError, Review, ReviewEndpoint, TokenEndpoints,
};
use sidebearer::config::{IssuerKeys, Kubernetes, Secret};
use sidebearer::http_client::BoxFuture;
use sidebearer::jose::KeySet;
use sidebearer::oauth::TokenErrorKind;
use tokio::time::sleep;

use super::fakes::{AUDIENCE, CLUSTER, ISSUER};

/// How an issuer or an API server answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mood<T> {
    Answers(T),
    /// After this long.
    Slow(Duration, T),
    Fails(TokenErrorKind),
    Hangs,
    Panics,
}

/// Counts what is asked at once, also when it is cut off.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) asked: AtomicUsize,
    now: AtomicUsize,
    pub(crate) most: AtomicUsize,
}

struct Here<'a>(&'a Load);

impl<'a> Here<'a> {
    fn new(load: &'a Load) -> Self {
        load.asked.fetch_add(1, SeqCst);
        load.most
            .fetch_max(load.now.fetch_add(1, SeqCst) + 1, SeqCst);
        Self(load)
    }
}

impl Drop for Here<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

async fn answer<T: Clone>(mood: Mood<T>) -> Result<T, KeyFetchError> {
    match mood {
        Mood::Answers(answer) => Ok(answer),
        Mood::Slow(delay, answer) => {
            sleep(delay).await;
            Ok(answer)
        }
        Mood::Fails(kind) => Err(KeyFetchError::new(
            kind,
            format!("the fake says {}", kind.label()),
        )),
        Mood::Hangs => pending().await,
        Mood::Panics => panic!("this panic is part of the test"),
    }
}

/// Publishes a JWK set.
#[derive(Debug)]
pub(crate) struct Issuer {
    name: &'static str,
    pub(crate) mood: Mutex<Mood<Value>>,
    pub(crate) max_age: Mutex<Option<Duration>>,
    /// The keys that were read last and could be used.
    last_read: Mutex<Vec<Value>>,
    pub(crate) load: Load,
}

impl Issuer {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            mood: Mutex::new(Mood::Hangs),
            max_age: Mutex::default(),
            last_read: Mutex::default(),
            load: Load::default(),
        })
    }

    pub(crate) fn is(&self, mood: Mood<Value>) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn reads(&self) -> usize {
        self.load.asked.load(SeqCst)
    }

    pub(crate) fn last_read(&self) -> Vec<Value> {
        self.last_read.lock().unwrap().clone()
    }
}

impl KeyEndpoint for Issuer {
    fn read(&self) -> BoxFuture<'_, Result<FoundKeys, KeyFetchError>> {
        Box::pin(async {
            let _here = Here::new(&self.load);
            let mood = self.mood.lock().unwrap().clone();
            let published = answer(mood).await?;
            let keys = KeySet::read(published.to_string().as_bytes());
            let keys =
                keys.map_err(|what| KeyFetchError::new(TokenErrorKind::BadResponse, what))?;
            let read = published["keys"].as_array().cloned();
            *self.last_read.lock().unwrap() = read.unwrap_or_default();
            Ok(FoundKeys {
                issuer: self.name.to_owned(),
                keys,
                max_age: *self.max_age.lock().unwrap(),
            })
        })
    }
}

/// Reviews tokens.
#[derive(Debug)]
pub(crate) struct Reviewer {
    pub(crate) mood: Mutex<Mood<Review>>,
    pub(crate) load: Load,
}

impl Reviewer {
    pub(crate) fn is(&self, mood: Mood<Review>) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn reviews(&self) -> usize {
        self.load.asked.load(SeqCst)
    }
}

/// What a good review of a service account says.
pub(crate) fn review_of(namespace: &str, name: &str) -> Review {
    Review {
        is_authenticated: true,
        audiences: vec![AUDIENCE.to_owned()],
        username: format!("system:serviceaccount:{namespace}:{name}"),
    }
}

impl ReviewEndpoint for Reviewer {
    fn review<'a>(&'a self, _token: &'a Secret) -> BoxFuture<'a, Result<Review, KeyFetchError>> {
        Box::pin(async {
            let _here = Here::new(&self.load);
            let mood = self.mood.lock().unwrap().clone();
            answer(mood).await
        })
    }
}

/// A fixed issuer, a cluster, and another issuer that is never reached.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) cluster: Arc<Issuer>,
    pub(crate) reviewer: Arc<Reviewer>,
}

impl TokenEndpoints for Servers {
    fn issuer_keys(&self, issuer: &str, _keys: &IssuerKeys) -> Arc<dyn KeyEndpoint> {
        if issuer == ISSUER {
            return self.issuer.clone();
        }
        Issuer::new("https://away.example")
    }

    fn account_keys(&self, _kubernetes: &Kubernetes) -> Arc<dyn KeyEndpoint> {
        self.cluster.clone()
    }

    fn reviews(&self, _kubernetes: &Kubernetes) -> Arc<dyn ReviewEndpoint> {
        self.reviewer.clone()
    }
}

impl Servers {
    /// Nobody answers yet.
    pub(crate) fn new() -> Self {
        Self {
            issuer: Issuer::new(ISSUER),
            cluster: Issuer::new(CLUSTER),
            reviewer: Arc::new(Reviewer {
                mood: Mutex::new(Mood::Hangs),
                load: Load::default(),
            }),
        }
    }
}
