//! Requests over the network: a connection of its own for each, TCP or TLS.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use url::Url;

use super::error::ExchangeError;
use super::exchange::{ExchangeLimits, exchange};
use super::{
    AddressPolicy, BoxFuture, Error, OnSend, RequestErrorKind, Response, TlsFileFault, TlsFiles,
    Transport, UnreadableBody, display_url,
};
use crate::address::OwnSockets;
use crate::blocking::Background;
use crate::config::{Dialing, EgressProxy, HttpVersion, NamedFile, Tls};
use crate::files;
use crate::redact::Redactor;
use crate::upstream::{ClientCertificate, Connected, Connector, Protocols, TlsError, fingerprint};

/// How a [`NetworkTransport`] connects, and how much it reads.
#[derive(Clone)]
pub struct NetworkSettings {
    /// The TLS files and the name to verify.
    pub tls: Tls,
    /// If given, every connection presents this certificate, whatever the files of `tls` come to
    /// hold.
    pub certificate: Option<Arc<ClientCertificate>>,
    /// Which versions of HTTP may be spoken.
    pub http: HttpVersion,
    /// How addresses are tried and connections kept alive.
    pub dialing: Dialing,
    /// DNS, TCP and TLS together. Less than the time for the whole, so that the error says which step
    /// was slow.
    pub connect_timeout: Duration,
    /// Of the head of a response.
    pub max_header_bytes: usize,
    /// Of the body of a response. `None`: the head alone matters, and no body is read.
    pub max_body_bytes: Option<usize>,
    /// Through which proxy it is reached.
    pub proxy: Option<EgressProxy>,
    /// Where the server may be, if a server named the URL.
    pub address_policy: Option<Arc<AddressPolicy>>,
    /// The sockets of this process, none of which is ever connected to.
    pub own_sockets: Arc<OwnSockets>,
    /// Cleans what the server says before it gets into an error.
    pub redactor: Arc<Redactor>,
}

/// Connects to the server at one origin.
pub struct NetworkTransport(Arc<OriginConnector>);

struct OriginConnector {
    url: Url,
    settings: NetworkSettings,
    /// What connections are made with: without the certificate files if `certificate` takes their place.
    tls: Tls,
    loaded: Mutex<LoadedTls>,
    loading: Background<()>,
}

/// How long a connection waits for the TLS files: what they held before is there.
const PATIENCE: Duration = Duration::from_millis(200);

/// What was made of the TLS files.
struct LoadedTls {
    /// The content that was seen last.
    seen: u64,
    /// The content that `connector` was made of.
    in_use: u64,
    connector: Arc<Connector>,
    /// Why what was seen last is not in use.
    fault: Option<TlsFileFault>,
}

impl NetworkTransport {
    /// For the origin of `url`. Blocks while it reads the TLS files.
    ///
    /// # Errors
    /// A TLS file that cannot be used.
    pub fn new(url: &Url, settings: NetworkSettings) -> Result<Self, TlsError> {
        let mut tls = settings.tls.clone();
        if settings.certificate.is_some() {
            (tls.certificate_file, tls.key_file) = (None, None);
        }
        let now = fingerprint(url, &tls, settings.proxy.as_ref());
        let loaded = LoadedTls {
            seen: now,
            in_use: now,
            connector: Arc::new(connector(url, &tls, &settings)?),
            fault: None,
        };
        Ok(Self(Arc::new(OriginConnector {
            url: url.clone(),
            settings,
            tls,
            loaded: Mutex::new(loaded),
            loading: Background::default(),
        })))
    }

    /// Opens a connection and sends nothing, for those who only want to know whether that works.
    ///
    /// # Errors
    /// Which step failed and why.
    pub async fn connect(&self) -> Result<Connected, Error> {
        Ok(self.0.clone().connect().await?.0)
    }
}

impl OriginConnector {
    async fn connect(self: Arc<Self>) -> Result<(Connected, Arc<Connector>), Error> {
        let within = self.settings.connect_timeout;
        // Files are read on another thread: this one is needed while a file system hangs.
        let loads = Arc::clone(&self);
        let loading = self.loading.run(
            move || files::within_one_timeout(|| drop(loads.load())),
            Some(PATIENCE),
        );
        if let Some(Err(error)) = loading.await {
            let message = format!("files cannot be read: {error}");
            return Err(Error::new(RequestErrorKind::Internal, message));
        }
        let connector = self.loaded().connector.clone();
        let connected = connector.connect(Protocols::Any, within).await?;
        Ok((connected, connector))
    }

