//! Keys that tokens are bound to.

use insta::assert_snapshot;

use super::bad_auth::refused_auth;
use super::*;

const SECRET: &str = "client_id = \"billing\"\nclient_secret = { file = \"secret\" }";

#[test]
fn dpop_is_true_false_or_optional() {
    for wrong in ["\"yes\"", "1", "\"true\""] {
        let lines = format!("{SECRET}\ndpop = {wrong}");
        let refused = refused_auth(&lines, &[]);
        assert!(
            refused.contains("expected true, false or \"optional\""),
            "{refused}"
        );
    }
}

#[test]
fn a_dpop_key_is_a_key_on_p256_and_belongs_to_dpop() {
    let lines = format!("{SECRET}\ndpop_key = {{ file = \"key\" }}");
    let files = [("key", key!("rsa.jwk"))];
    assert_snapshot!(refused_auth(&lines, &files), @r#"
    error: `dpop_key` in [credentials.crm] has no effect
      --> sidebearer.toml:5:12
       |
     5 | dpop_key = { file = "***" }
       |            ^^^^^^^^^^^^^^^^ it belongs to `dpop = true` or `dpop = "optional"`
    "#);
    let lines = format!("{SECRET}\ndpop = true\ndpop_key = {{ file = \"key\" }}");
    assert_snapshot!(refused_auth(&lines, &files), @r##"
    error: invalid `dpop_key` in [credentials.crm]
      --> sidebearer.toml:6:12
       |
     6 | dpop_key = { file = "key" }
       |            ^^^^^^^^^^^^^^^^ key: ES256 needs an EC key on P-256, and it holds an RSA key
    "##);
}

#[test]
fn a_bound_token_is_sent_under_its_own_scheme() {
    let prefixed = UPSTREAM.replace("url =", "header_prefix = \"Bearer\"\nurl =");
    let text = format!(
        "[credentials.crm]\ntoken_endpoint = \"https://login.example.com/oauth/token\"\n{SECRET}\n\
         dpop = \"optional\"\n{LISTENER}{prefixed}"
    );
    assert_snapshot!(refused(&[&text]), @"
    error: `header_prefix` of upstream `crm` does not fit its credential, which has `dpop`
       --> sidebearer.toml:11:1
        |
     11 | [upstreams.crm]
        | ^^^^^^^^^^^^^^^ leave it out: such a token is sent as `Authorization: DPoP ...`
    ");
    let text = text.replace("header_prefix = \"Bearer\"", "header = \"x-token\"");
    assert_snapshot!(refused(&[&text]), @"
    error: `header` of upstream `crm` does not fit its credential, which has `dpop`
       --> sidebearer.toml:11:1
        |
     11 | [upstreams.crm]
        | ^^^^^^^^^^^^^^^ leave it out: such a token is sent as `Authorization: DPoP ...`
    ");
    let text = text.replace("header = \"x-token\"", "header_prefix = \"dpop\"");
    assert_snapshot!(accepted(&[&text]), @"");
}
