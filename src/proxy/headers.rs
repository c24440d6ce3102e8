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
}

impl<N> OwnHeaders<N> {
    /// None but the one that the token goes into, if there is one.
    pub fn injected(injected: Option<N>) -> Self {
        Self {
            injected,
            caller: None,
            forwarded: None,
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
        }
    }

    /// The same, as they are compared.
    fn names(self) -> OwnNames<'n> {
        let name = |own: Option<&'n HeaderName>| own.map_or(&b""[..], |own| own.as_ref());
        let proof: &[u8] = if self.injected.is_some() {
            b"dpop"
        } else {
            b""
        };
        OwnNames([
            name(self.injected),
            proof,
            name(self.caller),
            name(self.forwarded),
        ])
    }
}

/// The names that no client may send. An empty one is none.
struct OwnNames<'n>([&'n [u8]; 4]);

impl OwnNames<'_> {
    /// Whether some server takes a header for one of these, among which is the proof that goes with the token.
    fn have(&self, name: &[u8]) -> bool {
        self.0.iter().any(|own| are_equivalent(name, own))
    }
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
        let bytes = name.as_ref();
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
        let bytes: &[u8] = name.as_ref();
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
        let bytes = name.as_ref();
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

/// More names in `Connection` lines are looked up in a set.
const FEW_NAMES: usize = 4;

/// Header names to remove: a request usually has a few, so that they need no allocation.
#[derive(Default)]
struct Names {
    first: [Option<HeaderName>; 4],
    /// A client may name as many as a head can hold.
    more: HashSet<HeaderName>,
}

impl Names {
    fn push(&mut self, name: HeaderName) {
        match self.first.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(name),
            None => drop(self.more.insert(name)),
        }
    }

    /// Adds the headers that the `Connection` lines name, in whatever spelling.
    fn push_nominated(&mut self, headers: &HeaderMap) {
        let named = nominated(headers).map(EquivalentName);
        let named: SmallVec<[EquivalentName<'_>; FEW_NAMES]> = named.collect();
        if named.is_empty() {
            return;
        }
        if !named.spilled() {
            let is_named = |name: &&HeaderName| named.contains(&EquivalentName(name.as_ref()));
            let there = headers.keys().filter(is_named);
            return there.for_each(|name| self.push(name.clone()));
        }
        // A head has room for thousands of names.
        let named: HashSet<_> = named.into_iter().collect();
        let there = headers
            .keys()
            .filter(|name| named.contains(&EquivalentName(name.as_ref())));
        there.for_each(|name| self.push(name.clone()));
    }

    fn contains(&self, name: &HeaderName) -> bool {
        let mut first = self.first.iter().flatten();
        first.any(|doomed| doomed == name) || self.more.contains(name)
    }

    /// Leaves the others in their order, which [`HeaderMap::remove`] does only where nothing stays
    /// behind the name: often so, since `Connection` tends to come last.
    fn remove_from(self, headers: &mut HeaderMap) {
        if self.first[0].is_none() {
            return;
        }
        let mut last = headers.keys().skip_while(|name| !self.contains(name));
        if self.more.is_empty() && last.all(|name| self.contains(name)) {
            for name in self.first.iter().flatten() {
                headers.remove(name);
            }
            return;
        }
        let mut kept = HeaderMap::with_capacity(headers.len());
        let mut current = None;
        // A name comes with the first of its values.
        for (name, value) in headers.drain() {
            if let Some(name) = name {
                current = (!self.contains(&name)).then_some(name);
            }
            if let Some(name) = &current {
                kept.append(name.clone(), value);
            }
        }
        *headers = kept;
    }
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
