//! Which headers do not pass: scrubbed first, then injected, so that no client can remove what is
//! injected.

use std::collections::HashSet;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, TE, TRANSFER_ENCODING, VIA};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use smallvec::SmallVec;

use super::request::elements;
use crate::header_names::{
    EquivalentName, are_equivalent, is_hop_by_hop, is_mistaken_for_content_length,
};

#[cfg(test)]
mod tests;

/// The headers that nobody but this process may send to an upstream.
#[derive(Debug, Clone, Copy)]
pub struct OwnHeaders<N> {
    /// The one that the token goes into.
    pub injected: Option<N>,
    /// The one that showed who the caller is.
    pub caller: Option<N>,
    /// The one that the name of the caller goes into.
    pub forwarded: Option<N>,
    /// The one that the id of the request goes into.
    pub request_id: Option<N>,
}

impl<N> OwnHeaders<N> {
    /// None but the one that the token goes into, if there is one.
    pub fn injected(injected: Option<N>) -> Self {
        Self {
            injected,
            caller: None,
            forwarded: None,
            request_id: None,
        }
    }
}

impl OwnHeaders<HeaderName> {
    /// The same, borrowed.
    pub fn as_ref(&self) -> OwnHeaders<&HeaderName> {
        OwnHeaders {
            injected: self.injected.as_ref(),
            caller: self.caller.as_ref(),
            forwarded: self.forwarded.as_ref(),
            request_id: self.request_id.as_ref(),
        }
    }
}

impl<'n> OwnHeaders<&'n HeaderName> {
    /// The same, to keep.
    pub fn cloned(self) -> OwnHeaders<HeaderName> {
        OwnHeaders {
            injected: self.injected.cloned(),
            caller: self.caller.cloned(),
            forwarded: self.forwarded.cloned(),
            request_id: self.request_id.cloned(),
        }
    }

    /// The same, as they are compared.
    fn names(self) -> OwnNames<'n> {
        let name =
            |own: Option<&'n HeaderName>| own.map_or(&b""[..], |own| own.as_str().as_bytes());
        let proof: &[u8] = if self.injected.is_some() {
            b"dpop"
        } else {
            b""
        };
        let names = [
            name(self.injected),
            proof,
            name(self.caller),
            name(self.forwarded),
            name(self.request_id),
        ];
        OwnNames {
            names,
            lengths: names
                .iter()
                .fold(0, |lengths, name| lengths | length_bit(name)),
        }
    }
}

/// The names that no client may send.
struct OwnNames<'n> {
    /// An empty one is none.
    names: [&'n [u8]; 5],
    /// Their lengths, as [`length_bit`] has them: most headers differ from all of them in that.
    lengths: u64,
}

impl OwnNames<'_> {
    /// Whether some server takes a header for one of these, among which is the proof that goes with the token.
    fn have(&self, name: &[u8]) -> bool {
        self.lengths & length_bit(name) != 0
            && self.names.iter().any(|own| are_equivalent(name, own))
    }
}

/// One bit for each length, and the last for all above.
fn length_bit(name: &[u8]) -> u64 {
    1 << name.len().min(63)
}

/// Makes a request's headers fit for the upstream.
///
/// Removed are the hop-by-hop headers (RFC 9110 section 7.6.1), those that any `Connection` line
/// names, `Proxy` and `Proxy-*`, every copy of our `own` headers, and a proof that goes with the token
/// (RFC 9449): in every spelling that some server takes for the same. So is what only looks like a
/// `Content-Length`. `TE: trailers` and `Trailer` stay. Cookies that HTTP/2 split are joined (RFC
/// 9113 section 8.2.3). For an upgrade the caller sets `Connection` and `Upgrade` again.
pub fn scrub_request(headers: &mut HeaderMap, own: OwnHeaders<&HeaderName>) {
    let own = own.names();
    let mut doomed = Names::default();
    let (mut connection, mut te) = (false, false);
    let mut cookies = 0;
    for name in headers.keys() {
        match *name {
            CONNECTION => connection = true,
            TE => {
                te = true;
                continue;
            }
            COOKIE => cookies = headers.get_all(COOKIE).iter().count(),
            // A length with it is void (RFC 9112 section 6.3).
            TRANSFER_ENCODING => doomed.push(CONTENT_LENGTH),
            _ => {}
        }
        let bytes = name.as_str().as_bytes();
        if is_hop_by_hop(bytes) || is_mistaken_for_content_length(bytes) || own.have(bytes) {
            doomed.push(name.clone());
        }
    }
    if connection {
        doomed.push_nominated(headers);
    }
    if te {
        if elements(headers, TE).any(|coding| coding.eq_ignore_ascii_case(b"trailers")) {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        } else {
            doomed.push(TE);
        }
    }
    doomed.remove_from(headers);
    if cookies > 1 {
        join_cookies(headers);
    }
}

