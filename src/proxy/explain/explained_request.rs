//! The request that is explained: a method and a URL as its client writes them, and the listeners that could take it.

use http::request::Parts;
use http::{Method, Request, header};

use crate::caller::IdentificationMeans;
use crate::config::{Caller, Config, ListenAddress, Listener, Scheme, did_you_mean};
use crate::explanation::{Question, QuestionError};
use crate::http1;
use crate::snapshot::Snapshot;

/// Methods that are often written.
const USUAL: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// The request that is explained.
pub(super) struct ExplainedRequest {
    /// The method.
    pub(super) method: Method,
    /// What it is for.
    pub(super) target: Target,
}

/// What a request is for.
pub(super) enum Target {
    /// A path and query, of whatever host the client calls the listener by; or `*`.
    Path(String),
    /// A whole URL.
    Url(ExplainedUrl),
    /// The host and port of a CONNECT.
    Authority(String),
}

/// A whole URL.
pub(super) struct ExplainedUrl {
    /// `http` or `https`.
    pub(super) scheme: Scheme,
    /// Host and port, as they are written.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: String,
    /// As it is given to a proxy: the path may be left out.
    pub(super) whole: String,
}

impl ExplainedRequest {
    /// Reads a question.
    ///
    /// # Errors
    /// What was expected.
    pub(super) fn read(question: &Question) -> Result<Self, QuestionError> {
        let method = Method::from_bytes(question.method.as_bytes()).map_err(|_| {
            let expected = "expected the method of a request, such as GET or POST";
            QuestionError::new("method", expected)
        })?;
        let target = Target::read(&method, &question.url)
            .map_err(|problem| QuestionError::new("url", problem))?;
        Ok(Self { method, target })
    }

    /// What may not be meant: methods are told by their case (RFC 9110 section 9.1).
    pub(super) fn remark(&self) -> Option<String> {
        let written = self.method.as_str();
        let is_known = |known: &&Method| known.as_str().eq_ignore_ascii_case(written);
        let known = USUAL.iter().find(is_known);
        let known = known.filter(|known| **known != self.method)?;
        Some(format!(
            "methods are told by their case: {written} is another one than {known}"
        ))
    }

    /// The listeners that it could come to: the one that is named, by its name or its address, or else those that are for such URLs. By their indices.
    ///
    /// # Errors
    /// There is none, with those that there are.
    pub(super) fn listeners(
        &self,
        config: &Config,
        named: Option<&str>,
    ) -> Result<Vec<usize>, QuestionError> {
        let names = || config.listeners.iter().map(|it| it.name.as_str());
        let listeners = config.listeners.iter().enumerate();
        if let Some(named) = named {
            let by_name = listeners.clone().find(|(_, it)| it.name == named);
            let by_address = || listeners.clone().find(|(_, it)| address_of(it) == named);
            return match by_name.or_else(by_address) {
                Some((at, listener)) => self.fits(listener).map(|()| vec![at]),
                None => Err(unknown("listener", named, names())),
            };
        }
        let could = |listener: &Listener| match &self.target {
            Target::Path(_) => listener.forward.is_none(),
            Target::Authority(_) => listener.forward.is_some() && listener.redirection().is_none(),
            Target::Url(url) => listener.forward.is_some() || url.is_at(listener),
        };
        let found: Vec<_> = listeners
            .filter(|(_, listener)| could(listener))
            .map(|(at, _)| at)
            .collect();
        if found.is_empty() {
            let expected = match &self.target {
                Target::Path(_) => {
                    "a path is for a listener of kind \"reverse\", and there is none: give the whole URL that the client asks for"
                }
                Target::Authority(_) => {
                    "CONNECT is for a listener of kind \"forward\", and there is none; name a listener to see what it answers"
                }
                Target::Url(_) => {
                    "a whole URL is for a listener of kind \"forward\" or \"redirected\", or begins with the address of a listener: give \
                     the path that the client asks for, or name a listener"
                }
            };
            let names = names().collect::<Vec<_>>().join(", ");
            let problem = format!("{expected}; the listeners are: {names}");
            return Err(QuestionError::new("url", problem));
        }
        Ok(found)
    }

    /// Whether something can be said about it.
    fn fits(&self, listener: &Listener) -> Result<(), QuestionError> {
        match &self.target {
            Target::Path(_) if listener.redirection().is_some() => Err(QuestionError::new(
                "url",
                "the listener takes connections that were on their way elsewhere: give the whole URL that the client asks for",
            )),
            _ => Ok(()),
        }
    }

    /// The head of a request with this target and `Host`.
    ///
    /// # Errors
    /// They do not make a request.
    pub(super) fn head(&self, target: &str, host: &str) -> Result<Parts, QuestionError> {
        let wrong = |problem: String| QuestionError::new("url", problem);
        let uri = http1::read_request_target(target.to_owned().into(), &self.method)
            .map_err(|error| wrong(format!("it cannot stand in a request: {error}")))?;
        let request = Request::builder().method(&self.method).uri(uri);
        let request = request.header(header::HOST, host).body(());
        let request = request.map_err(|error| wrong(format!("it makes no request: {error}")))?;
        Ok(request.into_parts().0)
    }
}

