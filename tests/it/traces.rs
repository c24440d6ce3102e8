//! Traces: what is read of requests, what upstreams are told, and what a collector gets.

mod export;
mod fetches;
mod propagation;
mod requests;

use http::{HeaderValue, Method, Request};
use http_body_util::Full;

use crate::support::client;

/// A trace that began elsewhere, and its span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// The `traceparent` of it, recorded or not.
fn traceparent(sampled: bool) -> String {
    format!("00-{TRACE}-{SPAN}-0{}", u8::from(sampled))
}

/// A GET with these headers.
fn get_with(path: &str, headers: &[(&'static str, &str)]) -> Request<Full<bytes::Bytes>> {
    let mut request = client::request(Method::GET, path, "");
    for (name, value) in headers {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().append(*name, value);
    }
    request
}
