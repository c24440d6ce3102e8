//! Wherever a URL, an origin or a host stands, neither a password nor a query of it is shown.

use super::declared::tables;
use super::*;
use crate::config::declare::{Declared, Table, ValueForm};

#[test]
fn no_key_that_holds_a_url_an_origin_or_a_host_shows_a_password_or_a_query() {
    let with_upstream = |url: &str| UPSTREAM.replace("https://crm.example.com", url);
    for upstream in [
        with_upstream("https://api.example.com/v2?api_key=hunter2"),
        with_upstream("https://billing:hunter2@api.example.com"),
        with_upstream("billing:hunter2@api.example.com"),
        with_upstream("api.example.com?api_key=hunter2"),
        with_upstream("https:\\u002f\\u002fbilling:hunter2\\u0040api.example.com"),
        UPSTREAM.replace("\"https://crm.example.com\"", "{ of = \"hunter2\" }"),
        format!("{UPSTREAM}host = \"billing:hunter2@proxy\"\n"),
        format!("{UPSTREAM}hosts = [\"api.example.com\", \"hunter2@api.example.org\"]\n"),
        format!("{UPSTREAM}tls.server_name = \"billing:hunter2@a\"\n"),
        format!("{UPSTREAM}proxy = \"http://billing:hunter2@a:1\"\n"),
        format!("{UPSTREAM}proxy = \"proxy.corp:1?key=hunter2\"\n"),
        format!("{UPSTREAM}[tracing]\nendpoint = \"https://otlp:4318/?token=hunter2\"\n"),
        format!("{UPSTREAM}[tracing]\nendpoint = \"billing:hunter2@otlp\"\n"),
        format!("{UPSTREAM}[kubernetes]\napi_server = \"https://k?x=hunter2\"\n"),
        format!("{UPSTREAM}[admin]\naddress = \"billing:hunter2@127.0.0.1:1\"\n"),
        format!("{UPSTREAM}[[egress.rules]]\nhosts = [\"billing:hunter2@a\"]\n"),
    ] {
        let shown = refused(&[CREDENTIAL, LISTENER, &upstream]);
        assert!(!shown.contains("hunter2"), "{upstream}\n{shown}");
        assert!(shown.contains("***"), "{upstream}\n{shown}");
    }
    for listener in [
        "allow_origins = [\"https://billing:hunter2@a\"]",
        "hosts = [\"billing:hunter2@a\"]",
        "upstream = \"billing:hunter2@a\"",
        // The name of an upstream, where its URL was written.
        "upstreams = [\"https://api.example.com?api_key=hunter2\"]",
    ] {
        let before = match listener {
            _ if listener.starts_with("upstream ") => LISTENER.replace("upstream = \"crm\"\n", ""),
            _ => LISTENER.to_owned(),
        };
        let listener = format!("{before}{listener}\n");
        let shown = refused(&[CREDENTIAL, &listener, UPSTREAM]);
        assert!(!shown.contains("hunter2"), "{listener}\n{shown}");
        assert!(shown.contains("***"), "{listener}\n{shown}");
    }
    for credential in [
        CREDENTIAL.replace("https://login", "billing:hunter2@login"),
        CREDENTIAL.replace("/token\"", "/token?key=hunter2#x\""),
        format!("{CREDENTIAL}resources = [\"//billing:hunter2@a\"]\n"),
    ] {
        let shown = refused(&[&credential, LISTENER, UPSTREAM]);
        assert!(!shown.contains("hunter2"), "{credential}\n{shown}");
        assert!(shown.contains("***"), "{credential}\n{shown}");
    }
    // What is on a quoted line is masked, whatever is wrong there.
    let one_line =
        "upstreams.crm = { url = \"https://a?k=hunter2\", credential = \"crm\", x = 1 }\n";
    let shown = refused(&[one_line, CREDENTIAL, LISTENER]);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_upstream_of_the_command_line_shows_no_query() {
    let named = |name: &str, value: &str| {
        let mut keys = crate::config::ARGUMENT_KEYS.iter();
        crate::config::Argument {
            key: keys.find(|key| key.name == name).unwrap(),
            by_variable: false,
            value: value.to_owned(),
        }
    };
    for (name, value) in [
        ("upstream", "https://h/v2?api_key=hunter2"),
        ("upstream", "billing:hunter2@h"),
        ("listen", "billing:hunter2@h"),
        ("listen", "127.0.0.1:1?key=hunter2"),
        ("admin", "hunter2@127.0.0.1:1"),
        ("issuer", "billing:hunter2@h"),
        ("token-endpoint", "billing:hunter2@h"),
    ] {
        let mut arguments = crate::config::Arguments::default();
        arguments.add(named(name, value)).unwrap();
        let origin = crate::config::ConfigOrigin::Arguments(arguments);
        let refused = crate::config::ConfigSource::from(origin)
            .load()
            .unwrap_err()
            .to_string();
        assert!(!refused.contains("hunter2"), "{refused}");
        assert!(refused.contains(&format!("--{name} ***")), "{refused}");
    }
}

/// A line that holds the table with this title alone.
fn one_line(title: &str, table: &str) -> String {
    let names: Vec<_> = title.trim_matches(['[', ']']).split('.').collect();
    let mut line = format!("{{ {table} }}");
    for (at, name) in names.iter().enumerate().rev() {
        let is_last = at + 1 == names.len();
        let is_array = *name == "listeners" || is_last && title.starts_with("[[");
        if is_array {
            line = format!("[{line}]");
        }
        line = format!("{} = {line}", name.replace("NAME", "crm"));
        if at > 0 {
            line = format!("{{ {line} }}");
        }
    }
    line + "\n"
}

/// Whether what a key holds is a URL, an origin or a host, by what is documented of it.
fn is_address(key: &dyn Declared) -> bool {
    let says = match key.form() {
        ValueForm::Text(text) => text.says,
        ValueForm::List(list) => list.says,
        _ => return false,
    };
    let words = ["URL", "URI", "host", "origin", "IP address", "SPIFFE"];
    words.iter().any(|word| says.contains(word))
}

/// What is shown of a line with this value of a key. Something else is wrong on it, so that it is quoted.
fn with_value(path: &Path, table: &Table, key: &dyn Declared, value: &str) -> String {
    let choice = key
        .only_with()
        .map(|only| format!("{} = \"{}\", ", only.selector, only.choices[0]));
    let written = format!(
        "{}{} = {value}, zzz = 1",
        choice.unwrap_or_default(),
        key.name()
    );
    std::fs::write(path, one_line(table.title, &written)).unwrap();
    let shown = load(path).unwrap_err().to_string();
    assert!(shown.contains("unknown key `zzz`"), "{written}\n{shown}");
    shown
}

#[test]
fn no_key_at_all_shows_a_password_or_a_query() {
    let anywhere = [
        "https://billing:hunter2@a/",
        "billing:hunter2@a",
        "https://a/?key=hunter2",
        "a:1?key=hunter2",
        r"https:\u002f\u002fbilling:hunter2\u0040a",
    ];
    let of_addresses = ["hunter2@a", "a?hunter2", r"hunter2\u0040a"];
    let directory = directory(&[]);
    let path = directory.path().join("sidebearer.toml");
    let (mut addresses, mut keys) = (0, 0);
    for table in tables() {
        for key in table.keys().filter(|key| key.form().table().is_none()) {
            let is_address = is_address(key);
            (addresses, keys) = (addresses + usize::from(is_address), keys + 1);
            let more = if is_address { &of_addresses[..] } else { &[] };
            for value in anywhere.iter().chain(more) {
                let value = match key.form() {
                    ValueForm::List(_) => format!("[\"{value}\"]"),
                    ValueForm::Texts(_) | ValueForm::Secrets(_) => format!("{{ x = \"{value}\" }}"),
                    _ => format!("\"{value}\""),
                };
                let shown = with_value(&path, table, key, &value);
                let (title, key) = (table.title, key.name());
                assert!(!shown.contains("hunter2"), "{title} {key}\n{shown}");
            }
        }
    }
    assert!(addresses > 20 && keys > 150, "{addresses} of {keys}");
}

#[test]
fn no_name_that_is_given_shows_a_password_or_a_query() {
    let directory = directory(&[]);
    let path = directory.path().join("sidebearer.toml");
    for kind in ["upstreams", "credentials", "callers"] {
        for name in ["billing:hunter2@a", "a:1?key=hunter2", "//hunter2@a"] {
            for text in [
                format!("[{kind}.\"{name}\"]\nzzz = 1\n"),
                format!("{kind} = {{ '{name}' = {{ zzz = 1 }} }}\n"),
                format!("{kind}.\"{name}\".tls.zzz = 1\n"),
            ] {
                std::fs::write(&path, &text).unwrap();
                let shown = load(&path).unwrap_err().to_string();
                assert!(shown.contains("unknown key `"), "{shown}");
                assert!(!shown.contains("hunter2"), "{text}\n{shown}");
            }
        }
    }
}

#[test]
fn the_address_of_a_listener_is_its_name_without_a_password_and_a_query() {
    for address in [
        "billing:hunter2@127.0.0.1:1",
        "hunter2@127.0.0.1:1",
        "127.0.0.1:1?key=hunter2",
        "127.0.0.1:1?hunter2",
        "unix:billing:hunter2@a/b",
    ] {
        let listener = format!("[[listeners]]\naddress = \"{address}\"\n");
        let shown = refused(&[CREDENTIAL, UPSTREAM, &listener]);
        assert!(!shown.contains("hunter2"), "{address}\n{shown}");
        assert!(shown.contains("invalid `address`"), "{shown}");
    }
    // One that is good is shown, and so is that of a socket.
    for address in ["127.0.0.1:1", "unix:app@1.sock"] {
        let listener = format!("[[listeners]]\naddress = \"{address}\"\n");
        let shown = accepted(&[CREDENTIAL, UPSTREAM, LISTENER, &listener]);
        let expected = format!("listener `{address}` answers every request with 404");
        assert!(shown.contains(&expected), "{shown}");
    }
}
