//! Nothing follows from what is not there while something could not be read: only the mistake itself is told of.

use super::callers::findings;
use super::contradictions::PASS;
use super::*;

const KEY: &str = "\n[callers.billing]\nkey = { file = \"keys\" }\n";
const CALLERS: &str = "callers = [\"billing\"]\n";

/// That `broken` has mistakes and nothing else is found, and that `whole` has nothing.
fn assert_only_the_mistake(whole: &[&str], broken: &[&str]) {
    assert_eq!(findings(whole), "", "{whole:?}");
    let found = findings(broken);
    assert_eq!(found.matches("error:").count(), 1, "{found}");
    assert!(!found.contains("warning:"), "{found}");
}

#[test]
fn what_a_listener_with_a_mistake_may_use_is_not_said_to_be_unused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let at = |path: &std::path::Path| {
        LISTENER.replace("127.0.0.1:7080", &format!("unix:{}", path.display()))
    };
    let socket = directory.path().join("socket");
    for callers in ["callers = [\"*\"]\n", CALLERS] {
        let credentials = UPSTREAM.replace(
            "credential = \"crm\"",
            "credentials = { billing = \"crm\" }",
        );
        assert_only_the_mistake(
            &[&at(&socket), callers, KEY, &credentials, CREDENTIAL],
            &[&at(&file), callers, KEY, &credentials, CREDENTIAL],
        );
    }
    // Its way to the upstream.
    let target = LISTENER.replace("upstream = \"crm\"", "upstream = 7");
    assert_only_the_mistake(
        &[LISTENER, UPSTREAM, CREDENTIAL],
        &[&target, UPSTREAM, CREDENTIAL],
    );
    let kind = FORWARD.replace("\"forward\"", "\"forwards\"");
    let rule =
        "\n[[egress.rules]]\nhosts = [\"a.example\"]\naction = \"pass\"\nlisteners = [\"proxy\"]\n";
    let hosts = "hosts = [\"old.internal\"]\n";
    assert_only_the_mistake(
        &[FORWARD, UPSTREAM, hosts, CREDENTIAL, rule],
        &[&kind, UPSTREAM, hosts, CREDENTIAL, rule],
    );
}

#[test]
fn callers_of_a_list_with_a_mistake_are_not_taken_for_nobody() {
    let route = "\n[[routes]]\nupstream = \"crm\"\npath = \"/a\"\n";
    let rule = "\n[[egress.rules]]\nhosts = [\"a.example\"]\naction = \"pass\"\n";
    let of_all = FORWARD.to_owned() + "callers = [\"*\"]\n";
    let others = KEY.to_owned() + "[callers.search]\nkey = { file = \"other-keys\" }\n";
    let mistaken = "callers = \"billing\"\n";
    // Of a listener that the network reaches: nobody is identified there without them.
    let network = LISTENER.replace("127.0.0.1", "0.0.0.0") + "allow_plaintext = true\n";
    assert_only_the_mistake(
        &[&network, CALLERS, route, CALLERS, UPSTREAM, CREDENTIAL, KEY],
        &[
            &network, mistaken, route, CALLERS, UPSTREAM, CREDENTIAL, KEY,
        ],
    );
    let other = "\n[[routes]]\nupstream = \"crm\"\npath = \"/b\"\n";
    let report = [LISTENER, "enforcement = \"report\"\ncallers = [\"*\"]\n"].concat();
    assert_only_the_mistake(
        &[&report, route, CALLERS, other, UPSTREAM, CREDENTIAL, KEY],
        &[&report, route, mistaken, other, UPSTREAM, CREDENTIAL, KEY],
    );
    let second = rule.replace("pass", "deny");
    assert_only_the_mistake(
        &[
            &of_all, rule, CALLERS, &second, UPSTREAM, CREDENTIAL, &others,
        ],
        &[
            &of_all, rule, mistaken, &second, UPSTREAM, CREDENTIAL, &others,
        ],
    );
}

