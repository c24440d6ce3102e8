use std::time::{Duration, Instant};

use http::Response;

use crate::support::api::Api;
use crate::support::client::get;
use crate::support::collector::{Collector, SERVER};
use crate::support::server::{Body, response, whole};
use crate::support::sidebearer::Sidebearer;
use crate::support::{eventually, loopback, unprotected};

const EXPORTED: &str = "sidebearer_spans_total{outcome=\"exported\"}";
const DROPPED: &str = "sidebearer_spans_total{outcome=\"dropped\"}";
const FAILED: &str = "sidebearer_spans_total{outcome=\"failed\"}";

fn start(api: &Api, tracing: &str) -> Sidebearer {
    Sidebearer::start(&format!("{}{tracing}", unprotected(&api.url(), "")))
}

#[tokio::test]
async fn spans_come_with_what_the_process_says_of_itself_and_with_the_headers_that_are_configured()
{
    let (api, collector) = (Api::open(), Collector::start());
    let more = r#"
sample = 1
headers = { authorization = { file = "secret" }, "x-team" = "billing" }
resource = { "service.name" = "gateway", "deployment.environment" = "test" }
"#;
    let sidebearer = start(&api, &collector.config(more));
    get(sidebearer.address(), "/").await;
    collector.of_kind(SERVER, 1).await;
    assert_eq!(collector.target(), "/v1/traces");
    assert_eq!(collector.header("content-type"), "application/x-protobuf");
    assert_eq!(collector.header("authorization"), "s3cret");
    assert_eq!(collector.header("x-team"), "billing");
    assert_eq!(collector.resource("service.name"), "gateway");
    assert_eq!(collector.resource("deployment.environment"), "test");
    assert_eq!(
        collector.resource("service.version"),
        env!("CARGO_PKG_VERSION")
    );
    assert!(
        collector
            .resource("service.instance.id")
            .starts_with("sidebearer-")
    );

    // A secret that has changed counts at once, without a reload.
    sidebearer.write("secret", "another\n");
    get(sidebearer.address(), "/").await;
    collector.of_kind(SERVER, 2).await;
    assert_eq!(collector.header("authorization"), "another");
    eventually("all counted", async || {
        sidebearer.metric(EXPORTED).await == 4.0
    })
    .await;
    assert!(!sidebearer.page("/status").await.contains("another"));
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again_when_it_says() {
    let api = Api::open();
    let collector = Collector::answering(|number| {
        let mut busy: Response<Body> = response(503, "");
        busy.headers_mut().insert("retry-after", 0.into());
        if number < 3 { busy } else { response(200, "") }
    });
    let sidebearer = start(&api, &collector.config("sample = 1\nmax_batch = 1"));
    get(sidebearer.address(), "/").await;
    collector.of_kind(SERVER, 1).await;
    assert_eq!(sidebearer.metric(FAILED).await, 0.0);
    assert!(collector.requests() >= 3);
}

#[tokio::test]
async fn what_the_collector_refuses_is_not_sent_again_and_counted() {
    let api = Api::open();
    // Another message of OTLP: one rejected span.
    let partial = || whole(vec![0x0a, 0x02, 0x08, 0x01]);
    let collector = Collector::answering(move |number| match number {
        1 => response(400, ""),
        _ => Response::new(partial()),
    });
    let sidebearer = start(&api, &collector.config("sample = 1"));
    get(sidebearer.address(), "/").await;
    eventually("refused", async || sidebearer.metric(FAILED).await >= 1.0).await;
    let refused = sidebearer.metric(FAILED).await;
    get(sidebearer.address(), "/").await;
    eventually("rejected", async || {
        sidebearer.metric(FAILED).await > refused
    })
    .await;
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_never_a_request() {
    let api = Api::open();
    let tracing = format!(
        "[tracing]\nendpoint = \"http://{}\"\nsample = 1\nbatch_delay = \"1ms\"\nmax_queue = 10\nmax_batch = 5\n",
        loopback()
    );
    let sidebearer = start(&api, &tracing);
    for _ in 0..50 {
        assert_eq!(get(sidebearer.address(), "/").await.status, 200);
    }
    // At most ten wait, and five are being tried again.
    eventually("dropped", async || sidebearer.metric(DROPPED).await >= 85.0).await;
    assert_eq!(sidebearer.metric(EXPORTED).await, 0.0);
    // It ends in time all the same.
    let begun = Instant::now();
    sidebearer.ended().await;
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn what_waits_at_the_end_is_sent() {
    let (api, collector) = (Api::open(), Collector::start());
    let tracing = collector.config("sample = 1").replace("1ms", "1h");
    let sidebearer = start(&api, &tracing);
    get(sidebearer.address(), "/").await;
    sidebearer.ended().await;
    assert_eq!(collector.of_kind(SERVER, 1).await.len(), 1);
}

#[tokio::test]
async fn a_reload_changes_where_spans_go_and_loses_none() {
    let (api, before, after) = (Api::open(), Collector::start(), Collector::start());
    let config = |collector: &Collector| {
        let tracing = collector.config("sample = 1").replace("1ms", "1h");
        format!("{}{tracing}", unprotected(&api.url(), ""))
    };
    let sidebearer = Sidebearer::start(&config(&before));
    get(sidebearer.address(), "/").await;
    let config = config(&after);
    sidebearer.reconfigure(&config).await.unwrap();
    assert_eq!(before.of_kind(SERVER, 1).await.len(), 1);
    let mut again = config.clone();
    again.push_str("\n[audit]\nfile = \"audit.jsonl\"\n");
    get(sidebearer.address(), "/").await;
    sidebearer.reconfigure(&again).await.unwrap();
    get(sidebearer.address(), "/").await;
    sidebearer.ended().await;
    assert_eq!(after.of_kind(SERVER, 2).await.len(), 2);
    assert_eq!(before.of_kind(SERVER, 1).await.len(), 1);
}
