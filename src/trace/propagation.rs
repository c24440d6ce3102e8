//! How a request says which trace it belongs to, and how what follows from it does.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::b3;
use super::hex;
use super::{TraceContext, TraceId};
use crate::config::Propagators;

/// The header of W3C Trace Context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Bytes of a `tracestate` that spans carry (W3C Trace Context section 3.3.1.5).
const MAX_STATE_BYTES: usize = 512;

/// How much memory the values of headers share.
const ROOM: usize = 16 * 1024;

thread_local! {
    /// Where values of headers are written, one behind the other: their memory is taken once for many of them.
    static VALUES: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(ROOM));
}

/// What a request says about its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incoming {
    /// The span that it belongs to, if it belongs to one.
    pub parent: Option<TraceContext>,
    /// Whether the trace is recorded, if someone has decided.
    pub sampled: Option<bool>,
    /// In which forms it goes on.
    pub carriers: Carriers,
}

/// In which forms a trace goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carriers {
    trace_context: bool,
    b3: bool,
    b3_multi: bool,
    /// The `tracestate` belongs to the trace.
    keeps_state: bool,
    /// B3 asked for debugging.
    is_debug: bool,
}

impl Incoming {
    /// What these headers say. W3C Trace Context counts before B3, and its one header before its several ones. What is
    /// malformed counts as not there.
    pub fn read(headers: &HeaderMap, propagators: Propagators) -> Self {
        let mut carriers = Carriers {
            trace_context: propagators.trace_context,
            b3: propagators.b3,
            b3_multi: propagators.b3_multi,
            keeps_state: false,
            is_debug: false,
        };
        let none = Self {
            parent: None,
            sampled: None,
            carriers,
        };
        if !propagators.any() {
            return none;
        }
        let single = one(headers, &b3::SINGLE);
        carriers.b3 |= single.is_some();
        // A decision may come without a span, for the next one that begins a trace.
        let of_multi = [b3::TRACE_ID, b3::SAMPLED, b3::FLAGS];
        let has_multi = of_multi.iter().any(|name| headers.contains_key(name));
        carriers.b3_multi |= has_multi;
        let single = single.and_then(b3::parse_single);
        let multi = has_multi.then(|| b3::parse_multi(headers)).flatten();
        // Nothing else says it: it goes on whatever decides about the trace.
        carriers.is_debug = [single, multi].iter().flatten().any(|b3| b3.is_debug);
        let of_w3c = one(headers, &TRACEPARENT).filter(|_| propagators.trace_context);
        if let Some(parent) = of_w3c.and_then(TraceContext::parse) {
            carriers.keeps_state = true;
            return Self {
                parent: Some(parent),
                sampled: Some(parent.is_sampled()),
                carriers,
            };
        }
        let found = single.or(multi);
        Self {
            parent: found.and_then(|found| found.context),
            sampled: found.and_then(|found| found.sampled),
            carriers,
        }
    }
}

/// The trace that a request with these headers says it belongs to.
pub fn trace_of(headers: &HeaderMap) -> Option<TraceId> {
    let parent = TraceContext::parse(one(headers, &TRACEPARENT)?)?;
    Some(parent.trace)
}

/// The value of a header that is there once.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

impl Carriers {
    /// The `tracestate` in these headers, which goes on with the trace; none if it is empty or too long for spans.
    pub fn state(self, headers: &HeaderMap) -> Option<Arc<str>> {
        if !self.keeps_state {
            return None;
        }
        let mut state = String::new();
        for value in headers.get_all(TRACESTATE) {
            if !state.is_empty() {
                state.push(',');
            }
            state.push_str(value.to_str().ok()?);
            if state.len() > MAX_STATE_BYTES {
                return None;
            }
        }
        (!state.is_empty()).then(|| state.into())
    }

    /// Takes from a request what is written anew for each attempt, and a state that belongs to no trace.
    pub fn scrub(self, headers: &mut HeaderMap) {
        if self.trace_context {
            headers.remove(TRACEPARENT);
            if !self.keeps_state {
                headers.remove(TRACESTATE);
            }
        }
        if self.b3 {
            headers.remove(b3::SINGLE);
        }
        if self.b3_multi {
            for name in [
                b3::TRACE_ID,
                b3::SPAN_ID,
                b3::PARENT_SPAN_ID,
                b3::SAMPLED,
                b3::FLAGS,
            ] {
                headers.remove(name);
            }
        }
    }
}

/// The headers that say of which span a request to an upstream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceHeaders {
    /// The span.
    pub context: TraceContext,
    /// How it is said.
    pub carriers: Carriers,
}

