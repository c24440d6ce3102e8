//! Callers, and a verifier that asks servers which follow a script.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sidebearer::caller::token::{
    CallerUnavailable, TokenCallers, TokenVerifier, Verified, VerifierContext,
};
use sidebearer::config::{
    Caller, CallerToken, IssuerKeys, Kubernetes, Limits, ProxyChoice, ServiceAccount, TokenIssuer,
};
use sidebearer::metrics::Metrics;
use sidebearer::token::Clock;

use super::servers::{Mood, Servers};
use crate::token::fakes::VirtualClock;

pub(crate) const ISSUER: &str = "https://login.example.com";
pub(crate) const CLUSTER: &str = "https://kubernetes.default.svc";
pub(crate) const AUDIENCE: &str = "sidebearer";

/// A verifier with its clock and its servers.
pub(crate) struct World {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) servers: Servers,
    pub(crate) verifier: TokenVerifier,
    /// Of the next reload.
    pub(crate) proxy: ProxyChoice,
    callers: BTreeMap<String, Caller>,
    kubernetes: Option<Kubernetes>,
}

impl World {
    /// Nobody answers yet.
    pub(crate) fn new(callers: &[Caller], kubernetes: Option<&Kubernetes>) -> Self {
        let mut world = Self {
            clock: VirtualClock::new(),
            metrics: Metrics::new(),
            servers: Servers::new(),
            verifier: TokenVerifier::default(),
            proxy: ProxyChoice::Unsaid,
            callers: BTreeMap::new(),
            kubernetes: None,
        };
        world.reload(callers, kubernetes);
        world
    }

    /// One whose issuer publishes `keys`, which have been read.
    pub(crate) async fn ready(callers: &[Caller], keys: Value) -> Self {
        let world = Self::new(callers, None);
        world.servers.issuer.is(Mood::Answers(keys));
        world.read().await;
        world
    }

    /// Puts other callers in place.
    pub(crate) fn reload(&mut self, callers: &[Caller], kubernetes: Option<&Kubernetes>) {
        let named: BTreeMap<_, _> = callers
            .iter()
            .map(|caller| (caller.name.clone(), caller.clone()))
            .collect();
        let context = VerifierContext {
            clock: self.clock.clone(),
            metrics: &self.metrics,
            endpoints: &self.servers,
            proxy: &self.proxy,
        };
        let of = TokenCallers {
            callers: &named,
            kubernetes,
        };
        let before = TokenCallers {
            callers: &self.callers,
            kubernetes: self.kubernetes.as_ref(),
        };
        self.verifier = TokenVerifier::build(of, Some((&self.verifier, before)), &context);
        (self.callers, self.kubernetes) = (named, kubernetes.cloned());
    }

    fn names(&self) -> Vec<String> {
        self.callers.keys().cloned().collect()
    }

    /// Waits until all keys have been read, or failed to be.
    pub(crate) fn read(&self) -> impl Future<Output = ()> + use<> {
        let sources = self.verifier.sources_not_in(&TokenVerifier::default());
        async move {
            for source in sources {
                source.wait_for_first_attempt().await;
            }
        }
    }

    /// Unix time.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now().wall.as_secs()
    }

    /// Claims that are good for an hour: those of `billing`, with `more`.
    pub(crate) fn claims(&self, more: Value) -> Value {
        let mut claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "billing", "exp": self.now() + 3600,
        });
        for (name, value) in more.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    /// Claims of a service account that are good for an hour.
    pub(crate) fn account(&self, namespace: &str, name: &str) -> Value {
        json!({
            "iss": CLUSTER,
            "aud": [AUDIENCE],
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "exp": self.now() + 3600,
            "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": name, "uid": "1" } },
        })
    }

    /// What is found out about a token: the name of the caller, or why there is none; waiting if need be.
    pub(crate) async fn verify(&self, token: &str) -> Found {
        self.begin(token).await
    }

    /// As [`verify`](Self::verify), whatever is put in place meanwhile.
    pub(crate) fn begin(&self, token: &str) -> impl Future<Output = Found> + use<> {
        let (verification, names) = (self.verifier.verify(token), self.names());
        async move {
            let verified = match verification.settled() {
                Ok(verified) => Ok(verified),
                Err(pending) => pending.await,
            };
            Found::of(verified, &names)
        }
    }

    /// As [`verify`](Self::verify), if it can be told at once.
    pub(crate) fn verify_now(&self, token: &str) -> Found {
        match self.verifier.verify(token).settled() {
            Ok(verified) => Found::of(Ok(verified), &self.names()),
            Err(_) => Found::Later,
        }
    }
}

/// What is found out about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Caller(String),
    Nobody(&'static str),
    Several,
    Unavailable(String, Duration),
    /// Something has to be waited for.
    Later,
}

impl Found {
    fn of(verified: Result<Verified, CallerUnavailable>, names: &[String]) -> Self {
        match verified {
            Ok(Verified::Caller(identified)) => {
                Self::Caller(names[identified.caller as usize].clone())
            }
            Ok(Verified::Unknown(reason) | Verified::Unproven(reason)) => Self::Nobody(reason),
            Ok(Verified::Ambiguous) => Self::Several,
            Err(CallerUnavailable {
                reason,
                retry_after,
            }) => Self::Unavailable(reason, retry_after),
        }
    }

    pub(crate) fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody(_))
    }

    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(..))
    }
}

/// A caller.
pub(crate) fn found(name: &str) -> Found {
    Found::Caller(name.to_owned())
}

fn nobody(name: &str) -> Caller {
    Caller {
        name: name.to_owned(),
        spiffe_id: None,
        certificate_name: None,
        service_account: None,
        token: None,
        user: None,
        key: None,
        limits: Limits::default(),
    }
}

/// A caller by the tokens of [`ISSUER`] with these claims.
pub(crate) fn by_token(name: &str, claims: &[(&str, &str)]) -> Caller {
    let claims = claims
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()));
    Caller {
        token: Some(Box::new(CallerToken {
            issuer: issuer(ISSUER, IssuerKeys::Discovery(Box::default())),
            audience: AUDIENCE.into(),
            claims: claims.collect(),
        })),
        ..nobody(name)
    }
}

pub(crate) fn issuer(name: &str, keys: IssuerKeys) -> Arc<TokenIssuer> {
    let name = name.to_owned();
    Arc::new(TokenIssuer { name, keys })
}

/// `billing`, by its subject.
pub(crate) fn billing() -> Caller {
    by_token("billing", &[("sub", "billing")])
}

/// A caller by its service account.
pub(crate) fn by_account(caller: &str, namespace: &str, name: &str) -> Caller {
    Caller {
        service_account: Some(ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        ..nobody(caller)
    }
}

/// `[kubernetes]`
pub(crate) fn kubernetes(review: bool) -> Kubernetes {
    Kubernetes {
        audience: AUDIENCE.to_owned(),
        issuer: None,
        review,
        review_grace: Duration::from_secs(300),
        api_server: None,
        token_file: "/nowhere/token".into(),
        ca_file: "/nowhere/ca.crt".into(),
    }
}
