//! The token endpoint of an issuer: found, kept, and found again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::time::Instant;
use url::{Host, Url};

use crate::blocking;
use crate::config::Credential;
use crate::http_client::{AddressPolicy, HttpClient, display_url};
use crate::oauth::discovery::{self, EndpointRequirements};
use crate::oauth::endpoint::ServerEndpoint;
use crate::oauth::lock::lock;
use crate::oauth::{TokenError, TokenErrorKind};
use crate::redact::Redactor;
use crate::upstream::TlsError;

/// How often a discovery document is read again at most, while fetches fail.
pub(super) const REDISCOVERY: Duration = Duration::from_secs(60);

/// What discovery found.
#[derive(Default)]
pub(super) struct DiscoveredEndpoint {
    pub(super) token_endpoint: Option<Arc<ServerEndpoint>>,
    pub(super) asked_at: Option<Instant>,
    /// No fetch has succeeded since the last one began.
    pub(super) doubtful: bool,
}

impl DiscoveredEndpoint {
    /// The token endpoint, unless it is time to look again.
    pub(super) fn good(&self, now: Instant) -> Option<Arc<ServerEndpoint>> {
        let recent = self.asked_at.is_some_and(|at| now - at < REDISCOVERY);
        let good = recent || !self.doubtful;
        self.token_endpoint.clone().filter(|_| good)
    }
}

/// Makes the HTTP client for the server of a URL, which keeps to an address policy if there is one.
pub(super) type MakeHttpClient =
    dyn Fn(&Url, Option<Arc<AddressPolicy>>) -> Result<HttpClient, TlsError> + Send + Sync;

/// The way from an issuer to its token endpoint.
pub(super) struct Discovery {
    /// As configured, to the letter.
    issuer: String,
    /// Where the document is.
    origin: Arc<ServerEndpoint>,
    pub(super) found: Mutex<DiscoveredEndpoint>,
}

/// What discovery needs of the client that it is for.
pub(super) struct DiscoveryContext<'a> {
    pub(super) credential: &'a Credential,
    pub(super) make_http_client: &'a Arc<MakeHttpClient>,
    pub(super) redactor: &'a Redactor,
    pub(super) now: SystemTime,
}

impl Discovery {
    pub(super) fn new(issuer: &str, origin: Arc<ServerEndpoint>) -> Self {
        Self {
            issuer: issuer.to_owned(),
            origin,
            found: Mutex::default(),
        }
    }

    /// The token endpoint found before, or found now: for the first time, or again because
    /// fetches fail. What was found before serves on when it cannot be found again.
    pub(super) async fn endpoint(
        &self,
        context: &DiscoveryContext<'_>,
    ) -> Result<Arc<ServerEndpoint>, TokenError> {
        let before = {
            let mut found = lock(&self.found);
            if let Some(known) = found.good(Instant::now()) {
                return Ok(known);
            }
            found.asked_at = Some(Instant::now());
            found.token_endpoint.clone()
        };
        let now = match (self.discover(context).await, before) {
            (Ok((url, policy)), Some(before))
                if before.url == url
                    && (before.address_policy.as_ref()).is_some_and(|it| it.is_same(&policy)) =>
            {
                before
            }
            (Ok((url, policy)), _) => {
                let local = |e: TlsError| TokenError::new(TokenErrorKind::Local, e.to_string());
                let policy = Arc::new(policy);
                let (make, to) = (Arc::clone(context.make_http_client), url.clone());
                let keeps_to = policy.clone();
                let made = blocking::run(move || make(&to, Some(keeps_to))).await;
                let http = made.map_err(TokenError::unread)?.map_err(local)?;
                let endpoint = ServerEndpoint::new(url, http, context.credential);
                Arc::new(endpoint.named_by_server(policy, context.redactor))
            }
            (Err(error), Some(before)) => {
                let credential = &context.credential.name;
                tracing::warn!(%credential, %error, "using the token endpoint discovered before");
                before
            }
            (Err(error), None) => return Err(error),
        };
        lock(&self.found).token_endpoint = Some(now.clone());
        Ok(now)
    }

    /// Refuses a host whose address nobody sees, because a proxy resolves its name: only that of the issuer, or one
    /// that the operator lists, may be asked then.
    fn check_unseen(
        &self,
        found: &Url,
        policy: &AddressPolicy,
        context: &DiscoveryContext<'_>,
    ) -> Result<(), TokenError> {
        let Some(Host::Domain(name)) = found.host() else {
            return Ok(());
        };
        let is_proxied = context.credential.proxy.proxy_for(found).is_some();
        if !is_proxied || policy.is_listed() || found.host() == self.origin.url.host() {
            return Ok(());
        }
        let message = format!(
            "the token endpoint of issuer {} is at {}, and the address of another host cannot be checked through a proxy; discovery_hosts can name the host",
            self.issuer,
            context.redactor.clean(name)
        );
        Err(TokenError::new(TokenErrorKind::BadResponse, message))
    }

    /// What the issuer's document names, and where that may be.
    async fn discover(
        &self,
        context: &DiscoveryContext<'_>,
    ) -> Result<(Url, AddressPolicy), TokenError> {
        let Self { issuer, origin, .. } = self;
        let credential = context.credential;
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
                let needs = EndpointRequirements {
                    allow_plaintext: credential.allow_plaintext,
                    certificate: credential.tls.certificate_file.is_some(),
                };
                let found = discovery::token_endpoint(body, issuer, needs, context.redactor);
                let found = found.map_err(|what| {
                    let message = format!("{} is not usable: {what}", display_url(&url));
                    TokenError::new(TokenErrorKind::BadResponse, message)
                })?;
                let policy = AddressPolicy::new(answer.peer, &found, &credential.discovery_hosts);
                self.check_unseen(&found, &policy, context)?;
                return Ok((found, policy));
            }
            let what = match answer.status.as_u16() {
                200 if discovery::is_document(body) => {
                    "200 but a document without issuer".to_owned()
                }
                200 => match &answer.body {
                    Ok(_) => "200 but no JSON object".to_owned(),
                    Err(why) => format!("200 {why}"),
                },
                redirect @ 300..=399 => format!("{redirect}, which is not followed"),
                other => other.to_string(),
            };
            tried.push(format!("{} answered {what}", display_url(&url)));
            if answer.kind(None) != TokenErrorKind::BadResponse {
                kind = answer.kind(None);
                retry_after = answer.retry_after(context.now);
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
