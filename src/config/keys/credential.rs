//! `[credentials.NAME]`

use super::super::declare::NameForm;
use super::super::kinds::{
    Choice, Flag, FlagOr, IfAbsent, List, Parsed, Raw, SecretText, SecretsByName, Size, SubTable,
    Text, Time,
};
use super::super::parse::address::{HOST_NAME, HTTP_URL, HTTP_URL_WITH_QUERY};
use super::super::parse::http::HEADER;
use super::super::parse::oauth::{RESOURCE, SCOPE, TOKEN_TYPE};
use super::super::parse::syntax::ANY_TEXT;
use super::super::rules::Condition::{All, Always, Any, Is, Not, On, Says, Within, Written};
use super::super::rules::Rule;
use super::super::settings::{BasicEncoding, Refresh, SecurityToken};
use super::proxy::{PROXY_RULES, proxy, proxy_authorization, proxy_tls};
use super::tls::TLS_TABLE;
use super::upstream::address_delay;
use crate::jose::Algorithm;

/// How a client authenticates.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::config) enum AuthMethod {
    Basic,
    Post,
    SecretJwt,
    PrivateKeyJwt,
    ClientAssertion,
    Certificate,
    SelfSigned,
    None,
}

/// What a client has been granted.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::config) enum GrantKind {
    ClientCredentials,
    JwtBearer,
    TokenExchange,
}

/// The methods by their RFC 7591 names.
const METHODS: &[(&str, AuthMethod)] = &[
    ("client_secret_basic", AuthMethod::Basic),
    ("client_secret_post", AuthMethod::Post),
    ("client_secret_jwt", AuthMethod::SecretJwt),
    ("private_key_jwt", AuthMethod::PrivateKeyJwt),
    ("client_assertion", AuthMethod::ClientAssertion),
    ("tls_client_auth", AuthMethod::Certificate),
    ("self_signed_tls_client_auth", AuthMethod::SelfSigned),
    ("none", AuthMethod::None),
];

const WITH_SECRET: &[&str] = &[
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
];

const SIGNING: &[&str] = &["client_secret_jwt", "private_key_jwt"];

const ALGORITHMS: &[(&str, Option<Algorithm>)] = &[
    ("HS256", Some(Algorithm::HS256)),
    ("HS384", Some(Algorithm::HS384)),
    ("HS512", Some(Algorithm::HS512)),
    ("RS256", Some(Algorithm::RS256)),
    ("PS256", Some(Algorithm::PS256)),
    ("ES256", Some(Algorithm::ES256)),
    ("ES384", Some(Algorithm::ES384)),
    ("EdDSA", Some(Algorithm::EdDSA)),
];

const GRANTS: &[(&str, GrantKind)] = &[
    ("client_credentials", GrantKind::ClientCredentials),
    ("jwt-bearer", GrantKind::JwtBearer),
    ("token-exchange", GrantKind::TokenExchange),
];

const TOKEN_TYPES: &[(&str, Option<&str>)] = &[("Bearer", Some("Bearer")), ("DPoP", Some("DPoP"))];

/// Form fields of a token request that have their own keys, and the name of none.
pub(in crate::config) const TAKEN_PARAMETERS: &[&str] = &[
    "",
    "actor_token",
    "actor_token_type",
    "assertion",
    "audience",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "grant_type",
    "requested_token_type",
    "resource",
    "scope",
    "subject_token",
    "subject_token_type",
];

/// Headers of a token request that are set already.
pub(in crate::config) const TAKEN_HEADERS: &[&str] =
    &["accept", "authorization", "content-type", "dpop"];

