//! Callers that are known by SPIFFE IDs or patterns of them.

use std::hash::{BuildHasher, Hasher};
use std::iter;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smallvec::SmallVec;

use super::Claim;
use crate::config::SpiffePattern;
use crate::policy::CallerIndex;

/// Stands for one segment of a pattern.
const ANY_SEGMENT: &str = "*";

/// Whose each SPIFFE ID is. A lookup takes as many steps for ten callers as for 10,000: one for the ID
/// itself, and one for each way in which patterns with as many segments have wildcards.
///
/// What is compared are the spans of text between wildcards: those of a pattern, and those that are left of an ID where
/// the pattern has wildcards. The pattern that an ID has to fit is never written out.
#[derive(Debug, Default)]
pub struct SpiffeOwners {
    /// Patterns as they are written, by the hashes of their spans.
    patterns: HashTable<(Box<str>, Claim<CallerIndex>)>,
    hasher: RandomState,
    /// At index N those of patterns with N slashes, if they have wildcards.
    shapes: Vec<Vec<Shape>>,
}

/// Where a pattern has wildcards: which of the parts between slashes.
type Shape = Box<[usize]>;

impl SpiffeOwners {
    /// The IDs of a pattern are a caller's.
    pub fn add(&mut self, pattern: &SpiffePattern, caller: CallerIndex) {
        let pattern = pattern.to_string();
        let parts = pattern.split('/').enumerate();
        let wildcards = parts.filter(|(_, part)| *part == ANY_SEGMENT);
        let shape: Shape = wildcards.map(|(at, _)| at).collect();
        if !shape.is_empty() {
            self.add_shape(pattern.matches('/').count(), shape);
        }
        let hash = |pattern: &str| hash(&self.hasher, pattern.split(ANY_SEGMENT));
        let place = self.patterns.entry(
            hash(&pattern),
            |(known, _)| **known == *pattern,
            |(known, _)| hash(known),
        );
        let mut place = place.or_insert_with(|| (pattern.into(), Claim::Nobody));
        let (_, owner) = place.get_mut();
        *owner = owner.and(Claim::Of(caller));
    }

    fn add_shape(&mut self, slashes: usize, shape: Shape) {
        if self.shapes.len() <= slashes {
            self.shapes.resize_with(slashes + 1, Vec::new);
        }
        let alike = &mut self.shapes[slashes];
        if !alike.contains(&shape) {
            alike.push(shape);
        }
    }

    /// Whose a valid ID is.
    pub fn owner(&self, id: &str) -> Claim<CallerIndex> {
        let exact = self.find(iter::once(id), |pattern| pattern == id);
        if self.shapes.is_empty() {
            return exact;
        }
        let slashes = id.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
        let mut ends: SmallVec<[usize; 16]> = slashes.map(|(at, _)| at).collect();
        let alike = self.shapes.get(ends.len());
        ends.push(id.len());
        let by_pattern = alike.into_iter().flatten().map(|shape| {
            let spans = || spans(id, &ends, shape);
            self.find(spans(), |pattern| pattern.split(ANY_SEGMENT).eq(spans()))
        });
        by_pattern.fold(exact, Claim::and)
    }

    fn find<'s>(
        &self,
        spans: impl Iterator<Item = &'s str>,
        is_it: impl Fn(&str) -> bool,
    ) -> Claim<CallerIndex> {
        let hash = hash(&self.hasher, spans);
        let found = self.patterns.find(hash, |(pattern, _)| is_it(pattern));
        found.map_or(Claim::Nobody, |(_, owner)| *owner)
    }
}

/// What is left of an ID where a pattern of this shape has wildcards. `ends` are the ends of its parts between slashes.
fn spans<'i>(id: &'i str, ends: &[usize], shape: &Shape) -> impl Iterator<Item = &'i str> {
    let starts = iter::once(0).chain(shape.iter().map(|at| ends[*at]));
    // No wildcard is the first part.
    let ends = shape.iter().map(|at| ends[at - 1] + 1).chain([id.len()]);
    starts.zip(ends).map(|(start, end)| &id[start..end])
}

fn hash<'s>(hasher: &RandomState, spans: impl Iterator<Item = &'s str>) -> u64 {
    let mut hasher = hasher.build_hasher();
    spans.for_each(|span| hasher.write(span.as_bytes()));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Paths of few segments, so that many patterns and IDs meet.
    fn spiffe(segments: &'static [&'static str]) -> impl Strategy<Value = String> {
        let segments = vec(prop::sample::select(segments), 0..5);
        let written = |(trust_domain, segments): (_, Vec<&str>)| {
            let parts = iter::once(trust_domain).chain(segments);
            format!("spiffe://{}", parts.collect::<Vec<_>>().join("/"))
        };
        (prop::sample::select(&["a", "b.example"][..]), segments).prop_map(written)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn an_id_is_whose_it_is_by_a_scan_of_all_patterns(
            patterns in vec((spiffe(&["a", "bc", "*"]), 0..5_u32), 0..40),
            ids in vec(spiffe(&["a", "bc", "d"]), 20),
        ) {
            let patterns = patterns.iter().map(|(text, caller)| {
                (SpiffePattern::parse(text).expect("a pattern"), *caller)
            });
            let patterns: Vec<_> = patterns.collect();
            let mut owners = SpiffeOwners::default();
            for (pattern, caller) in &patterns {
                owners.add(pattern, *caller);
            }
            for id in &ids {
                let fitting = patterns.iter().filter(|(pattern, _)| pattern.matches(id));
                let claims = fitting.map(|(_, caller)| Claim::Of(*caller));
                prop_assert_eq!(owners.owner(id), claims.fold(Claim::Nobody, Claim::and), "{}", id);
            }
        }
    }
}
