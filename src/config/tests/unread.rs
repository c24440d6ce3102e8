//! What no key of the configuration has read is not shown: nobody knows that it is no secret.

use insta::assert_snapshot;

use super::*;

/// What is said of a configuration with this beside it.
fn beside(text: &str) -> String {
    refused(&[CREDENTIAL, LISTENER, UPSTREAM, text])
}

#[test]
fn the_value_of_a_misspelt_key_is_not_shown() {
    assert_snapshot!(beside("prox = \"http://billing:hunter2@proxy.corp:3128\"\n"), @r##"
    error: unknown key `prox` in [upstreams.crm]
       --> sidebearer.toml:14:1
        |
     14 | prox = "***"
        | ^^^^ did you mean `proxy`?
    "##);
    for text in [
        "urll = \"https://billing:hunter2@api.example.com\"",
        "urll = \"https://api.example.com?api_key=hunter2\"",
        "urll = \"billing:hunter2@api.example.com\"",
        "prox = \"billing:hunter2@proxy.corp:3128\"",
        "prox = { url = \"http://billing:hunter2@proxy.corp:3128\" }",
        "prox = [\"http://billing:hunter2@proxy.corp:3128\"]",
        "prox = [{ url = [\"http://billing:hunter2@proxy.corp:3128\"] }]",
        "prox.url = \"http://billing:hunter2@proxy.corp:3128\"",
        "hostss = [\"hunter2.example.com\"]",
        "tlss = { key_file = \"hunter2\" }",
        "tls = { ca_fil = \"hunter2\" }",
        "[tracing]\nheader = \"hunter2\"",
        "[tracing]\nheader = { authorization = \"hunter2\" }",
        "[kubernetes]\napi_serve = \"https://billing:hunter2@k\"",
        "[[listeners]]\naddres = \"hunter2:1\"",
    ] {
        let shown = beside(&format!("{text}\n"));
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        assert!(shown.contains("***"), "{text}\n{shown}");
        assert!(shown.contains("did you mean"), "{text}\n{shown}");
    }
}

#[test]
fn what_stands_in_the_place_of_a_table_is_not_shown() {
    for text in [
        "tls = \"hunter2\"",
        "tls = [{ ca_file = \"hunter2\" }]",
        "tracing = [{ headers = { authorization = \"hunter2\" } }]",
        "tracing = { headers = [{ authorization = \"hunter2\" }] }",
        "audit = \"https://billing:hunter2@a\"",
        "upstreams = [{ url = \"https://billing:hunter2@a\" }]",
    ] {
        let (before, after) = match text {
            _ if text.starts_with("tls") => ("", text),
            _ => (text, ""),
        };
        let before = format!("{before}\n");
        let upstream = if before.starts_with("upstreams") {
            String::new()
        } else {
            format!("{UPSTREAM}{after}\n")
        };
        let shown = refused(&[&before, CREDENTIAL, LISTENER, &upstream]);
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        assert!(shown.contains("***"), "{text}\n{shown}");
        assert!(shown.contains("wrong type"), "{text}\n{shown}");
    }
}

#[test]
fn a_url_in_a_key_a_header_or_a_comment_shows_neither_a_password_nor_a_query() {
    for text in [
        "\"https://billing:hunter2@api.example.com\" = 1",
        "'https://api.example.com?api_key=hunter2' = 1",
        "tls.\"https://billing:hunter2@api.example.com\" = 1",
        "[upstreams.\"https://billing:hunter2@api.example.com\"]\nx = 1",
        "[upstreams.\"https://api.example.com?api_key=hunter2\".tls]\nx = 1",
        "timeout = \"1s\" # https://billing:hunter2@api.example.com",
        "host = \"a b\" # before: https://api.example.com?api_key=hunter2",
        "host = \"a b\" #https://billing:hunter2@api.example.com",
        "[callers.\"https://billing:hunter2@api.example.com\"]\nkey = { file = \"/nowhere/key\" }",
    ] {
        let shown = beside(&format!("{text}\n"));
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
    }
    assert_snapshot!(beside("host = \"a b\" # see https://wiki.example.com/a and https://b?c=d#e\n"), @r##"
    error: invalid `host` in [upstreams.crm]
       --> sidebearer.toml:14:8
        |
     14 | host = "a b" # see https://wiki.example.com/a and https://b?***
        |        ^^^^^ expected a host name with or without a port
    "##);
}

#[test]
fn a_password_with_a_quote_in_it_is_not_shown_either() {
    for text in [
        "[upstreams.\"https://billing:pa'hunter2@a/\"]\nx = 1",
        "[upstreams.'https://billing:pa\"hunter2@a/'.tls]\nx = 1",
        "[upstreams.\"billing:pa'hunter2@a\"]\nx = 1",
        "[upstreams.\"https://billing:pa hunter2@a/\"]\nx = 1",
        r#"[upstreams."https:\u002f\u002fbilling:pahunter2\u0040a/"]"#,
        "'https://billing:pa\"hunter2@a/' = 1",
        "timeout = \"1s\" # was https://billing:pa'hunter2@a/",
        "timeout = \"1s\" # was (https://billing:pa\"hunter2@a/).",
        "timeout = \"1s\" # was 'https://billing:pa\"hunter2@a/', or so",
        "timeout = \"1s\" # was https://a/?key=pa'hunter2",
        "timeout = \"1s\" #was billing:pa'hunter2@a",
    ] {
        let shown = beside(&format!("{text}\nzzz = 1\n"));
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
        assert!(
            !shown.contains("pa'") && !shown.contains("pa\""),
            "{text}\n{shown}"
        );
        assert!(shown.contains("***"), "{text}\n{shown}");
    }
    let shown = beside("[upstreams.\"https://billing:pa'hunter2@a/\"]\nx = 1\n");
    assert!(shown.contains("14 | [upstreams.\"***\"]\n"), "{shown}");
}
