//! The client of one credential.

mod discovered_endpoint;
mod inputs;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use url::Url;

use self::discovered_endpoint::{Discovery, DiscoveryContext, MakeHttpClient};
use self::inputs::{InputReader, RequestInputs};
use super::auth::{ClientAuthenticator, encodings_differ};
use super::endpoint::{ServerEndpoint, network_settings};
use super::last_good::UnusableInput;
use super::lock::lock;
use super::proof::ProofKeySource;
use super::request::TokenRequest;
use super::response::{EndpointResponse, RequestContext};
use super::{
    BoxFuture, Identity, InputFault, OnSend, TokenEndpoint, TokenError, TokenErrorKind,
    TokenResponse, WallClock, grant,
};
use crate::address::OwnSockets;
use crate::config::{AuthorizationServer, ClientAuth, Credential};
use crate::dpop::{LastNonce, Nonce, ProofKey};
use crate::files;
use crate::http_client::{HttpClient, Transport, display_url};
use crate::redact::Redactor;
use crate::server_clock::{self, RequestPeriod, ServerClock};
use crate::upstream::{ClientCertificate, TlsError};

/// Asks for the tokens of one credential; each request has a connection of its own.
pub struct Client {
    credential: Credential,
    make_http_client: Arc<MakeHttpClient>,
    wall_clock: WallClock,
    server: EndpointSource,
    /// Cleans what servers say to it.
    redactor: Arc<Redactor>,
    /// What the server wants in proofs.
    nonce: Arc<LastNonce>,
    /// By what its assertions and proofs are dated.
    clock: Arc<ServerClock>,
    inputs: Arc<InputReader>,
    last: Mutex<LastInputs>,
    /// What was read for the next request.
    prepared: Mutex<Option<RequestInputs>>,
}

/// Identifies the endpoint of a credential: credentials with equal keys load the same server.
pub fn endpoint_key(credential: &Credential) -> String {
    display_url(first_url(credential))
}

/// Where its first request goes.
fn first_url(credential: &Credential) -> &Url {
    match &credential.server {
        AuthorizationServer::TokenEndpoint(url) | AuthorizationServer::Issuer(_, url) => url,
    }
}

enum EndpointSource {
    Known(Arc<ServerEndpoint>),
    Discovered(Discovery),
}

/// The result of reading the files for the last request.
enum LastInputs {
    NotYet,
    Unusable,
    Read(RequestInputs),
}

impl Client {
    /// Reads the files of `credential`. Each request reads them again; what is good now is used later while
    /// a file is not usable. If the tokens are bound to a key of this process, the key is made here.
    ///
    /// # Errors
    /// A TLS file cannot be used. A problem with another file is an error of the first request that needs it.
    pub fn new(credential: &Credential) -> Result<Self, TlsError> {
        Self::with_own_sockets(Arc::default(), credential)
    }

