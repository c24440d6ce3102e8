//! The token endpoint of an issuer: found, kept, and found again.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use url::Url;

use super::{Client, lock, panicked};
use crate::http_client::{AddressPolicy, display_url};
use crate::oauth::discovery::{self, Needs};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::{TokenError, TokenErrorKind};
use crate::upstream::TlsError;

/// How often a discovery document is read again at most, while fetches fail.
pub(super) const REDISCOVERY: Duration = Duration::from_secs(60);

/// What discovery found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) token_endpoint: Option<Arc<Endpoint>>,
    pub(super) asked_at: Option<Instant>,
    /// No fetch has succeeded since the last one began.
    pub(super) doubtful: bool,
}

impl Found {
    /// The token endpoint, unless it is time to look again.
    pub(super) fn good(&self, now: Instant) -> Option<Arc<Endpoint>> {
        let recent = self.asked_at.is_some_and(|at| now - at < REDISCOVERY);
        let good = recent || !self.doubtful;
        self.token_endpoint.clone().filter(|_| good)
    }
}

impl Client {
    /// The token endpoint found before, or found now: for the first time, or again because
    /// fetches fail. What was found before serves on when it cannot be found again.
    pub(super) async fn discovered(
        &self,
        issuer: &str,
        origin: &Endpoint,
        found: &Mutex<Found>,
    ) -> Result<Arc<Endpoint>, TokenError> {
        let before = {
            let mut found = lock(found);
            if let Some(known) = found.good(Instant::now()) {
                return Ok(known);
            }
            found.asked_at = Some(Instant::now());
            found.token_endpoint.clone()
        };
        let now = match (self.discover(issuer, origin).await, before) {
            (Ok((url, policy)), Some(before))
                if before.url == url
                    && (before.address_policy.as_ref()).is_some_and(|it| it.is_same(&policy)) =>
            {
                before
            }
            (Ok((url, policy)), _) => {
                let local = |e: TlsError| TokenError::new(TokenErrorKind::Local, e.to_string());
                let policy = Arc::new(policy);
                let (make, to) = (Arc::clone(&self.make_http_client), url.clone());
                let keeps_to = policy.clone();
                let made = spawn_blocking(move || make(&to, Some(keeps_to))).await;
                let http = made.map_err(panicked)?.map_err(local)?;
                let endpoint = Endpoint::new(url, http, &self.credential);
                Arc::new(endpoint.named_by_server(policy, &self.redactor))
            }
            (Err(error), Some(before)) => {
                let credential = &self.credential.name;
                tracing::warn!(%credential, %error, "using the token endpoint discovered before");
                before
            }
            (Err(error), None) => return Err(error),
        };
        lock(found).token_endpoint = Some(now.clone());
        Ok(now)
    }

    /// What the issuer's document names, and where that may be.
    async fn discover(
        &self,
        issuer: &str,
        origin: &Endpoint,
    ) -> Result<(Url, AddressPolicy), TokenError> {
        let mut kind = TokenErrorKind::BadResponse;
        let mut retry_after = None;
        let mut tried = Vec::new();
        for url in discovery::candidates(&origin.url) {
            let answer = match origin.get(&url).await {
                Ok(answer) => answer,
                Err(e) if e.kind == TokenErrorKind::BadResponse => {
                    tried.push(e.message);
                    continue;
                }
                // The other candidates are on the same host.
                Err(e) => return Err(e),
            };
            let body = answer.body.as_ref().map_or(&[][..], |body| body);
            let status_ok = answer.status == StatusCode::OK;
            if status_ok && discovery::names_issuer(body) {
                let needs = Needs {
                    allow_plaintext: self.credential.allow_plaintext,
                    certificate: self.credential.tls.certificate_file.is_some(),
                };
                let found = discovery::token_endpoint(body, issuer, needs, &self.redactor);
                let found = found.map_err(|what| {
                    let message = format!("{} is not usable: {what}", display_url(&url));
                    TokenError::new(TokenErrorKind::BadResponse, message)
                })?;
                let (hosts, own) = (&self.credential.discovery_hosts, &self.own_sockets);
                let policy = AddressPolicy::new(answer.peer, &found, hosts, own.clone());
                return Ok((found, policy));
            }
            let what = match answer.status.as_u16() {
                200 if discovery::is_document(body) => {
                    "200 but a document without issuer".to_owned()
                }
                200 => "200 but no JSON object".to_owned(),
                redirect @ 300..=399 => format!("{redirect}, which is not followed"),
                other => other.to_string(),
            };
            tried.push(format!("{} answered {what}", display_url(&url)));
            if answer.kind(None) != TokenErrorKind::BadResponse {
                kind = answer.kind(None);
                retry_after = answer.retry_after((self.wall_clock)());
            }
        }
        let message = format!(
            "no discovery document of issuer {issuer}: {}; token_endpoint can be named instead",
            tried.join(", ")
        );
        Err(TokenError {
            retry_after,
            ..TokenError::new(kind, message)
        })
    }
}
