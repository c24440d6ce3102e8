use crate::config::{
    AssertionAudience, AssertionForm, ClientAuth, Credential, Dpop, Grant, SecretSource,
    SecurityToken,
};
use crate::jose::Algorithm;

use super::*;

/// A credential with these lines, the names of its files, and two of them: `key` and `secret`.
fn read(lines: &str) -> (Credential, Vec<String>, [SecretSource; 2]) {
    let rsa = include_str!("../../../tests/keys/rsa.jwk");
    let text = format!("[credentials.crm]\nissuer = \"https://as.example\"\n{lines}\n");
    let text = [LISTENER, UPSTREAM, &text].concat();
    let directory = directory(&[("sidebearer.toml", &text), ("key", rsa)]);
    let loaded = load(&directory.path().join("sidebearer.toml"));
    let config = loaded.unwrap_or_else(|refused| panic!("{refused}")).config;
    let files = config.named_files();
    let names = files
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let file = |name: &str| SecretSource::File(directory.path().join(name).into());
    let credential = config.credentials["crm"].clone();
    (credential, names.collect(), [file("key"), file("secret")])
}

#[test]
fn private_key_jwt_addresses_the_issuer_with_the_keys_own_algorithm() {
    let lines = r#"client_id = "billing"
auth_method = "private_key_jwt"
private_key = { file = "key" }"#;
    let (credential, files, [key, _]) = read(lines);
    let expected = ClientAuth::PrivateKeyJwt {
        key,
        algorithm: None,
        form: AssertionForm {
            key_id: None,
            audience: AssertionAudience::Exactly("https://as.example".to_owned()),
        },
    };
    assert_eq!(credential.auth, expected);
    assert_eq!(credential.grant, Grant::ClientCredentials);
    assert_eq!(files, ["key"]);
}

#[test]
fn assertions_are_configurable() {
    let lines = r#"client_id = "billing"
auth_method = "client_secret_jwt"
client_secret = "0123456789012345678901234567890123456789012345678901234567890123"
signing_alg = "HS512"
key_id = "one"
assertion_audience = "#;
    let exactly = |text: &str| AssertionAudience::Exactly(text.to_owned());
    for (written, expected) in [
        ("token_endpoint", AssertionAudience::TokenEndpoint),
        ("issuer", exactly("https://as.example")),
        ("urn:x", exactly("urn:x")),
    ] {
        let (credential, files, _) = read(&format!("{lines}\"{written}\""));
        let ClientAuth::SecretJwt {
            algorithm, form, ..
        } = credential.auth
        else {
            panic!("{:?}", credential.auth)
        };
        assert_eq!(algorithm, Algorithm::HS512);
        assert_eq!(form.key_id.as_deref(), Some("one"));
        assert_eq!(form.audience, expected);
        assert!(files.is_empty());
    }
}

#[test]
fn tokens_of_others_need_no_client_id() {
    let lines = "auth_method = \"client_assertion\"\nclient_assertion = { file = \"secret\" }";
    let (credential, files, [_, assertion]) = read(lines);
    assert_eq!(credential.auth, ClientAuth::ClientAssertion { assertion });
    assert_eq!(credential.client_id, None);
    assert_eq!(files, ["secret"]);

    let lines = r#"auth_method = "none"
grant = "jwt-bearer"
assertion = { file = "key" }"#;
    let (credential, files, [assertion, _]) = read(lines);
    assert_eq!(credential.auth, ClientAuth::None);
    assert_eq!(credential.grant, Grant::JwtBearer { assertion });
    assert_eq!(files, ["key"]);
}

#[test]
fn an_exchange_is_read_with_its_types() {
    let lines = r#"auth_method = "none"
client_id = "billing"
grant = "token-exchange"
subject_token = { file = "key" }
actor_token = { file = "secret" }
actor_token_type = "urn:x"
requested_token_type = "urn:y""#;
    let (credential, files, [key, secret]) = read(lines);
    let token = |token, token_type: &str| SecurityToken {
        token,
        token_type: token_type.to_owned(),
    };
    let expected = Grant::TokenExchange {
        subject: token(key, SecurityToken::JWT),
        actor: Some(token(secret, "urn:x")),
        requested_token_type: Some("urn:y".to_owned()),
    };
    assert_eq!(credential.grant, expected);
    assert!(credential.client_id.is_some());
    assert_eq!(files, ["key", "secret"]);
}

