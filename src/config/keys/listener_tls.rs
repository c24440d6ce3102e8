//! The `tls` and `certificates` of listeners.

use super::super::kinds::{Choice, IfAbsent, NoValue, Text, Time};
use super::super::rules::Condition::{All, Any, Says, Written};
use super::super::rules::Rule;
use super::super::settings::ClientCertificates;

const CLIENT_CERTIFICATES: &[(&str, ClientCertificates)] = &[
    ("optional", ClientCertificates::Optional),
    ("required", ClientCertificates::Required),
];

const NEEDED: NoValue = IfAbsent::Required("the path of a PEM file");

const RULES: &[&[Rule]] = &[&[
    Rule {
        says: "`client_crl_file`, `client_certificates` and `crl_grace` belong to `client_ca_file`.",
        when: Any(&[
            Written("client_crl_file"),
            Written("client_certificates"),
            Written("crl_grace"),
        ]),
        then: Written("client_ca_file"),
    },
    Rule {
        says: "`crl_grace` belongs to `client_crl_file`.",
        when: All(&[Says("client_ca_file"), Written("crl_grace")]),
        then: Written("client_crl_file"),
    },
]];

keys! {
    /// A certificate of a listener.
    CERTIFICATE: Certificate, CERTIFICATE_TABLE = "[[listeners.certificates]]" {
        /// The certificate and those of its issuers in PEM.
        certificate_file: Text = Text::new("path of a file", NEEDED);

        /// Its key in PEM.
        key_file: Text = Text::new("path of a file", NEEDED);
    }
}

keys! {
    /// TLS towards clients.
    LISTENER_TLS: ListenerTls, LISTENER_TLS_TABLE = "[listeners.tls]", and CERTIFICATE_TABLE, rules RULES {
        /// The CAs that certificates of clients are checked against, in PEM. Without it clients are asked for none.
        client_ca_file: Text = Text::new("path of a file", IfAbsent::Words("none"));

        /// CRLs in PEM. Where they are given, each certificate below the root needs the CRL of the CA that signed it, and one
        /// without is refused.
        client_crl_file: Text = Text::new("path of a file", IfAbsent::Words("none"));

        /// Whether a client may show a certificate, or has to. A certificate that is shown is always checked.
        client_certificates: Choice<ClientCertificates> =
            Choice::new(CLIENT_CERTIFICATES, "optional");

        /// How long a CRL serves on after its `nextUpdate`. After that every certificate is refused that it is for.
        crl_grace: Time = Time::new("24h", "0s");

        /// The oldest version of TLS that is spoken.
        min_version: Choice<bool> = Choice::new(&[("1.2", false), ("1.3", true)], "1.2");
    }
}