impl TraceHeaders {
    /// Adds them.
    pub fn write(self, mut add: impl FnMut(HeaderName, HeaderValue)) {
        let Self { context, carriers } = self;
        // Where someone else decides what is recorded, a trace may be left out despite debugging.
        let is_debug = carriers.is_debug && context.is_sampled();
        if carriers.trace_context {
            add(TRACEPARENT, value(&context.to_traceparent()));
        }
        if carriers.b3 {
            add(b3::SINGLE, value(&b3::to_single(context, is_debug)));
        }
        if carriers.b3_multi {
            let (mut trace, mut span) = ([0; 32], [0; 16]);
            hex::write(context.trace.number(), &mut trace);
            hex::write(context.span.number().into(), &mut span);
            add(b3::TRACE_ID, value(&trace));
            add(b3::SPAN_ID, value(&span));
            if is_debug {
                // It says the decision too.
                add(b3::FLAGS, HeaderValue::from_static("1"));
            } else {
                let sampled = if context.is_sampled() { "1" } else { "0" };
                add(b3::SAMPLED, HeaderValue::from_static(sampled));
            }
        }
    }
}

/// A value of a header, in memory that it shares with others.
fn value(text: &[u8]) -> HeaderValue {
    let bytes = VALUES.with_borrow_mut(|values| {
        values.reserve(text.len());
        values.extend_from_slice(text);
        values.split().freeze()
    });
    HeaderValue::from_maybe_shared(bytes).unwrap_or(const { HeaderValue::from_static("") })
}

#[cfg(test)]
mod tests {
    use super::*;

