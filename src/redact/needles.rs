//! What of the secrets is looked for in a text, and where it stands.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

use zeroize::Zeroizing;

use super::decode::{self, DecodedView};

/// Every piece of a secret that has this many bytes is hidden. A shorter secret is hidden where all of it stands.
pub(super) const PIECE_BYTES: usize = 8;
/// What is shorter is found by chance, the more so in what digits stood for.
const SHORTEST_FOUND: usize = 4;

/// What is looked for in a [`DecodedView`], without regard to case, to `+` and to what a view leaves out.
pub(super) struct Needles {
    /// The hash of every piece of [`PIECE_BYTES`] bytes: the pieces themselves would not be wiped.
    pieces: HashSet<u64>,
    /// Rules out nearly all of a text, and faster.
    filter: Filter,
    /// Their lengths: less is left of those that hold a space or a `+`, and more of those that end with a character of
    /// several bytes.
    lengths: BTreeSet<usize>,
    hasher: RandomState,
    /// Secrets of which no more is left.
    whole: Vec<Zeroizing<Vec<u8>>>,
}

impl Needles {
    pub(super) fn of<'a>(secrets: impl Iterator<Item = &'a str>) -> Self {
        let hasher = RandomState::new();
        let mut needles = Self {
            pieces: HashSet::new(),
            filter: Filter::new(hasher.hash_one(0)),
            lengths: BTreeSet::new(),
            hasher,
            whole: Vec::new(),
        };
        for secret in secrets {
            // Of forms beyond the limit there is no text that is decoded within it.
            let _ = decode::each_unescaped(&DecodedView::of(secret), |form| {
                needles.add(secret, form);
            });
        }
        needles
    }

    /// Adds `form`, which `secret` takes when it is decoded.
    fn add(&mut self, secret: &str, form: &DecodedView) {
        let (folded, places) = folded(form);
        // Where each byte begins in the secret.
        let begins = |index: &usize| form.spans[places[*index]].0 as usize;
        let (mut first, mut end) = (0, 0);
        for start in 0..=secret.len().saturating_sub(PIECE_BYTES) {
            if !secret.is_char_boundary(start) {
                continue;
            }
            let is_before = |limit: usize| move |index: &usize| begins(index) < limit;
            first += (first..folded.len()).take_while(is_before(start)).count();
            end += (end..folded.len())
                .take_while(is_before(start + PIECE_BYTES))
                .count();
            let piece = &folded[first..end];
            if secret.len() >= PIECE_BYTES && piece.len() >= SHORTEST_FOUND {
                self.pieces.insert(self.hasher.hash_one(piece));
                self.filter.insert(piece);
                self.lengths.insert(piece.len());
            }
        }
        if (1..PIECE_BYTES).contains(&folded.len()) {
            self.whole.push(folded);
        }
    }

    pub(super) fn any(&self) -> bool {
        !self.pieces.is_empty() || !self.whole.is_empty()
    }

    /// Marks where in the text that `view` was made of they stand. `decoded`: digits stood for it.
    pub(super) fn hide(&self, view: &DecodedView, decoded: bool, hidden: &mut [bool]) {
        let (text, places) = folded(view);
        let mut mark = |at: usize, length: usize| {
            let (first, last) = (view.spans[places[at]], view.spans[places[at + length - 1]]);
            let range = first.0.min(last.0) as usize..first.1.max(last.1) as usize;
            hidden[range].fill(true);
        };
        for &length in &self.lengths {
            for (at, piece) in text.windows(length).enumerate() {
                if self.filter.may_have(piece) && self.pieces.contains(&self.hasher.hash_one(piece))
                {
                    mark(at, length);
                }
            }
        }
        for whole in &self.whole {
            if !decoded || whole.len() >= SHORTEST_FOUND {
                find_all(&text, whole).for_each(|at| mark(at, whole.len()));
            }
        }
    }
}

/// Tells of most pieces that they are not among some (a Bloom filter).
struct Filter {
    bits: Box<[u64; 1024]>,
    key: u64,
}

impl Filter {
    fn new(key: u64) -> Self {
        Self {
            bits: Box::new([0; 1024]),
            key: key | 1,
        }
    }

    fn insert(&mut self, piece: &[u8]) {
        let (word, bit) = self.place(piece);
        self.bits[word] |= bit;
    }

    fn may_have(&self, piece: &[u8]) -> bool {
        let (word, bit) = self.place(piece);
        self.bits[word] & bit != 0
    }

    fn place(&self, piece: &[u8]) -> (usize, u64) {
        let end = &piece[piece.len().saturating_sub(8)..];
        let number = end
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        let place = number.wrapping_mul(self.key) >> 48;
        ((place >> 6) as usize, 1 << (place & 63))
    }
}

/// Lower case, without `+`: it may stand for a space. With the place of each byte.
fn folded(view: &DecodedView) -> (Zeroizing<Vec<u8>>, Vec<usize>) {
    let mut bytes = Zeroizing::new(Vec::with_capacity(view.bytes.len()));
    let mut places = Vec::with_capacity(view.bytes.len());
    for (place, byte) in view.bytes.iter().enumerate() {
        if *byte != b'+' {
            bytes.push(byte.to_ascii_lowercase());
            places.push(place);
        }
    }
    (bytes, places)
}

/// Where `needle` begins, whatever the case: hexadecimal escapes may be in either.
pub(super) fn find_all(text: &[u8], needle: &[u8]) -> impl Iterator<Item = usize> {
    text.windows(needle.len())
        .enumerate()
        .filter(move |(_, window)| window.eq_ignore_ascii_case(needle))
        .map(|(at, _)| at)
}
