//! The status page.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method};

use super::assert_no_cors;
use crate::support::api::Api;
use crate::support::client::{self, Answer, get, request};
use crate::support::idp::Idp;
use crate::support::sidebearer::Sidebearer;
use crate::support::smallest;

async fn with_header(
    sidebearer: &Sidebearer,
    path: &str,
    name: &'static str,
    value: &str,
) -> Answer {
    let mut request = request(Method::GET, path, "");
    let value = HeaderValue::from_str(value).unwrap();
    request
        .headers_mut()
        .insert(HeaderName::from_static(name), value);
    client::send(sidebearer.admin(), request).await
}

/// The text between the only tags of this name.
fn inside<'p>(page: &'p str, tag: &str) -> &'p str {
    let (_, from) = page.split_once(&format!("<{tag}")).unwrap();
    let (_, from) = from.split_once('>').unwrap();
    let (text, rest) = from.split_once(&format!("</{tag}>")).unwrap();
    assert!(!rest.contains(&format!("<{tag}")), "a second {tag}");
    text
}

#[tokio::test]
async fn the_page_may_do_nothing_but_what_it_needs() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    let answer = get(sidebearer.admin(), "/").await;
    assert_eq!(answer.status, 200);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let page = answer.text();
    let hash = |tag: &str| {
        let hash = digest(&SHA256, inside(&page, tag).as_bytes());
        format!("'sha256-{}'", STANDARD.encode(hash))
    };
    let policy = answer.header("content-security-policy");
    let directives: Vec<_> = policy.split("; ").collect();
    let expected = [
        "default-src 'none'".to_owned(),
        format!("script-src {}", hash("script")),
        format!("style-src {}", hash("style")),
        "img-src data:".to_owned(),
        "connect-src 'self'".to_owned(),
        "base-uri 'none'".to_owned(),
        "form-action 'none'".to_owned(),
        "frame-ancestors 'none'".to_owned(),
        "require-trusted-types-for 'script'".to_owned(),
        "trusted-types 'none'".to_owned(),
    ];
    assert_eq!(directives, expected);
    let head = client::send(sidebearer.admin(), request(Method::HEAD, "/", "")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-security-policy"), policy);
}

#[tokio::test]
async fn without_scripts_the_page_says_where_else_to_look() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    let page = get(sidebearer.admin(), "/").await.text();
    let instead = inside(&page, "noscript");
    for path in ["status", "metrics", "readyz"] {
        assert!(
            instead.contains(&format!("<a href=\"{path}\">")),
            "{instead}"
        );
        assert_eq!(
            get(sidebearer.admin(), &format!("/{path}")).await.status,
            200
        );
    }
}

#[tokio::test]
async fn page_and_events_are_closed_to_other_pages_and_foreign_hosts() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    for path in ["/", "/events"] {
        for (name, value, status) in [
            ("origin", "http://attacker.example", 403),
            ("origin", "null", 403),
            ("sec-fetch-site", "cross-site", 403),
            ("sec-fetch-site", "same-site", 403),
            ("host", "attacker.example", 404),
            ("sec-fetch-site", "same-origin", 200),
        ] {
            // A stream that is refused has an end.
            if status == 200 && path == "/events" {
                continue;
            }
            let answer = with_header(&sidebearer, path, name, value).await;
            assert_eq!(answer.status, status, "{path} {name}: {value}");
            assert_no_cors(&answer);
        }
    }
}

#[tokio::test]
async fn neither_page_nor_status_shows_a_token_or_a_secret() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.set_prefix("the-token-itself");
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    assert_eq!(get(sidebearer.address(), "/").await.status, 200);
    for path in ["/", "/status"] {
        let page = get(sidebearer.admin(), path).await.text();
        for secret in ["the-token-itself", "s3cret"] {
            assert!(!page.contains(secret), "{secret} in {path}");
        }
    }
}
