//! The `tls` tables of upstreams and credentials.

use super::super::kinds::{Choice, IfAbsent, Parsed, Text};
use super::super::parse::address::SERVER_NAME;
use super::super::rules::Condition::{Any, Not, Says, Written};
use super::super::rules::Rule;

const RULES: &[&[Rule]] = &[&[
    Rule {
        says: "`certificate_file` and `key_file` belong together.",
        when: Says("certificate_file"),
        then: Says("key_file"),
    },
    Rule {
        says: "`key_file` and `certificate_file` belong together.",
        when: Says("key_file"),
        then: Says("certificate_file"),
    },
]];

const UPSTREAM_RULES: &[&[Rule]] = &[&[Rule {
    says: "`certificate_from` takes the place of `certificate_file` and `key_file`.",
    when: Says("certificate_from"),
    then: Not(&Any(&[Written("certificate_file"), Written("key_file")])),
}]];

keys! {
    /// TLS towards an authorization server, and what it has in common with that towards an upstream.
    TLS: Tls, TLS_TABLE = "[credentials.NAME.tls]", rules RULES {
        /// CA certificates in PEM. They replace those of the system.
        ca_file: Text = Text::new("path of a file", IfAbsent::Words("those of the system"));

        /// The client certificate and the certificates of its issuers in PEM, together with `key_file`.
        certificate_file: Text = Text::new("path of a file", IfAbsent::Words("none"));

        /// The key of the client certificate in PEM, together with `certificate_file`.
        key_file: Text = Text::new("path of a file", IfAbsent::Words("none"));

        /// The name that the certificate of the server must carry.
        server_name: Parsed<String> = Parsed::new(
            "host name or IP address",
            SERVER_NAME,
            IfAbsent::Words("the host of the URL"),
        );

        /// The oldest version of TLS that is spoken.
        min_version: Choice<bool> = Choice::new(&[("1.2", false), ("1.3", true)], "1.2");
    }
}

keys! {
    /// TLS towards an upstream.
    UPSTREAM_TLS: UpstreamTls, UPSTREAM_TLS_TABLE = "[upstreams.NAME.tls]", and TLS_TABLE, rules UPSTREAM_RULES {
        /// The credential of the upstream, named once more: connections present the certificate of that
        /// credential, which its tokens are
        /// [bound to](credentials.md#how-a-token-is-bound-to-a-certificate). It takes the place of
        /// `certificate_file` and `key_file`.
        certificate_from: Text = Text::new("name of a credential", IfAbsent::Words("none"));
    }
}
