//! Whatever a file holds, it is a configuration or refused with reasons.

use proptest::prelude::*;

use super::*;

/// Lines that are nearly right, which reach further than noise.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "address",
        "upstream",
        "url",
        "credential",
        "client_secret",
        "token_endpoint",
        "issuer",
        "host",
        "path",
        "methods",
        "tls",
        "scopes",
        "mode",
        "hosts",
        "workers",
        "callers",
        "caller_header",
        "enforcement",
        "credentials",
        "forward_caller",
        "spiffe_id",
        "certificate_name",
        "service_account",
        "token",
        "audience",
        "claims",
        "jwks_file",
        "user",
        "key",
        "limits",
        "burst",
        "requests_per_second",
        "certificates",
        "certificate_file",
        "key_file",
        "client_ca_file",
        "client_crl_file",
        "kind",
        "file",
        "api_server",
        "é",
        "a.b",
        "\"\"",
    ]);
    let value = prop::sample::select(vec![
        "\"\"",
        "\"a\"",
        "\"é\\u0000\"",
        "1",
        "-1",
        "0x",
        "1.5",
        "true",
        "[]",
        "[\"a\", 1]",
        "{}",
        "{ file = \"secret\" }",
        "{ a.b = 1 }",
        "\"\"\"",
        "'''\n",
        "'",
        "1979-05-27",
        "\"/%2\"",
        "\"http://[\"",
        "\"https://a\"",
        "\"forward\"",
        "\"spiffe://a/*\"",
        "\"spiffe://a//\"",
        "\"a/b\"",
        "\"*\"",
        "[\"*\"]",
        "[\"a\"]",
        "[{}]",
        "[{ certificate_file = \"secret\", key_file = \"secret\" }]",
        "{ \"*\" = \"a\", a = \"b\" }",
        "{ issuer = \"https://a\", audience = \"b\" }",
        "{ requests_per_second = 1, burst = 2 }",
        "{ burst = 99999999999999999999 }",
        "4294967295",
        "\"report\"",
        "\"https://é@a\"",
        "\"unix:\"",
        "\"*.\"",
        "\"[::\"",
        "\t",
        "\r\n",
    ]);
    let header = prop::sample::select(vec![
        "[server]",
        "[[listeners]]",
        "[[routes]]",
        "[upstreams.a]",
        "[upstreams]",
        "[credentials.é]",
        "[upstreams.a.tls]",
        "[admin]",
        "[callers.a]",
        "[callers.é]",
        "[callers.\"*\"]",
        "[callers.a.token]",
        "[callers.b.limits]",
        "[listeners.tls]",
        "[[listeners.certificates]]",
        "[upstreams.a.credentials]",
        "[routes.limits]",
        "[[egress.rules]]",
        "[kubernetes]",
        "[audit]",
        "[credentials.a.extra_parameters]",
        "[",
        "[[",
        "]",
    ]);
    prop_oneof![
        (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        header.prop_map(str::to_owned),
        any::<String>(),
        "[ -~\t\r]{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn no_text_panics(lines in prop::collection::vec(line(), 0..12)) {
        let (_directory, loaded) = load_parts(&[&lines.join("\n")]);
        if let Err(refused) = loaded {
            prop_assert!(refused.has_errors());
            prop_assert!(!refused.to_string().is_empty());
        }
    }
}
