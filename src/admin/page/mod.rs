//! The status page: one file with everything in it, and what a browser may do with it.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};
use http_body_util::Full;

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

static PAGE: LazyLock<StatusPage> = LazyLock::new(StatusPage::new);

struct StatusPage {
    text: Bytes,
    policy: HeaderValue,
}

impl StatusPage {
    fn new() -> Self {
        let text = HTML
            .replacen("<style>", &format!("<style>{STYLE}"), 1)
            .replacen(
                "<script type=\"module\">",
                &format!("<script type=\"module\">{SCRIPT}"),
                1,
            );
        // Nothing but this very text runs, nothing is asked of another place, and no text ever becomes HTML.
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            source_hash(SCRIPT),
            source_hash(STYLE),
        );
        Self {
            text: Bytes::from(text),
            policy: HeaderValue::from_str(&policy).expect("the policy is ASCII"),
        }
    }
}

/// How Content Security Policy names what stands in the page (CSP level 3 section 2.3.1).
fn source_hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    format!("sha256-{}", STANDARD.encode(hash))
}

/// The page as an answer.
pub(super) fn answer() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(PAGE.text.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE.policy.clone());
    let fixed: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_stand_in_the_page_once_and_end_where_they_should() {
        let page = std::str::from_utf8(&PAGE.text).unwrap();
        for (kind, text) in [("style", STYLE), ("script", SCRIPT)] {
            let end = format!("</{kind}>");
            assert_eq!(page.matches(&end).count(), 1, "{kind}");
            assert_eq!(page.matches(&format!("{text}{end}")).count(), 1, "{kind}");
            assert!(text.is_ascii() && !text.contains('\r'), "{kind}");
        }
    }

    #[test]
    fn the_page_is_small_and_names_no_other_place() {
        assert!(PAGE.text.len() < 40_000, "{} bytes", PAGE.text.len());
        let page = std::str::from_utf8(&PAGE.text).unwrap();
        // The name of a vocabulary is no place to load from.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        for place in ["http:", "https:", "//cdn", "@import", "url(", " on"] {
            let found = page.match_indices(place).find(|(at, _)| {
                // An attribute that begins with "on" and has a value.
                let rest =
                    page[at + place.len()..].trim_start_matches(|c: char| c.is_ascii_lowercase());
                place != " on" || rest.starts_with("=\"")
            });
            assert_eq!(found, None, "{place}");
        }
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval("));
    }
}
