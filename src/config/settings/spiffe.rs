//! SPIFFE IDs, and patterns of them.

use std::fmt;

/// What begins every SPIFFE ID.
pub(in crate::config) const SCHEME: &str = "spiffe://";

/// Stands for one segment.
const ANY_SEGMENT: &str = "*";

/// The longest SPIFFE ID, in bytes (SPIFFE ID section 2.3).
const LONGEST: usize = 2048;

/// A SPIFFE ID in which `*` stands for one whole segment of the path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffePattern {
    /// As it is written.
    text: Box<str>,
}

/// Why a text is no pattern of SPIFFE IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpiffePatternError {
    /// It does not begin with `spiffe://`.
    Scheme,
    /// What stands for the trust domain is none.
    TrustDomain,
    /// A segment of the path is none.
    Segment,
    /// `*` stands for a part of a segment.
    Wildcard,
    /// It has more than 2,048 bytes.
    Length,
}

impl SpiffePattern {
    /// Reads a pattern.
    pub(crate) fn parse(text: &str) -> Result<Self, SpiffePatternError> {
        if text.len() > LONGEST {
            return Err(SpiffePatternError::Length);
        }
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or(SpiffePatternError::Scheme)?;
        let mut parts = rest.split('/');
        let trust_domain = parts.next().unwrap_or_default();
        if !is_trust_domain(trust_domain) {
            return Err(SpiffePatternError::TrustDomain);
        }
        for segment in parts {
            if segment != ANY_SEGMENT && !is_segment(segment) {
                return Err(if segment.contains(ANY_SEGMENT) {
                    SpiffePatternError::Wildcard
                } else {
                    SpiffePatternError::Segment
                });
            }
        }
        Ok(Self { text: text.into() })
    }

    /// Its trust domain, and the segments of its path.
    fn split(&self) -> (&str, impl Iterator<Item = &str>) {
        let mut parts = self.text[SCHEME.len()..].split('/');
        (parts.next().unwrap_or_default(), parts)
    }

    /// Whether it stands for this ID, byte by byte. What is no SPIFFE ID is never matched.
    pub fn matches(&self, id: &str) -> bool {
        let Some(rest) = id.strip_prefix(SCHEME).filter(|_| id.len() <= LONGEST) else {
            return false;
        };
        let mut parts = rest.split('/');
        let (trust_domain, mut segments) = self.split();
        parts.next() == Some(trust_domain)
            && parts.all(|part| match segments.next() {
                Some(ANY_SEGMENT) => is_segment(part),
                Some(segment) => segment == part,
                None => false,
            })
            && segments.next().is_none()
    }

    /// What it has in common with every pattern that differs only in the words of its segments.
    pub(in crate::config) fn shape(&self) -> SpiffeShape<'_> {
        let (trust_domain, segments) = self.split();
        SpiffeShape {
            trust_domain,
            stars: segments.map(|segment| segment == ANY_SEGMENT).collect(),
        }
    }

    /// Its segments at these places.
    pub(in crate::config) fn parts(&self, places: &[usize]) -> Vec<&str> {
        let (_, segments) = self.split();
        let segments = segments.enumerate();
        let placed = segments.filter(|(place, _)| places.contains(place));
        placed.map(|(_, segment)| segment).collect()
    }
}

/// The trust domain of a pattern, and which of its segments are `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::config) struct SpiffeShape<'p> {
    trust_domain: &'p str,
    stars: Vec<bool>,
}

impl SpiffeShape<'_> {
    /// The places of the segments in which a pattern of this shape and one of the other have to be equal, for an ID
    /// that both stand for. `None`: there is no such ID.
    pub(in crate::config) fn compared_with(&self, other: &Self) -> Option<Vec<usize>> {
        if self.trust_domain != other.trust_domain || self.stars.len() != other.stars.len() {
            return None;
        }
        let neither = |place: &usize| !self.stars[*place] && !other.stars[*place];
        Some((0..self.stars.len()).filter(neither).collect())
    }
}

/// SPIFFE ID section 2.1
fn is_trust_domain(text: &str) -> bool {
    let is_part = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
    };
    (1..=255).contains(&text.len()) && text.bytes().all(is_part)
}

