use insta::assert_snapshot;

use super::*;

const REST: [&str; 3] = [LISTENER, UPSTREAM, CREDENTIAL];

fn refused_with_rest(text: &str) -> String {
    refused(&[&[text], &REST[..]].concat())
}

#[test]
fn network_listener_needs_consent() {
    let text = r#"
[[listeners]]
address = "0.0.0.0:8080"
upstream = "crm"

[[listeners]]
address = "[::]:8081"
upstream = "crm"
allow_network = false
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: `address` in [[listeners]] can be reached from the network
      --> sidebearer.toml:3:11
       |
     3 | address = "0.0.0.0:8080"
       |           ^^^^^^^^^^^^^^ everyone who reaches it uses its credentials; say who may with `callers`, allow it with `allow_network = true`, or use a loopback address

    error: `address` in [[listeners]] can be reached from the network
      --> sidebearer.toml:7:11
       |
     7 | address = "[::]:8081"
       |           ^^^^^^^^^^^ everyone who reaches it uses its credentials; say who may with `callers`, allow it with `allow_network = true`, or use a loopback address
    "##);
}

#[test]
fn network_admin_needs_consent() {
    assert_snapshot!(refused_with_rest("[admin]\naddress = \"10.1.2.3:7090\"\n"), @r##"
    error: `address` in [admin] can be reached from the network
      --> sidebearer.toml:2:11
       |
     2 | address = "10.1.2.3:7090"
       |           ^^^^^^^^^^^^^^^ everyone who reaches it sees the status and can reload the configuration; allow that with `allow_network = true`, or use a loopback address
    "##);
}

#[test]
fn bad_listeners_are_refused() {
    let text = r#"
[[listeners]]
upstream = "crm"

[[listeners]]
address = "localhost:7081"
hosts = ["crm.local:80", "*", "Crm.Local"]
upstream = "crm"

[[listeners]]
address = "127.0.0.1:7082"
mode = "0660"
upstream = "crm"

[[listeners]]
address = "unix:app.sock"
mode = "0999"
upstream = "crm"

[[listeners]]
address = "unix:"
mode = 660
upstream = "crm"
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: `address` is missing in [[listeners]]
      --> sidebearer.toml:2:1
       |
     2 | [[listeners]]
       | ^^^^^^^^^^^^^ expected an address such as "127.0.0.1:7080"

    error: invalid `address` in [[listeners]]
      --> sidebearer.toml:6:11
       |
     6 | address = "localhost:7081"
       |           ^^^^^^^^^^^^^^^^ did you mean "127.0.0.1:7081"?

    error: `hosts` in [[listeners]] names hosts beside "*"
      --> sidebearer.toml:7:9
       |
     7 | hosts = ["crm.local:80", "*", "Crm.Local"]
       |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ "*" stands for all of them

    error: invalid `hosts` in [[listeners]]
      --> sidebearer.toml:7:10
       |
     7 | hosts = ["crm.local:80", "*", "Crm.Local"]
       |          ^^^^^^^^^^^^^^ expected a host name or IP address, without port

    error: `mode` in [[listeners]] has no effect
       --> sidebearer.toml:12:8
        |
     12 | mode = "0660"
        |        ^^^^^^ only a unix socket has a mode

    error: invalid `mode` in [[listeners]]
       --> sidebearer.toml:17:8
        |
     17 | mode = "0999"
        |        ^^^^^^ expected an octal string such as "0660"

    error: invalid `address` in [[listeners]]
       --> sidebearer.toml:21:11
        |
     21 | address = "unix:"
        |           ^^^^^^^ expected the path of a file after "unix:"

    error: wrong type of `mode` in [[listeners]]
       --> sidebearer.toml:22:8
        |
     22 | mode = 660
        |        ^^^ expected an octal string such as "0660", found an integer
    "##);
}

#[test]
fn socket_path_that_the_system_cannot_take_is_refused() {
    let path = "s".repeat(120);
    let text = format!("[[listeners]]\naddress = \"unix:/{path}\"\nupstream = \"crm\"\n");
    let shown = refused_with_rest(&text);
    assert!(
        shown.contains("has at most 107 bytes, this one 121"),
        "{shown}"
    );
}

#[test]
fn a_socket_that_cannot_be_made_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let base = directory.path().display();
    let missing = format!("the directory {base}/none cannot be used: No such file or directory");
    for (path, reason) in [
        ("none/app.sock", missing),
        ("file/app.sock", format!("{base}/file is not a directory")),
        ("file", format!("{base}/file exists and is not a socket")),
    ] {
        let text = format!("[[listeners]]\naddress = \"unix:{base}/{path}\"\nupstream = \"crm\"\n");
        let shown = refused_with_rest(&text);
        assert!(shown.contains(&reason), "{path}: {shown}");
        assert!(shown.contains("invalid `address`"), "{path}: {shown}");
    }
}