/// Makes the headers of a response with this status fit for the client: without hop-by-hop headers,
/// those that any `Connection` line names, a length where none may be (RFC 9110 section 8.6) or
/// counts, and a challenge to a proxy, which is meant for us alone. `Trailer` and the upstream's own
/// `Proxy-Status` stay. For a 101 the caller sets `Connection` and `Upgrade` again.
pub fn scrub_response(headers: &mut HeaderMap, status: StatusCode) {
    let bodiless = status == StatusCode::NO_CONTENT || status.is_informational();
    let mut doomed = Names::default();
    let mut connection = false;
    for name in headers.keys() {
        match *name {
            CONNECTION => connection = true,
            // A length with it is void (RFC 9112 section 6.3).
            TRANSFER_ENCODING => doomed.push(CONTENT_LENGTH),
            CONTENT_LENGTH if bodiless => doomed.push(CONTENT_LENGTH),
            _ => {}
        }
        let bytes = name.as_str().as_bytes();
        if is_hop_by_hop(bytes) && bytes != b"proxy-status" || is_mistaken_for_content_length(bytes)
        {
            doomed.push(name.clone());
        }
    }
    if connection {
        doomed.push_nominated(headers);
    }
    doomed.remove_from(headers);
}

/// Makes a trailer section safe to pass on: without credentials, framing, `Host`, what says how
/// the body is to be read, and everything connection-specific (RFC 9110 section 6.5.1).
pub fn scrub_trailers(trailers: &mut HeaderMap, own: OwnHeaders<&HeaderName>) {
    const NEVER_TRAILING: [&[u8]; 9] = [
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"host",
        b"set-cookie",
        b"trailer",
    ];
    let own = own.names();
    let mut doomed = Names::default();
    for name in trailers.keys() {
        let bytes = name.as_str().as_bytes();
        let mut never = NEVER_TRAILING.iter();
        if is_hop_by_hop(bytes)
            || never.any(|never| are_equivalent(bytes, never))
            || own.have(bytes)
        {
            doomed.push(name.clone());
        }
    }
    doomed.push_nominated(trailers);
    doomed.remove_from(trailers);
}

/// Adds our entry (such as `1.1 sidebearer-ID`) behind those of the proxies before us (RFC 9110 section
/// 7.6.3).
pub fn append_via(headers: &mut HeaderMap, entry: &HeaderValue) {
    headers.append(VIA, entry.clone());
}

/// A message usually has no more names than these to remove, or in its `Connection` lines: they need no allocation, and are
/// compared one by one. More are looked up in a set, since a head has room for thousands.
const FEW_NAMES: usize = 4;

/// Header names to remove.
#[derive(Default)]
struct Names(SmallVec<[HeaderName; FEW_NAMES]>);

impl Names {
    fn push(&mut self, name: HeaderName) {
        self.0.push(name);
    }

    /// Adds the headers that the `Connection` lines name, in whatever spelling.
    fn push_nominated(&mut self, headers: &HeaderMap) {
        let named = nominated(headers).map(EquivalentName);
        let named: SmallVec<[EquivalentName<'_>; FEW_NAMES]> = named.collect();
        if named.is_empty() {
            return;
        }
        let names = headers.keys();
        if named.spilled() {
            let named: HashSet<_> = named.into_iter().collect();
            let is_named = |name: &&HeaderName| named.contains(&EquivalentName(name.as_ref()));
            self.0.extend(names.filter(is_named).cloned());
        } else {
            let is_named = |name: &&HeaderName| named.contains(&EquivalentName(name.as_ref()));
            self.0.extend(names.filter(is_named).cloned());
        }
    }

    /// Leaves the others in their order.
    fn remove_from(self, headers: &mut HeaderMap) {
        let Self(names) = self;
        if names.is_empty() {
            return;
        }
        if names.spilled() {
            let names: HashSet<_> = names.into_iter().collect();
            return keep(headers, |name| !names.contains(name));
        }
        // `HeaderMap::remove` does so only where nothing stays behind the name, as is usual: `Connection` tends to come last.
        let mut last = headers.keys().skip_while(|name| !names.contains(name));
        if last.all(|name| names.contains(name)) {
            for name in names {
                headers.remove(name);
            }
        } else {
            keep(headers, |name| !names.contains(name));
        }
    }
}

/// Keeps the headers with such names, in their order.
fn keep(headers: &mut HeaderMap, is_kept: impl Fn(&HeaderName) -> bool) {
    let mut kept = HeaderMap::with_capacity(headers.len());
    let mut current = None;
    // A name comes with the first of its values.
    for (name, value) in headers.drain() {
        if let Some(name) = name {
            current = is_kept(&name).then_some(name);
        }
        if let Some(name) = &current {
            kept.append(name.clone(), value);
        }
    }
    *headers = kept;
}

/// What the `Connection` lines name, without what is removed anyway and what must stay: a client
/// may not take away what frames and routes the message, or shows that it goes round in circles.
fn nominated(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    const USUAL: [&[u8]; 5] = [
        b"keep-alive",
        b"close",
        b"upgrade",
        b"te",
        b"http2-settings",
    ];
    const KEPT: [&[u8]; 4] = [b"content-length", b"host", b"trailer", b"via"];
    elements(headers, CONNECTION).filter(|option| {
        !USUAL
            .iter()
            .chain(&KEPT)
            .any(|other| are_equivalent(option, other))
    })
}

fn join_cookies(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    // Values joined by valid bytes are a valid value.
    if let Ok(mut joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        joined.set_sensitive(true);
        headers.insert(COOKIE, joined);
    }
}
