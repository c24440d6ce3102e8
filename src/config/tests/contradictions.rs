//! Keys of several tables that make each other useless, or that can never work together; and what differs by one word and
//! is right.

use super::callers::findings;
use super::*;

pub(super) const PASS: &str = "unmatched = \"pass\"\n";
const PLAIN: &str = "\n[upstreams.crm]\nurl = \"http://crm.example.com\"\n";
const KEY: &str = "\n[callers.billing]\nkey = { file = \"keys\" }\n";

/// That the first line of what is found says this, and that nothing is found of the other.
pub(super) fn assert_differ(found: &str, expected: &str, of_other: &str) {
    let first = found.lines().next().unwrap_or_default();
    let (_, said) = first.split_once(": ").unwrap_or_default();
    assert_eq!(said, expected, "{found}");
    assert_eq!(of_other, "");
}

#[test]
fn servers_and_proxies_that_would_be_this_process_are_warned_of() {
    let upstream = |url: &str| format!("\n[upstreams.crm]\nurl = \"{url}\"\n");
    let expected = "warning: upstream `crm` would be this process itself";
    for url in [
        "http://127.0.0.1:7080",
        "http://[::ffff:127.0.0.1]:7080",
        "https://127.0.0.1:7090",
        "http://localhost:7080",
    ] {
        let elsewhere = upstream("http://127.0.0.2:7080");
        let found = findings(&[LISTENER, &upstream(url)]);
        assert_differ(&found, expected, &findings(&[LISTENER, &elsewhere]));
    }
    let all = LISTENER.replace("127.0.0.1", "0.0.0.0") + "allow_network = true\n";
    assert_differ(
        &findings(&[&all, &upstream("http://127.9.9.9:7080")]),
        expected,
        "",
    );
    let both = LISTENER.replace("127.0.0.1", "[::]") + "allow_network = true\n";
    assert_differ(
        &findings(&[&both, &upstream("http://localhost:7080")]),
        expected,
        "",
    );

    let server = CREDENTIAL.replace("https://login.example.com", "http://127.0.0.1:7080");
    let expected =
        "warning: the authorization server of credential `crm` would be this process itself";
    assert_differ(&findings(&[LISTENER, UPSTREAM, &server]), expected, "");

    let proxy = |text: &str, port: u16| {
        let proxy = format!("proxy = \"http://127.0.0.1:{port}\"\n");
        findings(&[FORWARD, UPSTREAM, CREDENTIAL, text, &proxy])
    };
    let expected = "warning: the proxy of [egress] would be this process itself";
    assert_differ(
        &proxy("[egress]\n", 3128),
        expected,
        &proxy("[egress]\n", 3129),
    );
    let expected = "warning: the proxy of credential `crm` would be this process itself";
    assert_differ(&proxy("", 3128), expected, &proxy("", 3129));

    let collector = |port: u16| {
        let tracing = format!("\n[tracing]\nendpoint = \"http://127.0.0.1:{port}\"\n");
        findings(&[LISTENER, UPSTREAM, CREDENTIAL, &tracing])
    };
    let expected = "warning: the collector of [tracing] would be this process itself";
    assert_differ(&collector(7080), expected, &collector(4318));

    let issuer = |url: &str| {
        let callers = "callers = [\"billing\"]\n";
        let caller = format!("\n[callers.billing.token]\nissuer = \"{url}\"\naudience = \"x\"\n");
        findings(&[LISTENER, callers, UPSTREAM, CREDENTIAL, &caller])
    };
    let expected = "warning: the issuer of caller `billing` would be this process itself";
    assert_differ(
        &issuer("http://127.0.0.1:7080"),
        expected,
        &issuer("http://127.0.0.1:9"),
    );
}

