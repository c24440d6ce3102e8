//! Who callers are.

use std::sync::Arc;

use insta::assert_snapshot;

use super::*;
use crate::config::{CallerList, IssuerKeys, Limits, ServiceAccount};

/// A listener of the network with TLS that takes certificates of clients, named `teams`.
pub(super) const TEAMS: &str = r#"
[[listeners]]
name = "teams"
address = "0.0.0.0:8443"
upstream = "crm"
tls = { certificate_file = "server.pem", key_file = "server.key", client_ca_file = "clients.pem" }
"#;

/// Two lines with a key each, of 32 characters.
const KEYS: &str = "0123456789abcdef0123456789abcdef\nfedcba9876543210fedcba9876543210\n";

/// What is found in these parts, without the lines that it quotes.
pub(super) fn findings(parts: &[&str]) -> String {
    let directory = directory(&[("sidebearer.toml", &parts.concat()), ("keys", KEYS)]);
    std::fs::write(
        directory.path().join("other-keys"),
        "0123456789ABCDEF0123456789ABCDEF",
    )
    .unwrap();
    std::fs::write(directory.path().join("jwks"), "{\"keys\": [{}]}").unwrap();
    std::os::unix::fs::symlink("elsewhere", directory.path().join("link")).unwrap();
    add_certificate(&directory);
    let found = match load(&directory.path().join("sidebearer.toml")) {
        Ok(loaded) => loaded.warnings,
        Err(refused) => refused,
    };
    let found = found.iter().map(|found| {
        let line = found.line.unwrap_or_default();
        format!(
            "{line}: {}: {}\n    {}\n",
            found.severity, found.message, found.help
        )
    });
    without(directory.path(), &found.collect::<String>())
}

#[test]
fn a_caller_is_known_by_any_of_its_means() {
    let text = r#"
callers = ["billing"]

[callers.billing]
spiffe_id = "spiffe://corp.example/ns/billing/sa/*"
certificate_name = "Billing.Internal."
service_account = "billing/app"
token = { issuer = "https://login.example.com", audience = "sidebearer", claims = { sub = "billing" } }
user = 1001
key = { file = "keys" }
limits = { requests_per_second = 100 }

[callers."*"]
limits = { requests_per_second = 1, burst = 200, tunnels = 20 }

[kubernetes]
"#;
    let directory = directory(&[
        (
            "sidebearer.toml",
            &[TEAMS, text, UPSTREAM, CREDENTIAL].concat(),
        ),
        ("keys", KEYS),
    ]);
    add_certificate(&directory);
    let loaded = load(&directory.path().join("sidebearer.toml")).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    let caller = &config.callers["billing"];
    let pattern = caller.spiffe_id.as_ref().unwrap();
    assert!(pattern.matches("spiffe://corp.example/ns/billing/sa/app"));
    assert_eq!(caller.certificate_name.as_deref(), Some("billing.internal"));
    let account = ServiceAccount {
        namespace: "billing".to_owned(),
        name: "app".to_owned(),
    };
    assert_eq!(caller.service_account, Some(account));
    let token = caller.token.as_ref().unwrap();
    assert_eq!(token.issuer.name, "https://login.example.com");
    assert_eq!(*token.claims, [("sub".into(), "billing".into())]);
    assert!(matches!(token.issuer.keys, IssuerKeys::Discovery(_)));
    assert_eq!(caller.user, Some(1001));
    let key = caller.key.as_ref().unwrap().read().unwrap();
    assert_eq!(crate::config::Caller::keys_of(&key).count(), 2);
    let limits = Limits {
        requests_per_second: Some(100),
        burst: Some(200),
        concurrent: None,
        tunnels: Some(20),
    };
    assert_eq!(caller.limits, limits);
    let listener = &config.listeners[0];
    assert_eq!(
        listener.callers,
        CallerList::Named(vec!["billing".to_owned()])
    );
    assert_eq!(listener.max_connection_age.unwrap().as_secs(), 3600);
    assert_eq!(listener.caller_header, "authorization");
    let files = config.named_files();
    for name in ["keys", "server.pem", "server.key"] {
        assert!(
            files.contains(&directory.path().join(name)),
            "{name}: {files:?}"
        );
    }
}

