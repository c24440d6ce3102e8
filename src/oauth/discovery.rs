//! From an issuer to its token endpoint (RFC 8414, OpenID Connect Discovery 1.0).

use serde::Deserialize;
use url::{Host, Url};

use crate::http_client::display_url;
use crate::redact::Redactor;

const RFC_8414: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

/// A longer URL of a token endpoint is a mistake, or an attack on what handles it.
const MAX_URL: usize = 8 * 1024;

#[derive(Deserialize)]
struct Document {
    issuer: Option<String>,
    token_endpoint: Option<String>,
    /// Of any form: who shows no certificate need not mind it.
    mtls_endpoint_aliases: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct KeysDocument {
    issuer: Option<String>,
    jwks_uri: Option<String>,
}

/// What an endpoint found by discovery has to suit.
#[derive(Clone, Copy)]
pub struct EndpointRequirements {
    /// Plain http beyond loopback is accepted.
    pub allow_plaintext: bool,
    /// The client shows a certificate: an alias for that is preferred (RFC 8705 section 5).
    pub certificate: bool,
}

/// Where the document may be, the most standard place first.
pub fn candidates(issuer: &Url) -> Vec<Url> {
    let path = issuer.path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let mut paths = vec![
        format!("{RFC_8414}{path}"),
        format!("{path}{OPENID}"),
        format!("{path}{RFC_8414}"),
    ];
    if path.is_empty() {
        paths.pop();
    }
    let at = |path: &String| {
        let mut url = issuer.clone();
        url.set_path(path);
        url.set_query(None);
        url.set_fragment(None);
        url
    };
    paths.iter().map(at).collect()
}

/// Whether a body is a document at all; if not, the next candidate is tried.
pub fn is_document(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(body).is_ok()
}

/// Whether it is the document of an issuer; if not, the next candidate is tried.
pub fn names_issuer(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Named {
        issuer: Option<serde_json::Value>,
    }
    let repeated = |error: &serde_json::Error| error.to_string().starts_with("duplicate field");
    match serde_json::from_slice::<Named>(body) {
        Ok(named) => is_document(body) && named.issuer.is_some(),
        Err(error) => is_document(body) && repeated(&error),
    }
}

/// The token endpoint that the document names for `issuer`, or what is wrong with it.
///
/// # Errors
///
/// What is wrong, in words that follow the URL of the document. What the document says is cleaned.
pub fn token_endpoint(
    body: &[u8],
    issuer: &str,
    needs: EndpointRequirements,
    redactor: &Redactor,
) -> Result<Url, String> {
    let document: Document = serde_json::from_slice(body)
        .map_err(|_| "its issuer or token_endpoint is repeated or not text".to_owned())?;
    check_issuer(document.issuer.as_deref(), issuer, redactor)?;
    let aliases = document.mtls_endpoint_aliases.filter(|_| needs.certificate);
    let alias =
        aliases.and_then(|aliases| Some(aliases.get("token_endpoint")?.as_str()?.to_owned()));
    let named = alias
        .or(document.token_endpoint)
        .ok_or("it names no token_endpoint")?;
    let url = usable_url(&named, "token_endpoint", redactor)?;
    if is_plaintext(&url) && !needs.allow_plaintext {
        return Err(format!(
            "its token_endpoint {} is not https; allow_plaintext would permit that",
            redactor.clean(&display_url(&url))
        ));
    }
    Ok(url)
}

/// Where the document says that the public keys of `issuer` are, or what is wrong with it.
///
/// # Errors
///
/// As [`token_endpoint`].
pub fn jwks_uri(body: &[u8], issuer: &str, redactor: &Redactor) -> Result<Url, String> {
    let document: KeysDocument = serde_json::from_slice(body)
        .map_err(|_| "its issuer or jwks_uri is repeated or not text".to_owned())?;
    check_issuer(document.issuer.as_deref(), issuer, redactor)?;
    let named = document.jwks_uri.ok_or("it names no jwks_uri")?;
    let url = usable_url(&named, "jwks_uri", redactor)?;
    if is_plaintext(&url) {
        let shown = redactor.clean(&display_url(&url));
        return Err(format!("its jwks_uri {shown} is not https"));
    }
    Ok(url)
}

/// Whose document it is, as it says itself.
pub fn issuer(body: &[u8]) -> Option<String> {
    let document: KeysDocument = serde_json::from_slice(body).ok()?;
    document.issuer.filter(|_| is_document(body))
}

/// The document's `issuer` must be the configured one to the letter (RFC 8414 section 3.3): else
/// another server's document would decide where the secret goes, or whose tokens are good.
fn check_issuer(named: Option<&str>, issuer: &str, redactor: &Redactor) -> Result<(), String> {
    let named = named.ok_or("it names no issuer")?;
    if named != issuer {
        let slash = named.trim_end_matches('/') == issuer.trim_end_matches('/');
        let only = if slash {
            "; they differ only in the last /"
        } else {
            ""
        };
        let named = redactor.clean(named);
        return Err(format!(
            "its issuer is {named}, the configured one {issuer}{only}"
        ));
    }
    Ok(())
}

fn usable_url(named: &str, member: &str, redactor: &Redactor) -> Result<Url, String> {
    let url = Url::parse(named).ok().filter(usable);
    url.ok_or_else(|| {
        let named = redactor.clean(named);
        format!("its {member} {named} is no usable URL")
    })
}

fn is_plaintext(url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url)
}