    /// As [`new`](Self::new). No request goes to one of these sockets, which are those of this process.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_own_sockets(
        own_sockets: Arc<OwnSockets>,
        credential: &Credential,
    ) -> Result<Self, TlsError> {
        Self::with_certificate(None, credential, own_sockets, Arc::default())
    }

    /// As [`with_own_sockets`](Self::with_own_sockets). With a client certificate, every connection presents that one, even when the
    /// files of `credential` change: the tokens are bound to it (RFC 8705 section 3). All secrets are added
    /// to the redactor.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_certificate(
        certificate: Option<Arc<ClientCertificate>>,
        credential: &Credential,
        own_sockets: Arc<OwnSockets>,
        redactor: Arc<Redactor>,
    ) -> Result<Self, TlsError> {
        let (settings, cleans) = (credential.clone(), redactor.clone());
        let make = move |url: &Url, policy| {
            let (certificate, own) = (certificate.clone(), own_sockets.clone());
            let settings =
                network_settings(url, &settings, certificate, policy, own, cleans.clone());
            files::within_one_timeout(|| HttpClient::connecting(url, settings))
        };
        // The operator configured the first URL: no policy binds it.
        let first = make(first_url(credential), None)?;
        let clock = Arc::new(SystemTime::now);
        let make = Arc::new(make);
        Ok(Self::with_http_client(
            first, make, clock, redactor, credential,
        ))
    }

    /// As [`new`](Self::new), but `transport` carries every request, so that TLS files are not read, and
    /// `wall_clock` gives the time.
    pub fn with_transport(
        transport: Arc<dyn Transport>,
        wall_clock: WallClock,
        credential: &Credential,
    ) -> Self {
        let first = HttpClient::new(transport, credential.max_response_bytes);
        let http = first.clone();
        let make = Arc::new(move |_: &Url, _| Ok(http.clone()));
        Self::with_http_client(first, make, wall_clock, Arc::default(), credential)
    }

    fn with_http_client(
        first: HttpClient,
        make_http_client: Arc<MakeHttpClient>,
        wall_clock: WallClock,
        redactor: Arc<Redactor>,
        credential: &Credential,
    ) -> Self {
        let url = first_url(credential).clone();
        let first = Arc::new(ServerEndpoint::new(url, first, credential));
        let (asked_first, clock) = (Arc::clone(&first), Arc::clone(&wall_clock));
        let inputs = Arc::new(InputReader::of(credential, asked_first, clock));
        let _ = inputs.read();
        let server = match &credential.server {
            AuthorizationServer::TokenEndpoint(_) => EndpointSource::Known(first),
            AuthorizationServer::Issuer(issuer, _) => {
                EndpointSource::Discovered(Discovery::new(issuer, first))
            }
        };
        Self {
            credential: credential.clone(),
            make_http_client,
            wall_clock,
            server,
            redactor,
            nonce: Arc::default(),
            clock: Arc::default(),
            inputs,
            last: Mutex::new(LastInputs::NotYet),
            prepared: Mutex::new(None),
        }
    }

    /// Shares the last DPoP nonce of the server with other clients of the same server.
    pub fn with_nonce(mut self, shared: Arc<LastNonce>) -> Self {
        self.nonce = shared;
        self
    }

    /// Shares what is known of the server's clock with other clients of the same server.
    pub fn with_clock(mut self, shared: Arc<ServerClock>) -> Self {
        self.clock = shared;
        self
    }

    /// Uses a key that was made for the same credential before.
    pub fn with_proof_key(self, before: Arc<ProofKey>) -> Self {
        if let Some(ProofKeySource::Own(key)) = &mut lock(&self.inputs.files).proof {
            *key = before;
        }
        self
    }

    /// The key that this process made for it, for [`with_proof_key`](Self::with_proof_key).
    pub fn own_proof_key(&self) -> Option<Arc<ProofKey>> {
        match &lock(&self.inputs.files).proof {
            Some(ProofKeySource::Own(key)) => Some(key.clone()),
            _ => None,
        }
    }

    /// Who would ask now; none if a file or variable that it is made of cannot be used. Reads them all.
    pub fn identity(&self) -> Option<Identity> {
        let inputs = self.inputs.read().ok()?;
        Some(Identity {
            requester: inputs.secrets.requester(),
            proof_key: inputs.proof_key,
        })
    }

    async fn fetch(&self, on_send: OnSend<'_>) -> Result<TokenResponse, TokenError> {
        let nonce = self.nonce.get();
        let (mut answer, mut asked, mut during) = self.ask(nonce, on_send).await?;
        if answer.nonce.is_some() && answer.wants_nonce() {
            // The request is sent once more with this nonce, even if other clients got a newer one
            // meanwhile, and with a new assertion.
            (answer, asked, during) = self.ask(answer.nonce, on_send).await?;
        }
        if answer.may_refuse_date() && self.sends_dates() {
            let newer = answer.nonce.clone();
            // Only what was dated for this very server follows its clock.
            if self.clock.learn(&answer.headers, &during) {
                let nonce = newer.or(self.nonce.get());
                (answer, asked, _) = self.ask(nonce, on_send).await?;
            }
        }
        let token = answer.judge(asked, (self.wall_clock)())?;
        self.set_doubtful(false);
        Ok(token)
    }

    /// Whether its requests hold something that is dated: an assertion of ours, or a proof.
    fn sends_dates(&self) -> bool {
        let auth = &self.credential.auth;
        let asserts = matches!(
            auth,
            ClientAuth::SecretJwt { .. } | ClientAuth::PrivateKeyJwt { .. }
        );
        asserts || self.credential.dpop.is_some()
    }

    /// Sends one token request, made of what the files hold now; with this nonce in a proof.
    async fn ask(
        &self,
        nonce: Option<Nonce>,
        on_send: OnSend<'_>,
    ) -> Result<(EndpointResponse, RequestContext<'_>, RequestPeriod), TokenError> {
        let RequestInputs {
            secrets,
            signer,
            proof_key,
            ..
        } = match self.take_prepared() {
            Some(prepared) => prepared,
            None => self.read().await?,
        };
        let mut request = TokenRequest::new(&secrets, self.redactor.clone());
        let endpoint = match &self.server {
            EndpointSource::Known(endpoint) => endpoint.clone(),
            EndpointSource::Discovered(discovery) => {
                let context = DiscoveryContext {
                    credential: &self.credential,
                    make_http_client: &self.make_http_client,
                    redactor: &self.redactor,
                    now: (self.wall_clock)(),
                };
                discovery.endpoint(&context).await?
            }
        };
        let now = (self.wall_clock)();
        let issued_at = self
            .clock
            .date(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        grant::add_parameters(&self.credential.grant, &secrets, &mut request, now)?;
        request.add_requested_token(&self.credential, &secrets)?;
        let authenticator = ClientAuthenticator {
            auth: &self.credential.auth,
            secrets: &secrets,
            signer: signer.as_ref(),
            token_endpoint: &endpoint.url,
            now,
            issued_at,
            not_before: self.credential.assertion_nbf,
        };
        authenticator.authenticate(&mut request)?;
        if let Some(key) = &proof_key {
            request.prove(key, &endpoint.url, nonce, issued_at);
        }
        let asked = RequestContext {
            endpoint: endpoint.shown.clone(),
            auth: &self.credential.auth,
            grant: &self.credential.grant,
            max_token: self.credential.max_token_bytes,
            default_token_type: self.credential.default_token_type,
            encodings_differ: encodings_differ(&self.credential.auth, &secrets),
            requester: Some(secrets.requester()),
            possession: self.credential.dpop.as_ref().zip(proof_key),
            redactor: request.redactor,
        };
        // The inputs are doubtful until the request succeeds: one that runs out of time is dropped, and
        // nothing runs after that.
        self.set_doubtful(true);
        let sending = endpoint.post(request.headers, request.form, on_send);
        let answer = sending.await?;
        let during = now..=(self.wall_clock)();
        if let Some(ahead) = self.clock.measure(&answer.headers, &during) {
            let (credential, server) = (&self.credential.name, &asked.endpoint);
            let difference = server_clock::describe_difference(ahead);
            tracing::warn!(%credential, server, "{difference}");
        }
        if let Some(nonce) = &answer.nonce {
            self.nonce.set(nonce.clone());
        }
        Ok((answer, asked, during))
    }

    fn take_prepared(&self) -> Option<RequestInputs> {
        lock(&self.prepared).take()
    }

    /// Reads all files again, for a request. While that takes long, what was good before is used.
    async fn read(&self) -> Result<RequestInputs, TokenError> {
        let read = self.inputs.read_soon().await;
        let read = read.map_err(TokenError::unread)?;
        *lock(&self.last) = match &read {
            Ok(material) => LastInputs::Read(material.clone()),
            Err(_) => LastInputs::Unusable,
        };
        read.map_err(|e| TokenError::new(TokenErrorKind::Local, e.message()))
    }

    /// Whether a request made of `now` would differ from the last one.
    fn differs(&self, now: Result<RequestInputs, UnusableInput>) -> bool {
        let Ok(now) = now else {
            return false;
        };
        match &*lock(&self.last) {
            LastInputs::NotYet => false,
            LastInputs::Unusable => true,
            LastInputs::Read(last) => *last != now,
        }
    }

    fn set_doubtful(&self, doubtful: bool) {
        if let EndpointSource::Discovered(discovery) = &self.server {
            lock(&discovery.found).doubtful = doubtful;
        }
    }
}