keys! {
    /// A client registration at an authorization server.
    CREDENTIAL: Credential, CREDENTIAL_TABLE = "[credentials.NAME]", rules RULES {
        /// The URL that issues tokens.
        token_endpoint: Text = Text::new("URL", ONE_OF_TWO).matching(HTTP_URL_WITH_QUERY).address();

        /// The issuer, whose token endpoint is found by discovery (RFC 8414, OpenID Connect Discovery). The
        /// `issuer` in the document must be equal to it.
        issuer: Text = Text::new("URL", ONE_OF_TWO).matching(HTTP_URL).address();

        /// The identifier of the client. Where a token of someone else says who asks, none is needed.
        client_id: SecretText = SecretText::secret(
            "the client's identifier at the authorization server",
            "required, with exceptions",
        );

        /// [How the client authenticates](credentials.md#how-a-client-authenticates).
        auth_method: Choice<AuthMethod> = Choice::new(METHODS, "client_secret_basic");

        /// The secret of the client.
        client_secret: SecretText = SecretText::secret(
            "`{ file = \"PATH\" }` or `{ env = \"NAME\" }`",
            "required by its method",
        ).required_by_choice(), only with auth_method = WITH_SECRET;

        /// The client's own key: PEM (PKCS#8, PKCS#1, SEC1) or a JWK, not encrypted. RSA of 2048 bits or
        /// more, EC on P-256 or P-384, or Ed25519.
        private_key: SecretText = SecretText::key_or_token(
            "`{ file = \"PATH\" }` of a PEM or JWK file",
            "required by its method",
        ).required_by_choice(), only with auth_method = &["private_key_jwt"];

        /// How assertions are signed. The algorithms that begin with `HS` sign with a secret, the others with
        /// a private key.
        signing_alg: Choice<Option<Algorithm>> = Choice::wordless(
            ALGORITHMS,
            None,
            "what fits the key; `\"HS256\"` with a secret",
        ), only with auth_method = SIGNING;

        /// The `kid` of assertions. None is made up.
        key_id: Parsed<String> = Parsed::new(
            "text",
            ANY_TEXT,
            IfAbsent::Words("that of the JWK"),
        ), only with auth_method = SIGNING;

        /// A JWT that someone else writes and renews.
        client_assertion: SecretText = SecretText::key_or_token(
            "`{ file = \"PATH\" }` of a JWT",
            "required by its method",
        ).required_by_choice(), only with auth_method = &["client_assertion"];

        /// Whether assertions say from when on they are valid (`nbf`), which is a few seconds ago. A server
        /// whose clock is behind may refuse them for it.
        assertion_nbf: Flag = Flag::new(false);

        /// The `aud` of assertions: `"issuer"`, `"token_endpoint"`, or any other text, unchanged.
        assertion_audience: Text = Text::new(
            "text",
            IfAbsent::Words("the issuer, else the token endpoint"),
        ), only with auth_method = SIGNING;

        /// How id and secret are encoded: `"form"` as RFC 6749 section 2.3.1 says, `"raw"` as they are, for
        /// servers that do not decode them.
        basic_encoding: Choice<BasicEncoding> = Choice::new(
            &[("form", BasicEncoding::Form), ("raw", BasicEncoding::Raw)],
            "form",
        ), only with auth_method = &["client_secret_basic"];

        /// Whether tokens are [bound to a key](credentials.md#how-a-token-is-bound-to-a-key) (RFC 9449).
        /// `"optional"`: if the server does that.
        dpop: FlagOr = FlagOr::new(false, "optional");

        /// The key that tokens are bound to: PEM or JWK, EC on P-256. Only with `dpop`.
        dpop_key: SecretText = SecretText::key_or_token(
            "`{ file = \"PATH\" }` of a PEM or JWK file",
            "a key that is made at the start",
        ).empty_is_absent();

        /// What the client has been granted: what it may do itself, what a JWT says, or a token in exchange
        /// for [one that someone else issued](credentials.md#how-a-workload-uses-a-token-it-was-given).
        grant: Choice<GrantKind> = Choice::new(GRANTS, "client_credentials");

        /// The JWT that is shown.
        assertion: SecretText = SecretText::key_or_token(
            "`{ file = \"PATH\" }` of a JWT",
            "required by its grant",
        ).required_by_choice(), only with grant = &["jwt-bearer"];

        /// The token that is exchanged.
        subject_token: SecretText = SecretText::key_or_token(
            "`{ file = \"PATH\" }` of a token",
            "required by its grant",
        ).required_by_choice(), only with grant = &["token-exchange"];

        /// What `subject_token` is (RFC 8693 section 3).
        subject_token_type: Parsed<String> = token_type_of_a_jwt(),
            only with grant = &["token-exchange"];

        /// The token of the party that acts for the subject.
        actor_token: SecretText = SecretText::key_or_token(
            "`{ file = \"PATH\" }` of a token",
            "none",
        ), only with grant = &["token-exchange"];

        /// What `actor_token` is (RFC 8693 section 3).
        actor_token_type: Parsed<String> = token_type_of_a_jwt(),
            only with grant = &["token-exchange"];

        /// The type of token that is asked for.
        requested_token_type: Parsed<String> = Parsed::new(
            "URI",
            TOKEN_TYPE,
            IfAbsent::Words("the server's choice"),
        ), only with grant = &["token-exchange"];

        /// The scopes that are requested. If there are none, no `scope` is sent.
        scopes: List<String> = List::new("scopes", SCOPE);

        /// The parameter `audience` of token requests.
        audience: Parsed<String> = Parsed::new("text", ANY_TEXT, IfAbsent::Words("none"));

        /// The parameters `resource` of token requests (RFC 8707).
        resources: List<String> = List::new("URIs", RESOURCE);

        /// More form fields of token requests. A field that has a key of its own, or is always sent, cannot
        /// be named.
        extra_parameters: SecretsByName =
            SecretsByName(NameForm { taken: TAKEN_PARAMETERS, ..NameForm::ANY });

        /// More headers of token requests. A header that is always sent cannot be named.
        token_headers: SecretsByName = SecretsByName(NameForm {
            pattern: HEADER.pattern,
            except: HEADER.except,
            taken: TAKEN_HEADERS,
            ..NameForm::ANY
        });

        /// When tokens are renewed: `"eager"` in the background, `"lazy"` when a request needs one.
        refresh: Choice<Refresh> = Choice::new(
            &[("eager", Refresh::Eager), ("lazy", Refresh::Lazy)],
            "eager",
        );

        /// Whether the process counts as ready only while there is a usable token.
        required: Flag = Flag::new(true);

        /// What a token is when the answer has no `token_type`.
        default_token_type: Choice<Option<&'static str>> = Choice::wordless(
            TOKEN_TYPES,
            None,
            "none: such an answer is refused",
        );

        /// The lifetime of a token that came without `expires_in`.
        default_lifetime: Time = Time::new("5m", "1s");

        /// The longest lifetime. A longer one is cut to it.
        max_lifetime: Time = Time::new("24h", "1s");

        /// How long one token request may take as a whole, once its files have been read.
        fetch_timeout: Time = Time::new("10s", "1ms");

        /// How long one address of the authorization server may stay silent before the next one is tried
        /// beside it.
        address_delay: Time = address_delay();

        /// How long a request that is passed on waits for a token.
        acquire_timeout: Time = Time::new("5s", "1ms");

        /// The longest pause between token requests that fail. The first pause is half a second at most, and
        /// none is shorter than 0.1 s.
        max_retry_pause: Time = Time::new("30s", FIRST_RETRY);

        /// The longest pause between token requests while the server refuses the client. The first pause is
        /// about 2 s.
        max_refused_pause: Time = Time::new("5m", FIRST_REFUSED);

        /// The longest `Retry-After` of the server that is waited for.
        max_retry_after: Time = Time::new("5m", FIRST_RETRY);

        /// The largest answer of the authorization server: of its head, and of its body.
        max_response_bytes: Size = Size::new("64KiB", "8KiB", "1MiB");

        /// The longest token. Servers take heads of a certain size only; many take no more than 8 to 64 KiB.
        max_token_bytes: Size = Size::new("16KiB", "1KiB", "1MiB");

        /// The longest DPoP nonce that is repeated, to the authorization server and to APIs.
        max_nonce_bytes: Size = Size::new("4KiB", "64B", "64KiB");

        /// Needed for an `http://` token endpoint or issuer that is not loopback.
        allow_plaintext: Flag = Flag::new(false);

        /// Hosts that the document of `issuer` may name although they are at private addresses and the issuer
        /// is not, as with split DNS. A name stands for private addresses. A loopback or link-local address
        /// has to be written out: `"127.0.0.1"`, `"localhost"`.
        discovery_hosts: List<String> = List::new("host names", HOST_NAME);

        /// TLS towards the authorization server. It shares nothing with that of an upstream.
        tls: SubTable = SubTable(&TLS_TABLE);

        /// The [proxy](#proxies) through which the authorization server is reached: `http://`, `https://` or
        /// `socks5h://`, with a port. `"environment"`: the one that `https_proxy` and its like name. `"none"`: none.
        proxy: Raw = proxy("that of `[egress]`");

        /// TLS towards the proxy.
        proxy_tls: SubTable = proxy_tls();

        /// What the proxy is shown: `user:password`, or a whole value of `Proxy-Authorization`.
        proxy_authorization: SecretText = proxy_authorization();
    }
}

