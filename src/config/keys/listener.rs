//! `[[listeners]]`

use http::HeaderName;

use super::super::kinds::{
    Choice, Flag, IfAbsent, Integer, List, OptionalTime, Parsed, SubTable, TableArray, Text, Time,
};
use super::super::parse::address::{LISTEN_ADDRESS, ORIGIN, UNIX_SOCKET};
use super::super::parse::caller::CALLER_HEADER;
use super::super::parse::listener::{ACCEPTED_HOST, EVERY_HOST, Mode, NAME, OCTAL};
use super::super::parse::syntax::ANY_TEXT;
use super::super::rules::Condition::{All, Any, Is, Matches, Not, On, Says, Written};
use super::super::rules::Rule;
use super::super::settings::caller::EVERY_CALLER;
use super::super::settings::forward::EVERY_UPSTREAM;
use super::super::settings::{EgressAction, Enforcement};
use super::listener_tls::{CERTIFICATE_TABLE, LISTENER_TLS_TABLE};

/// How requests name where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ListenerKind {
    /// By their path and `Host`.
    Reverse,
    /// By an absolute URL.
    Forward,
    /// By where the system found them on their way to.
    Redirected,
}

const KINDS: &[(&str, ListenerKind)] = &[
    ("reverse", ListenerKind::Reverse),
    ("forward", ListenerKind::Forward),
    ("redirected", ListenerKind::Redirected),
];

const ENFORCEMENTS: &[(&str, Enforcement)] = &[
    ("enforce", Enforcement::Enforce),
    ("report", Enforcement::Report),
];

const UNMATCHED: &[(&str, Option<EgressAction>)] = &[
    ("pass", Some(EgressAction::Pass)),
    ("deny", Some(EgressAction::Deny)),
];

const REVERSE: &[&str] = &["reverse"];
const LEADING_BY_NAME: &[&str] = &["forward", "redirected"];
const REDIRECTED: &[&str] = &["redirected"];
/// What needs clients that know of the listener.
const CALLED: &[&str] = &["reverse", "forward"];