#[test]
fn a_loopback_address_behind_a_proxy_elsewhere_is_warned_of() {
    let found = |proxy: &str| {
        let upstream = "\n[upstreams.crm]\nurl = \"http://127.0.0.1:8080\"\n";
        findings(&[LISTENER, upstream, &format!("proxy = \"{proxy}\"\n")])
    };
    let expected =
        "warning: upstream `crm` would be looked for on the machine of the proxy http://p.corp:1";
    assert_differ(
        &found("http://p.corp:1"),
        expected,
        &found("http://127.0.0.1:1"),
    );
}

#[test]
fn hosts_that_lead_nowhere_are_warned_of() {
    let accepted = |route: &str| {
        let listener =
            "[[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:7080\"\nhosts = [\"a.local\"]\n";
        let route = format!("[[routes]]\nhost = \"{route}\"\nupstream = \"crm\"\n");
        findings(&[listener, &route, UPSTREAM, CREDENTIAL])
    };
    let expected = "warning: `hosts` of listener `app` names `a.local`, and no route is for it";
    assert_differ(&accepted("b.local"), expected, &accepted("*.local"));
    let mapped = "hosts = [\"[::ffff:10.1.2.3]\"]\n";
    let route = "[[routes]]\nhost = \"10.1.2.3\"\nupstream = \"crm\"\n";
    let listener = "[[listeners]]\naddress = \"127.0.0.1:7080\"\n".to_owned() + mapped;
    assert_eq!(findings(&[&listener, route, UPSTREAM, CREDENTIAL]), "");

    let own = |listener: &str| {
        let upstream = UPSTREAM.to_owned() + "hosts = [\"old.internal\"]\n";
        findings(&[LISTENER, FORWARD, PASS, listener, &upstream, CREDENTIAL])
    };
    let expected = "warning: `hosts` of upstream `crm` has no effect";
    assert_differ(&own("upstreams = []\n"), expected, &own(""));

    let star = findings(&[
        LISTENER,
        "hosts = [\"*\", \"a.local\"]\n",
        UPSTREAM,
        CREDENTIAL,
    ]);
    let expected = "error: `hosts` in [[listeners]] names hosts beside \"*\"";
    let alone = findings(&[LISTENER, "hosts = [\"*\"]\n", UPSTREAM, CREDENTIAL]);
    assert_differ(&star, expected, &alone);
}

#[test]
fn what_a_forward_listener_does_to_no_request_is_warned_of() {
    let browsers = |key: &str, upstream: &str| findings(&[FORWARD, key, upstream, CREDENTIAL]);
    for (key, written) in [
        ("allow_browsers", "allow_browsers = true\n"),
        ("allow_origins", "allow_origins = [\"https://a.example\"]\n"),
    ] {
        let found = browsers(written, PLAIN);
        let expected = format!("warning: `{key}` of listener `proxy` has no effect");
        assert!(found.contains(&expected), "{found}");
        assert_eq!(browsers(written, UPSTREAM), "");
    }

    let directory = tempfile::tempdir().unwrap();
    let ca = format!(
        "\n[interception]\nkey_directory = \"{0}/ca\"\ntrust_directory = \"{0}/trust\"\ndomains = [\"example.com\"]\n",
        directory.path().display()
    );
    let intercepting = |upstream: &str| findings(&[FORWARD, "intercept = true\n", upstream, &ca]);
    let https = PLAIN.replace("http:", "https:");
    let expected = "warning: `intercept` of listener `proxy` has no effect";
    assert_differ(&intercepting(PLAIN), expected, &intercepting(&https));
}

#[test]
fn a_route_for_any_host_that_no_listener_takes_is_warned_of() {
    let found = |more: &str| {
        let route = format!("\n[[routes]]\npath = \"/crm\"\nupstream = \"crm\"\n{more}");
        findings(&[FORWARD, &route, UPSTREAM, CREDENTIAL])
    };
    let expected = "warning: this route matches no request";
    assert_differ(&found(""), expected, &found("listener = \"proxy\"\n"));
    assert_eq!(found("host = \"old.internal\"\n"), "");
    assert!(findings(&[FORWARD]).contains("listener `proxy` leads nowhere"));
}

