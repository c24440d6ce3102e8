//! Reads `[upstreams.NAME]`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::AUTHORIZATION;
use url::Url;

use super::super::draft::{Draft, NameUse};
use super::super::file_rules::FileRules;
use super::super::keys::{UPSTREAM, UPSTREAM_TABLE};
use super::super::parse::address::is_loopback;
use super::super::read::Section;
use super::super::settings::{Dialing, Http2, ProxyChoice, Tls, Upstream};
use super::super::value::Value;
use super::super::words::QuotedWord;
use super::{callers, forward};
use crate::header_names::are_equivalent;

/// Reads one upstream.
pub(super) fn read(
    name: &str,
    section: Section<'_>,
    files: &FileRules<'_>,
    draft: &mut Draft,
) -> Option<Upstream> {
    let url = section.read(&UPSTREAM.url);
    let credential = section.read(&UPSTREAM.credential);
    let credentials = section.read(&UPSTREAM.credentials);
    let credentials = callers::read_credentials(credentials, draft);
    if let Some(value) = section.written(&UPSTREAM.credentials)
        && value.is_empty_table()
        && credential.is_none()
    {
        let help = "expected at least one caller and its credential; without `credentials` requests carry no token";
        value.error("names nobody", help);
    }
    let allow_plaintext = section.read(&UPSTREAM.allow_plaintext);
    let (tls, certificate_from) = Tls::read_bindable(&section, files);

    if !credentials.is_empty() {
        if let Some((value, _)) = &credential {
            value.error(
                "stands beside `credentials`",
                "keep one: `credentials` has one for each caller",
            );
        }
        if let Some((value, _)) = &certificate_from {
            let help = "it belongs to one `credential`: give the upstream `certificate_file` and `key_file`, \
                        or each caller an upstream";
            value.error("stands beside `credentials`", help);
        }
    } else if let Some(from) = &certificate_from {
        bind(from, credential.as_ref().map(|(_, name)| *name), draft);
    }
    if let Some((value, target)) = &credential {
        draft
            .references
            .credentials
            .push(NameUse::new(target, value));
    }
    if let Some((value, url)) = &url
        && url.scheme() == "http"
    {
        if (credential.is_some() || !credentials.is_empty())
            && !allow_plaintext
            && !is_loopback(url)
        {
            value.error(
                "would carry the token in plain text",
                "use https, or allow it with `allow_plaintext = true`",
            );
        }
        no_tls(&section, &tls, certificate_from.is_some());
    }
    let hosts: Vec<_> = section
        .read(&UPSTREAM.hosts)
        .into_iter()
        .flatten()
        .collect();
    if let Some((_, url)) = &url {
        forward::check_hosts(&section, url.scheme(), &hosts);
    }
    let settings = settings(&section);
    let header = section.read(&UPSTREAM.header);
    if let (Some(forwarded), Some(header)) = (&settings.forward_caller, &header)
        && are_equivalent(forwarded.as_ref(), header.as_ref())
        && let Some(value) = section.written(&UPSTREAM.forward_caller)
    {
        value.error(
            "is the header of the token",
            "expected another one, such as \"x-caller\"",
        );
    }
    Some(Upstream {
        name: name.to_owned(),
        credential: credential.map(|(_, name)| name.to_owned()),
        credentials,
        hosts,
        certificate_bound: certificate_from.is_some(),
        proxy: ProxyChoice::of_upstream(&section, files),
        allow_plaintext,
        tls,
        // Last, so that the mistakes of all other keys are found.
        header: header?,
        url: url?.1,
        ..settings
    })
}

/// What does not depend on other keys; the rest is that of an upstream of which nothing is written.
fn settings(section: &Section<'_>) -> Upstream {
    let limit = |time: Duration| (!time.is_zero()).then_some(time);
    Upstream {
        name: String::new(),
        url: Url::parse("https://origin.invalid").expect("this is a URL"),
        credential: None,
        credentials: BTreeMap::new(),
        hosts: Vec::new(),
        header: AUTHORIZATION,
        certificate_bound: false,
        proxy: ProxyChoice::Unsaid,
        allow_plaintext: false,
        tls: Tls::default(),
        http: section.read(&UPSTREAM.http),
        host: section.read(&UPSTREAM.host),
        connect_timeout: section.read(&UPSTREAM.connect_timeout),
        dialing: Dialing::read(section),
        response_timeout: section.read(&UPSTREAM.response_timeout),
        stream_idle_timeout: limit(section.read(&UPSTREAM.stream_idle_timeout)),
        continue_timeout: section.read(&UPSTREAM.continue_timeout),
        connect_protocol_timeout: section.read(&UPSTREAM.connect_protocol_timeout),
        max_connections: section.read(&UPSTREAM.max_connections),
        max_connecting: section.read(&UPSTREAM.max_connecting),
        pool_idle: section.read(&UPSTREAM.pool_idle),
        pool_idle_timeout: section.read(&UPSTREAM.pool_idle_timeout),
        max_connection_age: limit(section.read(&UPSTREAM.max_connection_age)),
        retry_on_401: section.read(&UPSTREAM.retry_on_401),
        max_retries: section.read(&UPSTREAM.max_retries),
        replay_buffer: section.read(&UPSTREAM.replay_buffer),
        body_buffer: section.read(&UPSTREAM.body_buffer),
        max_response_header_bytes: section.read(&UPSTREAM.max_response_header_bytes),
        max_response_headers: section.read(&UPSTREAM.max_response_headers),
        http2: Http2 {
            max_streams: section.read(&UPSTREAM.max_streams),
            stream_window: section.read(&UPSTREAM.stream_window),
            ping_interval: section.read(&UPSTREAM.ping_interval),
            ping_timeout: section.read(&UPSTREAM.ping_timeout),
        },
        forward_caller: section.read(&UPSTREAM.forward_caller),
        redact: section.read(&UPSTREAM.redact),
        header_prefix: section.read(&UPSTREAM.header_prefix),
    }
}

impl Upstream {
    /// The settings of an origin that nobody configured: the defaults of all keys. It has no name, and a URL that
    /// leads nowhere.
    pub fn unconfigured() -> Self {
        Section::unwritten(&UPSTREAM_TABLE, |section| settings(&section))
    }
}

/// A certificate is of use to a bound token only where that token is sent: `certificate_from` names
/// the upstream's own credential or nothing.
fn bind((value, from): &(Value<'_>, &str), credential: Option<&str>, draft: &mut Draft) {
    match credential {
        Some(credential) if credential == *from => {
            draft
                .references
                .certificates
                .push(NameUse::new(from, value));
        }
        Some(credential) => {
            let help = format!("expected {}, whose token is sent", QuotedWord(credential));
            value.error("is not the upstream's `credential`", help);
        }
        None => value.error(
            "needs `credential`",
            "its token is what the certificate is for; without one, name `certificate_file`",
        ),
    }
}

/// Reports a `tls` table that sets something for a plain URL.
pub(super) fn no_tls(section: &Section<'_>, tls: &Tls, bound: bool) {
    if (*tls != Tls::default() || bound)
        && let Some(value) = section.value(UPSTREAM.tls.name)
    {
        value.error("has no effect", "the URL is http://, not https://");
    }
}