impl Target {
    fn read(method: &Method, url: &str) -> Result<Self, String> {
        const EXPECTED: &str =
            "expected a path, as in /crm/v2/x, or a whole URL, as in https://crm.example.com/v2/x";
        if url.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(
                "expected no spaces and no letters beyond ASCII: write them as %20 and so on"
                    .to_owned(),
            );
        }
        if url.contains('#') {
            return Err(
                "leave out the fragment (`#` and what follows), which clients keep to themselves; a request that has one is \
                 refused with 400"
                    .to_owned(),
            );
        }
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) if !url.starts_with('/') => (Some(scheme), rest),
            _ => (None, url),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if *method == Method::CONNECT && (scheme.is_some() || !path.is_empty()) {
            return Err(
                "CONNECT names a host and a port alone, such as crm.example.com:443; a request with another target is refused with \
                 400"
                    .to_owned(),
            );
        }
        if scheme.is_some() || *method == Method::CONNECT {
            if authority.contains('@') {
                return Err("leave out the user and password, which clients send apart".to_owned());
            }
            if authority.is_empty() {
                return Err(EXPECTED.to_owned());
            }
        }
        let scheme = match scheme.map(str::to_ascii_lowercase).as_deref() {
            Some("http") => Some(Scheme::Http),
            Some("https") => Some(Scheme::Https),
            Some(_) => return Err("expected a URL that begins with http:// or https://".to_owned()),
            None => None,
        };
        match scheme {
            _ if *method == Method::CONNECT => Ok(Self::Authority(authority.to_owned())),
            Some(scheme) => Ok(Self::Url(ExplainedUrl {
                scheme,
                authority: authority.to_owned(),
                whole: format!("{scheme}://{authority}{path}"),
                path: if path.starts_with('/') {
                    path.to_owned()
                } else {
                    format!("/{path}")
                },
            })),
            None if url.starts_with('/') || url == "*" => Ok(Self::Path(url.to_owned())),
            None => Err(EXPECTED.to_owned()),
        }
    }
}

impl ExplainedUrl {
    /// The port.
    pub(super) fn port(&self) -> u16 {
        let written = self.authority.rsplit_once(':');
        let written = written.and_then(|(_, port)| port.parse().ok());
        written.unwrap_or(match self.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        })
    }

    /// The host, as it is written.
    pub(super) fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => host,
            _ => &self.authority,
        }
    }

    /// Whether it names the address of a reverse listener.
    fn is_at(&self, listener: &Listener) -> bool {
        let ListenAddress::Tcp(address) = &listener.address else {
            return false;
        };
        let bare = self.host().trim_start_matches('[').trim_end_matches(']');
        let own = address.ip().to_canonical();
        let is_own = match bare.parse::<std::net::IpAddr>() {
            Ok(ip) => own == ip || own.is_unspecified(),
            Err(_) => {
                bare.eq_ignore_ascii_case("localhost")
                    && (own.is_loopback() || own.is_unspecified())
            }
        };
        is_own && self.port() == address.port()
    }
}

/// How clients call a listener whose own name for itself is not known.
pub(super) fn own_host(listener: &Listener) -> String {
    match &listener.address {
        ListenAddress::Tcp(address) if address.ip().is_unspecified() => {
            format!("localhost:{}", address.port())
        }
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix { .. } => "localhost".to_owned(),
    }
}

/// The address of a listener, as it is configured.
pub(super) fn address_of(listener: &Listener) -> String {
    match &listener.address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix { path, .. } => format!("unix:{}", path.display()),
    }
}

/// The index of a caller.
///
/// # Errors
/// There is none with this name.
pub(super) fn caller_index(
    snapshot: &Snapshot,
    named: Option<&str>,
) -> Result<Option<u32>, QuestionError> {
    let Some(named) = named else {
        return Ok(None);
    };
    let known = snapshot.callers.names.index(named);
    let names = snapshot.config.callers.keys().map(String::as_str);
    known
        .map(Some)
        .ok_or_else(|| unknown("caller", named, names))
}

/// By what a caller can be known that comes to a listener.
pub(super) fn means_at(caller: &Caller, listener: &Listener) -> Option<IdentificationMeans> {
    let verifies = (listener.tls.as_ref()).is_some_and(|tls| tls.client_ca_file.is_some());
    let is_unix = listener.address.is_unix();
    [
        (IdentificationMeans::Key, caller.key.is_some()),
        (IdentificationMeans::Token, caller.token.is_some()),
        (
            IdentificationMeans::ServiceAccount,
            caller.service_account.is_some(),
        ),
        (
            IdentificationMeans::SpiffeId,
            verifies && caller.spiffe_id.is_some(),
        ),
        (
            IdentificationMeans::CertificateName,
            verifies && caller.certificate_name.is_some(),
        ),
        (IdentificationMeans::User, is_unix && caller.user.is_some()),
    ]
    .into_iter()
    .find_map(|(means, can)| can.then_some(means))
}

fn unknown<'k>(
    part: &'static str,
    named: &str,
    known: impl Iterator<Item = &'k str> + Clone,
) -> QuestionError {
    let hint = did_you_mean(named, known.clone());
    let hint = hint.map_or_else(String::new, |hint| format!(" {hint}"));
    let known = known.collect::<Vec<_>>().join(", ");
    let known = if known.is_empty() {
        "there is none".to_owned()
    } else {
        format!("there are: {known}")
    };
    let problem = format!("there is no {part} {named:?};{hint} {known}");
    QuestionError::new(part, problem)
}