#[test]
fn a_mode_that_keeps_callers_out_is_warned_of() {
    let found = |mode: &str, callers: &str| {
        let listener = LISTENER.replace("127.0.0.1:7080", "unix:app.sock");
        let mode = format!("mode = \"{mode}\"\ncallers = [{callers}]\n");
        let callers = "\n[callers.a]\nuser = 1000\n\n[callers.b]\nuser = 1001\n";
        let callers = if mode.contains("[]") { "" } else { callers };
        findings(&[&listener, &mode, callers, UPSTREAM, CREDENTIAL])
    };
    let expected = "warning: `mode` in [[listeners]] lets nobody connect";
    assert_differ(&found("0444", ""), expected, &found("0600", ""));
    let two = "\"a\", \"b\"";
    let expected = "warning: `mode` of listener `127.0.0.1:7080` keeps caller `a` or `b` out";
    let expected = expected.replace("127.0.0.1:7080", "unix:app.sock");
    assert_differ(&found("0600", two), &expected, &found("0660", two));
}

#[test]
fn what_a_listener_asks_callers_for_that_none_has_is_warned_of() {
    let tls = |more: &str| {
        format!(
            "tls = {{ certificate_file = \"server.pem\", key_file = \"server.key\", client_ca_file = \"clients.pem\"{more} }}\n"
        )
    };
    let open = |more: &str| findings(&[LISTENER, &tls(more), UPSTREAM, CREDENTIAL]);
    let expected = "warning: `client_ca_file` of listener `127.0.0.1:7080` keeps nobody out";
    assert_differ(
        &open(""),
        expected,
        &open(", client_certificates = \"required\""),
    );

    let header = |more: &str| {
        let listener = "callers = [\"*\"]\ncaller_header = \"x-key\"\n";
        let caller = "\n[callers.billing]\ncertificate_name = \"a.internal\"\n";
        findings(&[
            LISTENER,
            listener,
            &tls(""),
            UPSTREAM,
            CREDENTIAL,
            caller,
            more,
        ])
    };
    let expected = "warning: `caller_header` of listener `127.0.0.1:7080` has no effect";
    assert_differ(
        &header(""),
        expected,
        &header("key = { file = \"keys\" }\n"),
    );
}

#[test]
fn enforcement_that_reports_nothing_is_warned_of() {
    let found = |of_route: &str| {
        let listener = "callers = [\"*\"]\nenforcement = \"report\"\n";
        let route = format!("\n[[routes]]\npath = \"/crm\"\nupstream = \"crm\"\n{of_route}");
        findings(&[LISTENER, listener, KEY, &route, UPSTREAM, CREDENTIAL])
    };
    let expected = "warning: `enforcement = \"report\"` of listener `127.0.0.1:7080` has no effect";
    assert_differ(&found(""), expected, &found("callers = [\"billing\"]\n"));
}

#[test]
fn keys_of_callers_that_belong_to_others_are_refused() {
    let listener = "callers = [\"billing\"]\n";
    let kubernetes = |review: &str| {
        let caller = "\n[callers.billing]\nservice_account = \"billing/app\"\n";
        let text = format!("\n[kubernetes]\nreview_grace = \"1m\"\n{review}");
        findings(&[LISTENER, listener, caller, &text, UPSTREAM, CREDENTIAL])
    };
    let expected = "error: `review_grace` in [kubernetes] has no effect";
    assert_differ(&kubernetes(""), expected, &kubernetes("review = true\n"));

    let token = |scheme: &str| {
        let caller = format!(
            "\n[callers.billing.token]\nissuer = \"{scheme}://127.0.0.1:9\"\naudience = \"x\"\ntls = {{ min_version = \"1.3\" }}\n"
        );
        findings(&[LISTENER, listener, &caller, UPSTREAM, CREDENTIAL])
    };
    let expected = "error: `tls` in [callers.billing.token] has no effect";
    assert_differ(&token("http"), expected, &token("https"));
}
