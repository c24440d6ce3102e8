//! The upstreams of a snapshot, and what they take over from the snapshot before it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::uri::Scheme;
use http::{HeaderName, HeaderValue};
use url::Host;

use super::context::{BuildContext, BuildError};
use super::endpoints::EndpointContext;
use super::injection::{CredentialsByCaller, Injection, Injections, NoCredential};
use super::{BuiltCredential, BuiltUpstream, Snapshot, TokenEchoes};
use crate::caller::CallerIndex;
use crate::config;
use crate::redact::Redactor;
use crate::token::{FreshTokenRejections, TokenRejections};
use crate::upstream::{self, ClientCertificate, Connector, Endpoint};

/// The upstream that is configured so: the one of `old` where nothing that it is built from has changed,
/// and the connections of that one where they can stay.
///
/// # Errors
/// Its TLS files cannot be used.
pub fn build(
    context: &BuildContext,
    config: &config::Upstream,
    credentials: &BTreeMap<String, BuiltCredential>,
    callers: &HashMap<&str, CallerIndex>,
    old: Option<&Snapshot>,
) -> Result<Arc<BuiltUpstream>, BuildError> {
    let fingerprint = upstream::fingerprint(&config.url, &config.tls, config.egress_proxy());
    let names = config.credential_names().into_iter();
    let named = names.filter_map(|name| credentials.get_key_value(name));
    let (names, credentials): (Vec<_>, Vec<_>) =
        named.map(|(name, it)| (name.as_str(), it)).unzip();
    let by_caller = CredentialsByCaller::new(&config.credentials, &names, callers);
    let mut bound = credentials.iter().filter(|_| config.certificate_bound);
    let certificate = bound.next().and_then(|bound| bound.certificate.clone());
    let presented = certificate.as_ref().map(Arc::as_ptr);
    let is_presented =
        |by: &&Arc<BuiltUpstream>| by.certificate.as_ref().map(Arc::as_ptr) == presented;
    let known = old.and_then(|old| old.upstream(&config.name));
    let kept = known
        .filter(|kept| kept.config == *config && kept.fingerprint == fingerprint)
        .filter(is_presented);
    if let Some(kept) = kept
        && are_of(&kept.injections, &credentials)
    {
        if kept.injections.by_caller() == by_caller.as_ref() {
            return Ok(Arc::clone(kept));
        }
        // Callers have come or gone, so that the same ones have other indices.
        let all = kept.injections.all().to_vec();
        return Ok(Arc::new(BuiltUpstream::new(
            config.clone(),
            Arc::clone(&kept.endpoint),
            Injections::new(all, by_caller),
            certificate,
            fingerprint,
        )));
    }
    let endpoint = match kept {
        Some(kept) => Arc::clone(&kept.endpoint),
        None => endpoint(context, config, certificate.as_deref())?,
    };
    let injections = injections(context, config, &credentials, known.map(Arc::as_ref));
    let injections = Injections::new(injections, by_caller);
    let mut built = BuiltUpstream::new(
        config.clone(),
        endpoint,
        injections,
        certificate,
        fingerprint,
    );
    if built.injects() && config.redact == config::Redact::Headers {
        let counter = context.metrics.token_echoes(&config.name);
        built.echoes = Some(Arc::new(TokenEchoes::new(&config.name, counter)));
    }
    Ok(Arc::new(built))
}

