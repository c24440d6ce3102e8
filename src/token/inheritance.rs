//! What a source has from the one whose place it takes when a reload changes what is asked for.

use std::sync::Arc;

use super::Token;

/// What may become of a token that another source has asked for.
#[derive(Debug, Clone)]
pub enum Inheritance {
    /// The change was taken back: it was asked for as tokens are asked for now.
    Own(Arc<Token>),
    /// It serves until there is one that was asked for by the new settings, and no longer than it lives.
    Serves {
        /// What serves.
        token: Arc<Token>,
        /// Upstreams of the credential that must not get it.
        withheld_from: Vec<String>,
        /// Whether all upstreams may get it that got tokens of the credential before.
        is_enough: bool,
    },
    /// Nobody gets it. It is kept for the case that the change is taken back.
    Kept(Arc<Token>),
}

/// What a source has while the settings that a reload changed have not brought a token yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending {
    /// As the source before had it.
    pub(super) before: Option<Arc<Token>>,
    /// As in [`Inheritance::Serves`].
    pub(super) withheld_from: Vec<String>,
    /// As in [`Inheritance::Serves`].
    pub(super) is_enough: bool,
}

/// The last token that there is for a credential.
#[derive(Debug, Clone)]
pub enum HeldToken {
    /// The source asked for it.
    Own(Arc<Token>),
    /// A source before it asked for it.
    Before(Arc<Token>),
}

impl HeldToken {
    /// Whoever asked for it.
    pub fn token(&self) -> &Arc<Token> {
        match self {
            Self::Own(token) | Self::Before(token) => token,
        }
    }
}
