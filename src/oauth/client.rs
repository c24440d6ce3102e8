//! The client of one credential.

mod discovered;
mod looker;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::{JoinError, spawn_blocking};
use url::Url;

use self::discovered::Found;
use self::looker::{Files, Looker, Material};
use super::auth::{Means, encodings_differ};
use super::endpoint::{Endpoint, network_settings};
use super::key::KeyFile;
use super::last_good::{Known, Unusable};
use super::proof::ProofKeys;
use super::request::GrantRequest;
use super::response::{Answer, Asked};
use super::secrets::Sources;
use super::{BoxFuture, Fault, TokenEndpoint, TokenError, TokenErrorKind, TokenResponse, grant};
use crate::address::OwnSockets;
use crate::config::{AuthorizationServer, ClientAuth, Credential};
use crate::dpop::{LastNonce, Nonce, ProofKey};
use crate::http_client::{AddressPolicy, HttpClient, Transport, display_url};
use crate::redact::Redactor;
use crate::server_clock::{self, During, ServerClock};
use crate::upstream::{ClientCertificate, TlsError};

/// Says what time it is for those who date assertions and proofs.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Makes the HTTP client for the server of a URL, which keeps to an address policy if there is one.
type MakeHttpClient =
    dyn Fn(&Url, Option<Arc<AddressPolicy>>) -> Result<HttpClient, TlsError> + Send + Sync;

/// A thread panicked that read files: a defect.
fn panicked(_: JoinError) -> TokenError {
    TokenError::new(
        TokenErrorKind::Local,
        "reading files panicked: a defect of sidebearer",
    )
}

/// Asks for the tokens of one credential; each request has a connection of its own.
pub struct Client {
    credential: Credential,
    make_http_client: Arc<MakeHttpClient>,
    wall_clock: WallClock,
    server: Server,
    own_sockets: Arc<OwnSockets>,
    /// Cleans what servers say to it.
    redactor: Arc<Redactor>,
    /// What the server wants in proofs.
    nonce: Arc<LastNonce>,
    /// By what its assertions and proofs are dated.
    clock: Arc<ServerClock>,
    looker: Arc<Looker>,
    last: Mutex<Last>,
}

/// Identifies the endpoint of a credential: credentials with equal keys load the same server.
pub fn gate_key(credential: &Credential) -> String {
    display_url(first_url(credential))
}

/// Where its first request goes.
fn first_url(credential: &Credential) -> &Url {
    match &credential.server {
        AuthorizationServer::TokenEndpoint(url) | AuthorizationServer::Issuer(_, url) => url,
    }
}

enum Server {
    Known(Arc<Endpoint>),
    Issuer {
        /// As configured, to the letter.
        issuer: String,
        /// Where the document is.
        origin: Arc<Endpoint>,
        found: Mutex<Found>,
    },
}

/// What came of reading the files for the last request.
enum Last {
    NotYet,
    Unusable,
    Read(Material),
}

impl Client {
    /// Reads the files of `credential`, which are read again with each request: what is good of them
    /// now can stand in later. If its tokens are bound to a key of this process, it is made here.
    ///
    /// # Errors
    /// A TLS file that cannot be used. Other files are missed by the first request that needs them.
    pub fn new(credential: &Credential) -> Result<Self, TlsError> {
        Self::presenting(None, credential, Arc::default())
    }

