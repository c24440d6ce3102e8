//! Fakes named by how they misbehave, and the product to run against them.

pub(crate) mod api;
pub(crate) mod client;
pub(crate) mod dpop;
pub(crate) mod frames;
pub(crate) mod idp;
pub(crate) mod keys;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod relay;
pub(crate) mod rfc9112;
pub(crate) mod scripted;
pub(crate) mod server;
pub(crate) mod sidebearer;
pub(crate) mod strict;
pub(crate) mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use api::Api;
use idp::Idp;

/// Long enough for a loaded machine, short enough to see that something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks until it is true; fails after [`PATIENCE`].
pub(crate) async fn eventually(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::task::yield_now().await;
    }
}

/// A loopback IP of this process's own, so that a request meant for what has gone never reaches
/// the server of another process. Process ids have 22 bits at most.
pub(crate) fn ip() -> Ipv4Addr {
    let [_, a, b, c] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | a, b, c)
}

/// An address that nothing else uses, given away once: the port is below those of the system's
/// choice. For servers, and for what nobody listens on.
pub(crate) fn loopback() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    (ip(), NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// An address with a port of the system's choice: for what tells where it listens.
pub(crate) fn any_port() -> SocketAddr {
    (ip(), 0).into()
}

/// The same configuration, whose requests wait for tokens for so long at most.
pub(crate) fn with_patience(config: &str, acquire_timeout: &str) -> String {
    let credential = "client_id = \"billing\"";
    let patience = format!("{credential}\nacquire_timeout = \"{acquire_timeout}\"");
    assert!(config.contains(credential), "{config}");
    config.replace(credential, &patience)
}

/// One listener, one upstream, one credential: the smallest useful configuration.
pub(crate) fn smallest(api: &Api, idp: &Idp) -> String {
    format!(
        r#"
[[listeners]]
name = "app"
address = "{}"
upstream = "api"

[upstreams.api]
url = "{}"
credential = "api"

[credentials.api]
token_endpoint = "{}"
client_id = "billing"
client_secret = {{ file = "secret" }}
"#,
        any_port(),
        api.url(),
        idp.endpoint(),
    )
}
