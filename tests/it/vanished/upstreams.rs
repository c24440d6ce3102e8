//! An API that vanishes.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{Api, Metrics, config, get, local};
use crate::support::network::Network;
use crate::support::process::Process;
use crate::support::server::{self, read_head};
use crate::support::{PATIENCE, eventually};

const PORT: u16 = 80;

const CONNECTS: &str = r#"sidebearer_upstream_connects_total{outcome="success",upstream="api"}"#;
const IDLE: &str = r#"sidebearer_upstream_connections{state="idle",upstream="api"}"#;

/// Whatever else could end a connection does not.
const PATIENT: &str = "response_timeout = \"10m\"\npool_idle_timeout = \"10m\"";

/// Found after two or three seconds; by default after more than [`PATIENCE`].
const KEEPALIVE: &str =
    "keepalive_time = \"1s\"\nkeepalive_interval = \"1s\"\nkeepalive_retries = 1";

/// Sidebearer here, its API there.
async fn start(network: &Network, upstream: &str) -> (Process, Api) {
    let api = Api::serve(network.there.listen(PORT));
    let text = config("", network.there.address(PORT), upstream, "");
    (network.here.run(&text).await, api)
}

/// Asks for something that is on its way when the cable is cut: how it ended, and how long it took.
async fn cut_while_asking(
    network: &Network,
    process: &Process,
    api: &Api,
) -> (u16, String, Duration) {
    let start = Instant::now();
    let (answer, ()) = tokio::join!(get(process, "/wait"), async {
        api.asked().await;
        network.cut();
        // It answers, and nobody hears it.
        api.let_go();
    });
    (answer.status, answer.code(), start.elapsed())
}

#[tokio::test]
async fn a_request_whose_api_vanishes_ends_at_response_timeout() {
    let Some(network) = Network::lay() else {
        return;
    };
    let (process, api) = start(&network, "response_timeout = \"1s\"").await;
    let (status, code, after) = cut_while_asking(&network, &process, &api).await;
    assert_eq!((status, &*code), (504, "upstream_timeout"));
    assert!(after >= Duration::from_secs(1), "{after:?}");
}

#[tokio::test]
async fn an_http2_api_that_vanishes_is_found_by_pings() {
    let Some(network) = Network::lay() else {
        return;
    };
    let pings = "http = \"2\"\nping_interval = \"1s\"\nping_timeout = \"1s\"";
    let (process, api) = start(&network, &format!("{PATIENT}\n{pings}")).await;
    let (status, code, after) = cut_while_asking(&network, &process, &api).await;
    assert_eq!((status, &*code), (502, "upstream_connect"));
    assert!(after >= Duration::from_secs(2), "{after:?}");
}

#[tokio::test]
async fn a_pooled_connection_whose_api_vanished_costs_one_request_its_timeout() {
    let pings = "http = \"2\"\nping_interval = \"1s\"\nping_timeout = \"1s\"";
    for (lines, code) in [
        ("response_timeout = \"1s\"", "upstream_timeout"),
        (pings, "upstream_connect"),
    ] {
        let Some(network) = Network::lay() else {
            return;
        };
        let (process, _api) = start(&network, lines).await;
        assert_eq!(get(&process, "/").await.status, 200);
        network.cut();
        assert_eq!(get(&process, "/").await.code(), code);
        network.mend().await;
        assert_eq!(get(&process, "/").await.status, 200, "{lines}");
        let mut metrics = Metrics::of(&network, &process).await;
        assert_eq!(metrics.value(CONNECTS).await, 2.0);
    }
}

#[tokio::test]
async fn keepalive_finds_a_pooled_connection_whose_api_vanished() {
    for http in ["1.1", "2"] {
        let Some(network) = Network::lay() else {
            return;
        };
        let lines = format!("{PATIENT}\n{KEEPALIVE}\nhttp = \"{http}\"");
        let (process, _api) = start(&network, &lines).await;
        assert_eq!(get(&process, "/").await.status, 200);
        let mut metrics = Metrics::of(&network, &process).await;
        eventually("it is idle", async || metrics.value(IDLE).await == 1.0).await;
        network.cut();
        eventually("it is found", async || metrics.value(IDLE).await == 0.0).await;
        network.mend().await;
        // No request has met it.
        assert_eq!(get(&process, "/").await.status, 200);
        assert_eq!(metrics.value(CONNECTS).await, 2.0);
    }
}

#[tokio::test]
async fn keepalive_ends_a_tunnel_that_may_be_idle_for_ever() {
    let Some(network) = Network::lay() else {
        return;
    };
    server::bytes_on(network.there.listen(PORT), |_, mut stream| async move {
        read_head(&mut stream).await;
        let switch =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(switch).await.unwrap();
        let (mut reading, mut writing) = stream.split();
        let _ = tokio::io::copy(&mut reading, &mut writing).await;
    });
    let lines = format!("stream_idle_timeout = \"0s\"\n{KEEPALIVE}");
    let text = config("", network.there.address(PORT), &lines, "");
    let process = network.here.run(&text).await;
    let mut tunnel = local(&process).await;
    let ask = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    tunnel.write_all(ask).await.unwrap();
    let head = read_head(&mut tunnel).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    tunnel.write_all(b"ping").await.unwrap();
    tunnel.read_exact(&mut [0; 4]).await.unwrap();
    network.cut();
    let end = timeout(PATIENCE, tunnel.read(&mut [0; 1])).await;
    assert_eq!(end.expect("it ends").unwrap_or(0), 0);
}
