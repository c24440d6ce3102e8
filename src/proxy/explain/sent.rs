//! What is sent to an upstream, with secrets masked.

use http::header::{AUTHORIZATION, HOST, PROXY_AUTHORIZATION};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};

use crate::dpop::DPOP;
use crate::explanation::ExplainedHead;
use crate::proxy::interim::InterimSink;
use crate::proxy::outgoing::{AttemptHeaders, OutgoingRequest, ReceivedRequest};
use crate::proxy::reception::Reception;
use crate::proxy::role::ProxyRole;
use crate::proxy::scrub;
use crate::snapshot::{BuiltUpstream, Injection};
use crate::trace::TRACEPARENT;

/// Stands for what a client sends in headers of which it is asked whether they pass.
const OF_CLIENT: HeaderValue = HeaderValue::from_static("of-the-client");

/// How a request goes out that has been decided about.
pub(super) struct Leaving<'a> {
    pub(super) upstream: &'a BuiltUpstream,
    pub(super) injection: Option<&'a Injection>,
    pub(super) target: PathAndQuery,
    pub(super) role: ProxyRole,
    pub(super) caller_header_judged: bool,
}

/// The head that is sent.
pub(super) fn head(
    reception: &Reception<'_, '_>,
    mut head: Parts,
    leaving: Leaving<'_>,
) -> ExplainedHead {
    let Leaving {
        upstream,
        injection,
        target,
        role,
        caller_header_judged,
    } = leaving;
    let snapshot = reception.snapshot;
    let listener = &snapshot.listeners[reception.listener];
    let own = scrub::own_headers(snapshot, listener, caller_header_judged, upstream);
    let mut tried = vec![AUTHORIZATION, PROXY_AUTHORIZATION, DPOP];
    tried.extend(
        [own.injected, own.caller, own.forwarded]
            .into_iter()
            .flatten()
            .cloned(),
    );
    tried.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    tried.dedup();
    for name in &tried {
        head.headers.insert(name, OF_CLIENT);
    }
    let id = HeaderValue::from_static("(the client's, or a new one)");
    let id = snapshot.config.server.request_id.then_some(id);
    scrub::scrub(snapshot, reception.caller, id, upstream, own, &mut head);
    let passes = |name: &HeaderName| head.headers.get(name) == Some(&OF_CLIENT);
    let removed = tried.iter().filter(|name| !passes(name));
    let removed = removed.map(shown_name).collect();
    let request = ReceivedRequest {
        head,
        upload: None,
        interim: InterimSink::Nobody,
    };
    let outgoing = OutgoingRequest::new(upstream, injection, own, &request, target, None, role);
    let mut shown = outgoing.send_http1(AttemptHeaders::default(), &[], |sent, _| {
        let absolute_form = upstream.endpoint.connector.absolute_form();
        let origin = absolute_form.map_or("", |form| &form.origin);
        let own = sent
            .headers
            .iter()
            .chain(sent.more.iter().map(|(name, value)| (name, value)));
        let own = own.filter(|(name, value)| **name != HOST && **value != OF_CLIENT);
        let mut headers = vec![(shown_name(&HOST), shown_value(sent.line.host))];
        headers.extend(own.map(|(name, value)| (shown_name(name), shown_value(value))));
        if absolute_form.is_some_and(|form| form.authorization.is_some()) {
            headers.push((shown_name(&PROXY_AUTHORIZATION), "***".to_owned()));
        }
        let target = match sent.line.target.as_str() {
            "*" if !origin.is_empty() => "",
            target => target,
        };
        ExplainedHead {
            method: sent.line.method.to_string(),
            target: format!("{origin}{target}"),
            headers,
            removed,
        }
    });
    if let Some(injection) = injection {
        let credential = snapshot.config.credentials.get(injection.source.name());
        let proves = credential.is_some_and(|credential| credential.dpop.is_some());
        let value = injection.masked_value(if proves { "DPoP" } else { "Bearer" });
        shown.headers.push((shown_name(&injection.header), value));
        if proves {
            shown.headers.push((shown_name(&DPOP), "***".to_owned()));
        }
    }
    let traces = snapshot.config.tracing.as_ref();
    if traces.is_some_and(|traces| traces.propagators.trace_context) {
        let value = "(the client's trace, or a new one)".to_owned();
        shown.headers.push((shown_name(&TRACEPARENT), value));
    }
    shown
}

fn shown_value(value: &HeaderValue) -> String {
    if value.is_sensitive() {
        return "***".to_owned();
    }
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// As people write it.
fn shown_name(name: &HeaderName) -> String {
    if *name == DPOP {
        return "DPoP".to_owned();
    }
    let words = name.as_str().split('-').map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        format!("{}{rest}", first.to_ascii_uppercase())
    });
    words.collect::<Vec<_>>().join("-")
}
