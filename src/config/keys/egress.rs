//! `[egress]` and `[[egress.rules]]`

use ipnet::IpNet;

use super::super::kinds::{Choice, List, Ports, Raw, SecretText, SubTable, TableArray, Time};
use super::super::parse::egress::{ALLOWED_PREFIX, PREFIX, RULE_HOST};
use super::super::parse::syntax::ANY_TEXT;
use super::super::rules::Rule;
use super::super::settings::caller::EVERY_CALLER;
use super::super::settings::{EgressAction, EgressAddresses, HostPattern};
use super::proxy::{PROXY_RULES, proxy, proxy_authorization, proxy_tls};

const ADDRESSES: &[(&str, Option<EgressAddresses>)] = &[
    ("public", Some(EgressAddresses::Public)),
    ("any", Some(EgressAddresses::Any)),
];

const RULES: &[&[Rule]] = &[PROXY_RULES];

const ACTIONS: &[(&str, EgressAction)] =
    &[("pass", EgressAction::Pass), ("deny", EgressAction::Deny)];

keys! {
    /// What may leave that no route leads to.
    EGRESS: Egress, EGRESS_TABLE = "[egress]", rules RULES {
        /// Which addresses may be connected to that neither `allow` nor `deny` holds. `"public"`: those that
        /// are globally reachable by the special-purpose registries of the IANA. `"any"`: all.
        addresses: Choice<Option<EgressAddresses>> = Choice::wordless(
            ADDRESSES,
            None,
            "`\"public\"`, for redirected listeners `\"any\"`",
        );

        /// Addresses or prefixes, such as `"10.20.0.0/16"`, that may be connected to. The longest prefix of
        /// `allow` and `deny` decides. An address that embeds an IPv4 address counts as that one.
        allow: List<IpNet> = List::new("IP addresses and prefixes", ALLOWED_PREFIX);

        /// Addresses or prefixes that may not be connected to, whatever `addresses` says.
        deny: List<IpNet> = List::new("IP addresses and prefixes", PREFIX);

        /// The ports that may be connected to.
        ports: Ports = Ports::new("`[80, 443]`, for redirected listeners all");

        /// The longest time in which nothing moves, either way, in the tunnel of a CONNECT or of a redirected connection.
        tunnel_idle_timeout: Time = Time::new("1h", "1ms");

        /// The [proxy](#proxies) through which every API, every authorization server, the issuers of callers' tokens and what
        /// passes is reached, unless its own table says otherwise: `http://`, `https://` or `socks5h://`, with a port.
        /// `"environment"`: the one that `https_proxy` and its like name. `"none"`: none.
        proxy: Raw = proxy("none");

        /// TLS towards the proxy.
        proxy_tls: SubTable = proxy_tls();

        /// What the proxy is shown: `user:password`, or a whole value of `Proxy-Authorization`.
        proxy_authorization: SecretText = proxy_authorization();

        /// What becomes of requests for certain hosts.
        rules: TableArray = TableArray(&EGRESS_RULE_TABLE);
    }
}

keys! {
    /// What becomes of requests for certain hosts that no route leads to.
    EGRESS_RULE: EgressRule, EGRESS_RULE_TABLE = "[[egress.rules]]" {
        /// The hosts it is for, without ports. `"*.example.com"` stands for all names below `example.com`, at
        /// any depth. The most specific host of all rules decides; of rules that name the same one, the first.
        hosts: List<HostPattern> = List::required(
            "host names, or `*.` and a host name",
            RULE_HOST,
            "host names such as [\"*.example.com\"]",
        );

        /// The forward and redirected listeners it is for. An empty list stands for all.
        listeners: List<String> = List::new("names of listeners", ANY_TEXT);

        /// The callers it is for. `["*"]`: every caller that is known. An empty list stands for all clients.
        callers: List<String> = List::new("names of callers", ANY_TEXT).or_every(EVERY_CALLER);

        /// What takes the place of `unmatched` of the listener for these hosts. `"pass"`: a request goes on to
        /// them without a token. `"deny"`: it is refused.
        action: Choice<EgressAction> = Choice::new(ACTIONS, "deny");
    }
}
