//! What of a request's head goes to the upstream.

use http::HeaderName;
use http::request::Parts;

use super::exchange::Exchange;
use super::headers::{self, OwnHeaders};
use crate::snapshot::{BuiltUpstream, Snapshot};

/// The headers that the client may not send to the upstream.
pub fn own_headers<'n>(
    exchange: &Exchange,
    snapshot: &'n Snapshot,
    upstream: &'n BuiltUpstream,
) -> OwnHeaders<&'n HeaderName> {
    let listener = &snapshot.listeners[exchange.listener];
    OwnHeaders {
        injected: upstream.injected_header(),
        caller: exchange
            .caller_header_judged()
            .then_some(&listener.caller_header),
        forwarded: upstream.config.forward_caller.as_ref(),
    }
}

/// Makes the head fit for the upstream: nothing of it can be taken for our token, and all of it is
/// meant for the upstream.
pub fn scrub(
    exchange: &mut Exchange,
    snapshot: &Snapshot,
    upstream: &BuiltUpstream,
    own: OwnHeaders<&HeaderName>,
    head: &mut Parts,
) {
    headers::scrub_request(&mut head.headers, own);
    exchange.trace.scrub(&mut head.headers);
    let caller = exchange.caller_index();
    if let Some(header) = &upstream.config.forward_caller
        && let Some(name) = caller.and_then(|caller| snapshot.callers.value(caller))
    {
        head.headers.insert(header, name.clone());
    }
    if snapshot.config.server.request_id {
        exchange.add_request_id(&mut head.headers);
    }
    if let Some(via) = &snapshot.via {
        headers::append_via(&mut head.headers, via.entry(head.version));
    }
}
