//! `[[routes]]`

use http::Method;

use super::super::kinds::{IfAbsent, List, Parsed, SubTable, Text, any_text};
use super::super::parse::address::host_pattern;
use super::super::parse::http::{method, route_path};
use super::super::settings::HostPattern;
use super::limits::LIMITS_TABLE;

keys! {
    /// Which requests go to which upstream.
    ROUTE: Route, ROUTE_TABLE = "[[routes]]" {
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
            host_pattern,
            IfAbsent::Words("any host"),
        );

        /// A prefix of the path that ends where a segment ends: `/crm` matches `/crm` and `/crm/x`, but not
        /// `/crmx`.
        path: Parsed<String> = Parsed::strict(
            "path",
            "a path such as \"/crm\"",
            route_path,
            IfAbsent::Value(|| "/".to_owned()),
        );

        /// The methods that it matches, such as `["GET", "HEAD"]`. An empty list matches all.
        methods: List<Method> = List::new("methods", method);

        /// What takes the place of the matched prefix. A slash is never doubled: with `"/"`, `/crm/x` becomes
        /// `/x` and `/crm` becomes `/`.
        replace_prefix: Parsed<String> = Parsed::strict(
            "path",
            "a path such as \"/\"",
            route_path,
            IfAbsent::Words("nothing: the path stays as it is"),
        );

        /// Which of the callers of its listeners may use it. `["*"]`: all of them.
        callers: List<String> = List::not_empty(
            "names of callers",
            any_text,
            "the names of those who may use it, or nothing",
            "all callers of its listeners",
        );

        /// How much all of its callers together may ask for.
        limits: SubTable = SubTable(&LIMITS_TABLE);
    }
}
