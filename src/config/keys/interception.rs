//! `[interception]`

use super::super::kinds::{IfAbsent, List, Parsed, Text, Time};
use super::super::parse::interception::DOMAIN;
use super::super::parse::syntax::ANY_TEXT;

keys! {
    /// The CA that ends the TLS of clients, so that tokens can be put in.
    INTERCEPTION: Interception, INTERCEPTION_TABLE = "[interception]" {
        /// The directory of the [CA](interception.md#the-key-directory): `issuer.key` and `issuer.pem`. They are made at
        /// the first start if neither is there.
        key_directory: Parsed<String> = Parsed::new(
            "path of a directory",
            ANY_TEXT,
            IfAbsent::Value(|| "/var/lib/sidebearer/ca".to_owned()),
        );

        /// The directory for clients, which is written at every start: `ca.pem`, `bundle.pem`, `truststore.p12` and
        /// `env.sh`.
        trust_directory: Parsed<String> = Parsed::new(
            "path of a directory",
            ANY_TEXT,
            IfAbsent::Value(|| "/run/sidebearer/trust".to_owned()),
        );

        /// What the CA may sign at all: domains, each with all names below it, and IP addresses. Only hosts in there can
        /// be intercepted.
        domains: List<String> = List::required(
            "domains and IP addresses",
            DOMAIN,
            "domains such as [\"example.com\"]",
        );

        /// The CA certificates in PEM that stand in `bundle.pem` and `truststore.p12` beside ours.
        roots_file: Text = Text::new("path of a file", IfAbsent::Words("those of the system"));

        /// How long a certificate for one host lives. It is renewed in time.
        leaf_lifetime: Time = Time::new("24h", "1m");
    }
}