#[test]
fn a_certificate_is_not_said_to_be_unknown_where_tls_has_a_mistake() {
    let tls = "tls = { certificate_file = \"server.pem\", key_file = \"server.key\", client_ca_file = \"clients.pem\" }\n";
    let listener = LISTENER.replace("127.0.0.1", "0.0.0.0") + CALLERS;
    let caller = KEY.to_owned() + "certificate_name = \"a.internal\"\n";
    let missing = tls.replace("server.key", "clients.pem");
    assert_only_the_mistake(
        &[&listener, tls, UPSTREAM, CREDENTIAL, &caller],
        &[&listener, &missing, UPSTREAM, CREDENTIAL, &caller],
    );
}

#[test]
fn what_other_tables_with_mistakes_may_use_is_not_said_to_be_unused() {
    // A credential of an upstream.
    let credential = UPSTREAM.replace("credential = \"crm\"", "credential = 7");
    let browsers = "allow_browsers = true\n";
    let forward = FORWARD.to_owned() + browsers;
    assert_only_the_mistake(
        &[&forward, UPSTREAM, CREDENTIAL],
        &[&forward, &credential, CREDENTIAL],
    );
    // A service account of a caller.
    let account = |limits: &str| {
        format!(
            "\n[callers.app]\nservice_account = \"a/b\"\nlimits = {{ concurrent = {limits} }}\n[kubernetes]\n"
        )
    };
    let listener = LISTENER.to_owned() + "callers = [\"app\"]\n";
    assert_only_the_mistake(
        &[&listener, UPSTREAM, CREDENTIAL, &account("1")],
        &[&listener, UPSTREAM, CREDENTIAL, &account("true")],
    );
    // The rate of all callers.
    let burst = |rate: &str| {
        format!(
            "{KEY}limits = {{ burst = 2 }}\n[callers.\"*\"]\nlimits = {{ requests_per_second = {rate} }}\n"
        )
    };
    let listener = LISTENER.to_owned() + CALLERS;
    assert_only_the_mistake(
        &[&listener, UPSTREAM, CREDENTIAL, &burst("1")],
        &[&listener, UPSTREAM, CREDENTIAL, &burst("true")],
    );
    // A route, and a rule.
    let bare = "\n[[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:7080\"\n";
    let route = |to: &str| format!("\n[[routes]]\nlistener = {to}\nupstream = \"crm\"\n");
    let other =
        "\n[[listeners]]\nname = \"other\"\naddress = \"127.0.0.1:7081\"\nupstream = \"crm\"\n";
    assert_only_the_mistake(
        &[bare, other, &route("\"app\""), UPSTREAM, CREDENTIAL],
        &[bare, other, &route("7"), UPSTREAM, CREDENTIAL],
    );
    let none = FORWARD.to_owned() + "upstreams = []\n";
    let rule = |hosts: &str| format!("\n[[egress.rules]]\nhosts = [{hosts}]\naction = \"pass\"\n");
    assert_only_the_mistake(
        &[
            &none,
            LISTENER,
            UPSTREAM,
            CREDENTIAL,
            &rule("\"a.example\""),
        ],
        &[&none, LISTENER, UPSTREAM, CREDENTIAL, &rule("7")],
    );
    // A listener that intercepts.
    let directory = tempfile::tempdir().unwrap();
    let ca = format!(
        "\n[interception]\nkey_directory = \"{0}/ca\"\ntrust_directory = \"{0}/trust\"\ndomains = [\"example.com\"]\n",
        directory.path().display()
    );
    let intercepts = FORWARD.to_owned() + PASS;
    assert_only_the_mistake(
        &[&intercepts, "intercept = true\n", UPSTREAM, CREDENTIAL, &ca],
        &[&intercepts, "intercept = 1\n", UPSTREAM, CREDENTIAL, &ca],
    );
}