    const W3C: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const SINGLE: &str = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn read(fields: &[(&'static str, &str)]) -> Incoming {
        Incoming::read(&headers(fields), Propagators::default())
    }

    #[test]
    fn w3c_counts_before_b3_and_what_is_malformed_counts_as_not_there() {
        let both = read(&[("traceparent", W3C), ("b3", SINGLE)]);
        assert_eq!(both.parent, TraceContext::parse(W3C.as_bytes()));
        let trace = |incoming: Incoming| incoming.parent.unwrap().trace.to_string();
        let wrong = read(&[("traceparent", "00-nothing"), ("b3", SINGLE)]);
        assert_eq!(
            (trace(wrong), wrong.sampled),
            (SINGLE[..32].to_owned(), Some(false))
        );
        for twice in [[("traceparent", W3C); 2], [("b3", SINGLE); 2]] {
            assert_eq!(read(&twice).parent, None);
        }
        assert_eq!(read(&[]).sampled, None);
    }

    /// What goes on of these headers.
    fn passed_on(fields: &[(&'static str, &str)], propagators: Propagators) -> HeaderMap {
        let mut headers = headers(fields);
        let incoming = Incoming::read(&headers, propagators);
        incoming.carriers.scrub(&mut headers);
        let headers_of_attempt = TraceHeaders {
            context: (incoming.parent.unwrap_or(TraceContext::root(true)).child())
                .with_sampled(incoming.sampled.unwrap_or(true)),
            carriers: incoming.carriers,
        };
        headers_of_attempt.write(|name, value| {
            assert!(headers.insert(name, value).is_none(), "there are no others");
        });
        headers
    }

    #[test]
    fn what_came_goes_on_in_its_form_with_a_span_of_ours() {
        let fields = [
            ("traceparent", W3C),
            ("tracestate", "vendor=1"),
            ("b3", SINGLE),
            ("x-b3-traceid", &SINGLE[..32]),
            ("x-b3-spanid", &SINGLE[33..49]),
            ("x-b3-parentspanid", "05e3ac9a4f6e3b90"),
            ("x-b3-flags", "1"),
        ];
        let on = passed_on(&fields, Propagators::default());
        assert_eq!(on["tracestate"], "vendor=1");
        let parent = on["traceparent"].to_str().unwrap();
        assert_eq!((&parent[..36], &parent[52..]), (&W3C[..36], &W3C[52..]));
        assert_ne!(parent, W3C);
        let span = &parent[36..52];
        let trace = &W3C[3..35];
        assert_eq!(on["b3"], format!("{trace}-{span}-d"));
        assert_eq!(on["x-b3-traceid"], trace);
        assert_eq!(on["x-b3-spanid"], span);
        assert_eq!(on["x-b3-flags"], "1");
        assert_eq!(on.len(), 6, "{on:?}");
    }

    #[test]
    fn a_decision_alone_goes_on_with_a_span_of_ours_in_its_form() {
        for (name, value) in [
            ("x-b3-sampled", "0"),
            ("x-b3-sampled", "1"),
            ("x-b3-flags", "1"),
        ] {
            let on = passed_on(&[(name, value)], Propagators::default());
            let parent = on["traceparent"].to_str().unwrap();
            assert_eq!(on["x-b3-traceid"], parent[3..35]);
            assert_eq!(on["x-b3-spanid"], parent[36..52]);
            assert_eq!(on[name], value, "{on:?}");
        }
        let single = passed_on(&[("b3", "1")], Propagators::default());
        assert_eq!(single.len(), 2, "{single:?}");
    }

    #[test]
    fn debugging_goes_on_as_debugging() {
        let place = SINGLE.trim_end_matches('0');
        let single = passed_on(&[("b3", &format!("{place}d"))], Propagators::default());
        assert!(single["b3"].as_bytes().ends_with(b"-d"), "{single:?}");
        let multi = [
            ("x-b3-traceid", &SINGLE[..32]),
            ("x-b3-spanid", &SINGLE[33..49]),
            ("x-b3-flags", "1"),
        ];
        let multi = passed_on(&multi, Propagators::default());
        assert_eq!(multi["x-b3-flags"], "1");
        assert!(!multi.contains_key("x-b3-sampled"), "{multi:?}");
    }

    #[test]
    fn debugging_goes_on_beside_what_counts_before_it_if_the_trace_is_recorded() {
        let (single, asks) = (SINGLE.replace("-0", "-1"), SINGLE.replace("-0", "-d"));
        let (parent, flags) = (("traceparent", W3C), ("x-b3-flags", "1"));
        for fields in [
            &[parent, flags][..],
            &[("b3", &single), flags],
            &[parent, ("b3", "malformed"), flags],
            &[parent, ("b3", "d")],
            &[parent, ("b3", &asks)],
        ] {
            let on = passed_on(fields, Propagators::default());
            assert!(!on.contains_key("x-b3-sampled"), "{fields:?}: {on:?}");
            assert_eq!(on.get("x-b3-flags").is_some(), fields.contains(&flags));
            let single = on.get("b3").map(HeaderValue::as_bytes);
            assert!(
                single.is_none_or(|single| single.ends_with(b"-d")),
                "{on:?}"
            );
        }
        let unrecorded = W3C.replace("-01", "-00");
        let on = passed_on(
            &[("traceparent", &unrecorded), flags],
            Propagators::default(),
        );
        assert_eq!(on["x-b3-sampled"], "0");
        assert!(!on.contains_key("x-b3-flags"), "{on:?}");
    }

    #[test]
    fn the_state_of_the_trace_is_told_unless_it_is_too_long() {
        let state = |fields: &[(&'static str, &str)]| {
            let headers = headers(fields);
            let incoming = Incoming::read(&headers, Propagators::default());
            incoming.carriers.state(&headers)
        };
        let parent = ("traceparent", W3C);
        let twice = [parent, ("tracestate", "a=1"), ("tracestate", "b=2")];
        assert_eq!(state(&twice).as_deref(), Some("a=1,b=2"));
        let most = format!("a={}", "1".repeat(MAX_STATE_BYTES - 2));
        assert_eq!(
            state(&[parent, ("tracestate", &most)]),
            Some(most.as_str().into())
        );
        assert_eq!(state(&[parent, ("tracestate", &format!("{most}1"))]), None);
        assert_eq!(
            state(&[parent, ("tracestate", &most), ("tracestate", "b=2")]),
            None
        );
        assert_eq!(state(&[("tracestate", "a=1")]), None);
        assert_eq!(state(&[parent]), None);
    }

    #[test]
    fn a_state_without_its_trace_does_not_go_on() {
        let fields = [("traceparent", "00-nothing"), ("tracestate", "vendor=1")];
        let on = passed_on(&fields, Propagators::default());
        assert_eq!(on.keys().collect::<Vec<_>>(), ["traceparent"]);
    }

    #[test]
    fn only_what_is_configured_is_read_and_made() {
        let none = Propagators {
            trace_context: false,
            b3: false,
            b3_multi: false,
        };
        let fields = [("traceparent", W3C), ("tracestate", "vendor=1")];
        assert_eq!(passed_on(&fields, none), headers(&fields));
        let b3_alone = Propagators { b3: true, ..none };
        let on = passed_on(&fields, b3_alone);
        assert_eq!(on["traceparent"], W3C);
        assert_ne!(on["b3"].to_str().unwrap()[..32], W3C[3..35]);
    }

    #[test]
    fn values_share_their_memory() {
        let values: Vec<_> = (0..100).map(|_| value(&[b'0'; 55])).collect();
        let place = |value: &HeaderValue| value.as_bytes().as_ptr() as usize;
        let next = values
            .windows(2)
            .filter(|pair| place(&pair[1]) == place(&pair[0]) + 55);
        assert!(next.count() >= 98);
    }
}
