//! Fakes named by how they misbehave, and the product to run against them.
//!
//! Servers that stand for an API:
//!
//! | fake | what it does |
//! | --- | --- |
//! | [`api::Api::open`] | answers 200 with `ok` to everything, and keeps what it saw |
//! | [`api::Api::protected_by`] | answers 200 to a token that is valid at an [`idp::Idp`], else 401 with a Bearer challenge |
//! | [`api::Api::start`], [`api::Api::with_tls`] | answers whatever a test makes of a request that arrived whole; over TLS too |
//! | [`server::serve`], [`server::serve_on`] | answers before a request is whole, or streams a body that the test feeds ([`server::fed`]); HTTP/1.1 and HTTP/2 |
//! | [`server::bytes`], [`server::bytes_on`] | breaks the rules: a function of each connection, as bytes (half a head, a reset, two answers); the loop that accepts for all others |
//! | [`server::http2`], [`server::http2_with`] | breaks the rules of HTTP/2 on single streams: a function of each request and of its stream (a reset, interim responses without end, trailers) |
//! | [`server::Silent`] | takes connections and says nothing by itself; the test hears and speaks on each of them; refuses once it is dropped |
//! | [`server::echo`] | sends back what comes |
//! | [`strict::Recorder`] | reads HTTP/1.1 with a parser that forgives nothing; the test fails when what arrived has two readings |
//! | [`dpop::guard`] | takes only a token of an [`dpop::Issuer`] with a proof of its key, by the URL that was called |
//!
//! Servers that stand for an authorization server:
//!
//! | fake | what it does |
//! | --- | --- |
//! | [`idp::Idp`], [`idp::Behaviour::Healthy`] | gives `token-N` to who knows the secret |
//! | [`idp::Behaviour::SameAgain`] | gives the last token again: it renews nothing |
//! | [`idp::Behaviour::Answers`] | answers with one status and body, such as 503 or `invalid_client` |
//! | [`idp::Behaviour::Holds`] | holds each answer back until the test lets it go |
//! | [`idp::Idp::rotate_secret`], [`idp::Idp::revoke_all`], [`idp::Idp::set_lifetime`] | takes another secret; knows no token any more; gives shorter or longer lives |
//! | [`scripted::Server`] | answers to the byte what a test wants, one connection for each answer; over TLS too |
//! | [`dpop::Issuer`] | binds its tokens to the key that asked (RFC 9449), and judges every proof by another library |
//! | [`dpop::Referee::want`], [`dpop::Referee::be_fickle`], [`dpop::Referee::be_frugal`] | wants a nonce; a new one with each answer; one that counts once |
//!
//! Servers that stand for a collector of traces:
//!
//! | fake | what it does |
//! | --- | --- |
//! | [`collector::Collector::start`], [`collector::Collector::answering`] | reads OTLP by another library and keeps the spans; or answers as a test wants |
//!
//! What callers present:
//!
//! | fake | what it does |
//! | --- | --- |
//! | [`jwt::Signer`] | signs any header and any claims, with a key that an issuer publishes or with another |
//!
//! What stands between:
//!
//! | fake | what it does |
//! | --- | --- |
//! | [`egress_proxy::HttpProxy`] | a corporate proxy: tunnels and requests in absolute form, with a password, over TLS; or answers any bytes |
//! | [`egress_proxy::socks5`] | a SOCKS 5 proxy, with a password, and with any reply |
//! | [`network::Network`] | two machines (network namespaces) and a cable that a test can cut: no FIN and no RST passes; says `skipped` without root; with `nft`, one redirects its own connections |
//!
//! Clients:
//!
//! | client | what it does |
//! | --- | --- |
//! | [`client`] | well-behaved, HTTP/1.1 and HTTP/2; [`client::raw`] sends bytes as they are |
//! | [`tunnel::tunnel`], [`tunnel::comes_back`] | sends CONNECT, and has a tunnel; sends what an echo sends back |
//! | [`frames::FrameClient`] | HTTP/2 frame by frame, right or wrong; acknowledges nothing by itself, reads only when told to |
//!
//! The product: [`sidebearer::Sidebearer`] in the process of the test, [`process::Process`] the binary in a process of its own,
//! [`namespaces`] the same in namespaces of users, processes or mounts; says `skipped` without `unshare`. A configuration that is
//! not started lies in a [`sidebearer::directory`]. What a machine lacks is told by `skip`.
//!
//! What waits for a timeout belongs to `src/server/tests`, on paused time, unless the socket is the point.
//!
//! What judges: [`rfc9112`] (requests as RFC 9112 reads them), [`keys`] (signatures of assertions), [`tls`] (a CA and its certificates).

pub(crate) mod api;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod dpop;
pub(crate) mod egress_proxy;
pub(crate) mod frames;
pub(crate) mod idp;
pub(crate) mod jwt;
pub(crate) mod keys;
pub(crate) mod namespaces;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod rfc9112;
pub(crate) mod scripted;
pub(crate) mod server;
pub(crate) mod sidebearer;
pub(crate) mod strict;
pub(crate) mod tls;
pub(crate) mod tunnel;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use api::Api;
use idp::Idp;

/// Long enough for a loaded machine, short enough to see that something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Says that a test goes no further, past the harness, which keeps what passing tests print to itself.
pub(crate) fn skip(want: &str, why: &str) {
    let line = format!("skipped: 1 test, for want of {want}: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Asks until it is true; fails after [`PATIENCE`].
pub(crate) async fn eventually(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = Looks::default();
    while !is_true().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        looks.next().await;
    }
}

/// The pauses between looks at something that will change. The first ones are a turn of the other tasks. Later ones last
/// a millisecond, since most tests wait and all share the processors; time that is paused stays so meanwhile.
#[derive(Default)]
pub(crate) struct Looks(u32);

impl Looks {
    pub(crate) async fn next(&mut self) {
        self.0 += 1;
        if self.0 < 20 {
            return tokio::task::yield_now().await;
        }
        let sleep = || std::thread::sleep(Duration::from_millis(1));
        tokio::task::spawn_blocking(sleep).await.unwrap();
    }
}

/// The value of one series on a page of metrics; 0 when there is no such line.
fn series(page: &str, series: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
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
    protected(&api.url(), &idp.endpoint(), "", "")
}

/// The listener `app` with one upstream `api` at `url`, whose token comes from the credential `api`;
/// `upstream` and `credential` are more lines of their tables.
pub(crate) fn protected(
    url: &str,
    token_endpoint: &str,
    upstream: &str,
    credential: &str,
) -> String {
    let upstream = unprotected(url, &format!("credential = \"api\"\n{upstream}"));
    format!(
        r#"{upstream}
[credentials.api]
token_endpoint = "{token_endpoint}"
client_id = "billing"
client_secret = {{ file = "secret" }}
{credential}
"#
    )
}

/// The listener `app` with one upstream `api` at `url`, without a credential; `lines` are more of the
/// upstream's.
pub(crate) fn unprotected(url: &str, lines: &str) -> String {
    let any = any_port();
    format!(
        r#"
[[listeners]]
name = "app"
address = "{any}"
upstream = "api"

[upstreams.api]
url = "{url}"
{lines}
"#
    )
}