    async fn exchange(
        self: Arc<Self>,
        url: &Url,
        request: Request<Bytes>,
        on_send: OnSend<'_>,
    ) -> Result<Response, Error> {
        let (connected, connector) = self.clone().connect().await?;
        on_send();
        let peer = (!connector.is_proxied()).then_some(connected.peer);
        let is_read_by_proxy = connected.is_read_by_proxy;
        let proxied = connector.absolute_form().filter(|_| is_read_by_proxy);
        let max = self.settings.max_header_bytes;
        let limits = ExchangeLimits {
            header_bytes: max,
            body_bytes: self.settings.max_body_bytes,
        };
        let failed = |error: ExchangeError| match connector.certificate_refusal(&error) {
            Some(refused) => refused.into(),
            None => error.of(&self.display(url), max),
        };
        let response = exchange(connected, proxied, url, request, limits).await;
        let (head, body) = response.map_err(failed)?.into_parts();
        if is_read_by_proxy
            && let Some(refused) = connector.proxy_refusal(head.status, &head.headers)
        {
            return Err(refused.into());
        }
        let body = match body {
            Ok(Some(body)) => Ok(body),
            Ok(None) if limits.body_bytes.is_none() => Err(UnreadableBody::NotRead),
            Ok(None) => Err(UnreadableBody::TooLarge),
            Err(broken) => Err(UnreadableBody::Broken(failed(broken))),
        };
        Ok(Response {
            status: head.status,
            headers: head.headers,
            body,
            peer,
        })
    }

    /// A URL for messages; without our secrets, if a server named it.
    fn display(&self, url: &Url) -> String {
        let shown = display_url(url);
        if self.settings.address_policy.is_some() {
            self.settings.redactor.clean(&shown)
        } else {
            shown
        }
    }

    /// A connector made of what the TLS files hold now. While that is unusable, as when a certificate is
    /// already new and its key is not, the connector made of what they held before stays.
    fn load(&self) -> MutexGuard<'_, LoadedTls> {
        let now = fingerprint(&self.url, &self.tls, self.settings.proxy.as_ref());
        if self.loaded().seen == now {
            return self.loaded();
        }
        // Not locked meanwhile: it reads files, and whoever connects does not wait for them. Of two that read at the same
        // time, the one that is behind is corrected by the next.
        let made = connector(&self.url, &self.tls, &self.settings);
        let mut loaded = self.loaded();
        loaded.seen = now;
        loaded.fault = match made {
            Ok(connector) => {
                loaded.connector = Arc::new(connector);
                loaded.in_use = now;
                None
            }
            Err(error) => Some(fault(&error, &self.tls)),
        };
        loaded
    }

    /// What is locked is changed in one step, so a panic elsewhere leaves it sound.
    fn loaded(&self) -> MutexGuard<'_, LoadedTls> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for NetworkTransport {
    fn carry<'a>(
        &'a self,
        url: &'a Url,
        request: Request<Bytes>,
        on_send: OnSend<'a>,
    ) -> BoxFuture<'a, Result<Response, Error>> {
        Box::pin(Arc::clone(&self.0).exchange(url, request, on_send))
    }

    fn tls_files(&self) -> TlsFiles {
        let loaded = self.0.load();
        let settings = &self.0.settings;
        // If `certificate` is set, these files are those of its successor: they are not in use yet, but what is
        // wrong with them should be known.
        let successor = settings.certificate.as_ref().map(|_| &settings.tls);
        let fault = loaded.fault.clone().or_else(|| {
            let tls = successor?;
            Some(fault(&ClientCertificate::read(tls).err()?, tls))
        });
        TlsFiles {
            fingerprint: loaded.in_use,
            fault,
        }
    }
}

fn connector(url: &Url, tls: &Tls, settings: &NetworkSettings) -> Result<Connector, TlsError> {
    let connector =
        Connector::with_certificate(settings.certificate.as_deref(), url, tls, settings.http)?
            .through(settings.proxy.as_ref())?
            .with_dialing(settings.dialing.clone())
            .with_own_sockets(Arc::clone(&settings.own_sockets))
            .with_redactor(settings.redactor.clone());
    Ok(match settings.address_policy.clone() {
        Some(policy) => connector.with_address_check(policy),
        None => connector,
    })
}

fn fault(error: &TlsError, tls: &Tls) -> TlsFileFault {
    let (file, reason) = match error {
        TlsError::File(error) => (error.path.as_path(), error.reason.clone()),
        // Every other error that depends on the files is about the two that belong together.
        other => {
            let file = tls.key_file.as_ref().or(tls.ca_file.as_ref());
            let path = file.map_or(Path::new("tls"), NamedFile::path);
            (path, other.to_string())
        }
    };
    let file = file.to_owned();
    TlsFileFault { file, reason }
}
