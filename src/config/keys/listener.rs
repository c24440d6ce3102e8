//! `[[listeners]]`

use super::super::kinds::{Choice, Flag, IfAbsent, List, Parsed, Text, any_text};
use super::super::parse::address::{host_name, origin};
use super::super::parse::listener::{Mode, name, octal};
use super::super::report::Expected;
use super::super::settings::EgressAction;
use super::super::settings::forward::EVERY_UPSTREAM;
use super::egress::ACTIONS;

/// How requests name where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) enum ListenerKind {
    /// By their path and `Host`.
    Reverse,
    /// By an absolute URL.
    Forward,
}

const KINDS: &[(&str, ListenerKind)] = &[
    ("reverse", ListenerKind::Reverse),
    ("forward", ListenerKind::Forward),
];

const REVERSE: &[&str] = &["reverse"];
const FORWARD: &[&str] = &["forward"];

keys! {
    /// Where the requests of the service arrive.
    LISTENER: Listener, LISTENER_TABLE = "[[listeners]]" {
        /// Where it listens: `"127.0.0.1:7080"`, or `"unix:/run/sidebearer/app.sock"` for a unix socket. A
        /// socket file that nobody listens on any more is replaced.
        address: Text = Text::new(
            "IP address and port, or `unix:` and a path",
            IfAbsent::Required("an address such as \"127.0.0.1:7080\""),
        );

        /// Its name in routes, logs and metrics.
        name: Parsed<String> = Parsed::new("name", name, IfAbsent::Words("the address"));

        /// How requests name where they go. `"reverse"`: by path and `Host`, as to a server. `"forward"`: by an
        /// absolute URL, as to a proxy (`http_proxy`).
        kind: Choice<ListenerKind> = Choice::new(KINDS, "reverse");

        /// The permissions of a unix socket.
        mode: Parsed<Mode> = Parsed::strict(
            "octal number as a string",
            "an octal string such as \"0660\"",
            octal,
            IfAbsent::Value(|| Mode(0o660)),
        );

        /// The upstream that all requests of this listener go to, unless a route for them says otherwise.
        upstream: Text = Text::new("name of an upstream", IfAbsent::Words("none")), only with kind = REVERSE;

        /// A forward listener: the upstreams that it leads to by their own names, which are the host of `url`
        /// and `hosts`. `["*"]` is all of them.
        upstreams: List<String> = List::required_where(
            "names of upstreams",
            any_text,
            "the network can reach the listener",
            &[EVERY_UPSTREAM],
        ), only with kind = FORWARD;

        /// A forward listener: what becomes of a request that no route and no name of an upstream matches, and
        /// no rule of `[egress]`. `"deny"`: it is refused. `"pass"`: it goes on without a token to where its
        /// client names, as far as `[egress]` allows. Not where the network can reach the listener.
        unmatched: Choice<EgressAction> = Choice::new(ACTIONS, "deny"), only with kind = FORWARD;

        /// More values of `Host` that a loopback listener accepts. `"*"` accepts any.
        hosts: List<String> = List::new("host names", accepted_host), only with kind = REVERSE;

        /// Needed for an address that is neither loopback nor a unix socket: everyone who reaches it uses the
        /// credentials of its upstreams.
        allow_network: Flag = Flag::new(false);

        /// The origins whose web pages may use a loopback listener, such as `"https://app.example.com"`. They
        /// are also let in where an app relays their `Origin`.
        allow_origins: List<String> = List::new("origins", origin);

        /// Lets the web pages of every origin use the listener.
        allow_browsers: Flag = Flag::new(false);
    }
}

fn accepted_host(text: &str) -> Result<String, Expected> {
    match text {
        "*" => Ok(text.to_owned()),
        _ => host_name(text),
    }
}
