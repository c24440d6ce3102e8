use std::path::Path;

use insta::assert_snapshot;

use super::*;

#[test]
fn syntax_error_shows_the_key_only() {
    let text = "[credentials.crm]\nclient_secret = hunter2 # hunter3\n";
    let shown = refused(&[text]);
    assert!(!shown.contains("hunter"), "{shown}");
    assert_snapshot!(shown, @r##"
    error: syntax error: string values must be quoted
      --> sidebearer.toml:2:17
       |
     2 | client_secret = ***
       |                 ^^^ expected literal string
    "##);
}

#[test]
fn several_syntax_errors_are_shown() {
    let text = "[[listeners]]\naddress \"127.0.0.1:7080\"\nupstream =\n[upstreams.crm\nurl = \"https://a\"\n";
    assert_snapshot!(refused(&[text]), @r##"
    error: syntax error: key with no value
      --> sidebearer.toml:2:9
       |
     2 | ***
       | ^^^ expected `=`

    error: syntax error: unclosed table
      --> sidebearer.toml:4:15
       |
     4 | [upstreams.crm
       |               ^ expected `]`
    "##);
}

#[test]
fn key_that_stands_twice_is_refused() {
    let text = "[[listeners]]\naddress = \"127.0.0.1:7080\"\naddress = \"127.0.0.1:7081\"\n";
    assert_snapshot!(refused(&[text]), @r##"
    error: syntax error: duplicate key
      --> sidebearer.toml:3:1
       |
     3 | address = ***
       | ^^^^^^^ expected each key once in its table
    "##);
}

#[test]
fn syntax_error_in_a_value_of_several_lines_shows_nothing_of_it() {
    for text in [
        "client_secret = hunter2\nhunter2==\n",
        "client_secret = \"hunter2\nhunter2=\"\n",
        "client_secret = \"\"\"\nhunter2 = \\z hunter2\n\"\"\"\n",
        "client_secret = '''\nhunter2\n''' hunter2\n",
        "client_secret = '''\nhunter2\n",
        "client_secret: \"hunter2\"\n",
        "\"hunter2\"\n",
        "[\"hunter2]\n",
        "a = [\n\"hunter2\",\n[\"hunter2\"\n",
        "[a] # hunter2\n]\n[a] hunter2\n",
        "[a] hunter2\n",
        "[a hunter2\n",
        "[a] # hunter2]\n]\n",
        "[a] = hunter2]\n",
    ] {
        let shown = refused(&[text]);
        assert!(!shown.contains("hunter"), "{text}{shown}");
    }
}

#[test]
fn an_unknown_section_is_told_each_known_one_once() {
    let shown = refused(&["[tokens]\n", LISTENER, UPSTREAM, CREDENTIAL]);
    assert_snapshot!(shown, @r"
    error: unknown key `tokens` in the file
      --> sidebearer.toml:1:2
       |
     1 | [tokens]
       |  ^^^^^^ expected `server`, `log`, `admin`, `health`, `listeners`, `routes`, `egress`, `interception`, `upstreams`, `credentials`, `callers`, `kubernetes`, `audit` or `tracing`
    ");
}

#[test]
fn unknown_keys_are_refused_everywhere() {
    let text = r#"
[sever]
workers = 1

[server]
worker = 1
"drain-timeout" = "5s"

[[listeners]]
adress = "127.0.0.1:7080"
upstream = "crm"

[upstreams.crm]
url = "https://crm.example.com"
tls = { ca = "x" }
"#;
    assert_snapshot!(refused(&[text]), @r##"
    error: unknown key `sever` in the file
      --> sidebearer.toml:2:2
       |
     2 | [sever]
       |  ^^^^^ did you mean `server`?

    error: unknown key `worker` in [server]
      --> sidebearer.toml:6:1
       |
     6 | worker = ***
       | ^^^^^^ did you mean `workers`?

    error: unknown key `drain-timeout` in [server]
      --> sidebearer.toml:7:1
       |
     7 | "drain-timeout" = "***"
       | ^^^^^^^^^^^^^^^ did you mean `drain_timeout`?

    error: `address` is missing in [[listeners]]
      --> sidebearer.toml:9:1
       |
     9 | [[listeners]]
       | ^^^^^^^^^^^^^ expected an address such as "127.0.0.1:7080"

    error: unknown key `adress` in [[listeners]]
       --> sidebearer.toml:10:1
        |
     10 | adress = "***"
        | ^^^^^^ did you mean `address`?

    error: unknown key `ca` in [upstreams.crm.tls]
       --> sidebearer.toml:15:9
        |
     15 | tls = { ca = "***" }
        |         ^^ expected `ca_file`, `certificate_file`, `key_file`, `server_name`, `min_version` or `certificate_from`
    "##);
}

#[test]
fn no_listener_is_refused() {
    assert_snapshot!(refused(&["[server]\nvia = false\n"]), @r##"
    error: there is no listener
      --> sidebearer.toml
       = expected at least one [[listeners]] with an address and an upstream
    "##);
}

#[test]
fn missing_path_is_refused() {
    let directory = directory(&[]);
    let refused = load(&directory.path().join("nowhere.toml")).unwrap_err();
    assert_snapshot!(shown(&directory, &refused), @r##"
    error: cannot read the configuration: No such file or directory (os error 2)
      --> nowhere.toml
       = name a file or directory with --config or SIDEBEARER_CONFIG, or make one by `sidebearer init`
    "##);
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let directory = directory(&[]);
    let path = directory.path().join("sidebearer.toml");
    std::fs::write(&path, b"[server]\nvia = \"\xff\"\n").unwrap();
    assert_snapshot!(shown(&directory, &load(&path).unwrap_err()), @r##"
    error: line 2 of the file is not UTF-8 text
      --> sidebearer.toml
       = expected a readable TOML file
    "##);
}

#[test]
fn empty_directory_is_refused() {
    let directory = directory(&[(".hidden.toml", LISTENER), ("notes.txt", LISTENER)]);
    assert_snapshot!(shown(&directory, &load(directory.path()).unwrap_err()), @r##"
    error: the directory holds no configuration
      --> DIRECTORY
       = expected at least one file whose name ends in ".toml"
    "##);
}

#[test]
fn dangling_link_in_a_directory_is_refused() {
    let directory = directory(&[("a.toml", LISTENER)]);
    std::os::unix::fs::symlink("nowhere", directory.path().join("b.toml")).unwrap();
    assert_snapshot!(shown(&directory, &load(directory.path()).unwrap_err()), @r##"
    error: cannot read the file: No such file or directory (os error 2)
      --> b.toml
       = expected a readable TOML file
    "##);
}

#[test]
fn definition_in_two_files_is_refused() {
    let server = "[server]\nvia = false\n";
    let directory = directory(&[
        ("a.toml", &[server, LISTENER, UPSTREAM, CREDENTIAL].concat()),
        ("b.toml", &[UPSTREAM, server, CREDENTIAL, LISTENER].concat()),
    ]);
    assert_snapshot!(shown(&directory, &load(directory.path()).unwrap_err()), @r##"
    error: upstream `crm` is defined twice
      --> b.toml:2:1
       |
     2 | [upstreams.crm]
       | ^^^^^^^^^^^^^^^ already defined at a.toml:8:1

    error: [server] is defined twice
      --> b.toml:5:1
       |
     5 | [server]
       | ^^^^^^^^ already defined at a.toml:1:1

    error: credential `crm` is defined twice
      --> b.toml:8:1
       |
     8 | [credentials.crm]
       | ^^^^^^^^^^^^^^^^^ already defined at a.toml:12:1

    error: listener `127.0.0.1:7080` is defined twice
       --> b.toml:13:1
        |
     13 | [[listeners]]
        | ^^^^^^^^^^^^^ already defined at a.toml:4:1; give each its own `name`

    error: address `127.0.0.1:7080` is used twice
       --> b.toml:14:11
        |
     14 | address = "127.0.0.1:7080"
        |           ^^^^^^^^^^^^^^^^ already used at a.toml:5:11

    error: two routes match the same requests
       --> b.toml:15:12
        |
     15 | upstream = "crm"
        |            ^^^^^ same host, path, methods and listener as the one at a.toml:6:12
    "##);
}

#[test]
fn problems_of_all_files_are_reported_in_order() {
    let directory = directory(&[
        ("b.toml", "[log]\nlevel = \"loud\"\nformat = 3\n"),
        ("a.toml", "[server]\nidle_timeout = 5\n[server\n"),
        ("c.toml", "[admin]\nport = 1\n"),
    ]);
    assert_snapshot!(shown(&directory, &load(directory.path()).unwrap_err()), @r##"
    error: syntax error: unclosed table
      --> a.toml:3:8
       |
     3 | [server
       |        ^ expected `]`

    error: invalid `level` in [log]
      --> b.toml:2:9
       |
     2 | level = "loud"
       |         ^^^^^^ expected "error", "warn", "info", "debug" or "trace"

    error: wrong type of `format` in [log]
      --> b.toml:3:10
       |
     3 | format = 3
       |          ^ expected "auto", "text" or "json", found an integer

    error: unknown key `port` in [admin]
      --> c.toml:2:1
       |
     2 | port = ***
       | ^^^^ expected `address`, `allow_network`, `max_connections` or `header_timeout`
    "##);
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let shown = refused(&["\"\\u001b[31m\\n\" = 1\n"]);
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let shown = refused(&["a\u{1b}[31m = \n"]);
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn programs_read_the_same_without_the_line() {
    let (_directory, loaded) = load_parts(&["[server]\nvia = 1\n"]);
    let json = serde_json::to_value(loaded.unwrap_err()).unwrap();
    let first = json[0].as_object().unwrap();
    assert_eq!(first["severity"], "error");
    assert_eq!(first["line"], 2);
    assert_eq!(first["column"], 7);
    assert_eq!(first["message"], "wrong type of `via` in [server]");
    assert_eq!(first["help"], "expected true or false, found an integer");
    assert!(Path::new(first["file"].as_str().unwrap()).ends_with("sidebearer.toml"));
    assert_eq!(first.len(), 6);
}

#[test]
fn a_file_of_more_than_16_mib_is_refused() {
    let directory = directory(&[]);
    let path = directory.path().join("sidebearer.toml");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len((16 << 20) + 1).unwrap();
    let refused = load(&path).unwrap_err();
    let message = &refused.iter().next().unwrap().message;
    assert_eq!(message, "cannot read the file: it is longer than 16 MiB");
}
