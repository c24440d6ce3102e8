//! Traces: what is read of requests, what upstreams are told, and what a collector gets.

mod export;
mod fetches;
mod propagation;
mod requests;

use http::{HeaderValue, Method, Request};
use http_body_util::Full;

use crate::support::client;
use crate::support::process::{command, run};

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

#[tokio::test]
async fn a_collector_that_would_be_this_process_is_told_by_what_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    let table = "[tracing]\nsample = 0.5\n";
    let written = "[tracing]\nsample = 0.5\nendpoint = \"http://127.0.0.1:4318\"\n";
    let own = "http://localhost:4318";
    let (all, traces) = (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    );
    let exporter = "OTEL_TRACES_EXPORTER";
    let by = |name: &str| format!("the collector of the variable {name}");
    let (whole, key) = ("sidebearer.toml\n", "sidebearer.toml:10:12\n");
    for (tracing, variables, named, place) in [
        ("", &[(all, own)][..], by(all), whole),
        ("", &[(traces, own), (all, "http://c:1")], by(traces), whole),
        ("", &[(exporter, "otlp")], by(exporter), whole),
        (table, &[(all, own)], by(all), whole),
        (
            written,
            &[(all, "http://c:1")],
            "the collector of [tracing]".to_owned(),
            key,
        ),
    ] {
        let listener = "[[listeners]]\naddress = \"127.0.0.1:4318\"\nupstream = \"api\"\n\n\
                        [upstreams.api]\nurl = \"http://127.0.0.2:9\"\n";
        std::fs::write(&path, format!("{listener}\n{tracing}")).unwrap();
        let mut check = command(&["check", "--config", path.to_str().unwrap()]);
        for name in [all, traces, exporter] {
            check.env_remove(name);
        }
        check.envs(variables.iter().copied());
        let ended = run(check).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let said = ended.stderr;
        let first = format!("warning: {named} would be this process itself\n");
        assert!(said.contains(&first), "{first}{said}");
        let mut lines = said.lines().skip_while(|line| !first.starts_with(line));
        let at = lines.nth(1).unwrap_or_default().to_owned() + "\n";
        assert!(at.ends_with(place), "{variables:?} {place}{said}");
    }
}