keys! {
    /// Where the requests of the service arrive.
    LISTENER: Listener, LISTENER_TABLE = "[[listeners]]", rules RULES {
        /// Where it listens: `"127.0.0.1:7080"`, or `"unix:/run/sidebearer/app.sock"` for a unix socket. A
        /// socket file that nobody listens on any more is replaced.
        address: Text = Text::new(
            "IP address and port, or `unix:` and a path",
            IfAbsent::Required("an address such as \"127.0.0.1:7080\""),
        ).matching(LISTEN_ADDRESS).address();

        /// Its name in routes, logs and metrics.
        name: Parsed<String> = Parsed::new("name", NAME, IfAbsent::Words("the address"));

        /// How requests name where they go. `"reverse"`: by path and `Host`, as to a server. `"forward"`: by an
        /// absolute URL, as to a proxy (`http_proxy`). `"redirected"`: clients know nothing of it, and the system
        /// [redirects](redirection.md) their connections to it; `address` is `127.0.0.1` or `::1`, and stands for both.
        kind: Choice<ListenerKind> = Choice::new(KINDS, "reverse");

        /// The permissions of a unix socket.
        mode: Parsed<Mode> = Parsed::strict(
            "octal number as a string",
            "an octal string such as \"0660\"",
            OCTAL,
            IfAbsent::Value(|| Mode(0o660)),
        );

        /// The upstream that all requests of this listener go to, unless a route for them says otherwise.
        upstream: Text = Text::new("name of an upstream", IfAbsent::Words("none")), only with kind = REVERSE;

        /// The upstreams that it leads to by their own names, which are the host of `url` and `hosts`. `["*"]` is all of
        /// them.
        upstreams: List<String> = List::required_where(
            "names of upstreams",
            ANY_TEXT,
            "the network can reach the listener",
            &[EVERY_UPSTREAM],
        ).or_every(EVERY_UPSTREAM), only with kind = LEADING_BY_NAME;

        /// What becomes of a request that no route and no name of an upstream matches, and no rule of `[egress]`.
        /// `"deny"`: it is refused. `"pass"`: it goes on without a token to where its client names, or was on its way to,
        /// as far as `[egress]` allows. Where the network can reach the listener, only with `callers`.
        unmatched: Choice<Option<EgressAction>> = Choice::wordless(
            UNMATCHED,
            None,
            "`\"deny\"`, on a redirected listener `\"pass\"`",
        ), only with kind = LEADING_BY_NAME;

        /// How long a client may say nothing until its connection is led on to where it was on its way to: in some
        /// protocols the server speaks first.
        detect_timeout: Time = Time::new("1s", "1ms"), only with kind = REDIRECTED;

        /// Ends the TLS of clients where an upstream is matched, inside of CONNECT or on a redirected connection, with
        /// certificates of the CA of `[interception]`, so that tokens can be put into requests to `https://` URLs.
        intercept: Flag = Flag::new(false), only with kind = LEADING_BY_NAME;

        /// More values of `Host` that a loopback listener accepts. `"*"` accepts any. Where the network can reach the
        /// listener, every name is accepted unless this is written, and every IP address anyhow. Not on a unix socket.
        hosts: List<String> = List::new("host names", ACCEPTED_HOST).or_every(EVERY_HOST), only with kind = REVERSE;

        /// Needed without `callers` for an address that is neither loopback nor a unix socket: everyone who reaches it
        /// uses the credentials of its upstreams.
        allow_network: Flag = Flag::new(false), only with kind = CALLED;

        /// The origins whose web pages may use the listener, such as `"https://app.example.com"`. They are also let in
        /// where an app relays their `Origin`. Not on a unix socket.
        allow_origins: List<String> = List::new("origins", ORIGIN);

        /// Lets the web pages of every origin use the listener. Not on a unix socket.
        allow_browsers: Flag = Flag::new(false);

        /// The certificate, and whose certificates of clients are taken. Without it the listener speaks plain HTTP.
        tls: SubTable = SubTable(&LISTENER_TLS_TABLE), only with kind = CALLED;

        /// More certificates, chosen by the name that a client asks for (SNI).
        certificates: TableArray = TableArray(&CERTIFICATE_TABLE), only with kind = CALLED;

        /// Needed where keys or tokens of callers come over a network without TLS.
        allow_plaintext: Flag = Flag::new(false), only with kind = CALLED;

        /// With `tls` or `intercept`: the longest time that a handshake may take.
        handshake_timeout: Time = Time::new("10s", "1ms");

        /// With `tls` or `intercept`: the most handshakes at the same time. Once more than half of them are taken, no client
        /// gets more than a quarter of those that are left, by its address. Connections beyond them are closed at once, and counted; a CONNECT whose
        /// TLS is to be ended is refused.
        max_handshakes: Integer<usize> = Integer::new(1024, 1..=1_000_000);

        /// How long a connection takes new requests, less up to 15 %. After that it ends when its requests have
        /// ended. `"0s"`: there is no limit.
        max_connection_age: OptionalTime = OptionalTime::new(
            "0s",
            "`\"1h\"` with `client_ca_file`, else `\"0s\"`",
        );

        /// Who may use it, by the names of `[callers.NAME]`. `["*"]`: every caller that is known. `[]`: nobody is
        /// identified, and everyone may use it who reaches it.
        callers: List<String> = List::new("names of callers", ANY_TEXT).or_every(EVERY_CALLER), only with kind = CALLED;

        /// The header that keys and tokens of callers come in. On a forward listener it is always
        /// `proxy-authorization`.
        caller_header: Parsed<HeaderName> = Parsed::new(
            "header name",
            CALLER_HEADER,
            IfAbsent::Words("`\"authorization\"`, on a forward listener `\"proxy-authorization\"`"),
        ), only with kind = CALLED;

        /// What becomes of requests that a list of callers would refuse. `"report"`: they are served, counted and
        /// logged. Who cannot be identified is refused all the same, and so is a caller for whom there is no
        /// credential.
        enforcement: Choice<Enforcement> = Choice::new(ENFORCEMENTS, "enforce"), only with kind = CALLED;
    }
}

const RULES: &[&[Rule]] = &[&[
    Rule {
        says: "`certificates` belongs to `tls`.",
        when: Written("certificates"),
        then: Written("tls"),
    },
    Rule {
        says: "`handshake_timeout` and `max_handshakes` belong to `tls` and `intercept`.",
        when: Any(&[Written("handshake_timeout"), Written("max_handshakes")]),
        then: Any(&[Written("tls"), On("intercept")]),
    },
    Rule {
        says: "`caller_header` and `enforcement = \"report\"` belong to `callers`.",
        when: Any(&[Written("caller_header"), Is("enforcement", &["report"])]),
        then: Says("callers"),
    },
    Rule {
        says: "`allow_origins` has no effect with `allow_browsers = true`.",
        when: On("allow_browsers"),
        then: Not(&Written("allow_origins")),
    },
    Rule {
        says: "No web page reaches a unix socket: it has no `hosts`, `allow_origins` and `allow_browsers`.",
        when: Any(&[Says("hosts"), Says("allow_origins"), On("allow_browsers")]),
        then: Not(&Matches("address", UNIX_SOCKET)),
    },
    Rule {
        says: "Only a unix socket has a `mode`.",
        when: Written("mode"),
        then: Matches("address", UNIX_SOCKET),
    },
    Rule {
        says: "A unix socket speaks no `tls`, and nothing is redirected to one.",
        when: Matches("address", UNIX_SOCKET),
        then: All(&[Not(&Written("tls")), Not(&Is("kind", REDIRECTED))]),
    },
]];