fn usable(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "http")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
        && url.as_str().len() <= MAX_URL
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(["hunter2hunter2"])
    }

    fn places(issuer: &str) -> Vec<String> {
        let found = candidates(&Url::parse(issuer).unwrap());
        found.into_iter().map(String::from).collect()
    }

    #[test]
    fn candidates_are_in_the_order_of_the_standards() {
        for issuer in [
            "https://as.example/realms/x",
            "https://as.example/realms/x/",
        ] {
            assert_eq!(
                places(issuer),
                [
                    "https://as.example/.well-known/oauth-authorization-server/realms/x",
                    "https://as.example/realms/x/.well-known/openid-configuration",
                    "https://as.example/realms/x/.well-known/oauth-authorization-server",
                ]
            );
        }
        for issuer in ["https://as.example:8443", "https://as.example:8443/"] {
            assert_eq!(
                places(issuer),
                [
                    "https://as.example:8443/.well-known/oauth-authorization-server",
                    "https://as.example:8443/.well-known/openid-configuration",
                ]
            );
        }
        // Only one slash is stripped.
        assert_eq!(
            places("https://as.example/x//")[0],
            "https://as.example/.well-known/oauth-authorization-server/x/"
        );
    }

    #[test]
    fn only_json_objects_are_documents() {
        for body in ["", "<html>", "[]", "null", "\"x\"", "{", "{} x"] {
            assert!(!is_document(body.as_bytes()), "{body}");
        }
        assert!(is_document(b"{}"));
    }

    #[test]
    fn a_document_without_issuer_is_no_document_of_an_issuer() {
        for body in ["{}", "[\"x\"]", r#"{"issuer":null}"#, "{", ""] {
            assert!(!names_issuer(body.as_bytes()), "{body}");
        }
        // These are judged, and refused.
        for body in [
            r#"{"issuer":1}"#,
            r#"{"issuer":"x"}"#,
            r#"{"issuer":1,"issuer":2}"#,
        ] {
            assert!(names_issuer(body.as_bytes()), "{body}");
        }
    }

    fn found(issuer: &str, endpoint: &str, allow_plaintext: bool) -> Result<Url, String> {
        let body = serde_json::json!({ "issuer": issuer, "token_endpoint": endpoint });
        let needs = EndpointRequirements {
            allow_plaintext,
            certificate: false,
        };
        token_endpoint(
            body.to_string().as_bytes(),
            "https://as.example",
            needs,
            &redactor(),
        )
    }

    #[test]
    fn an_alias_is_for_those_who_show_a_certificate() {
        let found = |aliases: serde_json::Value, certificate| {
            let body = serde_json::json!({
                "issuer": "https://as.example", "token_endpoint": "https://as.example/t",
                "mtls_endpoint_aliases": aliases,
            });
            let needs = EndpointRequirements {
                allow_plaintext: false,
                certificate,
            };
            token_endpoint(
                body.to_string().as_bytes(),
                "https://as.example",
                needs,
                &redactor(),
            )
        };
        let alias = || serde_json::json!({ "token_endpoint": "https://mtls.as.example/t" });
        assert_eq!(
            found(alias(), true).unwrap().as_str(),
            "https://mtls.as.example/t"
        );
        let odd = [
            (alias(), false),
            (serde_json::json!({}), true),
            (serde_json::json!("x"), true),
            (serde_json::json!({"token_endpoint": 1}), true),
            (serde_json::Value::Null, true),
        ];
        for (aliases, certificate) in odd {
            let url = found(aliases, certificate).unwrap();
            assert_eq!(url.as_str(), "https://as.example/t");
        }
        let plain = serde_json::json!({ "token_endpoint": "http://mtls.as.example/t" });
        found(plain, true).unwrap_err();
    }

    #[test]
    fn the_issuer_must_match_to_the_letter() {
        let endpoint = "https://tokens.example/t?tenant=1";
        let url = found("https://as.example", endpoint, false).unwrap();
        assert_eq!(url.as_str(), endpoint, "another host is fine");
        let slash = found("https://as.example/", endpoint, false).unwrap_err();
        assert!(slash.ends_with("differ only in the last /"), "{slash}");
        for other in [
            "https://AS.example",
            "https://as.example:443",
            "http://as.example",
            "",
        ] {
            let error = found(other, endpoint, false).unwrap_err();
            assert!(error.starts_with("its issuer is"), "{error}");
            assert!(!error.contains("differ only"), "{error}");
        }
    }

    #[test]
    fn a_document_carries_no_secret_into_a_message() {
        for text in [
            "http://hunter2hunter2/t",
            "x:hunter2%2568unter2",
            "a\u{202e}b\n",
        ] {
            for (issuer, endpoint) in [(text, "https://x"), ("https://as.example", text)] {
                let error = found(issuer, endpoint, false).unwrap_err();
                assert!(!error.contains("unter2hunt"), "{error}");
                assert!(!error.contains("hunter2%"), "{error}");
                assert!(
                    error.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn the_token_endpoint_must_be_a_safe_url() {
        let issuer = "https://as.example";
        for good in [
            "https://x/t",
            "http://127.0.0.1:80/t",
            "http://[::1]/t",
            "http://localhost/t",
        ] {
            found(issuer, good, false).unwrap();
        }
        for plain in [
            "http://x/t",
            "http://localhost.x/t",
            "http://[::ffff:127.0.0.1]/t",
        ] {
            let error = found(issuer, plain, false).unwrap_err();
            assert!(error.contains("is not https"), "{error}");
            found(issuer, plain, true).unwrap();
        }
        for broken in [
            "",
            "/token",
            "ftp://x/t",
            "https://u:p@x/t",
            "https://x/t#f",
            "https:",
            &format!("https://x/{}", "\u{e9}".repeat(MAX_URL / 6)),
        ] {
            let error = found(issuer, broken, true).unwrap_err();
            assert!(error.ends_with("is no usable URL"), "{error}");
        }
    }

    #[test]
    fn members_that_lack_or_repeat_are_refused() {
        for body in [
            r#"{"issuer":"https://as.example"}"#,
            r#"{"token_endpoint":"https://x/t"}"#,
            r#"{"issuer":1,"token_endpoint":"https://x/t"}"#,
            r#"{"issuer":"https://evil.example","issuer":"https://as.example","token_endpoint":"https://x/t"}"#,
        ] {
            let needs = EndpointRequirements {
                allow_plaintext: false,
                certificate: false,
            };
            token_endpoint(body.as_bytes(), "https://as.example", needs, &redactor()).unwrap_err();
        }
    }
}