impl TokenEndpoint for Client {
    fn request(&self) -> BoxFuture<'_, Result<TokenResponse, TokenError>> {
        self.request_telling(&|| ())
    }

    fn request_telling<'a>(
        &'a self,
        on_send: OnSend<'a>,
    ) -> BoxFuture<'a, Result<TokenResponse, TokenError>> {
        Box::pin(self.fetch(on_send))
    }

    fn prepare(&self) -> BoxFuture<'_, Result<(), TokenError>> {
        Box::pin(async {
            let read = self.read().await?;
            *lock(&self.prepared) = Some(read);
            Ok(())
        })
    }

    fn address(&self) -> Option<(String, u16)> {
        let url = first_url(&self.credential);
        Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
    }

    fn secret_changed(&self) -> bool {
        self.differs(self.inputs.read())
    }

    fn reread_secrets(&self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            let read = self.inputs.read_soon().await;
            read.is_ok_and(|now| self.differs(now))
        })
    }

    fn clock_difference(&self) -> Option<String> {
        self.clock.difference()
    }

    fn redactor(&self) -> Arc<Redactor> {
        self.redactor.clone()
    }

    fn faults(&self) -> Vec<InputFault> {
        self.inputs.faults.list()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.credential.name)
    }
}

#[cfg(test)]
mod tests;
