//! What it costs to make headers fit to pass on: once for each request and once for each answer.

use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sidebearer::proxy::{scrub_request, scrub_response};

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
    bencher
        .with_inputs(|| headers(lines))
        .bench_local_refs(|headers| scrub_request(headers, Some(&AUTHORIZATION)));
}

#[divan::bench(sample_size = 100)]
fn response(bencher: divan::Bencher<'_, '_>) {
    bencher
        .with_inputs(|| headers(ANSWER))
        .bench_local_refs(|headers| scrub_response(headers, StatusCode::OK));
}