    /// As [`new`](Self::new); with an identity, every connection presents that one, whatever the
    /// files of `credential` come to hold: the tokens are bound to it (RFC 8705 section 3). The
    /// redactor comes to know what is secret.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn presenting(
        identity: Option<Arc<ClientCertificate>>,
        credential: &Credential,
        redactor: Arc<Redactor>,
    ) -> Result<Self, TlsError> {
        let (settings, cleans) = (credential.clone(), redactor.clone());
        let make = move |url: &Url, policy| {
            let (identity, redactor) = (identity.clone(), cleans.clone());
            let settings = network_settings(&settings, identity, policy, redactor);
            HttpClient::connecting(url, settings)
        };
        // The operator configured the first URL: no policy binds it.
        let first = make(first_url(credential), None)?;
        let clock = Arc::new(SystemTime::now);
        let make = Arc::new(make);
        Ok(Self::made_of(first, make, clock, redactor, credential))
    }

    /// As [`new`](Self::new), but `transport` carries every request, so that TLS files are not
    /// looked at, and `wall_clock` says what time it is.
    pub fn over(
        transport: Arc<dyn Transport>,
        wall_clock: WallClock,
        credential: &Credential,
    ) -> Self {
        let first = HttpClient::new(transport, credential.max_response_bytes);
        let http = first.clone();
        let make = Arc::new(move |_: &Url, _| Ok(http.clone()));
        Self::made_of(first, make, wall_clock, Arc::default(), credential)
    }

    fn made_of(
        first: HttpClient,
        make_http_client: Arc<MakeHttpClient>,
        wall_clock: WallClock,
        redactor: Arc<Redactor>,
        credential: &Credential,
    ) -> Self {
        let url = first_url(credential).clone();
        let first = Arc::new(Endpoint::new(url, first, credential));
        let looker = Arc::new(Looker {
            files: Mutex::new(Files {
                secrets: Sources::of(credential),
                key: KeyFile::of(credential),
                proof: ProofKeys::of(credential),
            }),
            first: Arc::clone(&first),
            wall_clock: Arc::clone(&wall_clock),
            faults: Known::of(&credential.name),
        });
        let _ = looker.look();
        let server = match &credential.server {
            AuthorizationServer::TokenEndpoint(_) => Server::Known(first),
            AuthorizationServer::Issuer(issuer, _) => Server::Issuer {
                issuer: issuer.clone(),
                origin: first,
                found: Mutex::default(),
            },
        };
        Self {
            credential: credential.clone(),
            make_http_client,
            wall_clock,
            server,
            own_sockets: Arc::default(),
            redactor,
            nonce: Arc::default(),
            clock: Arc::default(),
            looker,
            last: Mutex::new(Last::NotYet),
        }
    }

    /// With the sockets of this process, where no discovery document may lead.
    pub fn with_own_sockets(mut self, sockets: Arc<OwnSockets>) -> Self {
        self.own_sockets = sockets;
        self
    }

    /// With what the same server said to others, and tells others what it says.
    pub fn with_nonce(mut self, shared: Arc<LastNonce>) -> Self {
        self.nonce = shared;
        self
    }

    /// With what the same server's clock showed to others, and shows others what it learns.
    pub fn with_clock(mut self, shared: Arc<ServerClock>) -> Self {
        self.clock = shared;
        self
    }

    /// With a key that was made for the same credential before.
    pub fn with_proof_key(self, before: Arc<ProofKey>) -> Self {
        if let Some(ProofKeys::Own(key)) = &mut lock(&self.looker.files).proof {
            *key = before;
        }
        self
    }

    /// The key that this process made for it, for [`with_proof_key`](Self::with_proof_key).
    pub fn own_proof_key(&self) -> Option<Arc<ProofKey>> {
        match &lock(&self.looker.files).proof {
            Some(ProofKeys::Own(key)) => Some(key.clone()),
            _ => None,
        }
    }

    async fn fetch(&self) -> Result<TokenResponse, TokenError> {
        let (mut answer, mut asked, mut during) = self.ask(self.nonce.get()).await?;
        if answer.nonce.is_some() && answer.wants_nonce() {
            // Once more with it, whatever others have been told meanwhile, and with an assertion
            // that has not been used yet.
            (answer, asked, during) = self.ask(answer.nonce).await?;
        }
        if answer.may_refuse_date() && self.dates() {
            let nonce = answer.nonce.clone();
            // Only what was dated for this very server follows its clock.
            if self.clock.learn(&answer.headers, &during) {
                (answer, asked, _) = self.ask(nonce.or(self.nonce.get())).await?;
            }
        }
        let token = answer.judge(asked, (self.wall_clock)())?;
        self.doubt(false);
        Ok(token)
    }

    /// Whether its requests hold something that is dated: an assertion of ours, or a proof.
    fn dates(&self) -> bool {
        let auth = &self.credential.auth;
        let asserts = matches!(
            auth,
            ClientAuth::SecretJwt { .. } | ClientAuth::PrivateKeyJwt { .. }
        );
        asserts || self.credential.dpop.is_some()
    }

    /// Sends one token request, made of what the files hold now; with this nonce in a proof.
    async fn ask(&self, nonce: Option<Nonce>) -> Result<(Answer, Asked<'_>, During), TokenError> {
        let Material {
            secrets,
            signer,
            proof_key,
            ..
        } = self.read().await?;
        let mut request = GrantRequest::new(&secrets, self.redactor.clone());
        let endpoint = match &self.server {
            Server::Known(endpoint) => endpoint.clone(),
            Server::Issuer {
                issuer,
                origin,
                found,
            } => self.discovered(issuer, origin, found).await?,
        };
        let now = (self.wall_clock)();
        let issued_at = self
            .clock
            .date(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        grant::ask(&self.credential.grant, &secrets, &mut request, now)?;
        request.ask_for(&self.credential, &secrets)?;
        let means = Means {
            auth: &self.credential.auth,
            secrets: &secrets,
            signer: signer.as_ref(),
            token_endpoint: &endpoint.url,
            now,
            issued_at,
            not_before: self.credential.assertion_nbf,
        };
        means.authenticate(&mut request)?;
        if let Some(key) = &proof_key {
            request.prove(key, &endpoint.url, nonce, issued_at);
        }
        let asked = Asked {
            endpoint: endpoint.shown.clone(),
            auth: &self.credential.auth,
            grant: &self.credential.grant,
            max_token: self.credential.max_token_bytes,
            default_token_type: self.credential.default_token_type,
            encodings_differ: encodings_differ(&self.credential.auth, &secrets),
            possession: self.credential.dpop.as_ref().zip(proof_key),
            redactor: request.redactor,
        };
        // Doubtful until it succeeds: a request that runs out of time is dropped and says nothing.
        self.doubt(true);
        let answer = endpoint.post(request.headers, request.form).await?;
        let during = now..=(self.wall_clock)();
        if let Some(ahead) = self.clock.measure(&answer.headers, &during) {
            let (credential, server) = (&self.credential.name, &asked.endpoint);
            let difference = server_clock::in_words(ahead);
            tracing::warn!(%credential, server, "{difference}");
        }
        if let Some(nonce) = &answer.nonce {
            self.nonce.set(nonce.clone());
        }
        Ok((answer, asked, during))
    }

    /// Reads all files anew, for a request.
    async fn read(&self) -> Result<Material, TokenError> {
        let looker = Arc::clone(&self.looker);
        let read = spawn_blocking(move || looker.look()).await;
        let read = read.map_err(panicked)?;
        *lock(&self.last) = match &read {
            Ok(material) => Last::Read(material.clone()),
            Err(_) => Last::Unusable,
        };
        read.map_err(|e| TokenError::new(TokenErrorKind::Local, e.message()))
    }

    /// Whether a request made of `now` would differ from the last one.
    fn differs(&self, now: Result<Material, Unusable>) -> bool {
        let Ok(now) = now else {
            return false;
        };
        match &*lock(&self.last) {
            Last::NotYet => false,
            Last::Unusable => true,
            Last::Read(last) => *last != now,
        }
    }

    fn doubt(&self, doubtful: bool) {
        if let Server::Issuer { found, .. } = &self.server {
            lock(found).doubtful = doubtful;
        }
    }
}

impl TokenEndpoint for Client {
    fn request(&self) -> BoxFuture<'_, Result<TokenResponse, TokenError>> {
        Box::pin(self.fetch())
    }

    fn secret_changed(&self) -> bool {
        self.differs(self.looker.look())
    }

    fn look_at_secrets(&self) -> BoxFuture<'_, bool> {
        let looker = Arc::clone(&self.looker);
        Box::pin(async move {
            let looked = spawn_blocking(move || looker.look()).await;
            looked.is_ok_and(|now| self.differs(now))
        })
    }

    fn clock_difference(&self) -> Option<String> {
        self.clock.difference()
    }

    fn redactor(&self) -> Arc<Redactor> {
        self.redactor.clone()
    }

    fn faults(&self) -> Vec<Fault> {
        self.looker.faults.list()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.credential.name)
    }
}

/// A panic elsewhere leaves what is locked here sound: it is replaced whole, part by part.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
