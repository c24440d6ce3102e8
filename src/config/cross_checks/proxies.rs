//! What does not fit together about proxies.

use url::{Host, Url};

use super::super::draft::Draft;
use super::super::parse::address::{is_loopback, is_loopback_ip};
use super::super::report::{Report, SourceSpan};
use super::super::settings::{
    AuthorizationServer, EgressAddresses, EgressProxy, HttpVersion, Upstream,
};
use super::super::words::QuotedWord;
use super::passing::may_pass;

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    for (name, slot) in &draft.upstreams {
        let Some((Some(upstream), place)) = slot else {
            continue;
        };
        if let Some(proxy) = upstream.egress_proxy() {
            let who = format!("upstream {}", QuotedWord(name));
            host_that_the_proxy_replaces(&who, upstream, proxy, report, place);
            if upstream.has_credentials() && shows_secrets(&upstream.url) {
                if !upstream.allow_plaintext {
                    plain_text(&who, proxy, report, place);
                }
            } else {
                loopback_elsewhere(&who, &upstream.url, proxy, report, place);
            }
        }
    }
    for (name, slot) in &draft.credentials {
        let Some((Some(credential), place)) = slot else {
            continue;
        };
        let (AuthorizationServer::Issuer(_, url) | AuthorizationServer::TokenEndpoint(url)) =
            &credential.server;
        if let Some(proxy) = credential.proxy.proxy_for(url) {
            let who = format!("credential {}", QuotedWord(name));
            if !shows_secrets(url) {
                loopback_elsewhere(&who, url, proxy, report, place);
            } else if !credential.allow_plaintext {
                plain_text(&who, proxy, report, place);
            }
        }
    }
    passing_by_a_proxy(draft, report);
}

/// A proxy that reads a request sends the host of its target on, and no other (RFC 9112 section 3.2.2).
fn host_that_the_proxy_replaces(
    who: &str,
    upstream: &Upstream,
    proxy: &EgressProxy,
    report: &Report<'_>,
    place: &SourceSpan,
) {
    let is_read = upstream.url.scheme() == "http"
        && upstream.http != HttpVersion::Http2
        && proxy.takes_requests();
    let own = &upstream.url[url::Position::BeforeHost..url::Position::AfterPort];
    if let Some(host) = upstream
        .host
        .as_deref()
        .filter(|host| is_read && *host != own)
    {
        let message = format!("`host` of {who} cannot be {}", QuotedWord(host));
        let help = format!(
            "the proxy {proxy} replaces it by that of `url`; use an https:// URL, whose requests it does not read"
        );
        report.error(place, message, help);
    }
}

/// A loopback address is that of the proxy, once one is on the way.
fn shows_secrets(url: &Url) -> bool {
    url.scheme() == "http" && is_loopback(url)
}

fn plain_text(who: &str, proxy: &EgressProxy, report: &Report<'_>, place: &SourceSpan) {
    let message = format!("{who} would send secrets in plain text to the proxy {proxy}");
    let help = "a loopback address behind a proxy is on the machine of the proxy: \
                set `proxy = \"none\"`, or allow it with `allow_plaintext = true`";
    report.error(place, message, help);
}

/// Where the proxy is on this machine, so is the loopback address behind it.
fn loopback_elsewhere(
    who: &str,
    url: &Url,
    proxy: &EgressProxy,
    report: &Report<'_>,
    place: &SourceSpan,
) {
    let is_here = match &proxy.host {
        Host::Domain(name) => name.trim_end_matches('.') == "localhost",
        Host::Ipv4(ip) => is_loopback_ip((*ip).into()),
        Host::Ipv6(ip) => is_loopback_ip((*ip).into()),
    };
    if is_loopback(url) && !is_here {
        let message = format!("{who} would be looked for on the machine of the proxy {proxy}");
        let help = "a loopback address behind a proxy is there: set `proxy = \"none\"` to reach it on this machine";
        report.warning(place, message, help);
    }
}

/// Nobody sees the address that a proxy connects to.
fn passing_by_a_proxy(draft: &Draft, report: &Report<'_>) {
    let Some((egress, place)) = &draft.egress else {
        return;
    };
    let Some(proxy) = egress.proxy.proxies().next() else {
        return;
    };
    let mut listeners = draft.forward_listeners.iter();
    let passing = listeners.find(|((name, forward), _)| {
        // What is redirected goes to its own address, by no proxy.
        forward.redirection.is_none() && may_pass(draft, name, forward)
    });
    if let Some(((name, _), _)) = passing
        && egress.addresses == EgressAddresses::Public
    {
        let message = format!(
            "what passes by listener {} goes through the proxy {proxy}, and its address cannot be checked",
            QuotedWord(name)
        );
        let help = "set `addresses = \"any\"` in [egress] and leave the check to the proxy, or set \
                    `proxy` of each upstream and credential in place of the one of [egress]";
        report.error(place, message, help);
    }
}
