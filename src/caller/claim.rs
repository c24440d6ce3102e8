//! Whose something is that callers are known by.

use super::{IdentificationMeans, Identified};
use crate::policy::CallerIndex;

/// Whose something is that callers are known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim<T> {
    /// No caller's.
    Nobody,
    /// One caller's.
    Of(T),
    /// Several callers'.
    Several,
}

/// What tells callers apart.
pub trait IsOfCaller: Copy {
    /// The caller.
    fn caller(&self) -> CallerIndex;
}

impl IsOfCaller for CallerIndex {
    fn caller(&self) -> CallerIndex {
        *self
    }
}

impl IsOfCaller for Identified {
    fn caller(&self) -> CallerIndex {
        self.caller
    }
}

impl<T: IsOfCaller> Claim<T> {
    /// Whose both are. The first counts, if both are of the same caller.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nobody, one) | (one, Self::Nobody) => one,
            (Self::Of(one), Self::Of(other)) if one.caller() == other.caller() => Self::Of(one),
            _ => Self::Several,
        }
    }
}

impl Claim<CallerIndex> {
    /// The same, with how the caller is known.
    #[must_use]
    pub fn by(self, means: IdentificationMeans) -> Claim<Identified> {
        match self {
            Self::Nobody => Claim::Nobody,
            Self::Of(caller) => Claim::Of(Identified { caller, means }),
            Self::Several => Claim::Several,
        }
    }
}
