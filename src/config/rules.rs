//! What keys of one table have to do with each other, beyond the choice that a key belongs to.
//!
//! The readers in `sections` refuse what breaks a rule, each in its own words. The schema says the same to editors, and
//! `tests/interop/schema` holds the two to each other.

/// Where one thing holds, another has to hold.
#[derive(Debug)]
pub(super) struct Rule {
    /// The rule in words, in Markdown.
    pub(super) says: &'static str,
    pub(super) when: Condition,
    pub(super) then: Condition,
}

/// What may hold in a table.
#[derive(Debug)]
pub(super) enum Condition {
    /// Anything.
    Always,
    /// The key is there, whatever it holds.
    Written(&'static str),
    /// The key is there, and holds no empty string, list or table.
    Says(&'static str),
    /// The key is there, and does not hold `false`.
    On(&'static str),
    /// The choice of the key is one of these words, written or by default.
    Is(&'static str, &'static [&'static str]),
    /// The key is there, and a whole string in it matches; see `Syntax`.
    Matches(&'static str, Option<&'static str>),
    /// It holds in the table of the key, which is there.
    Within(&'static str, &'static Condition),
    /// It does not hold.
    Not(&'static Condition),
    /// One of them holds, or several.
    Any(&'static [Condition]),
    /// All of them hold.
    All(&'static [Condition]),
}