/// SPIFFE ID section 2.2
fn is_segment(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(text, "" | "." | "..") && text.bytes().all(is_part)
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> SpiffePattern {
        SpiffePattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    #[test]
    fn a_star_stands_for_exactly_one_segment() {
        let billing = pattern("spiffe://corp.example/ns/billing/sa/*");
        for id in ["app", "a", "A.b-c_9", "..."] {
            assert!(billing.matches(&format!("spiffe://corp.example/ns/billing/sa/{id}")));
        }
        for id in [
            "spiffe://corp.example/ns/billing/sa",
            "spiffe://corp.example/ns/billing/sa/",
            "spiffe://corp.example/ns/billing/sa/a/b",
            "spiffe://corp.example/ns/billing/sa/a/",
            "spiffe://corp.example/ns/billing/sa/..",
            "spiffe://corp.example/ns/billing/sa/%2e",
            "spiffe://corp.example/ns/billing/sa/*",
            "spiffe://corp.example/ns/billing/sa/a?b",
            "spiffe://corp.example/ns/billing/sa/a\n",
            "spiffe://corp.example/ns//sa/a",
            "spiffe://corp.example/ns/Billing/sa/a",
            "spiffe://corp.example:443/ns/billing/sa/a",
            "spiffe://user@corp.example/ns/billing/sa/a",
            "spiffe://other.example/ns/billing/sa/a",
            "SPIFFE://corp.example/ns/billing/sa/a",
            "https://corp.example/ns/billing/sa/a",
            "spiffe:/corp.example/ns/billing/sa/a",
            "",
        ] {
            assert!(!billing.matches(id), "{id}");
        }
        let long = format!("spiffe://corp.example/ns/billing/sa/{}", "a".repeat(2048));
        assert!(!billing.matches(&long));
        assert!(pattern("spiffe://corp.example").matches("spiffe://corp.example"));
        assert!(!pattern("spiffe://corp.example").matches("spiffe://corp.example/"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        use SpiffePatternError::*;
        for (text, expected) in [
            ("", Scheme),
            ("corp.example/a", Scheme),
            ("Spiffe://corp.example/a", Scheme),
            ("spiffe:///a", TrustDomain),
            ("spiffe://*/a", TrustDomain),
            ("spiffe://Corp.example/a", TrustDomain),
            ("spiffe://corp.example:1/a", TrustDomain),
            ("spiffe://corp.example/", Segment),
            ("spiffe://corp.example/a//b", Segment),
            ("spiffe://corp.example/a/..", Segment),
            ("spiffe://corp.example/a?b", Segment),
            ("spiffe://corp.example/a*", Wildcard),
            ("spiffe://corp.example/**", Wildcard),
        ] {
            assert_eq!(SpiffePattern::parse(text), Err(expected), "{text}");
        }
        let long = format!("spiffe://corp.example/{}", "a".repeat(2048));
        assert_eq!(SpiffePattern::parse(&long), Err(Length));
    }

    fn overlap(a: &SpiffePattern, b: &SpiffePattern) -> bool {
        let places = a.shape().compared_with(&b.shape());
        places.is_some_and(|places| a.parts(&places) == b.parts(&places))
    }

    #[test]
    fn patterns_overlap_where_one_id_could_be_both() {
        for (a, b, expected) in [
            ("a/b", "a/b", true),
            ("a/*", "a/b", true),
            ("*/b", "a/*", true),
            ("*/*", "a/b", true),
            ("a/*", "b/*", false),
            ("a/*/c", "*/b/d", false),
            ("*", "a/b", false),
            ("a/b", "a", false),
        ] {
            let of = |path: &str| pattern(&format!("spiffe://corp.example/{path}"));
            assert_eq!(overlap(&of(a), &of(b)), expected, "{a} {b}");
            assert_eq!(overlap(&of(b), &of(a)), expected, "{b} {a}");
            let other = pattern(&format!("spiffe://other.example/{b}"));
            assert!(!overlap(&of(a), &other), "{a} {b}");
        }
    }

    /// All paths of these segments that have at most three.
    fn paths(segments: &[&str]) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..3 {
            let longer = last.iter().flat_map(|path| {
                let segments = segments.iter();
                segments.map(move |segment| format!("{path}/{segment}"))
            });
            last = longer.collect();
            all.extend(last.iter().cloned());
        }
        let named = all
            .iter()
            .map(|path| format!("spiffe://corp.example{path}"));
        named.collect()
    }

    #[test]
    fn patterns_overlap_exactly_where_some_id_is_matched_by_both() {
        // What is neither `a` nor `b` is matched by stars alone, so that `c` stands for all of it.
        let ids = paths(&["a", "b", "c"]);
        let patterns: Vec<_> = paths(&["a", "b", "*"])
            .iter()
            .map(|text| pattern(text))
            .collect();
        for a in &patterns {
            for b in &patterns {
                let both = ids.iter().any(|id| a.matches(id) && b.matches(id));
                assert_eq!(overlap(a, b), both, "{a} {b}");
            }
        }
    }
}