#[test]
fn what_identifies_nobody_is_refused_at_its_place() {
    let text = r#"
callers = ["*"]

[callers."*"]
key = { file = "keys" }

[callers.nothing]

[callers."two words"]
user = 1

[callers.bad]
spiffe_id = "spiffe://corp.example/ns/billing*"
certificate_name = "*.internal"
service_account = "app"
user = 65534
limits = { requests_per_second = 0, burst = 1 }

[callers.user]
user = "no such user"

[callers.none]
user = 4294967295

[callers.negative]
user = -1

[callers.nobody]
user = "nobody"

[callers.token]
token = { issuer = "http://login.example.com", audience = "", claims = { exp = "1", sub = "" } }
"#;
    assert_snapshot!(findings(&[TEAMS, text, UPSTREAM, CREDENTIAL]), @r##"
    11: error: `key` in [callers.*] identifies nobody
        "*" has only `limits`, for every caller that says nothing of its own
    13: error: caller `nothing` has no means to be known by
        expected one of `spiffe_id`, `certificate_name`, `service_account`, `token`, `user` and `key`
    15: error: invalid name of caller `two words`
        expected visible ASCII characters without spaces
    19: error: invalid `spiffe_id` in [callers.bad]
        "*" stands only for a whole segment
    20: error: invalid `certificate_name` in [callers.bad]
        wildcards are not possible here: name the host
    21: error: invalid `service_account` in [callers.bad]
        expected a namespace and a name, such as "billing/app"
    22: error: `user` in [callers.bad] is nobody
        the system shows every user as 65534 that has no uid here: give the caller one of its own
    23: error: invalid `requests_per_second` in [callers.bad.limits]
        expected a whole number from 1 to 1000000
    26: error: invalid `user` in [callers.user]
        /etc/passwd has no user of this name: expected a uid or the name of a user
    29: error: invalid `user` in [callers.none]
        expected a uid or the name of a user
    32: error: invalid `user` in [callers.negative]
        expected a uid or the name of a user
    35: error: `user` in [callers.nobody] is nobody
        the system shows every user as 65534 that has no uid here: give the caller one of its own
    38: error: `audience` is missing in [callers.token.token]
        expected what the claim `aud` of its tokens has to name
    38: error: `issuer` in [callers.token.token] would be asked for its keys in plain text
        use https, or name its keys with `jwks_file`
    38: error: invalid claim `exp` in [callers.token.token.claims]
        times are always checked
    38: error: invalid `sub` in [callers.token.token.claims]
        expected a string that is not empty
    "##);
}

#[test]
fn callers_that_name_an_issuer_alike_share_it() {
    let caller = |name: &str, issuer: &str| {
        format!(
            "[callers.{name}]\ntoken = {{ issuer = \"{issuer}\", audience = \"api\", claims = {{ sub = \"{name}\" }} }}\n"
        )
    };
    let callers = [
        "callers = [\"*\"]\n",
        &caller("a", "https://login.example.com"),
        &caller("b", "https://login.example.com"),
        &caller("c", "https://login.example.org"),
    ];
    let (_directory, loaded) = load_parts(&[LISTENER, &callers.concat(), UPSTREAM, CREDENTIAL]);
    let callers = loaded.unwrap().config.callers;
    let [a, b, c] = ["a", "b", "c"].map(|name| &callers[name].token.as_ref().unwrap().issuer);
    assert!(Arc::ptr_eq(a, b) && !Arc::ptr_eq(a, c));
}

#[test]
fn a_key_is_long_and_can_be_sent() {
    let short =
        "\n[callers.a]\nkey = { file = \"short\" }\n\n[callers.b]\nkey = { file = \"spaced\" }\n";
    let blank = "\n[callers.c]\nkey = { file = \"blank\" }\n\n[callers.d]\nkey = \"a-key-of-which-nobody-may-see-a-bit\"\n";
    let directory = directory(&[
        (
            "sidebearer.toml",
            &[
                LISTENER,
                "callers = [\"*\"]\n",
                UPSTREAM,
                CREDENTIAL,
                short,
                blank,
            ]
            .concat(),
        ),
        (
            "short",
            "0123456789abcdef0123456789abcdef\nhunter2hunter2\n",
        ),
        ("spaced", "0123456789abcdef 0123456789abcdef"),
        ("blank", "\n\n"),
    ]);
    let refused = load(&directory.path().join("sidebearer.toml")).unwrap_err();
    let refused = shown(&directory, &refused);
    assert!(
        !refused.contains("hunter2") && !refused.contains("nobody-may"),
        "{refused}"
    );
    assert_snapshot!(refused, @r##"
    error: `key` in [callers.a] has a key of 14 characters
       --> sidebearer.toml:17:7
        |
     17 | key = { file = "short" }
        |       ^^^^^^^^^^^^^^^^^^ expected 32 or more, such as those of `openssl rand -hex 32`

    error: `key` in [callers.b] has a key with other than visible ASCII characters
       --> sidebearer.toml:20:7
        |
     20 | key = { file = "spaced" }
        |       ^^^^^^^^^^^^^^^^^^^ a client could not send it: expected letters, digits and signs without spaces

    error: `key` in [callers.c] holds no key
       --> sidebearer.toml:23:7
        |
     23 | key = { file = "blank" }
        |       ^^^^^^^^^^^^^^^^^^ expected one key in each line

    warning: `key` in [callers.d] is written in the file itself
       --> sidebearer.toml:26:7
        |
     26 | key = "***"
        |       ^^^^^ prefer `{ file = "PATH" }` or `{ env = "NAME" }`
    "##);
}

#[test]
fn an_identity_of_two_callers_is_refused() {
    for (first, second) in [
        (
            "certificate_name = \"a.internal\"",
            "certificate_name = \"A.internal.\"",
        ),
        ("user = 7", "user = \"7\""),
        ("service_account = \"a/b\"", "service_account = \"a/b\""),
        (
            "spiffe_id = \"spiffe://a/b/*\"",
            "spiffe_id = \"spiffe://a/*/c\"",
        ),
        (
            "spiffe_id = \"spiffe://a/b\"",
            "spiffe_id = \"spiffe://a/b\"",
        ),
        (
            "key = { file = \"keys\" }",
            "key = \"fedcba9876543210fedcba9876543210\"",
        ),
        (
            "token = { issuer = \"https://a\", audience = \"b\" }",
            "token = { issuer = \"https://a\", audience = \"b\", claims = { sub = \"c\" } }",
        ),
        (
            "token = { issuer = \"https://a\", audience = \"b\", claims = { sub = \"c\" } }",
            "token = { issuer = \"https://a\", audience = \"b\", claims = { sub = \"c\" } }",
        ),
        (
            "service_account = \"a/b\"",
            "token = { issuer = \"https://k\", audience = \"gateway\", claims = { sub = \"system:serviceaccount:a:b\" } }",
        ),
    ] {
        let rest = "\n[kubernetes]\nissuer = \"https://k\"\naudience = \"gateway\"\n";
        let callers =
            format!("callers = [\"*\"]\n[callers.one]\n{first}\n[callers.two]\n{second}\n{rest}");
        let found = findings(&[TEAMS, &callers, UPSTREAM, CREDENTIAL]);
        assert_eq!(
            found.matches("error: ").count(),
            1,
            "{first} and {second}: {found}"
        );
        assert!(
            found.contains("`one`") && found.contains("`two`"),
            "{found}"
        );
    }
}

#[test]
fn identities_that_differ_or_that_only_a_request_can_tell_are_accepted() {
    for (first, second) in [
        (
            "certificate_name = \"a.internal\"",
            "spiffe_id = \"spiffe://a/b\"",
        ),
        (
            "spiffe_id = \"spiffe://a/*/b\"",
            "spiffe_id = \"spiffe://a/*/c\"",
        ),
        (
            "spiffe_id = \"spiffe://a/b/*\"",
            "spiffe_id = \"spiffe://b/b/*\"",
        ),
        ("user = 7", "user = 8"),
        (
            "key = { file = \"keys\" }",
            "key = { file = \"other-keys\" }",
        ),
        (
            "token = { issuer = \"https://a\", audience = \"b\", claims = { sub = \"c\" } }",
            "token = { issuer = \"https://a\", audience = \"b\", claims = { sub = \"d\" } }",
        ),
        (
            "token = { issuer = \"https://a\", audience = \"b\", claims = { sub = \"c\" } }",
            "token = { issuer = \"https://a\", audience = \"b\", claims = { azp = \"d\" } }",
        ),
        (
            "token = { issuer = \"https://a\", audience = \"b\" }",
            "token = { issuer = \"https://a\", audience = \"c\" }",
        ),
    ] {
        let callers =
            format!("callers = [\"*\"]\n[callers.one]\n{first}\n[callers.two]\n{second}\n");
        let found = findings(&[TEAMS, &callers, UPSTREAM, CREDENTIAL]);
        assert!(!found.contains("error: "), "{first} and {second}: {found}");
    }
}

#[test]
fn an_issuer_has_the_same_keys_for_all() {
    let callers = r#"
callers = ["*"]

[callers.one]
token = { issuer = "https://a", audience = "b", claims = { sub = "c" } }

[callers.two]
token = { issuer = "https://a", audience = "b", claims = { sub = "d" }, jwks_file = "jwks" }

[callers.three]
token = { issuer = "https://b", audience = "b", jwks_file = "keys", tls = {} }
"#;
    assert_snapshot!(findings(&[TEAMS, callers, UPSTREAM, CREDENTIAL]), @r##"
    13: error: callers `one` and `two` have the same issuer, and other keys or `tls` for it
        write `jwks_file` and `tls` alike for all callers of an issuer
    17: error: invalid `jwks_file` in [callers.three.token]
        keys: expected a JWK set: { "keys": [...] }
    17: error: `tls` in [callers.three.token] has no effect
        the keys are in `jwks_file`
    "##);
}

#[test]
fn what_is_named_for_service_accounts_and_the_record_is_looked_at() {
    let callers = "callers = [\"*\"]\n[callers.app]\nservice_account = \"a/b\"\n";
    let kubernetes = r#"
[kubernetes]
api_server = "http://10.0.0.1"
token_file = "missing"
ca_file = "keys"
"#;
    for (file, expected) in [
        ("stdout", true),
        ("audit.jsonl", true),
        ("std-out", false),
        ("stderr", false),
        ("-", false),
        ("missing/audit.jsonl", false),
        ("keys/audit.jsonl", false),
        (".", false),
        ("link", false),
    ] {
        let audit = format!("\n[audit]\nfile = \"{file}\"\n");
        let found = findings(&[
            TEAMS,
            callers,
            "[kubernetes]\n",
            UPSTREAM,
            CREDENTIAL,
            &audit,
        ]);
        assert_eq!(found.is_empty(), expected, "{file}: {found}");
    }
    assert_snapshot!(findings(&[
        TEAMS, callers, kubernetes, UPSTREAM, CREDENTIAL
    ]), @r##"
    12: error: `api_server` in [kubernetes] is not asked over TLS
        use https: the token of the gateway itself would be sent in plain text
    13: error: invalid `token_file` in [kubernetes]
        cannot read missing: No such file or directory (os error 2)
    14: error: invalid `ca_file` in [kubernetes]
        keys: the file holds no PEM certificate
    "##);
}
