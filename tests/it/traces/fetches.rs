use opentelemetry_proto::tonic::trace::v1::Span;

use super::{TRACE, get_with, traceparent};
use crate::support::api::Api;
use crate::support::client::{self, get};
use crate::support::collector::{CLIENT, Collector, INTERNAL, SERVER, attribute, failed, hex};
use crate::support::idp::{Behaviour, Idp};
use crate::support::process::Process;
use crate::support::sidebearer::Sidebearer;
use crate::support::{eventually, protected, smallest, with_patience};

/// The spans of token requests: roots.
async fn fetches(collector: &Collector, count: usize) -> Vec<Span> {
    let is_root = |span: &Span| span.parent_span_id.is_empty();
    eventually("token requests", async || {
        let spans = collector.spans();
        let roots = spans
            .iter()
            .filter(|span| span.kind == CLIENT && is_root(span));
        roots.count() >= count
    })
    .await;
    let spans = collector.of_kind(CLIENT, count).await;
    spans.into_iter().filter(is_root).collect()
}

#[tokio::test]
async fn requests_that_wait_for_a_token_are_linked_to_the_one_request_that_brought_it() {
    let (api, idp, collector) = (Api::open(), Idp::start(), Collector::start());
    idp.behave(Behaviour::Holds);
    // Nothing is recorded but what is recorded elsewhere.
    let config = protected(&api.url(), &idp.endpoint(), "", "refresh = \"lazy\"");
    let sidebearer = Sidebearer::start(&(config + &collector.config("sample = 0")));
    let address = sidebearer.address();
    let ask = || {
        let request = get_with("/", &[("traceparent", &traceparent(true))]);
        tokio::spawn(client::send(address, request))
    };
    let first = ask();
    // It waits, because nobody else asks for a token.
    eventually("asked", async || idp.requests() == 1).await;
    let second = ask();
    idp.let_go(1);
    for answer in [first, second] {
        assert_eq!(answer.await.unwrap().status, 200);
    }
    let fetch = &fetches(&collector, 1).await[0];
    assert_eq!(fetch.name, "token request");
    assert_ne!(hex(&fetch.trace_id), TRACE);
    assert_eq!(attribute(fetch, "sidebearer.credential"), "api");
    assert_eq!(
        attribute(fetch, "server.port"),
        idp.address.port().to_string()
    );
    let servers = collector.of_kind(SERVER, 2).await;
    let waits = collector.of_kind(INTERNAL, 1).await;
    for wait in &waits {
        assert_eq!(hex(&wait.trace_id), TRACE);
        assert!(
            servers
                .iter()
                .any(|server| server.span_id == wait.parent_span_id)
        );
        assert_eq!(wait.links[0].trace_id, fetch.trace_id);
        assert_eq!(wait.links[0].span_id, fetch.span_id);
        assert_eq!(attribute(wait, "sidebearer.credential"), "api");
    }
}

#[tokio::test]
async fn a_token_request_that_nobody_recorded_waits_for_is_recorded_by_the_share_alone() {
    let (api, idp, collector) = (Api::open(), Idp::start(), Collector::start());
    let config = |sample| smallest(&api, &idp) + &collector.config(sample);
    let unrecorded = Sidebearer::start(&config("sample = 0"));
    unrecorded.ready().await;
    let recorded = Sidebearer::start(&config("sample = 1"));
    recorded.ready().await;
    assert_eq!(fetches(&collector, 1).await.len(), 1);
}

#[tokio::test]
async fn the_status_has_the_trace_of_the_token_request_that_failed() {
    let (api, idp, collector) = (Api::open(), Idp::start(), Collector::start());
    idp.behave(Behaviour::Answers(
        400,
        r#"{"error":"invalid_client"}"#.to_owned(),
    ));
    let config = with_patience(&smallest(&api, &idp), "1ms") + &collector.config("sample = 1");
    let sidebearer = Sidebearer::start(&config);
    assert_eq!(
        get(sidebearer.address(), "/").await.code(),
        "token_unavailable"
    );
    let fetch = &fetches(&collector, 1).await[0];
    assert!(failed(fetch));
    assert_eq!(attribute(fetch, "error.type"), "refused");
    let status = sidebearer.status().await;
    let last = &status["credentials"]["api"]["last_error"];
    assert_eq!(last["trace_id"], hex(&fetch.trace_id), "{last}");
    let server = &collector.of_kind(SERVER, 1).await[0];
    assert_eq!(attribute(server, "error.type"), "token_unavailable");
    assert!(failed(server));
}

#[tokio::test]
async fn the_trace_is_in_access_lines_and_in_the_audit() {
    let (api, idp, collector) = (Api::open(), Idp::start(), Collector::start());
    let config = format!(
        "[log]\naccess = \"all\"\n[audit]\nfile = \"audit.jsonl\"\n{}{}",
        smallest(&api, &idp),
        collector.config("sample = 1")
    );
    let process = Process::start(&config).await;
    assert_eq!(get(process.address(), "/").await.status, 200);
    let server = &collector.of_kind(SERVER, 1).await[0];
    let trace = hex(&server.trace_id);
    let has_trace = |text: &str, what: &str| {
        let lines = text.lines();
        let mut lines = lines.filter_map(|line| serde_json::from_str(line).ok());
        lines.any(|line: serde_json::Value| line["trace_id"] == trace && text.contains(what))
    };
    eventually("the line", async || {
        has_trace(&process.log(), "sidebearer::access")
    })
    .await;
    let audit = || {
        let audit = std::fs::read_to_string(process.dir().join("audit.jsonl"));
        audit.unwrap_or_default()
    };
    eventually("the record", async || {
        has_trace(&audit(), "\"event\":\"request\"")
    })
    .await;
    let fetch = hex(&fetches(&collector, 1).await[0].trace_id);
    assert_ne!(fetch, trace);
    eventually("the record of the token request", async || {
        let audit = audit();
        let mut lines = audit.lines().filter(|line| line.contains(&fetch));
        lines.any(|line| line.contains("\"event\":\"token\""))
    })
    .await;
}
