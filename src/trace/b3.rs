//! B3, the propagation of Zipkin: in one header, or in several.

use http::{HeaderMap, HeaderName};

use super::hex;
use super::{SpanId, TraceContext, TraceId};

pub(super) const SINGLE: HeaderName = HeaderName::from_static("b3");
pub(super) const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
pub(super) const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
pub(super) const PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
pub(super) const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
pub(super) const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// What B3 says: where in which trace, if it says that, and whether that is recorded, if someone has decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct B3 {
    pub(super) context: Option<TraceContext>,
    pub(super) sampled: Option<bool>,
    /// Debugging is asked for, which means recorded too, whatever the share.
    pub(super) is_debug: bool,
}

/// What the header `b3` says: `{trace}-{span}-{decision}-{parent}`, of which the last two may be missing, or a decision
/// alone. None if it is malformed.
pub(super) fn parse_single(header: &[u8]) -> Option<B3> {
    if let Some(sampled) = decision(header) {
        return Some(B3 {
            context: None,
            sampled: Some(sampled),
            is_debug: header == DEBUG,
        });
    }
    let mut parts = header.split(|byte| *byte == b'-');
    let context = context(parts.next()?, parts.next()?)?;
    let written = parts.next();
    let sampled = match written {
        Some(written) => Some(decision(written)?),
        None => None,
    };
    if let Some(parent) = parts.next() {
        span_id(parent)?;
    }
    parts.next().is_none().then_some(B3 {
        context: Some(context),
        sampled,
        is_debug: written == Some(DEBUG),
    })
}

/// What the headers `X-B3-…` say; none if there are none, or if they are malformed.
pub(super) fn parse_multi(headers: &HeaderMap) -> Option<B3> {
    let get = |name: &HeaderName| headers.get(name).map(|value| value.as_bytes());
    let (trace, span) = (get(&TRACE_ID), get(&SPAN_ID));
    let context = match (trace, span) {
        (Some(trace), Some(span)) => Some(context(trace, span)?),
        (None, None) => None,
        _ => return None,
    };
    let is_debug = get(&FLAGS) == Some(b"1");
    let sampled = match get(&SAMPLED) {
        _ if is_debug => Some(true),
        Some(b"1" | b"true") => Some(true),
        Some(b"0" | b"false") => Some(false),
        Some(_) => return None,
        None => None,
    };
    (context.is_some() || sampled.is_some()).then_some(B3 {
        context,
        sampled,
        is_debug,
    })
}

/// The header `b3` that says it, and whether debugging is asked for.
pub(super) fn to_single(context: TraceContext, is_debug: bool) -> [u8; 51] {
    let mut header = *b"00000000000000000000000000000000-0000000000000000-0";
    hex::write(context.trace.number(), &mut header[..32]);
    hex::write(context.span.number().into(), &mut header[33..49]);
    if is_debug {
        header[50..].copy_from_slice(DEBUG);
    } else {
        header[50] += u8::from(context.is_sampled());
    }
    header
}

/// Asks for debugging in place of a decision.
const DEBUG: &[u8] = b"d";

fn decision(written: &[u8]) -> Option<bool> {
    match written {
        b"1" | DEBUG => Some(true),
        b"0" => Some(false),
        _ => None,
    }
}

/// A trace's id may have 64 bits.
fn context(trace: &[u8], span: &[u8]) -> Option<TraceContext> {
    if ![16, 32].contains(&trace.len()) {
        return None;
    }
    let trace = TraceId::new(hex::parse(trace)?)?;
    Some(TraceContext::new(trace, span_id(span)?))
}

fn span_id(written: &[u8]) -> Option<SpanId> {
    if written.len() != 16 {
        return None;
    }
    SpanId::new(hex::parse(written)? as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn ids(b3: B3) -> Option<(String, u64)> {
        let context = b3.context?;
        Some((context.trace.to_string(), context.span.number()))
    }

    #[test]
    fn one_header_says_place_and_decision() {
        let known = Some((TRACE.to_owned(), 0xe457_b5a2_e4d8_6bd1));
        for (text, sampled) in [
            (format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"), Some(true)),
            (format!("{TRACE}-{SPAN}-d"), Some(true)),
            (format!("{TRACE}-{SPAN}-0"), Some(false)),
            (format!("{TRACE}-{SPAN}"), None),
        ] {
            let read = parse_single(text.as_bytes()).unwrap();
            assert_eq!(
                (ids(read), read.sampled),
                (known.clone(), sampled),
                "{text}"
            );
        }
        let short = parse_single(format!("{}-{SPAN}", &TRACE[16..]).as_bytes()).unwrap();
        assert_eq!(ids(short).unwrap().0, format!("{:0>32}", &TRACE[16..]));
        for (text, sampled) in [("0", false), ("1", true), ("d", true)] {
            let read = parse_single(text.as_bytes()).unwrap();
            assert_eq!((read.context, read.sampled), (None, Some(sampled)));
        }
    }

    #[test]
    fn a_malformed_header_says_nothing() {
        for wrong in [
            String::new(),
            "2".to_owned(),
            TRACE.to_owned(),
            format!("{TRACE}-"),
            format!("{TRACE}-{SPAN}-"),
            format!("{TRACE}-{SPAN}-2"),
            format!("{TRACE}-{SPAN}-1-"),
            format!("{TRACE}-{SPAN}-1-{SPAN}-"),
            format!("{}-{SPAN}-1", &TRACE[1..]),
            format!("{TRACE}-{}-1", &SPAN[1..]),
            format!("{}-{SPAN}-1", TRACE.to_uppercase()),
            format!("{:032}-{SPAN}-1", 0),
            format!("{TRACE}-{:016}-1", 0),
        ] {
            assert_eq!(parse_single(wrong.as_bytes()), None, "{wrong:?}");
        }
    }

    fn multi(fields: &[(&'static str, &str)]) -> Option<B3> {
        let fields = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        parse_multi(&fields.collect())
    }

    #[test]
    fn several_headers_say_the_same() {
        let place = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)];
        let read = |more: &[(&'static str, &str)]| multi(&[&place[..], more].concat());
        assert_eq!(read(&[]).unwrap().sampled, None);
        assert_eq!(ids(read(&[]).unwrap()).unwrap().0, TRACE);
        for (value, sampled) in [("1", true), ("true", true), ("0", false), ("false", false)] {
            let found = read(&[("x-b3-sampled", value)]).unwrap();
            assert_eq!(found.sampled, Some(sampled), "{value}");
            assert_eq!(multi(&[("x-b3-sampled", value)]).unwrap().context, None);
        }
        assert_eq!(read(&[("x-b3-flags", "1")]).unwrap().sampled, Some(true));
        assert_eq!(read(&[("x-b3-sampled", "yes")]), None);
        assert_eq!(multi(&place[..1]), None);
        assert_eq!(multi(&place[1..]), None);
        assert_eq!(multi(&[]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace in 1u128.., span in 1u64.., sampled in any::<bool>(), is_debug in any::<bool>()) {
            let (trace, span) = (TraceId::new(trace).unwrap(), SpanId::new(span).unwrap());
            let written = to_single(TraceContext::new(trace, span).with_sampled(sampled), is_debug);
            let read = parse_single(&written).unwrap();
            prop_assert_eq!(read.context, Some(TraceContext::new(trace, span)));
            prop_assert_eq!((read.sampled, read.is_debug), (Some(sampled || is_debug), is_debug));
        }

        #[test]
        fn no_header_is_too_much_for_the_parser(
            header in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = parse_single(&header);
        }
    }
}