const RULES: &[&[Rule]] = &[
    &[
        Rule {
            says: "Either `token_endpoint` or `issuer`.",
            when: Always,
            then: Any(&[Says("token_endpoint"), Says("issuer")]),
        },
        Rule {
            says: "Either `token_endpoint` or `issuer`, not both.",
            when: Says("issuer"),
            then: Not(&Says("token_endpoint")),
        },
        Rule {
            says: "`discovery_hosts` belongs to `issuer`.",
            when: Says("discovery_hosts"),
            then: Not(&Written("token_endpoint")),
        },
        Rule {
            says: "`client_id` is required, unless the client shows a token of someone else.",
            when: Not(&Any(&[
                Is("auth_method", &["client_assertion"]),
                All(&[
                    Is("auth_method", &["none"]),
                    Not(&Is("grant", &["client_credentials"])),
                ]),
            ])),
            then: Written("client_id"),
        },
        Rule {
            says: "With `tls_client_auth` and `self_signed_tls_client_auth`, `tls` has a `certificate_file`.",
            when: Is(
                "auth_method",
                &["tls_client_auth", "self_signed_tls_client_auth"],
            ),
            then: Within("tls", &Says("certificate_file")),
        },
        Rule {
            says: "A secret signs with `HS256`, `HS384` or `HS512`.",
            when: All(&[
                Is("auth_method", &["client_secret_jwt"]),
                Written("signing_alg"),
            ]),
            then: Is("signing_alg", SYMMETRIC),
        },
        Rule {
            says: "A private key does not sign with `HS256`, `HS384` or `HS512`.",
            when: Is("auth_method", &["private_key_jwt"]),
            then: Not(&Is("signing_alg", SYMMETRIC)),
        },
        Rule {
            says: "`assertion_audience = \"issuer\"` needs `issuer`.",
            when: All(&[
                Is("auth_method", SIGNING),
                Is("assertion_audience", &["issuer"]),
            ]),
            then: Says("issuer"),
        },
        Rule {
            says: "`actor_token_type` belongs to `actor_token`.",
            when: Written("actor_token_type"),
            then: Any(&[
                Written("actor_token"),
                Not(&Is("grant", &["token-exchange"])),
            ]),
        },
        Rule {
            says: "`dpop_key` belongs to `dpop`.",
            when: Says("dpop_key"),
            then: On("dpop"),
        },
    ],
    PROXY_RULES,
];

const SYMMETRIC: &[&str] = &["HS256", "HS384", "HS512"];

const ONE_OF_TWO: super::super::kinds::NoValue =
    IfAbsent::Words("required: either `token_endpoint` or `issuer`");

/// The first pauses, which no longest pause undercuts.
const FIRST_RETRY: &str = "500ms";
const FIRST_REFUSED: &str = "2s";

const fn token_type_of_a_jwt() -> Parsed<String> {
    Parsed::new(
        "URI",
        TOKEN_TYPE,
        IfAbsent::Value(|| SecurityToken::JWT.to_owned()),
    )
}
