//! The token that a request carried does not come back to its client in the head or the trailers of the response.

use http::{Extensions, HeaderMap, Response};

use super::response::UpstreamResponse;
use super::send_record::SendRecord;
use crate::http1::ReasonPhrase;
use crate::redact::{self, EchoPlace};
use crate::snapshot::BuiltUpstream;

/// Masks the token of a request in the head of its response: headers and the reason phrase.
pub fn mask_response(upstream: &BuiltUpstream, sent: &SendRecord, response: &mut UpstreamResponse) {
    with_token(upstream, sent, |token, report| {
        mask_headers(response.headers_mut(), token, report);
        mask_reason(response.extensions_mut(), token, report);
    });
}

/// The same for an interim response.
pub fn mask_interim(upstream: &BuiltUpstream, sent: &SendRecord, interim: &mut Response<()>) {
    mask_trailers(upstream, sent, interim.headers_mut());
}

/// The same for trailers.
pub fn mask_trailers(upstream: &BuiltUpstream, sent: &SendRecord, trailers: &mut HeaderMap) {
    with_token(upstream, sent, |token, report| {
        mask_headers(trailers, token, report);
    });
}

fn mask_headers(headers: &mut HeaderMap, token: &str, report: &dyn Fn(&str)) {
    redact::mask_headers(headers, token, |place| match place {
        EchoPlace::Name => report("name of a header"),
        EchoPlace::ValueOf(name) => report(name.as_str()),
    });
}

fn mask_reason(extensions: &mut Extensions, token: &str, report: &dyn Fn(&str)) {
    let reason = extensions.get::<ReasonPhrase>();
    if let Some(masked) = reason.and_then(|reason| redact::mask_text(reason.as_bytes(), token)) {
        extensions.insert(ReasonPhrase::from_bytes(masked));
        report("reason phrase");
    }
}

/// Calls `mask` where the upstream is to be kept from sending the token back; its argument is told of each place
/// that had it.
fn with_token(upstream: &BuiltUpstream, sent: &SendRecord, mask: impl FnOnce(&str, &dyn Fn(&str))) {
    let Some(echoes) = &upstream.echoes else {
        return;
    };
    sent.with_token(|token| {
        mask(token.access_token().expose(), &|place| echoes.report(place));
    });
}
