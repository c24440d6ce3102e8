//! `[callers.NAME]`

use super::super::declare::NameForm;
use super::super::kinds::{IfAbsent, Parsed, Raw, SecretText, SubTable, Text, TextsByName};
use super::super::parse::address::HTTP_URL;
use super::super::parse::caller::{CERTIFICATE_NAME, SERVICE_ACCOUNT, SPIFFE_PATTERN};
use super::super::rules::Condition::{Always, Any, Matches, Not, Says, Written};
use super::super::rules::Rule;
use super::super::settings::{ServiceAccount, SpiffePattern};
use super::limits::LIMITS_TABLE;
use super::tls::TLS_TABLE;

/// Beyond it is only the number that the system takes for none.
const LAST_UID: u32 = u32::MAX - 1;

/// Claims that are checked anyhow, and the name of none.
pub(in crate::config) const CHECKED_CLAIMS: &[&str] = &["", "aud", "exp", "iat", "iss", "nbf"];

const RULES: &[&[Rule]] = &[&[Rule {
    says: "One of `spiffe_id`, `certificate_name`, `service_account`, `token`, `user` and `key` at least.",
    when: Always,
    then: Any(&[
        Says("spiffe_id"),
        Says("certificate_name"),
        Says("service_account"),
        Written("token"),
        Written("user"),
        Written("key"),
    ]),
}]];

const TOKEN_RULES: &[&[Rule]] = &[&[
    Rule {
        says: "`tls` has no effect with `jwks_file`.",
        when: Says("jwks_file"),
        then: Not(&Written("tls")),
    },
    Rule {
        says: "`issuer` is a URL, unless `jwks_file` has its keys.",
        when: Not(&Says("jwks_file")),
        then: Matches("issuer", HTTP_URL),
    },
]];

keys! {
    /// Who may use listeners, and how they are known.
    CALLER: Caller, CALLER_TABLE = "[callers.NAME]", rules RULES {
        /// The SPIFFE ID of its certificates: their one URI. `*` stands for one whole segment of the path.
        spiffe_id: Parsed<SpiffePattern> = Parsed::new(
            "SPIFFE ID",
            SPIFFE_PATTERN,
            IfAbsent::Words("none"),
        );

        /// A DNS name of its certificates.
        certificate_name: Parsed<String> = Parsed::new(
            "host name",
            CERTIFICATE_NAME,
            IfAbsent::Words("none"),
        );

        /// Its service account in Kubernetes, `"namespace/name"`, by a token that its pod is given for this
        /// gateway. See `[kubernetes]`.
        service_account: Parsed<ServiceAccount> = Parsed::new(
            "namespace and name of a service account",
            SERVICE_ACCOUNT,
            IfAbsent::Words("none"),
        );

        /// The JWTs of an authorization server that are its own.
        token: SubTable = SubTable(&CALLER_TOKEN_TABLE);

        /// The user whose processes it is, by unix sockets: a uid, or a name of `/etc/passwd`, which is looked
        /// up when the configuration is read. 65534 is nobody, and so is every user whom a user namespace
        /// (`PrivateUsers=yes` of systemd) gives no number.
        user: Raw = Raw::new("uid or name of a user", IfAbsent::Words("none")).or_number(LAST_UID);

        /// A key that it presents. 32 visible characters or more; several lines are several keys, to rotate them.
        key: SecretText = SecretText::secret("`{ file = \"PATH\" }` of a key", "none");

        /// How much it may ask for. What `[callers."*"]` says holds where it says nothing of its own.
        limits: SubTable = SubTable(&LIMITS_TABLE);
    }
}

keys! {
    /// The JWTs (RFC 7519) that are a caller's own.
    CALLER_TOKEN: CallerToken, CALLER_TOKEN_TABLE = "[callers.NAME.token]", rules TOKEN_RULES {
        /// The claim `iss`, exactly. Its keys are found by discovery, unless `jwks_file` has them.
        issuer: Text = Text::new(
            "text, or URL where its keys are found by discovery",
            IfAbsent::Required("the issuer of its tokens, such as \"https://login.example.com\""),
        ).address();

        /// What the claim `aud` has to name.
        audience: Text = Text::new(
            "text",
            IfAbsent::Required("what the claim `aud` of its tokens has to name"),
        );

        /// Further claims, and what each has to be, such as `{ sub = "billing" }`. A claim that is a list of strings has to contain it.
        claims: TextsByName = TextsByName(NameForm { taken: CHECKED_CLAIMS, ..NameForm::ANY });

        /// The keys of the issuer as a JWK set (RFC 7517). They are read again when the file changes.
        jwks_file: Text = Text::new("path of a file", IfAbsent::Words("found by discovery"));

        /// TLS towards the issuer.
        tls: SubTable = SubTable(&TLS_TABLE);
    }
}
