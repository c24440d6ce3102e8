use proptest::prelude::*;

use super::*;

const GET: Method = Method::GET;

fn any() -> HostPattern {
    HostPattern::Any
}

fn exact(name: &str) -> HostPattern {
    HostPattern::Exact(name.into())
}

fn wildcard(parent: &str) -> HostPattern {
    HostPattern::Wildcard(parent.into())
}

/// A route as a tuple: listener, host, path, methods. Its value is its index.
type Row<'a> = (Option<usize>, HostPattern, &'a str, &'a [Method]);

fn table(rows: &[Row<'_>]) -> RouteTable<usize> {
    RouteTable::build(
        rows.iter()
            .enumerate()
            .map(|(index, (listener, host, path, methods))| {
                let pattern = RoutePattern {
                    listener: *listener,
                    host,
                    path,
                    methods,
                };
                (pattern, index)
            }),
    )
}

fn find(table: &RouteTable<usize>, host: &str, path: &str) -> Option<(usize, usize)> {
    let found = table.find(0, host, path, &GET)?;
    Some((*found.value, found.prefix_len))
}

#[test]
fn a_place_fills_one_line_of_the_cache() {
    assert_eq!(size_of::<PrefixEntry<crate::snapshot::RouteTarget>>(), 64);
}

#[test]
fn prefixes_match_on_segment_boundaries_only() {
    let crm = table(&[(None, any(), "/crm", &[])]);
    for path in ["/crm", "/crm/", "/crm/x", "/crm//x", "/crm/x/y"] {
        assert_eq!(find(&crm, "h", path), Some((0, 4)), "{path}");
    }
    for path in [
        "/", "/crmx", "/cr", "/x/crm", "//crm", "/CRM", "/crm%2Fx", "*", "",
    ] {
        assert_eq!(find(&crm, "h", path), None, "{path}");
    }
}

#[test]
fn a_prefix_ending_in_a_slash_matches_only_below() {
    let crm = table(&[(None, any(), "/crm/", &[])]);
    assert_eq!(find(&crm, "h", "/crm/"), Some((0, 5)));
    assert_eq!(find(&crm, "h", "/crm/x"), Some((0, 5)));
    assert_eq!(find(&crm, "h", "/crm"), None);
    let both = table(&[(None, any(), "/crm/", &[]), (None, any(), "/crm", &[])]);
    assert_eq!(find(&both, "h", "/crm/x"), Some((0, 5)));
    assert_eq!(find(&both, "h", "/crm"), Some((1, 4)));
    let doubled = table(&[(None, any(), "/crm//", &[])]);
    assert_eq!(find(&doubled, "h", "/crm//x"), Some((0, 6)));
    assert_eq!(find(&doubled, "h", "/crm/x"), None);
}

#[test]
fn the_root_matches_every_path() {
    let root = table(&[(None, any(), "/", &[])]);
    for path in ["/", "/x", "//", "/x/y"] {
        assert_eq!(find(&root, "", path), Some((0, 1)), "{path}");
    }
}

#[test]
fn the_longest_path_wins_whatever_the_order() {
    for paths in [["/", "/a", "/a/b"], ["/a/b", "/a", "/"]] {
        let rows = paths.map(|path| (None, any(), path, &[][..]));
        let table = table(&rows);
        let winner = |path| find(&table, "h", path).map(|(index, _)| paths[index]);
        assert_eq!(winner("/a/b/c"), Some("/a/b"));
        assert_eq!(winner("/a/bc"), Some("/a"));
        assert_eq!(winner("/b"), Some("/"));
    }
}

#[test]
fn an_exact_host_beats_a_wildcard_and_a_wildcard_beats_any() {
    let table = table(&[
        (None, any(), "/long/path", &[]),
        (None, wildcard("example.com"), "/long", &[]),
        (None, exact("crm.example.com"), "/", &[]),
    ]);
    let winner = |host| find(&table, host, "/long/path").map(|(index, _)| index);
    assert_eq!(winner("crm.example.com"), Some(2));
    assert_eq!(winner("erp.example.com"), Some(1));
    assert_eq!(winner("example.com"), Some(0));
    assert_eq!(winner(""), Some(0));
}

#[test]
fn a_wildcard_stands_for_exactly_one_label() {
    let table = table(&[(None, wildcard("example.com"), "/", &[])]);
    assert!(find(&table, "a.example.com", "/").is_some());
    for host in [
        "example.com",
        "a.b.example.com",
        ".example.com",
        "aexample.com",
        "",
    ] {
        assert_eq!(find(&table, host, "/"), None, "{host}");
    }
}

#[test]
fn a_host_that_does_not_match_the_rest_gives_way_to_less_specific_ones() {
    let table = table(&[
        (None, exact("a.example.com"), "/only", &[]),
        (None, wildcard("example.com"), "/", &[Method::POST]),
        (None, any(), "/", &[]),
    ]);
    let winner = |path, method| {
        table
            .find(0, "a.example.com", path, method)
            .map(|m| *m.value)
    };
    assert_eq!(winner("/only", &GET), Some(0));
    assert_eq!(winner("/x", &Method::POST), Some(1));
    assert_eq!(winner("/x", &GET), Some(2));
}

#[test]
fn a_longer_path_that_refuses_the_method_gives_way_to_a_shorter_one() {
    let table = table(&[
        (None, any(), "/", &[]),
        (None, any(), "/a/b", &[Method::POST]),
    ]);
    assert_eq!(find(&table, "h", "/a/b"), Some((0, 1)));
}

#[test]
fn a_named_method_beats_a_named_listener_and_both_beat_neither() {
    let table = table(&[
        (None, any(), "/", &[]),
        (Some(1), any(), "/", &[]),
        (None, any(), "/", &[Method::GET, Method::PUT]),
        (Some(1), any(), "/", &[Method::PUT]),
    ]);
    let winner = |listener, method| table.find(listener, "h", "/", method).map(|m| *m.value);
    assert_eq!(winner(0, &Method::POST), Some(0));
    assert_eq!(winner(1, &Method::POST), Some(1));
    assert_eq!(winner(0, &Method::GET), Some(2));
    assert_eq!(winner(1, &Method::GET), Some(2));
    assert_eq!(winner(1, &Method::PUT), Some(3));
    assert_eq!(winner(2, &Method::PUT), Some(2));
}

#[test]
fn a_route_of_another_listener_never_matches() {
    let table = table(&[(Some(1), any(), "/", &[])]);
    assert_eq!(table.find(0, "h", "/", &GET), None);
    assert!(table.find(1, "h", "/", &GET).is_some());
}

#[test]
fn of_two_equal_routes_the_first_wins() {
    let table = table(&[(None, any(), "/a", &[]), (None, any(), "/a", &[])]);
    assert_eq!(find(&table, "h", "/a"), Some((0, 2)));
}

#[test]
fn a_very_deep_route_is_found() {
    let path = "/a".repeat(200_000);
    let table = table(&[(None, any(), &path, &[])]);
    assert_eq!(find(&table, "h", &path), Some((0, path.len())));
}

#[test]
fn a_replaced_prefix_never_doubles_or_loses_a_slash() {
    for (path, prefix_len, replacement, expected) in [
        ("/crm/x", 4, "/", "/x"),
        ("/crm", 4, "/", "/"),
        ("/crm/", 4, "/", "/"),
        ("/crm/x", 5, "/", "/x"),
        ("/crm/", 5, "/", "/"),
        ("/crm/x", 4, "/v1", "/v1/x"),
        ("/crm/x", 5, "/v1", "/v1/x"),
        ("/crm", 4, "/v1", "/v1"),
        ("/crm/", 4, "/v1", "/v1/"),
        ("/crm/x", 4, "/v1/", "/v1/x"),
        ("/crm", 4, "/v1/", "/v1/"),
        ("/x", 1, "/v1", "/v1/x"),
        ("/", 1, "/v1", "/v1"),
        ("/", 1, "/", "/"),
        ("/crm//x", 4, "/", "//x"),
        ("/crm/x", 4, "", "/x"),
        ("/crm/x", 4, "v1", "/v1/x"),
    ] {
        let mut out = String::new();
        replace_prefix(path, prefix_len, replacement, &mut out);
        assert_eq!(out, expected, "{path} {prefix_len} {replacement}");
    }
}

#[test]
fn the_upstreams_own_path_stands_first_and_the_query_stays() {
    for (base, path, replace, query, expected) in [
        ("/v2", "/", None, None, "/v2/"),
        ("/v2", "/x", None, Some("a=%2f&b"), "/v2/x?a=%2f&b"),
        ("/v2/", "/x", None, None, "/v2/x"),
        ("", "/x", None, Some(""), "/x?"),
        ("/", "/x", None, None, "/x"),
        ("/v2", "/crm/x", Some((4, "/")), Some("q"), "/v2/x?q"),
        ("/v2", "/crm", Some((4, "/")), None, "/v2/"),
        ("/v2/", "/crm", Some((4, "/new")), None, "/v2/new"),
    ] {
        let mut out = String::new();
        write_target(base, path, replace, query, &mut out);
        assert_eq!(out, expected);
    }
}

/// The rules as they are written, one route after the other.
fn reference(
    rows: &[Row<'_>],
    listener: usize,
    host: &str,
    path: &str,
    method: &Method,
) -> Option<(usize, usize)> {
    let host_rank = |pattern: &HostPattern| match pattern {
        HostPattern::Any => Some(0),
        HostPattern::Wildcard(parent) => {
            let label = host.strip_suffix(parent.as_str())?.strip_suffix('.')?;
            (!label.is_empty() && !label.contains('.')).then_some(1)
        }
        HostPattern::Exact(name) => (name == host).then_some(2),
    };
    let covers = |prefix: &str| {
        let Some(rest) = path.strip_prefix(prefix) else {
            return false;
        };
        rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')
    };
    let mut best = None;
    for (index, (at, pattern, prefix, methods)) in rows.iter().enumerate() {
        let Some(host_rank) = host_rank(pattern) else {
            continue;
        };
        let same_listener = at.is_none_or(|at| at == listener);
        if !same_listener || !covers(prefix) || !(methods.is_empty() || methods.contains(method)) {
            continue;
        }
        let rank = (host_rank, prefix.len(), !methods.is_empty(), at.is_some());
        if best.is_none_or(|(highest, _)| rank > highest) {
            best = Some((rank, index));
        }
    }
    best.map(|(rank, index)| (index, rank.1))
}

fn a_path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![4 => "[ab]", 1 => Just(String::new()), 1 => Just("ab".to_owned())];
    prop::collection::vec(segment, 1..5).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn a_host() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a.x", "b.x", "x", "a.b.x", ".x", "y", "[::1]", ""])
        .prop_map(str::to_owned)
}

fn a_pattern() -> impl Strategy<Value = HostPattern> {
    prop_oneof![
        Just(any()),
        prop::sample::select(vec!["a.x", "b.x", "x", "a.b.x", "[::1]"]).prop_map(exact),
        Just(wildcard("x")),
        Just(wildcard("b.x")),
    ]
}

fn some_methods() -> impl Strategy<Value = Vec<Method>> {
    prop::sample::subsequence(vec![Method::GET, Method::POST], 0..=2)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_table_agrees_with_the_rules_applied_one_by_one(
        routes in prop::collection::vec(
            (prop::option::of(0..3usize), a_pattern(), a_path(), some_methods()), 0..25),
        requests in prop::collection::vec((0..3usize, a_host(), a_path(), 0..3usize), 1..25),
    ) {
        let rows: Vec<Row<'_>> = routes
            .iter()
            .map(|(listener, host, path, methods)| {
                (*listener, host.clone(), path.as_str(), methods.as_slice())
            })
            .collect();
        let table = table(&rows);
        for (listener, host, path, method) in &requests {
            let method = &[Method::GET, Method::POST, Method::PUT][*method];
            let found = table.find(*listener, host, path, method);
            let found = found.map(|found| (*found.value, found.prefix_len));
            prop_assert_eq!(found, reference(&rows, *listener, host, path, method));
        }
    }
}
