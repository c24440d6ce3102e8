//! The upstreams of a snapshot, and what they take over from the snapshot before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use http::uri::Scheme;
use url::Host;

use super::context::{BuildContext, BuildError};
use super::endpoints::EndpointContext;
use super::{BuiltCredential, BuiltUpstream, Injection, Snapshot};
use crate::config;
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
    old: Option<&Snapshot>,
) -> Result<Arc<BuiltUpstream>, BuildError> {
    let fingerprint = upstream::fingerprint(&config.url, &config.tls, config.egress_proxy());
    let credential = config
        .credential
        .as_ref()
        .and_then(|name| credentials.get(name));
    let certificate = credential
        .filter(|_| config.certificate_bound)
        .and_then(|credential| credential.certificate.clone());
    let presented = certificate.as_ref().map(Arc::as_ptr);
    let kept = old
        .and_then(|old| old.upstream(&config.name))
        .filter(|kept| kept.config == *config && kept.fingerprint == fingerprint)
        .filter(|kept| kept.certificate.as_ref().map(Arc::as_ptr) == presented);
    if let Some(kept) = kept
        && match (&kept.injection, credential) {
            (Some(injection), Some(credential)) => {
                Arc::ptr_eq(&injection.source, &credential.source)
                    && injection.max_nonce_bytes == credential.max_nonce_bytes
            }
            (None, None) => true,
            _ => false,
        }
    {
        return Ok(Arc::clone(kept));
    }
    let endpoint = match kept {
        Some(kept) => Arc::clone(&kept.endpoint),
        None => endpoint(context, config, certificate.as_deref())?,
    };
    // A token from before a reload goes only where tokens of this credential went before.
    let known = old.and_then(|old| old.upstream(&config.name));
    let may_inherit = known.is_some_and(|known| {
        known.config.sends_token_as(config)
            && known.certificate.as_ref().map(Arc::as_ptr) == presented
            && known
                .injection
                .as_ref()
                .is_some_and(Injection::sends_last_token)
    });
    let same_api = known.filter(|known| known.config.sends_token_as(config));
    let fresh = same_api.and_then(|known| known.injection.as_ref());
    let fresh = fresh.map(|injection| Arc::clone(&injection.fresh));
    let injection = credential.map(|credential| Injection {
        fresh: fresh.unwrap_or_else(|| {
            let name = credential.source.name();
            Arc::new(FreshTokenRejections::new(&config.name, name))
        }),
        source: Arc::clone(&credential.source),
        rejections: if may_inherit {
            TokenRejections::new()
        } else {
            TokenRejections::of_own_tokens()
        },
        header: config.header.clone(),
        prefix: config.header_prefix.clone(),
        prefixed: ArcSwapOption::empty(),
        redactor: context.redactor(credential.source.name()),
        nonce: context.api_nonce(config),
        clock: context.api_clock(config),
        max_nonce_bytes: credential.max_nonce_bytes,
    });
    Ok(Arc::new(BuiltUpstream::new(
        config.clone(),
        endpoint,
        injection,
        certificate,
        fingerprint,
    )))
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
        reason,
    })?;
    let mut connector = connector
        .with_dialing(config.dialing.clone())
        .with_own_sockets(Arc::clone(&context.own_sockets));
    if let Some(credential) = &config.credential {
        connector = connector.with_redactor(context.redactor(credential));
    }
    Ok(EndpointContext::new(context, config).endpoint(config, connector))
}

impl BuiltUpstream {
    pub(super) fn new(
        config: config::Upstream,
        endpoint: Arc<Endpoint>,
        injection: Option<Injection>,
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
            injection,
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