#[test]
fn a_health_table_needs_an_address() {
    let text = "[health]\nmax_connections = 8\n";
    assert_snapshot!(refused_with_rest(text), @r#"
    error: `address` is missing in [health]
      --> sidebearer.toml:1:1
       |
     1 | [health]
       | ^^^^^^^^ expected an address such as "0.0.0.0:7091"
    "#);
}

#[test]
fn listeners_share_neither_name_nor_address() {
    let text = r#"
[admin]
address = "127.0.0.1:7090"

[health]
address = "127.0.0.1:7090"

[[listeners]]
name = "app"
address = "unix:app.sock"
upstream = "crm"

[[listeners]]
name = "app"
address = "unix:./app.sock"
upstream = "crm"

[[listeners]]
name = "other"
address = "127.0.0.1:7080"
upstream = "crm"
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: address `127.0.0.1:7090` is used twice
      --> sidebearer.toml:6:11
       |
     6 | address = "127.0.0.1:7090"
       |           ^^^^^^^^^^^^^^^^ already used at sidebearer.toml:3:11

    error: listener `app` is defined twice
       --> sidebearer.toml:13:1
        |
     13 | [[listeners]]
        | ^^^^^^^^^^^^^ already defined at sidebearer.toml:8:1; give each its own `name`

    error: address `unix:./app.sock` is used twice
       --> sidebearer.toml:15:11
        |
     15 | address = "unix:./app.sock"
        |           ^^^^^^^^^^^^^^^^^ already used at sidebearer.toml:10:11

    error: two routes match the same requests
       --> sidebearer.toml:16:12
        |
     16 | upstream = "crm"
        |            ^^^^^ same host, path, methods and listener as the one at sidebearer.toml:11:12

    error: address `127.0.0.1:7080` is used twice
       --> sidebearer.toml:24:11
        |
     24 | address = "127.0.0.1:7080"
        |           ^^^^^^^^^^^^^^^^ already used at sidebearer.toml:20:11
    "##);
}

#[test]
fn default_admin_address_is_taken() {
    let text = "[[listeners]]\naddress = \"127.0.0.1:7090\"\nupstream = \"crm\"\n";
    assert_snapshot!(refused(&[text, UPSTREAM, CREDENTIAL]), @r##"
    error: address `127.0.0.1:7090` is used twice
      --> sidebearer.toml:2:11
       |
     2 | address = "127.0.0.1:7090"
       |           ^^^^^^^^^^^^^^^^ it is the default of `address` in [admin]
    "##);
}

#[test]
fn origins_are_no_patterns_and_no_urls() {
    let text = r#"
[[listeners]]
address = "127.0.0.1:7081"
upstream = "crm"
allow_origins = ["*", "null", "https://app.example.com/", "app.example.com"]
alow_origins = []

[[listeners]]
address = "127.0.0.1:7082"
upstream = "crm"
allow_browsers = true
allow_origins = ["https://app.example.com"]
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: invalid `allow_origins` in [[listeners]]
      --> sidebearer.toml:5:18
       |
     5 | allow_origins = ["*", "null", "https://app.example.com/", "app.example.com"]
       |                  ^^^ write `allow_browsers = true` to let every page in

    error: invalid `allow_origins` in [[listeners]]
      --> sidebearer.toml:5:23
       |
     5 | allow_origins = ["*", "null", "https://app.example.com/", "app.example.com"]
       |                       ^^^^^^ "null" can be any web page; `allow_browsers = true` lets every page in

    error: invalid `allow_origins` in [[listeners]]
      --> sidebearer.toml:5:31
       |
     5 | allow_origins = ["*", "null", "https://app.example.com/", "app.example.com"]
       |                               ^^^^^^^^^^^^^^^^^^^^^^^^^^ an origin has no path; did you mean "https://app.example.com"?

    error: invalid `allow_origins` in [[listeners]]
      --> sidebearer.toml:5:59
       |
     5 | allow_origins = ["*", "null", "https://app.example.com/", "app.example.com"]
       |                                                           ^^^^^^^^^^^^^^^^^ expected an origin such as "https://app.example.com"

    error: unknown key `alow_origins` in [[listeners]]
      --> sidebearer.toml:6:1
       |
     6 | alow_origins = []
       | ^^^^^^^^^^^^ did you mean `allow_origins`?

    error: `allow_origins` in [[listeners]] has no effect
       --> sidebearer.toml:12:17
        |
     12 | allow_origins = ["https://app.example.com"]
        |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^ `allow_browsers` lets the pages of every origin in
    "##);
}

#[test]
fn what_is_for_web_pages_has_no_effect_on_a_unix_socket() {
    let text = r#"
[[listeners]]
address = "unix:app.sock"
upstream = "crm"
hosts = ["crm.local"]
allow_origins = ["https://app.example.com"]

[[listeners]]
address = "unix:other.sock"
upstream = "crm"
allow_browsers = true

[[listeners]]
address = "unix:third.sock"
upstream = "crm"
allow_browsers = false
"#;
    assert_snapshot!(refused_with_rest(text), @r##"
    error: `hosts` in [[listeners]] has no effect
      --> sidebearer.toml:5:9
       |
     5 | hosts = ["crm.local"]
       |         ^^^^^^^^^^^^^ no web page reaches a unix socket: nothing is refused there

    error: `allow_origins` in [[listeners]] has no effect
      --> sidebearer.toml:6:17
       |
     6 | allow_origins = ["https://app.example.com"]
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^^^^ no web page reaches a unix socket: nothing is refused there

    error: `allow_browsers` in [[listeners]] has no effect
       --> sidebearer.toml:11:18
        |
     11 | allow_browsers = true
        |                  ^^^^ no web page reaches a unix socket: nothing is refused there
    "##);
}

#[test]
fn an_address_that_another_one_covers_is_refused() {
    let listener = |address: &str| {
        format!(
            "\n[[listeners]]\naddress = \"{address}\"\nupstream = \"crm\"\nallow_network = true\n"
        )
    };
    let said = refused(&[
        &listener("0.0.0.0:7080"),
        &listener("127.0.0.1:7080"),
        UPSTREAM,
        CREDENTIAL,
    ]);
    assert!(
        said.contains("address `127.0.0.1:7080` is used twice")
            && said.contains("already used by 0.0.0.0:7080 at sidebearer.toml:3:11"),
        "{said}"
    );
    let health = "\n[health]\naddress = \"0.0.0.0:7090\"\n";
    let said = refused(&[LISTENER, health, UPSTREAM, CREDENTIAL]);
    assert!(
        said.contains("it covers 127.0.0.1:7090, the default of `address` in [admin]"),
        "{said}"
    );
    for (one, other) in [
        ("0.0.0.0:7080", "127.0.0.1:7081"),
        ("127.0.0.1:7080", "127.0.0.2:7080"),
        ("[::]:7080", "127.0.0.1:7080"),
        ("0.0.0.0:0", "127.0.0.1:0"),
    ] {
        let said = accepted(&[&listener(one), &listener(other), UPSTREAM, CREDENTIAL]);
        assert!(!said.contains("twice"), "{one} {other}: {said}");
    }
}

#[test]
fn all_of_ipv6_beside_ipv4_is_warned_about_where_the_system_takes_both() {
    let takes_both = std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only")
        .is_ok_and(|found| found.trim() == "0");
    let listener = |address: &str| {
        format!(
            "\n[[listeners]]\naddress = \"{address}\"\nupstream = \"crm\"\nallow_network = true\n"
        )
    };
    for (one, other, overlaps) in [
        ("[::]:7080", "127.0.0.1:7080", takes_both),
        ("0.0.0.0:7080", "[::]:7080", takes_both),
        ("127.0.0.2:7081", "[::]:7090", takes_both),
        ("[::]:7080", "127.0.0.1:7081", false),
        ("[::1]:7080", "0.0.0.0:7080", false),
    ] {
        let said = accepted(&[&listener(one), &listener(other), UPSTREAM, CREDENTIAL]);
        let expected = "takes connections to ";
        assert_eq!(said.contains(expected), overlaps, "{one} {other}: {said}");
    }
}
