//! `[kubernetes]`: how the tokens of service accounts are checked.

use std::time::Duration;

use url::Url;

use super::NamedFile;

/// `[kubernetes]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// What the claim `aud` of a token has to name.
    pub audience: String,
    /// The claim `iss` of the tokens, exactly. `None`: what the API server says.
    pub issuer: Option<String>,
    /// Whether the API server is asked about each token (TokenReview).
    pub review: bool,
    /// How long tokens that were reviewed serve on while the API server does not answer.
    pub review_grace: Duration,
    /// The API server; `None`: the one that the environment of a pod names.
    pub api_server: Option<Url>,
    /// The token that the API server is asked with.
    pub token_file: NamedFile,
    /// The CA of the API server.
    pub ca_file: NamedFile,
}

impl Kubernetes {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &NamedFile> {
        [&self.token_file, &self.ca_file].into_iter()
    }

    /// Whether its keys are those of `other`: the same API server is asked for the keys of the same issuer.
    pub fn has_keys_of(&self, other: &Self) -> bool {
        let with_what_counts_for_reviews = Self {
            audience: self.audience.clone(),
            review: self.review,
            review_grace: self.review_grace,
            ..other.clone()
        };
        *self == with_what_counts_for_reviews
    }

    /// Whether a token is reviewed as by `other`, so that what is known of it holds. For how long it serves on is no
    /// part of that.
    pub fn is_reviewed_as(&self, other: &Self) -> bool {
        let with_its_grace = Self {
            review_grace: self.review_grace,
            ..other.clone()
        };
        *self == with_its_grace
    }
}
