//! A configuration without a file.

use insta::assert_snapshot;
use tempfile::TempDir;

use crate::config::{
    ARGUMENT_KEYS, Argument, Arguments, ArgumentsError, ConfigOrigin, ConfigSource, Diagnostics,
    Loaded, misspelt_variable,
};

/// What is given by `--NAME`, or by a variable, for which the name is that of the variable.
fn argument(name: &str, value: &str) -> Argument {
    let by_variable = name.starts_with("SIDEBEARER_");
    let mut keys = ARGUMENT_KEYS.iter();
    let key = keys.find(|key| [key.name, key.variable].contains(&name));
    Argument {
        key: key.unwrap_or_else(|| panic!("{name}")),
        by_variable,
        value: value.to_owned(),
    }
}

fn arguments(given: &[(&str, &str)]) -> Arguments {
    let mut arguments = Arguments::default();
    for (name, value) in given {
        arguments.add(argument(name, value)).unwrap();
    }
    arguments
}

fn load(given: &[(&str, &str)]) -> Result<Loaded, Diagnostics> {
    ConfigSource::from(ConfigOrigin::Arguments(arguments(given))).load()
}

fn refused(given: &[(&str, &str)]) -> String {
    load(given).unwrap_err().to_string()
}

const GOOD: [(&str, &str); 4] = [
    ("listen", "127.0.0.1:7080"),
    ("upstream", "https://crm.example.com/v2"),
    ("token-endpoint", "https://login.example.com/oauth/token"),
    ("client-id", "billing"),
];

/// [`GOOD`] with a secret in a file.
fn good() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, "s3cret\n").unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn what_is_given_is_what_the_same_file_says() {
    let (dir, secret) = good();
    let given = [
        &GOOD[..],
        &[
            ("client-secret-file", &secret),
            ("scopes", " read  write "),
            ("audience", "a \"quoted\" \\ one\t"),
            ("admin", "127.0.0.1:7091"),
        ],
    ]
    .concat();
    let loaded = load(&given).unwrap();
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert!(loaded.files.is_empty());
    let path = dir.path().join("sidebearer.toml");
    std::fs::write(&path, arguments(&given).to_toml()).unwrap();
    let from_file = crate::config::load(&path).unwrap();
    assert_eq!(
        format!("{:?}", loaded.config),
        format!("{:?}", from_file.config)
    );
    assert_eq!(loaded.config.credentials["crm"].scopes, ["read", "write"]);
    let audience = loaded.config.credentials["crm"].audience.as_deref();
    assert_eq!(audience, Some("a \"quoted\" \\ one\t"));
}

#[test]
fn without_an_address_admin_has_the_default_one() {
    let (_dir, secret) = good();
    let loaded = load(&[&GOOD[..], &[("client-secret-file", &secret)]].concat()).unwrap();
    let admin = loaded.config.admin.unwrap();
    assert_eq!(admin.address.to_string(), "127.0.0.1:7090");
}

