use insta::assert_snapshot;

use super::*;

#[test]
fn what_passes_to_a_host_with_a_credential_has_to_name_it_exactly() {
    let rule = |host: &str, lines: &str| {
        format!("\n[[egress.rules]]\nhosts = [\"{host}\"]\naction = \"pass\"\n{lines}\n")
    };
    let exact = rule("crm.example.com", "");
    assert_snapshot!(accepted(&[FORWARD, &exact, UPSTREAM, CREDENTIAL]), @r##"
    warning: `crm.example.com` is the host of upstream `crm`, whose token does not go along
      --> sidebearer.toml:8:10
       |
     8 | hosts = ["crm.example.com"]
       |          ^^^^^^^^^^^^^^^^^ tunnels to it, and what its `url` does not begin with, pass without a token
    "##);
    let wildcard = rule("*.example.com", "");
    assert_snapshot!(refused(&[FORWARD, &wildcard, UPSTREAM, CREDENTIAL]), @r##"
    error: `*.example.com` covers `crm.example.com`, the host of upstream `crm`, whose token would not go along
      --> sidebearer.toml:8:10
       |
     8 | hosts = ["*.example.com"]
       |          ^^^^^^^^^^^^^^^ name each host that may pass, and this one only if that is meant
    "##);
    let deeper = "\n[upstreams.deep]\nurl = \"https://a.b.example.net\"\nhosts = [\"a.b.example.org:8443\"]\ncredential = \"crm\"\n";
    for host in ["*.example.org", "*.b.example.org", "*.example.net"] {
        let refused = refused(&[FORWARD, &rule(host, ""), UPSTREAM, deeper, CREDENTIAL]);
        assert!(refused.contains("the host of upstream `deep`"), "{refused}");
    }
    let mapped = "\n[upstreams.deep]\nurl = \"https://[::ffff:10.9.9.9]\"\ncredential = \"crm\"\n";
    for host in ["10.9.9.9", "[::ffff:10.9.9.9]", "[::ffff:a09:909]"] {
        let accepted = accepted(&[FORWARD, &rule(host, ""), UPSTREAM, mapped, CREDENTIAL]);
        let expected = "`10.9.9.9` is the host of upstream `deep`";
        assert!(accepted.contains(expected), "{host}: {accepted}");
    }
    // Not by a listener that leads there, or without a token anyway.
    let other = FORWARD.replace("proxy", "other").replace("3128", "3129") + "upstreams = []\n";
    let only = rule("*.example.com", "listeners = [\"other\"]");
    assert_eq!(
        accepted(&[FORWARD, &other, &only, UPSTREAM, CREDENTIAL]),
        ""
    );
    let bare = "\n[upstreams.crm]\nurl = \"https://crm.example.com\"\n";
    assert_eq!(accepted(&[FORWARD, &wildcard, bare]), "");
    let denied = wildcard.replace("pass", "deny");
    assert_eq!(accepted(&[FORWARD, &denied, UPSTREAM, CREDENTIAL]), "");
}

#[test]
fn what_passes_to_the_host_of_a_route_with_a_credential_has_to_name_it_exactly() {
    let route = |host: &str| format!("\n[[routes]]\nupstream = \"crm\"\nhost = \"{host}\"\n");
    let rule =
        |host: &str| format!("\n[[egress.rules]]\nhosts = [\"{host}\"]\naction = \"pass\"\n");
    let found = |listener: &str, route: &str, rule: &str, upstream: &str| {
        let (directory, loaded) = load_parts(&[listener, route, rule, upstream, CREDENTIAL]);
        let found = loaded.map_or_else(|refused| refused, |loaded| loaded.warnings);
        shown(&directory, &found)
    };
    assert_snapshot!(found(FORWARD, &route("crm.old.test"), &rule("*.old.test"), UPSTREAM), @r##"
    error: `*.old.test` covers `crm.old.test`, the host of upstream `crm`, whose token would not go along
       --> sidebearer.toml:12:10
        |
     12 | hosts = ["*.old.test"]
        |          ^^^^^^^^^^^^ name each host that may pass, and this one only if that is meant
    "##);
    // How the host of a route and that of a rule are to each other, and what is said.
    for (routed, passing, expected) in [
        ("crm.old.test", "crm.old.test", "warning"),
        ("*.old.test", "crm.old.test", "warning"),
        ("*.old.test", "a.crm.old.test", ""),
        ("*.old.test", "old.test", ""),
        ("*.old.test", "*.old.test", "error"),
        ("*.old.test", "*.test", "error"),
        ("*.old.test", "*.crm.old.test", ""),
        ("crm.old.test", "*.crm.old.test", ""),
        ("crm.old.test", "*.older.test", ""),
    ] {
        let said = found(FORWARD, &route(routed), &rule(passing), UPSTREAM);
        let kind = said.split(':').next().unwrap();
        assert_eq!(kind, expected, "{routed} {passing}: {said}");
    }
    // Without a token anyway, or by another listener.
    let bare = "\n[upstreams.crm]\nurl = \"https://crm.example.com\"\n";
    let said = found(FORWARD, &route("crm.old.test"), &rule("*.old.test"), bare);
    assert!(!said.contains("token"), "{said}");
    let elsewhere = route("crm.old.test") + "listener = \"app\"\n";
    let listeners = FORWARD.to_owned() + LISTENER + "name = \"app\"\n";
    assert_eq!(
        found(&listeners, &elsewhere, &rule("*.old.test"), UPSTREAM),
        ""
    );
}

#[test]
fn what_would_pass_and_a_route_for_any_host_takes_is_warned_of() {
    let rule = |lines: &str| {
        format!("\n[[egress.rules]]\nhosts = [\"*.github.example\"]\naction = \"pass\"\n{lines}\n")
    };
    let route = "\n[[routes]]\nlistener = \"proxy\"\nupstream = \"crm\"\n";
    let all = rule("");
    assert_snapshot!(accepted(&[FORWARD, route, &all, UPSTREAM, CREDENTIAL]), @r##"
    warning: a route for any host of listener `proxy` takes requests for `*.github.example`, so that they do not pass
       --> sidebearer.toml:12:10
        |
     12 | hosts = ["*.github.example"]
        |          ^^^^^^^^^^^^^^^^^^ they go to upstream `crm` with its token (see sidebearer.toml:7:1): give the route a `host`, or each of them a listener of its own
    "##);
    let redirected = accepted(&[
        REDIRECTED,
        &route.replace("proxy", "apps"),
        &all,
        UPSTREAM,
        CREDENTIAL,
    ]);
    assert!(redirected.contains("takes requests for"), "{redirected}");
    let bare = "\n[upstreams.crm]\nurl = \"https://crm.example.com\"\n";
    let said = accepted(&[FORWARD, route, &all, bare]);
    assert!(said.contains("they go to upstream `crm` (see"), "{said}");
    // Not by a listener of the rule, for one host, or refused anyway.
    let other = FORWARD.replace("proxy", "other").replace("3128", "3129");
    let of_other = rule("listeners = [\"other\"]");
    let for_one = route.to_owned() + "host = \"crm.old.test\"\n";
    let denied = all.replace("pass", "deny");
    for (other, route, rule) in [
        (other.as_str(), route, &of_other),
        ("", &for_one, &all),
        ("", route, &denied),
    ] {
        let said = accepted(&[FORWARD, other, route, rule, UPSTREAM, CREDENTIAL]);
        assert_eq!(said, "", "{route}{rule}");
    }
}

#[test]
fn what_passes_all_the_same_is_not_said_to_be_taken_by_a_route_for_any_host() {
    let rule =
        |host: &str| format!("\n[[egress.rules]]\nhosts = [\"{host}\"]\naction = \"pass\"\n");
    let (all, exact) = (rule("*.github.example"), rule("github.example"));
    let route = "\n[[routes]]\nlistener = \"proxy\"\nupstream = \"crm\"\n";
    let bare = "\n[upstreams.crm]\nurl = \"https://crm.example.com\"\n";
    let plain = "\n[upstreams.crm]\nurl = \"http://crm.example.com:8080\"\n";
    let intercepting = FORWARD.to_owned()
        + "intercept = true\n\n[interception]\nkey_directory = \"ca\"\ntrust_directory = \"trust\"\ndomains = [\"crm.example.com\"]\n";
    // A rule goes before a token, and https leads to https alone.
    for (listener, rule, upstream, taken) in [
        (FORWARD, &exact, UPSTREAM, "plain http requests"),
        (FORWARD, &exact, bare, "requests"),
        (&intercepting, &exact, bare, "plain http requests"),
        (&intercepting, &all, bare, "requests"),
        (FORWARD, &all, plain, "plain http requests"),
        (FORWARD, &exact, plain, "plain http requests"),
    ] {
        let said = accepted(&[listener, route, rule, upstream, CREDENTIAL]);
        let expected = format!("of listener `proxy` takes {taken} for `");
        assert!(said.contains(&expected), "{rule}{upstream}: {said}");
    }
    let redirected = REDIRECTED.to_owned() + "unmatched = \"pass\"\n";
    let said = accepted(&[
        &redirected,
        &route.replace("proxy", "apps"),
        &exact,
        plain,
        CREDENTIAL,
    ]);
    assert!(said.contains("takes plain http requests for"), "{said}");
    // What the route leaves to the rule, or another listener of it, passes; and another route may be for that host.
    let part = |lines: &str| format!("{route}{lines}\n");
    let other = FORWARD.replace("proxy", "other").replace("3128", "3129");
    let named = part("") + "\n[[routes]]\nupstream = \"crm\"\nhost = \"github.example\"\n";
    let two = FORWARD.to_owned() + &other;
    for (listeners, route, rule) in [
        (FORWARD, &part("path = \"/api\""), &all),
        (FORWARD, &part("methods = [\"POST\"]"), &all),
        (&two, &part(""), &all),
        (FORWARD, &named, &exact),
    ] {
        let said = accepted(&[listeners, route, rule, bare]);
        assert!(
            !said.contains("route for any host"),
            "{route}{rule}: {said}"
        );
    }
    let both = part("") + &route.replace("proxy", "other");
    let said = accepted(&[&two, &both, &all, bare]);
    assert!(
        said.contains("of listener `proxy` takes requests for"),
        "{said}"
    );
}
