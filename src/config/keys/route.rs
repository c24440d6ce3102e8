//! `[[routes]]`

use http::Method;

use super::super::kinds::{IfAbsent, List, Parsed, SubTable, Text};
use super::super::parse::address::HOST_PATTERN;
use super::super::parse::http::{METHOD, ROUTE_PATH};
use super::super::parse::syntax::ANY_TEXT;
use super::super::rules::Rule;
use super::super::settings::HostPattern;
use super::super::settings::caller::EVERY_CALLER;
use super::limits::{BURST_RULES, LIMITS_TABLE};

keys! {
    /// Which requests go to which upstream.
    ROUTE: Route, ROUTE_TABLE = "[[routes]]", rules RULES {
        /// Where the requests go.
        upstream: Text = Text::new(
            "name of an upstream",
            IfAbsent::Required("the name of an upstream"),
        );

        /// The one listener whose requests it matches.
        listener: Text = Text::new("name of a listener", IfAbsent::Words("every listener"));

        /// The host that it matches, or `"*.example.com"` for exactly one more label. Port, case and a
        /// trailing dot do not count.
        host: Parsed<HostPattern> = Parsed::strict(
            "host name, or `*.` and a host name",
            "a host name or \"*.example.com\"",
            HOST_PATTERN,
            IfAbsent::Words("any host"),
        );

        /// A prefix of the path that ends where a segment ends: `/crm` matches `/crm` and `/crm/x`, but not
        /// `/crmx`.
        path: Parsed<String> = Parsed::strict(
            "path",
            "a path such as \"/crm\"",
            ROUTE_PATH,
            IfAbsent::Value(|| "/".to_owned()),
        );

        /// The methods that it matches, such as `["GET", "HEAD"]`. An empty list matches all.
        methods: List<Method> = List::new("methods", METHOD);

        /// What takes the place of the matched prefix. A slash is never doubled: with `"/"`, `/crm/x` becomes
        /// `/x` and `/crm` becomes `/`.
        replace_prefix: Parsed<String> = Parsed::strict(
            "path",
            "a path such as \"/\"",
            ROUTE_PATH,
            IfAbsent::Words("nothing: the path stays as it is"),
        );

        /// Which of the callers of its listeners may use it. `["*"]`: all of them.
        callers: List<String> = List::not_empty(
            "names of callers",
            ANY_TEXT,
            "the names of those who may use it, or nothing",
            "all callers of its listeners",
        ).or_every(EVERY_CALLER);

        /// How much all of its callers together may ask for.
        limits: SubTable = SubTable(&LIMITS_TABLE);
    }
}

const RULES: &[&[Rule]] = &[BURST_RULES];
