use super::{SPAN, TRACE, get_with, traceparent};
use crate::support::api::Api;
use crate::support::client;
use crate::support::collector::{CLIENT, Collector, hex};
use crate::support::sidebearer::Sidebearer;
use crate::support::unprotected;

/// Without `[tracing]`, and with it, recording nothing by itself.
fn config(api: &Api, collector: Option<&Collector>, sample: &str) -> String {
    let tracing = collector.map(|collector| collector.config(&format!("sample = {sample}")));
    unprotected(&api.url(), "") + &tracing.unwrap_or_default()
}

#[tokio::test]
async fn without_tracing_every_header_of_a_trace_passes_untouched() {
    let api = Api::open();
    let sidebearer = Sidebearer::start(&config(&api, None, ""));
    let headers = [
        ("traceparent", "malformed, and not for us to judge"),
        ("tracestate", "vendor=1"),
        ("b3", "0"),
        ("x-b3-traceid", TRACE),
    ];
    client::send(sidebearer.address(), get_with("/", &headers)).await;
    client::get(sidebearer.address(), "/").await;
    let seen = api.seen();
    for (name, value) in headers {
        assert_eq!(seen[0].header(name), value);
        assert!(!seen[1].headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn a_trace_that_is_recorded_elsewhere_goes_on_with_a_span_of_ours() {
    let (api, collector) = (Api::open(), Collector::start());
    let sidebearer = Sidebearer::start(&config(&api, Some(&collector), "0"));
    let parent = traceparent(true);
    let headers = [
        ("traceparent", &*parent),
        ("tracestate", "a=1"),
        ("tracestate", "b=2"),
    ];
    client::send(sidebearer.address(), get_with("/x?secret=1", &headers)).await;

    let span = &collector.of_kind(CLIENT, 1).await[0];
    assert_eq!(hex(&span.trace_id), TRACE);
    let seen = &api.seen()[0];
    assert_eq!(
        seen.header("traceparent"),
        format!("00-{TRACE}-{}-01", hex(&span.span_id))
    );
    let state: Vec<_> = seen.headers.get_all("tracestate").iter().collect();
    assert_eq!(state, ["a=1", "b=2"]);
}

#[tokio::test]
async fn a_trace_that_is_not_recorded_goes_on_so_and_costs_the_collector_nothing() {
    let (api, collector) = (Api::open(), Collector::start());
    let sidebearer = Sidebearer::start(&config(&api, Some(&collector), "1"));
    let headers = [("traceparent", &*traceparent(false))];
    client::send(sidebearer.address(), get_with("/", &headers)).await;
    client::get(sidebearer.address(), "/").await;

    // Of the second request alone.
    let spans = collector.of_kind(CLIENT, 1).await;
    assert_eq!(spans.len(), 1);
    assert_ne!(hex(&spans[0].trace_id), TRACE);
    let seen = api.seen();
    let on = seen[0].header("traceparent");
    assert_eq!((&on[..36], &on[52..]), (&*format!("00-{TRACE}-"), "-00"));
    assert_ne!(&on[36..52], SPAN);
    let made = seen[1].header("traceparent");
    assert_eq!(made[3..35], hex(&spans[0].trace_id));
    assert!(made.ends_with("-01"), "{made}");
}

#[tokio::test]
async fn a_malformed_traceparent_is_ignored_and_its_state_goes_no_further() {
    let (api, collector) = (Api::open(), Collector::start());
    let sidebearer = Sidebearer::start(&config(&api, Some(&collector), "0"));
    let upper = traceparent(true).to_uppercase();
    for headers in [
        &[("traceparent", &*upper), ("tracestate", "a=1")][..],
        &[
            ("traceparent", &traceparent(true)),
            ("traceparent", &traceparent(true)),
        ],
        &[("tracestate", "a=1")],
    ] {
        client::send(sidebearer.address(), get_with("/", headers)).await;
    }
    for seen in api.seen() {
        let parent = seen.header("traceparent");
        assert!(
            !parent.contains(TRACE) && parent.ends_with("-00"),
            "{parent}"
        );
        assert_eq!(seen.headers.get_all("traceparent").iter().count(), 1);
        assert_eq!(seen.header("tracestate"), "");
    }
    assert!(collector.spans().is_empty());
}

#[tokio::test]
async fn b3_is_read_and_goes_on_in_the_form_that_it_came_in() {
    let (api, collector) = (Api::open(), Collector::start());
    let sidebearer = Sidebearer::start(&config(&api, Some(&collector), "0"));
    let single = format!("{TRACE}-{SPAN}-1");
    client::send(sidebearer.address(), get_with("/", &[("b3", &single)])).await;
    let multi = [
        ("x-b3-traceid", TRACE),
        ("x-b3-spanid", SPAN),
        ("x-b3-sampled", "1"),
    ];
    client::send(sidebearer.address(), get_with("/", &multi)).await;

    let spans = collector.of_kind(CLIENT, 2).await;
    let ids: Vec<_> = spans.iter().map(|span| hex(&span.span_id)).collect();
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    let seen = api.seen();
    assert_eq!(seen[0].header("b3"), format!("{TRACE}-{}-1", ids[0]));
    assert_eq!(
        seen[0].header("traceparent"),
        format!("00-{TRACE}-{}-01", ids[0])
    );
    assert_eq!(seen[1].header("x-b3-traceid"), TRACE);
    assert_eq!(seen[1].header("x-b3-spanid"), ids[1]);
    assert_eq!(seen[1].header("x-b3-sampled"), "1");
    assert_eq!(seen[1].header("b3"), "");
}
