//! What of a request's head goes to the upstream.

use http::request::Parts;
use http::{HeaderName, HeaderValue};

use super::headers::{self, OwnHeaders};
use super::request_id;
use crate::policy::CallerIndex;
use crate::snapshot::{BuiltUpstream, ListenerRules, Snapshot};

/// The headers that the client may not send to the upstream. The one for callers is among them if it has been judged, and
/// the one for the id of the request if that is sent.
pub fn own_headers<'n>(
    snapshot: &Snapshot,
    listener: &'n ListenerRules,
    caller_header_judged: bool,
    upstream: &'n BuiltUpstream,
) -> OwnHeaders<&'n HeaderName> {
    OwnHeaders {
        injected: upstream.injected_header(),
        caller: caller_header_judged.then_some(&listener.caller_header),
        forwarded: upstream.config.forward_caller.as_ref(),
        request_id: (snapshot.config.server.request_id).then_some(&request_id::HEADER),
    }
}

/// Makes the head fit for the upstream: nothing of it can be taken for our token, and all of it is
/// meant for the upstream, which gets `id` if that is to be sent: once, whatever the client sent.
pub fn scrub(
    snapshot: &Snapshot,
    caller: Option<CallerIndex>,
    id: Option<HeaderValue>,
    upstream: &BuiltUpstream,
    own: OwnHeaders<&HeaderName>,
    head: &mut Parts,
) {
    headers::scrub_request(&mut head.headers, own);
    if let Some(header) = &upstream.config.forward_caller
        && let Some(name) = caller.and_then(|caller| snapshot.callers.value(caller))
    {
        head.headers.insert(header, name.clone());
    }
    if let Some(id) = id {
        head.headers.insert(&request_id::HEADER, id);
    }
    if let Some(via) = &snapshot.via {
        headers::append_via(&mut head.headers, via.entry(head.version));
    }
}
