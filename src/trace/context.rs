//! A place in a trace, as W3C Trace Context writes it.

use std::fmt;

use super::hex;

/// Identifies a trace; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

/// Identifies a span within its trace; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId(u64);

/// A span, and whether its trace is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    flags: u8,
}

/// Whoever made the context may have recorded the trace.
const SAMPLED: u8 = 0x01;
/// The flags that have a meaning: besides, that the trace's id is random (W3C Trace Context Level 2). Others are not
/// passed on.
const KNOWN_FLAGS: u8 = 0x03;

/// Bytes of a `traceparent` of version 00.
const LENGTH: usize = 55;

impl TraceId {
    /// A new one.
    pub fn random() -> Self {
        Self(fastrand::u128(1..))
    }

    /// Its 16 bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The part of it that is random in every trace, 56 bits, by which a share of them is chosen.
    pub(super) fn randomness(self) -> u64 {
        self.0 as u64 & ((1 << 56) - 1)
    }

    pub(super) fn new(id: u128) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }

    pub(super) fn number(self) -> u128 {
        self.0
    }
}

impl SpanId {
    /// A new one.
    pub fn random() -> Self {
        Self(fastrand::u64(1..))
    }

    /// Its 8 bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(super) fn new(id: u64) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }

    pub(super) fn number(self) -> u64 {
        self.0
    }
}

/// In 32 digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl TraceContext {
    /// The first span of a new trace.
    pub fn root(sampled: bool) -> Self {
        Self {
            trace: TraceId::random(),
            span: SpanId::random(),
            flags: 0,
        }
        .with_sampled(sampled)
    }

    pub(super) fn new(trace: TraceId, span: SpanId) -> Self {
        Self {
            trace,
            span,
            flags: 0,
        }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            span: SpanId::random(),
            ..self
        }
    }

    /// The same, recorded or not.
    #[must_use]
    pub fn with_sampled(mut self, sampled: bool) -> Self {
        self.flags = self.flags & !SAMPLED | u8::from(sampled);
        self
    }

    /// Whether its trace is recorded.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Its trace flags (W3C Trace Context section 3.2.2.5).
    pub fn flags(self) -> u8 {
        self.flags
    }

    /// What a `traceparent` says; none if it is malformed (W3C Trace Context section 3.2). Later versions may add
    /// something behind what is known.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (known, more) = header.split_at_checked(LENGTH)?;
        let [version @ .., _] = &known[..3] else {
            return None;
        };
        let version = hex::parse(version)?;
        let separators = [known[2], known[35], known[52]];
        let is_longer_rightly = version > 0 && more.first().is_none_or(|byte| *byte == b'-');
        if version == 0xff || separators != *b"---" || !(more.is_empty() || is_longer_rightly) {
            return None;
        }
        let flags = hex::parse(&known[53..])? as u8;
        Some(Self {
            trace: TraceId::new(hex::parse(&known[3..35])?)?,
            span: SpanId::new(hex::parse(&known[36..52])? as u64)?,
            flags: flags & KNOWN_FLAGS,
        })
    }

    /// The `traceparent` that says it.
    pub fn to_traceparent(self) -> [u8; LENGTH] {
        let mut header = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex::write(self.trace.0, &mut header[3..35]);
        hex::write(self.span.0.into(), &mut header[36..52]);
        hex::write(self.flags.into(), &mut header[53..]);
        header
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(text: &str) -> Option<TraceContext> {
        TraceContext::parse(text.as_bytes())
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let read = parse(KNOWN).unwrap();
        assert_eq!(read.trace.to_string(), KNOWN[3..35]);
        assert_eq!(read.span.0, 0xb7ad_6b71_6920_3331);
        assert!(read.is_sampled());
        assert!(!parse(&KNOWN.replace("-01", "-00")).unwrap().is_sampled());
        // Flags that nobody knows are not passed on.
        assert_eq!(parse(&KNOWN.replace("-01", "-ff")).unwrap().flags(), 0x03);
        for later in ["01", "cc", "fe"] {
            let whole = KNOWN.replacen("00", later, 1);
            assert_eq!(parse(&whole), Some(read), "{whole}");
            assert_eq!(parse(&format!("{whole}-more")), Some(read));
            assert_eq!(parse(&format!("{whole}.more")), None);
        }
    }

    #[test]
    fn a_malformed_traceparent_says_nothing() {
        for wrong in [
            "",
            "00",
            &KNOWN[..54],
            &format!("{KNOWN}-"),
            &format!("{KNOWN} "),
            &format!(" {KNOWN}"),
            &KNOWN.replacen("00", "ff", 1),
            &KNOWN.replacen("00", "0x", 1),
            &KNOWN.replace('a', "A"),
            &KNOWN.replace("-b7", "_b7"),
            &KNOWN.replace("-01", "-0g"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(trace in 1u128.., span in 1u64.., flags in 0u8..4) {
            let context = TraceContext { trace: TraceId(trace), span: SpanId(span), flags };
            prop_assert_eq!(TraceContext::parse(&context.to_traceparent()), Some(context));
        }

        #[test]
        fn no_header_is_too_much_for_the_parser(
            header in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let _ = TraceContext::parse(&header);
        }

        #[test]
        fn one_wrong_byte_is_a_malformed_traceparent_or_another_one(
            at in 0usize..55,
            byte in any::<u8>(),
        ) {
            let mut header = *b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            header[at] = byte;
            if let Some(read) = TraceContext::parse(&header) {
                // What it says is what is written, but for its version and for flags that nobody knows.
                prop_assert_eq!(&read.to_traceparent()[2..53], &header[2..53]);
            }
        }
    }
}