#[test]
fn certificates_of_both_kinds_are_read() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let files = directory(&[("certificate", &certificate), ("key", &key.serialize_pem())]);
    for (method, self_signed) in [
        ("tls_client_auth", false),
        ("self_signed_tls_client_auth", true),
    ] {
        let lines = format!(
            "client_id = \"billing\"\nauth_method = \"{method}\"\n\
             tls = {{ certificate_file = \"{0}/certificate\", key_file = \"{0}/key\" }}",
            files.path().display()
        );
        let (credential, ..) = read(&lines);
        assert_eq!(credential.auth, ClientAuth::Certificate { self_signed });
        let key = files.path().join("key");
        assert_eq!(credential.key_files().collect::<Vec<_>>(), [&key.into()]);
    }
}

#[test]
fn dpop_is_off_required_or_optional() {
    let own = |required| Dpop {
        required,
        key: None,
    };
    let base = "client_id = \"billing\"\nclient_secret = { file = \"key\" }\n";
    for (written, expected) in [
        ("", None),
        ("dpop = false", None),
        ("dpop = true", Some(own(true))),
        ("dpop = \"optional\"", Some(own(false))),
        ("dpop = true\ndpop_key = \"\"", Some(own(true))),
    ] {
        let (credential, _, _) = read(&format!("{base}{written}"));
        assert_eq!(credential.dpop, expected, "{written}");
    }
}

#[test]
fn what_a_server_leaves_out_or_insists_on_is_configurable() {
    let base = "client_id = \"billing\"\nclient_secret = { file = \"secret\" }\n";
    for (written, token_type, nbf) in [
        ("", None, false),
        ("default_token_type = \"Bearer\"", Some("Bearer"), false),
        ("default_token_type = \"DPoP\"", Some("DPoP"), false),
        ("assertion_nbf = true", None, true),
        ("assertion_nbf = false", None, false),
    ] {
        let (credential, _, _) = read(&format!("{base}{written}"));
        assert_eq!(credential.default_token_type, token_type, "{written}");
        assert_eq!(credential.assertion_nbf, nbf, "{written}");
    }
    for (written, expected) in [
        (
            "default_token_type = \"mac\"",
            "expected \"Bearer\" or \"DPoP\"",
        ),
        ("default_token_type = \"bearer\"", "did you mean `Bearer`?"),
        (
            "default_token_type = true",
            "expected \"Bearer\" or \"DPoP\", found a boolean",
        ),
        (
            "assertion_nbf = \"yes\"",
            "expected true or false, found a string",
        ),
    ] {
        let shown = refused(&[CREDENTIAL, written, LISTENER, UPSTREAM]);
        let key = written.split(' ').next().unwrap();
        assert!(
            shown.contains(&format!("`{key}` in [credentials.crm]")),
            "{shown}"
        );
        assert!(shown.contains(expected), "{shown}");
        assert_eq!(shown.matches("error:").count(), 1, "{shown}");
    }
}

#[test]
fn the_file_of_a_dpop_key_is_watched() {
    let text = r#"
[credentials.crm]
issuer = "https://as.example"
client_id = "billing"
client_secret = { env = "PATH" }
dpop = true
dpop_key = { file = "proof" }
"#;
    let text = [LISTENER, UPSTREAM, text].concat();
    let key = include_str!("../../../tests/keys/p256.jwk");
    let directory = directory(&[("sidebearer.toml", &text), ("proof", key)]);
    let config = load(&directory.path().join("sidebearer.toml"))
        .unwrap()
        .config;
    assert_eq!(config.named_files(), [directory.path().join("proof")]);
}
