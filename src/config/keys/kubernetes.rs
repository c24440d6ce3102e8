//! `[kubernetes]`

use super::super::kinds::{Flag, HttpUrl, IfAbsent, Parsed, Text, Time};
use super::super::parse::syntax::ANY_TEXT;
use super::super::rules::Condition::{On, Written};
use super::super::rules::Rule;

/// Where a pod finds what it is given to ask the API server.
pub(in crate::config) const OF_POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

const RULES: &[&[Rule]] = &[&[Rule {
    says: "`review_grace` belongs to `review = true`.",
    when: Written("review_grace"),
    then: On("review"),
}]];

keys! {
    /// How the tokens of service accounts are checked.
    KUBERNETES: Kubernetes, KUBERNETES_TABLE = "[kubernetes]", rules RULES {
        /// What the claim `aud` of a token has to name: the `audience` of the projected volume.
        audience: Parsed<String> = Parsed::new(
            "text",
            ANY_TEXT,
            IfAbsent::Value(|| "sidebearer".to_owned()),
        );

        /// The claim `iss` of the tokens.
        issuer: Text = Text::new("text", IfAbsent::Words("what the API server says")).address();

        /// Whether the API server is asked about each token, too (TokenReview): it knows the pods that are gone.
        review: Flag = Flag::new(false);

        /// While the API server does not answer: how long tokens that were reviewed serve on.
        review_grace: Time = Time::new("5m", "0s");

        /// The API server.
        api_server: HttpUrl = HttpUrl::new(
            IfAbsent::Words("the one that the environment of a pod names"),
        );

        /// The token that the API server is asked with.
        token_file: Parsed<String> = Parsed::new(
            "path of a file",
            ANY_TEXT,
            IfAbsent::Value(|| format!("{OF_POD}/token")),
        );

        /// The CA of the API server in PEM.
        ca_file: Parsed<String> = Parsed::new(
            "path of a file",
            ANY_TEXT,
            IfAbsent::Value(|| format!("{OF_POD}/ca.crt")),
        );
    }
}