#[test]
fn everything_that_is_missing_is_told_by_its_argument() {
    assert_snapshot!(refused(&[("scopes", "read")]), @r##"
    error: --listen is missing
      --> command line
       = expected an address such as "127.0.0.1:7080"

    error: --upstream is missing
      --> command line
       = expected a URL such as "https://api.example.com"

    error: --token-endpoint is missing
      --> command line
       = expected --token-endpoint, or --issuer for discovery

    error: --client-id is missing
      --> command line
       = expected the client's identifier at the authorization server

    error: --client-secret-file is missing
      --> command line
       = expected the path of a file, or the secret itself in SIDEBEARER_CLIENT_SECRET
    "##);
}

#[test]
fn mistakes_are_told_by_the_names_that_were_used() {
    assert_snapshot!(refused(&[
        ("listen", "localhost:7080"),
        ("SIDEBEARER_UPSTREAM", "crm.example.com"),
        ("token-endpoint", "http://login.example.com/token"),
        ("issuer", "https://login.example.com"),
        ("client-id", "billing"),
        ("SIDEBEARER_AUTH_METHOD", "client_secret_psot"),
        ("SIDEBEARER_CA_FILE", "/nowhere/ca.pem"),
        ("allow-network", "yes"),
        ("admin", "0.0.0.0:7090"),
    ]), @r##"
    error: invalid --listen
      --> command line
       |
       | --listen localhost:7080
       |          ^^^^^^^^^^^^^^ did you mean "127.0.0.1:7080"?

    error: wrong type of --allow-network
      --> command line
       |
       | --allow-network yes
       |                 ^^^ expected true or false, found a string

    error: invalid SIDEBEARER_UPSTREAM
      --> environment
       |
       | SIDEBEARER_UPSTREAM=crm.example.com
       |                     ^^^^^^^^^^^^^^^ expected a URL such as "https://api.example.com/v2"

    error: invalid SIDEBEARER_CA_FILE
      --> environment
       |
       | SIDEBEARER_CA_FILE=/nowhere/ca.pem
       |                    ^^^^^^^^^^^^^^^ /nowhere/ca.pem: cannot read the file: No such file or directory (os error 2)

    error: --token-endpoint stands beside --issuer
      --> command line
       |
       | --token-endpoint http://login.example.com/token
       |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ keep one: --issuer finds the token endpoint by discovery

    error: invalid SIDEBEARER_AUTH_METHOD
      --> environment
       |
       | SIDEBEARER_AUTH_METHOD=client_secret_psot
       |                        ^^^^^^^^^^^^^^^^^^ did you mean `client_secret_post`?

    error: --admin can be reached from the network
      --> command line
       |
       | --admin 0.0.0.0:7090
       |         ^^^^^^^^^^^^ everyone who reaches it sees the status and can reload the configuration; allow that with `allow_network = true` (in a file, which `sidebearer init` begins), or use a loopback address
    "##);
}

#[test]
fn what_is_open_to_the_network_or_plain_is_refused() {
    let (_dir, secret) = good();
    assert_snapshot!(refused(&[
        ("listen", "[::]:7080"),
        ("upstream", "http://crm.example.com"),
        ("token-endpoint", "http://login.example.com/token"),
        ("client-id", "billing"),
        ("client-secret-file", &secret),
    ]), @r##"
    error: --listen can be reached from the network
      --> command line
       |
       | --listen [::]:7080
       |          ^^^^^^^^^ everyone who reaches it uses its credentials; say who may with `callers` (in a file, which `sidebearer init` begins), allow it with --allow-network, or use a loopback address

    error: --upstream would carry the token in plain text
      --> command line
       |
       | --upstream http://crm.example.com
       |            ^^^^^^^^^^^^^^^^^^^^^^ use https, or allow it with `allow_plaintext = true` (in a file, which `sidebearer init` begins)

    error: --token-endpoint would carry credentials and tokens in plain text
      --> command line
       |
       | --token-endpoint http://login.example.com/token
       |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ use https, or allow it with `allow_plaintext = true` (in a file, which `sidebearer init` begins)
    "##);
}

#[test]
fn what_may_be_a_secret_is_masked() {
    let told = refused(&[
        (
            "upstream",
            "https://user:pa55word@crm.example.com/?key=pa55word",
        ),
        ("token-endpoint", "https://user:pa55word@login.example.com"),
        ("SIDEBEARER_CLIENT_SECRET", ""),
        ("private-key-file", "-----BEGIN PRIVATE KEY-----pa55word"),
    ]);
    assert!(!told.contains("pa55word"), "{told}");
    assert!(told.contains("--upstream ***"), "{told}");
}

#[test]
fn a_private_key_chooses_its_method() {
    let text = arguments(&[("private-key-file", "/k.pem")]).to_toml();
    assert!(
        text.contains("auth_method = \"private_key_jwt\"\n"),
        "{text}"
    );
    let chosen = [("private-key-file", "/k.pem"), ("auth-method", "none")];
    let text = arguments(&chosen).to_toml();
    assert!(text.contains("auth_method = \"none\"\n"), "{text}");
}

#[test]
fn the_api_gives_the_names() {
    for (url, name) in [
        ("https://crm.example.com", "crm"),
        ("https://localhost:1", "localhost"),
        ("https://10.0.0.1/", "api"),
        ("https://[::1]/", "api"),
        ("nonsense", "api"),
    ] {
        let text = arguments(&[("upstream", url)]).to_toml();
        assert!(text.contains(&format!("[upstreams.{name}]")), "{text}");
    }
}

#[test]
fn nothing_is_said_twice() {
    let mut arguments = arguments(&[("client-secret-file", "/s")]);
    let twice = arguments.add(argument("SIDEBEARER_CLIENT_SECRET", ""));
    let names = ["--client-secret-file", "SIDEBEARER_CLIENT_SECRET"].map(str::to_owned);
    let [first, second] = names;
    assert_eq!(twice, Err(ArgumentsError::Twice(first, second)));
    arguments.add(argument("ca-file", "/ca")).unwrap();
    arguments.add(argument("admin", "127.0.0.1:1")).unwrap();
}

#[test]
fn a_misspelt_variable_is_noticed_and_those_of_kubernetes_are_not() {
    let close = misspelt_variable("SIDEBEARER_SCOPE");
    assert_eq!(close.as_deref(), Some("did you mean SIDEBEARER_SCOPES?"));
    for name in [
        "SIDEBEARER_SCOPES",
        "SIDEBEARER_PORT",
        "SIDEBEARER_SERVICE_HOST",
        "SIDEBEARER_SERVICE_PORT",
        "SIDEBEARER_PORT_7080_TCP",
        "SIDEBEARER_PORT_7080_TCP_ADDR",
        "SIDEBEARER_CHAOS_SECONDS",
        "SCOPE",
    ] {
        assert_eq!(misspelt_variable(name), None, "{name}");
    }
}

#[test]
fn a_word_in_place_of_the_path_of_a_secret_is_not_repeated() {
    for name in [
        "client-secret-file",
        "SIDEBEARER_CLIENT_SECRET_FILE",
        "private-key-file",
    ] {
        let told = refused(&[&GOOD[..], &[(name, "pa55word")]].concat());
        assert!(!told.contains("pa55word"), "{told}");
        assert!(told.contains("cannot be read from its file"), "{told}");
    }
    let told = refused(&[&GOOD[..], &[("client-secret-file", "./pa7h")]].concat());
    assert!(told.contains("--client-secret-file ./pa7h"), "{told}");
    let text = arguments(&[("client-secret-file", "secret")]).to_toml();
    let here = std::env::current_dir().unwrap();
    let expected = format!("{{ file = \"{}/secret\" }}", here.display());
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn certificates_are_for_what_speaks_tls() {
    let (dir, secret) = good();
    let ca = dir.path().join("ca.pem");
    let made = rcgen::generate_simple_self_signed(Vec::new()).unwrap();
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let mut given = [&GOOD[..], &[("client-secret-file", &*secret)]].concat();
    given.push(("ca-file", ca.to_str().unwrap()));
    let config = load(&given).unwrap().config;
    assert!(config.upstreams["crm"].tls.ca_file.is_some());
    assert!(config.credentials["crm"].tls.ca_file.is_some());
    given[1].1 = "HTTP://127.0.0.1:1";
    let config = load(&given).unwrap().config;
    assert!(config.upstreams["api"].tls.ca_file.is_none());
    assert!(config.credentials["api"].tls.ca_file.is_some());
    given[2].1 = "http://127.0.0.1:1/token";
    let told = refused(&given);
    assert!(
        told.starts_with("error: --ca-file has no effect\n"),
        "{told}"
    );
    assert_eq!(told.matches("error:").count(), 1, "{told}");
}

#[test]
fn what_only_a_file_can_say_is_told_so() {
    for (method, key) in [
        ("tls_client_auth", "tls.certificate_file"),
        ("client_assertion", "client_assertion"),
    ] {
        let told = refused(&[&GOOD[..], &[("auth-method", method)]].concat());
        let expected = format!("error: `{key}` is missing, and only a file can say it\n");
        assert!(told.contains(&expected), "{told}");
    }
}

#[test]
fn what_stands_in_the_way_is_named_as_it_was_given() {
    let (_dir, secret) = good();
    let more = [
        ("client-secret-file", &*secret),
        ("SIDEBEARER_ADMIN", GOOD[0].1),
    ];
    assert_snapshot!(refused(&[&GOOD[..], &more].concat()), @r"
    error: address `127.0.0.1:7080` is used twice
      --> command line
       |
       | --listen 127.0.0.1:7080
       |          ^^^^^^^^^^^^^^ already used at SIDEBEARER_ADMIN
    ");
}

#[test]
fn an_abstract_socket_is_no_file() {
    let (_dir, secret) = good();
    let mut given = [&GOOD[..], &[("client-secret-file", &*secret)]].concat();
    given[0].1 = "unix:@app";
    let told = refused(&given);
    assert!(told.contains("--listen unix:@app"), "{told}");
    assert!(told.contains("abstract sockets let everyone in"), "{told}");
    given[0].1 = "unix:./@app";
    load(&given).unwrap();
}
