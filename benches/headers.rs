//! What it costs to make headers fit to pass on: once for each request and once for each answer.

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sidebearer::proxy::{OwnHeaders, scrub_request, scrub_response};
use sidebearer::redact::mask_headers;

fn main() {
    divan::main();
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &'static str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    lines.iter().map(line).collect()
}

/// What a library for HTTP sends.
const PLAIN: &[(&str, &str)] = &[
    ("host", "crm.example.com"),
    ("user-agent", "billing/3.1"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip"),
];

/// What comes through other proxies, with something to remove in every way.
const BUSY: &[(&str, &str)] = &[
    ("host", "crm.example.com"),
    ("user-agent", "billing/3.1"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip"),
    ("authorization", "Bearer of-the-client"),
    ("connection", "keep-alive, x-hop"),
    ("keep-alive", "timeout=5"),
    ("x-hop", "1"),
    ("te", "trailers, deflate"),
    ("cookie", "a=1"),
    ("cookie", "b=2"),
    (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    ("x-request-id", "0af76519"),
    ("content-type", "application/json"),
    ("content-length", "512"),
];

const ANSWER: &[(&str, &str)] = &[
    ("server", "nginx"),
    ("date", "Tue, 15 Nov 1994 08:12:31 GMT"),
    ("content-type", "application/json"),
    ("content-length", "64"),
    ("connection", "keep-alive"),
];

#[divan::bench(sample_size = 100)]
fn plain_request(bencher: divan::Bencher<'_, '_>) {
    request(bencher, PLAIN);
}

#[divan::bench(sample_size = 100)]
fn busy_request(bencher: divan::Bencher<'_, '_>) {
    request(bencher, BUSY);
}

fn request(bencher: divan::Bencher<'_, '_>, lines: &[(&'static str, &'static str)]) {
    let own = OwnHeaders::injected(Some(&AUTHORIZATION));
    bencher
        .with_inputs(|| headers(lines))
        .bench_local_refs(|headers| scrub_request(headers, own));
}

#[divan::bench(sample_size = 100)]
fn response(bencher: divan::Bencher<'_, '_>) {
    bencher
        .with_inputs(|| headers(ANSWER))
        .bench_local_refs(|headers| scrub_response(headers, StatusCode::OK));
}

/// As long as those of many authorization servers that do not use JWTs.
const OPAQUE: &str = "2YotnFZFEjr1zCsicMWpAA7hK9q";

/// What APIs add to an answer.
const LONG_ANSWER: &[(&str, &str)] = &[
    ("server", "nginx"),
    ("date", "Tue, 15 Nov 1994 08:12:31 GMT"),
    ("content-type", "application/json; charset=utf-8"),
    ("content-length", "64"),
    ("etag", "W/\"3f80f-1b6-5f4e2512\""),
    (
        "strict-transport-security",
        "max-age=31536000; includeSubDomains; preload",
    ),
    (
        "content-security-policy",
        "default-src 'none'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
    ),
    ("x-request-id", "5f0c3a52-7ee1-4a7f-9d25-6a55a0f7c1d1"),
    (
        "set-cookie",
        "session=MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3A; Path=/; HttpOnly; Secure; SameSite=Lax",
    ),
    (
        "location",
        "https://api.example.com/v1/customers/4711?next=%2Fv1%2Forders%3Fpage%3D2",
    ),
];

#[divan::bench(sample_size = 100)]
fn masked_usual_answer(bencher: divan::Bencher<'_, '_>) {
    mask(bencher, ANSWER, OPAQUE);
}

#[divan::bench(sample_size = 100)]
fn masked_long_answer(bencher: divan::Bencher<'_, '_>) {
    mask(bencher, LONG_ANSWER, OPAQUE);
}

#[divan::bench(sample_size = 100)]
fn masked_long_answer_jwt(bencher: divan::Bencher<'_, '_>) {
    mask(bencher, LONG_ANSWER, &OPAQUE.repeat(30));
}

fn mask(bencher: divan::Bencher<'_, '_>, lines: &[(&'static str, &'static str)], token: &str) {
    bencher
        .with_inputs(|| headers(lines))
        .bench_local_refs(|headers| mask_headers(headers, token, |_| ()));
}