/// The credentials of an upstream that is configured so. Each takes over what the `known` upstream of the same name has
/// seen of it, if that is at the same place.
fn injections(
    context: &BuildContext,
    config: &config::Upstream,
    credentials: &[&BuiltCredential],
    known: Option<&BuiltUpstream>,
) -> Vec<Arc<Injection>> {
    let known = known.filter(|known| known.config.takes_tokens_as(config));
    let build = |credential: &&BuiltCredential| {
        let name = credential.source.name();
        let mut injections = known.into_iter().flat_map(|known| known.injections());
        let known = injections.find(|known| known.source.name() == name);
        Arc::new(Injection {
            fresh: match known {
                Some(known) => Arc::clone(&known.fresh),
                None => Arc::new(FreshTokenRejections::new(&config.name, name)),
            },
            source: Arc::clone(&credential.source),
            rejections: if credential.may_leave_to(config) {
                TokenRejections::new()
            } else {
                TokenRejections::of_own_tokens()
            },
            header: config.header.clone(),
            prefix: config.header_prefix.clone(),
            prefixed: ArcSwapOption::empty(),
            redactor: context.redactor(name),
            nonce: context.api_nonce(config, name),
            clock: context.api_clock(config),
            max_nonce_bytes: credential.max_nonce_bytes,
        })
    };
    credentials.iter().map(build).collect()
}

/// Whether they are those of these credentials as they are now.
fn are_of(injections: &Injections, credentials: &[&BuiltCredential]) -> bool {
    let same = |(injection, credential): (&Arc<Injection>, &&BuiltCredential)| {
        Arc::ptr_eq(&injection.source, &credential.source)
            && injection.max_nonce_bytes == credential.max_nonce_bytes
    };
    let all = injections.all();
    all.len() == credentials.len() && all.iter().zip(credentials).all(same)
}

fn endpoint(
    context: &BuildContext,
    config: &config::Upstream,
    certificate: Option<&ClientCertificate>,
) -> Result<Arc<Endpoint>, BuildError> {
    let connector = Connector::with_certificate(certificate, &config.url, &config.tls, config.http);
    let connector = connector.and_then(|connector| connector.through(config.egress_proxy()));
    let connector = connector.map_err(|reason| BuildError {
        table: format!("[upstreams.{}]", config.name),
        reason: reason.into(),
    })?;
    let mut connector = connector
        .with_dialing(config.dialing.clone())
        .with_own_sockets(Arc::clone(&context.own_sockets));
    let redactors = config.credential_names().into_iter();
    let redactors = redactors.map(|name| context.redactor(name)).collect();
    connector = connector.with_redactor(Redactor::of_all(redactors));
    Ok(EndpointContext::new(context, config).endpoint(config, connector))
}

impl BuiltUpstream {
    /// Whose token goes with a request of this caller, or of nobody known; `None` without any credential.
    ///
    /// # Errors
    /// The upstream has credentials, and none of them is for the caller.
    pub fn injection_for(
        &self,
        caller: Option<CallerIndex>,
    ) -> Result<Option<&Injection>, NoCredential> {
        self.injections.choose(caller)
    }

    /// All that some request may get.
    pub fn injections(&self) -> impl Iterator<Item = &Injection> {
        self.injections.all().iter().map(Arc::as_ref)
    }

    /// Whether its requests get a token.
    pub fn injects(&self) -> bool {
        !self.injections.all().is_empty()
    }

    /// The header that nobody else may send it: the one that its tokens go into, if it gets any.
    pub fn injected_header(&self) -> Option<&HeaderName> {
        self.injects().then_some(&self.config.header)
    }

    pub(super) fn new(
        config: config::Upstream,
        endpoint: Arc<Endpoint>,
        injections: Injections,
        certificate: Option<Arc<ClientCertificate>>,
        fingerprint: u64,
    ) -> Self {
        let authority = match &config.host {
            Some(host) => host.clone(),
            None => host_and_port(&config.url),
        };
        const CHECKED: &str = "validation accepts only hosts that are valid authorities";
        Self {
            base_path: config.url.path().trim_end_matches('/').to_owned(),
            scheme: match config.url.scheme() {
                "https" => Scheme::HTTPS,
                _ => Scheme::HTTP,
            },
            host: HeaderValue::from_str(&authority).expect(CHECKED),
            authority: authority.parse().expect(CHECKED),
            config,
            endpoint,
            injections,
            echoes: None,
            certificate,
            fingerprint,
        }
    }
}

fn host_and_port(url: &url::Url) -> String {
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => format!("[{ip}]"),
        None => String::new(),
    };
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}
