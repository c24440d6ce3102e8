//! Fakes named by how they misbehave, and the product to run against them.

pub(crate) mod api;
pub(crate) mod client;
pub(crate) mod dpop;
pub(crate) mod frames;
pub(crate) mod idp;
pub(crate) mod keys;
pub(crate) mod process;
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

/// A loopback address that nothing else uses: the IP is this process's own, and the port is below
/// those that the system gives away.
pub(crate) fn loopback() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(10_000);
    let [_, a, b, c] = std::process::id().to_be_bytes();
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    (Ipv4Addr::new(127, 64 | a, b, c), port).into()
}

/// One listener, one upstream, one credential: the smallest useful configuration.
pub(crate) fn smallest(api: &Api, idp: &Idp) -> String {
    format!(
        r#"
[[listeners]]
name = "app"
address = "127.0.0.1:0"
upstream = "api"

[upstreams.api]
url = "{}"
credential = "api"

[credentials.api]
token_endpoint = "{}"
client_id = "billing"
client_secret = {{ file = "secret" }}
"#,
        api.url(),
        idp.endpoint(),
    )
}
