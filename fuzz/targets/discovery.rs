//! Discovery documents: the token endpoint is the one that the document of this very issuer names,
//! and safe to send a secret to.
//!
//! The first line is the issuer, after `p` if plain http is allowed and `c` if the client shows a
//! certificate, and a space; the rest is the document.

#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use sidebearer::oauth::discovery::{EndpointRequirements, candidates, is_document, token_endpoint};
use sidebearer::redact::Redactor;
use sidebearer_fuzz::{SECRET, measure};
use url::{Host, Url};

fuzz_target!(|data: &[u8]| {
    check(data);
    if let Ok(shaped) = Shaped::arbitrary_take_rest(Unstructured::new(data)) {
        check(shaped.text().as_bytes());
    }
});

/// A document that is nearly right.
#[derive(Debug, Arbitrary)]
struct Shaped {
    flags: u8,
    issuers: [u8; 2],
    endpoint: Option<Endpoint>,
    alias: Option<Endpoint>,
}

/// Indices of parts.
#[derive(Debug, Arbitrary)]
struct Endpoint([u8; 4], String);

impl Shaped {
    fn text(&self) -> String {
        const ISSUERS: [&str; 3] = [
            "https://as.example",
            "https://as.example/",
            "https://as.example/x",
        ];
        let flags = ["", "p", "c", "pc"][usize::from(self.flags) % 4];
        let [configured, named] = self.issuers.map(|index| ISSUERS[usize::from(index) % 3]);
        let mut members = vec![format!("\"issuer\":{named:?}")];
        let url = |endpoint: &Endpoint| Value::from(endpoint.url());
        if let Some(endpoint) = &self.endpoint {
            members.push(format!("\"token_endpoint\":{}", url(endpoint)));
        }
        if let Some(alias) = &self.alias {
            members.push(format!(
                "\"mtls_endpoint_aliases\":{{\"token_endpoint\":{}}}",
                url(alias)
            ));
        }
        format!("{flags} {configured}\n{{{}}}", members.join(","))
    }
}

impl Endpoint {
    fn url(&self) -> String {
        const PARTS: [&[&str]; 4] = [
            &["https://", "http://", "ftp://", "HTTP:\\\\"],
            &["", "", "a@", ":b@", "a:b@", "@"],
            &[
                "as.example",
                "localhost",
                "127.0.0.1",
                "127.1",
                "[::1]",
                "10.0.0.1",
                "localhost.",
                "",
            ],
            &["/token", "", "/t?a=b", "#", "/t#f", ":8443/"],
        ];
        let parts = PARTS.iter().zip(self.0);
        let parts = parts.map(|(parts, index)| parts[usize::from(index) % parts.len()]);
        parts.chain([&*self.1]).collect()
    }
}

fn check(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else {
        return;
    };
    let body = &data[end + 1..];
    let head = std::str::from_utf8(&data[..end]).ok();
    let Some((flags, issuer)) = head.and_then(|head| head.split_once(' ')) else {
        return;
    };
    // What the configuration takes for an issuer.
    let url = match Url::parse(issuer) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
        _ => return,
    };
    where_to_look(&url);

    let needs = EndpointRequirements {
        allow_plaintext: flags.contains('p'),
        certificate: flags.contains('c'),
    };
    let (is_document, cost) = measure(|| is_document(body));
    assert!(cost.peak <= 128 * data.len() + 64 * 1024, "{cost:?}");
    let object: Option<Value> = serde_json::from_slice(body).ok().filter(Value::is_object);
    assert_eq!(is_document, object.is_some());
    let Some(document) = object else {
        return;
    };
    let redactor = Redactor::new([SECRET]);
    let (result, cost) = measure(|| token_endpoint(body, issuer, needs, &redactor));
    assert!(cost.peak <= 128 * data.len() + 64 * 1024, "{cost:?}");
    match result {
        Ok(endpoint) => sound(&endpoint, issuer, needs, &document),
        Err(why) => {
            assert!(why.len() <= issuer.len() + 512, "{why}");
            let ours = why.replace(issuer, "");
            let said = why.replace(issuer, " ");
            assert!(!said.to_ascii_lowercase().contains(SECRET), "{why}");
            assert!(
                ours.bytes().all(|byte| (0x20..=0x7E).contains(&byte)),
                "{why}"
            );
        }
    }
}

/// On the issuer's own server, without its query.
fn where_to_look(issuer: &Url) {
    let places = candidates(issuer);
    assert!((2..=3).contains(&places.len()));
    for place in &places {
        assert_eq!(place.origin(), issuer.origin());
        assert_eq!((place.query(), place.fragment()), (None, None));
        assert!(place.path().contains("/.well-known/"), "{place}");
    }
}

fn sound(endpoint: &Url, issuer: &str, needs: EndpointRequirements, document: &Value) {
    assert_eq!(document["issuer"], *issuer, "the document of someone else");
    let alias = &document["mtls_endpoint_aliases"]["token_endpoint"];
    let named = match alias.as_str() {
        Some(alias) if needs.certificate => alias,
        _ => document["token_endpoint"].as_str().expect("it is named"),
    };
    assert_eq!(Url::parse(named).as_ref(), Ok(endpoint));
    let local = match endpoint.host().expect("it has a host") {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(ip) => ip.octets()[0] == 127,
        Host::Ipv6(ip) => ip.segments() == [0, 0, 0, 0, 0, 0, 0, 1],
    };
    match endpoint.scheme() {
        "https" => {}
        "http" => assert!(needs.allow_plaintext || local, "{endpoint}"),
        other => panic!("{other}"),
    }
    assert_eq!((endpoint.username(), endpoint.password()), ("", None));
    assert_eq!(endpoint.fragment(), None);
    assert!(endpoint.as_str().len() <= 8 * 1024);
}
