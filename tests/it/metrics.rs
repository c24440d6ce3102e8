//! What `/metrics` shows, and what is asked of it.

use http::Method;
use sidebearer::metrics::{CONNECT_OUTCOMES, TOKEN_OUTCOMES};
use sidebearer::proxy::{Blame, ErrorKind};

use crate::support::api::Api;
use crate::support::client::{self, get, request};
use crate::support::idp::{Behaviour, Idp};
use crate::support::sidebearer::Sidebearer;
use crate::support::{eventually, smallest};

#[tokio::test]
async fn metrics_are_all_there_and_labels_come_from_the_configuration_alone() {
    let (api, idp) = (Api::open(), Idp::start());
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    assert_eq!(
        get(sidebearer.address(), "/client-path?client-query=1")
            .await
            .status,
        200
    );
    // A 401 that is not renewed counts as a rejection all the same; a foreign host as an error.
    let mut odd = request(
        Method::from_bytes(b"CLIENTMETHOD").unwrap(),
        "/client-path",
        "",
    );
    odd.headers_mut()
        .insert("host", "client.example".parse().unwrap());
    assert_eq!(client::send(sidebearer.address(), odd).await.status, 404);
    let odd = request(
        Method::from_bytes(b"CLIENTMETHOD").unwrap(),
        "/client-path",
        "",
    );
    assert_eq!(client::send(sidebearer.address(), odd).await.status, 200);

    let answer = get(sidebearer.admin(), "/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    let expected = [
        r#"sidebearer_requests_total{code="200",listener="app",upstream="api"} 2"#,
        r#"sidebearer_requests_total{code="404",listener="app",upstream=""} 1"#,
        r#"sidebearer_errors_total{error="no_route",listener="app",upstream=""} 1"#,
        r#"sidebearer_request_duration_seconds_count{upstream="api"} 2"#,
        r#"sidebearer_upstream_connections{state="active",upstream="api"} "#,
        r#"sidebearer_upstream_connections{state="idle",upstream="api"} "#,
        r#"sidebearer_upstream_connects_total{outcome="success",upstream="api"} "#,
        r#"sidebearer_token_requests_total{credential="api",outcome="success"} 1"#,
        r#"sidebearer_token_request_duration_seconds_count{credential="api"} 1"#,
        r#"sidebearer_token_expiry_timestamp_seconds{credential="api"} "#,
        r#"sidebearer_token_rejections_total{credential="api"} 0"#,
        r#"sidebearer_config_reloads_total{outcome="success"} 0"#,
        r#"sidebearer_config_reloads_total{outcome="failure"} 0"#,
        "sidebearer_config_last_reload_timestamp_seconds ",
        "sidebearer_log_lines_dropped_total ",
        "sidebearer_threads_responding 1",
        "sidebearer_client_connections 1",
        "sidebearer_client_connections_limit 10000",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_max_fds ",
        concat!(
            r#"sidebearer_build_info{commit="unknown",version=""#,
            env!("CARGO_PKG_VERSION"),
            r#""} 1"#
        ),
    ];
    let _open = client::Connection::open(sidebearer.address()).await;
    // What has an end is counted after it: the client may be told before.
    let mut page = String::new();
    for series in expected {
        eventually(series, async || {
            page = sidebearer.page("/metrics").await;
            page.lines().any(|line| line.starts_with(series))
        })
        .await;
    }
    let page = page.to_ascii_lowercase();
    for word in [
        "client-path",
        "client-query",
        "clientmethod",
        "client.example",
    ] {
        assert!(!page.contains(word), "{word} in {page}");
    }
}

#[tokio::test]
async fn every_series_that_an_alert_may_ask_for_begins_at_zero() {
    let idp = Idp::start();
    idp.behave(Behaviour::Holds);
    let sidebearer = Sidebearer::start(&smallest(&Api::open(), &idp));
    let page = sidebearer.page("/metrics").await;
    let zero = |series: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(series));
        assert_eq!(line, Some(" 0"), "{series} in {page}");
    };
    for outcome in TOKEN_OUTCOMES {
        zero(&format!(
            "sidebearer_token_requests_total{{credential=\"api\",outcome=\"{outcome}\"}}"
        ));
    }
    for outcome in CONNECT_OUTCOMES {
        zero(&format!(
            "sidebearer_upstream_connects_total{{outcome=\"{outcome}\",upstream=\"api\"}}"
        ));
    }
    for kind in ErrorKind::ALL {
        let before = kind.blame() == Blame::Client && kind != ErrorKind::RateLimited;
        let upstream = if before || [ErrorKind::Loop, ErrorKind::CallerUnavailable].contains(&kind)
        {
            ""
        } else {
            "api"
        };
        let error = kind.code();
        zero(&format!(
            "sidebearer_errors_total{{error=\"{error}\",listener=\"app\",upstream=\"{upstream}\"}}"
        ));
    }
    for code in ["200", "500", "502", "503", "504"] {
        zero(&format!(
            "sidebearer_requests_total{{code=\"{code}\",listener=\"app\",upstream=\"api\"}}"
        ));
    }
    for outcome in ["success", "failure"] {
        zero(&format!(
            "sidebearer_config_reloads_total{{outcome=\"{outcome}\"}}"
        ));
    }
    zero("sidebearer_token_rejections_total{credential=\"api\"}");
    assert_eq!(
        sidebearer
            .metric("sidebearer_config_last_reload_successful")
            .await,
        1.0
    );
}
