//! A client or server that takes and does not send costs little, and its connection ends. What a configuration took is
//! given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::HeaderValue;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::{self, Connection};
use crate::support::eventually;
use crate::support::process::{Memory, Process, scale};
use crate::support::server::{self, read_head, response};
use crate::support::tls::Ca;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn config(server: &str, address: std::net::SocketAddr, lines: &str) -> String {
    format!(
        r#"
[server]
workers = 1
{server}
[log]
format = "json"
[[listeners]]
address = "127.0.0.1:0"
upstream = "api"
[upstreams.api]
url = "http://{address}"
{lines}
"#
    )
}

#[tokio::test]
async fn a_client_that_pipelines_without_reading_is_held_back_and_cut() {
    let served = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&served);
    let api = server::serve(None, move |_| {
        count.fetch_add(1, SeqCst);
        async { response(200, vec![b'x'; 64 * 1024]) }
    });
    let process = Process::start(&config("idle_timeout = \"2s\"", api, "")).await;
    client::get(process.address(), "/").await;
    let before = process.memory(Memory::Now);
    let mut stream = TcpStream::connect(process.address()).await.unwrap();
    let many = GET.repeat(1000);
    let mut written = 0;
    while let Ok(sent) = timeout(Duration::from_secs(1), stream.write_all(&many)).await {
        sent.unwrap();
        written += 1000;
        assert!(written < 1_000_000, "somebody gathers it all");
    }
    let served = served.load(SeqCst);
    assert!(served < 1000 && served < written, "{served} of {written}");
    let grown = process.memory(Memory::Peak).saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB more");
    // Nothing is read, so that the end shows when writing.
    eventually("it is cut", async || {
        let _ = timeout(Duration::from_millis(50), stream.write_all(&many)).await;
        stream.try_write(b"x").is_err_and(|error| {
            use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
            [BrokenPipe, ConnectionReset].contains(&error.kind())
        })
    })
    .await;
}

#[tokio::test]
async fn a_response_head_without_end_is_refused_in_constant_memory() {
    // 200 MB, if anybody took them.
    let endless = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Endless: ").await;
        let block = [b'x'; 100_000];
        for _ in 0..2000 {
            if stream.write_all(&block).await.is_err() {
                return;
            }
        }
    });
    let large = server::serve(None, |_| async {
        let mut answer = response(200, "");
        for number in 0..20 {
            let name = format!("x-large-{number}");
            let name: http::HeaderName = name.parse().unwrap();
            let value = HeaderValue::from_bytes(&[b'x'; 10_000]).unwrap();
            answer.headers_mut().insert(name, value);
        }
        answer
    });
    for (api, lines) in [(endless, ""), (large, ""), (large, "http = \"2\"")] {
        let process = Process::start(&config("", api, lines)).await;
        client::get(process.address(), "/%00").await;
        let before = process.memory(Memory::Now);
        for _ in 0..3 {
            let answer = client::get(process.address(), "/").await;
            assert_eq!(answer.code(), "upstream_protocol");
        }
        let grown = process.memory(Memory::Peak).saturating_sub(before);
        assert!(grown < 4096, "{grown} KiB more");
    }
}

/// `SIDEBEARER_TEST_IDLE` has more than 300 of them.
#[tokio::test]
async fn idle_connections_cost_little() {
    let connections = scale("SIDEBEARER_TEST_IDLE", 300);
    let api = server::serve(None, |_| async { response(200, "ok") });
    let server = "max_connections = 20000\nidle_timeout = \"10m\"";
    let process = Process::start(&config(server, api, "")).await;
    let mut first = Connection::open(process.address()).await;
    first.get("/").await.unwrap();
    let before = process.memory(Memory::Now);
    let mut idle = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut stream = TcpStream::connect(process.address()).await.unwrap();
        // Each has done something before.
        stream.write_all(GET).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        stream.read_exact(&mut [0; 2]).await.unwrap();
        idle.push(stream);
    }
    let after = process.memory(Memory::Now);
    let grown = after.saturating_sub(before);
    println!(
        "{connections} idle connections: {before} KiB before, {after} KiB with them, {} bytes each",
        grown * 1024 / connections
    );
    assert!(grown / connections < 32, "{grown} KiB more");
    assert_eq!(first.get("/").await.unwrap().status, 200);
}

#[tokio::test]
async fn what_reading_a_configuration_takes_is_given_back() {
    let api = server::serve(None, |_| async { response(200, "ok") });
    let with_callers = |count: usize| {
        let caller = |n| format!("[callers.c{n}]\ncertificate_name = \"c{n}.example\"\n");
        let callers: String = (0..count).map(caller).collect();
        let listener = "upstream = \"api\"\n";
        let listed = format!("{listener}callers = [\"*\"]\n");
        config("", api, &callers).replace(listener, &listed)
    };
    let small = Process::start(&with_callers(1)).await;
    let large = Process::start(&with_callers(10_000)).await;
    // What a process of this build takes without them.
    let base = small.memory(Memory::Now);
    for again in [true, false] {
        eventually("most of it is given back", async || {
            let now = large.memory(Memory::Now).saturating_sub(base);
            let peak = large.memory(Memory::Peak).saturating_sub(base);
            now < peak / 3
        })
        .await;
        if again {
            large.signal(Signal::HUP);
            eventually("it is read again", async || {
                large.told("configuration reloaded").is_some()
            })
            .await;
        }
    }
}

/// How many callers or routes are so many that what each takes shows.
const MANY: usize = 10_000;

/// What each of [`MANY`] takes in memory, at the start and after reloads. `start` runs a process with so many.
async fn each_takes_less_than(bytes: usize, start: impl AsyncFn(usize) -> Process) {
    let (small, large) = (start(1).await, start(MANY).await);
    for reloads in 0..3 {
        eventually("what else it took is given back", async || {
            let base = small.memory(Memory::Anonymous);
            let more = large.memory(Memory::Anonymous).saturating_sub(base);
            more * 1024 / MANY < bytes
        })
        .await;
        for process in [&small, &large] {
            process.signal(Signal::HUP);
            eventually("it is read again", async || {
                process.log().matches("configuration reloaded").count() > reloads
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_route_takes_less_than_600_bytes_also_after_reloads() {
    let api = server::serve(None, |_| async { response(200, "ok") });
    each_takes_less_than(600, async |count| {
        let route = |n| format!("[[routes]]\npath = \"/team/{n:06}\"\nupstream = \"api\"\n");
        Process::start(&config("", api, &(0..count).map(route).collect::<String>())).await
    })
    .await;
}

/// Callers of whom each is known by what `means` says of its number.
async fn a_caller_takes_little(means: impl Fn(usize) -> String) {
    a_caller_takes_little_with("", means).await;
}

/// The same with more lines.
async fn a_caller_takes_little_with(lines: &str, means: impl Fn(usize) -> String) {
    let api = server::serve(None, |_| async { response(200, "ok") });
    each_takes_less_than(1000, async |count| {
        let caller = |n| format!("[callers.caller-{n}]\n{}\n", means(n));
        let callers: String = (0..count).map(caller).collect();
        let listener = "upstream = \"api\"\n";
        let listed = format!("{listener}callers = [\"*\"]\n");
        let config = config("", api, &[lines, &callers].concat());
        Process::start(&config.replace(listener, &listed)).await
    })
    .await;
}

#[tokio::test]
async fn a_caller_by_token_takes_less_than_1000_bytes_also_after_reloads() {
    a_caller_takes_little(|n| {
        format!(
            "token = {{ issuer = \"http://127.0.0.1:1/realms/main\", audience = \"sidebearer\", \
             claims = {{ sub = \"team-{n}\" }} }}"
        )
    })
    .await;
}

#[tokio::test]
async fn a_caller_by_certificate_takes_less_than_1000_bytes_also_after_reloads() {
    a_caller_takes_little(|n| format!("certificate_name = \"team-{n}.example.org\"")).await;
}

#[tokio::test]
async fn a_caller_by_spiffe_id_takes_less_than_1000_bytes_also_after_reloads() {
    a_caller_takes_little(|n| format!("spiffe_id = \"spiffe://example.org/ns/team-{n}/sa/app\""))
        .await;
}

#[tokio::test]
async fn a_caller_by_user_takes_less_than_1000_bytes_also_after_reloads() {
    a_caller_takes_little(|n| format!("user = {}", 1000 + n)).await;
}

#[tokio::test]
async fn a_caller_by_key_takes_less_than_1000_bytes_also_after_reloads() {
    a_caller_takes_little(|n| format!("key = \"{n:0>43}\"")).await;
}

#[tokio::test]
async fn a_caller_by_service_account_takes_less_than_1000_bytes_also_after_reloads() {
    let ca = Ca::new();
    std::fs::write(ca.dir().join("token"), "x.y.z").unwrap();
    let cluster = format!(
        "[kubernetes]\naudience = \"sidebearer\"\napi_server = \"https://127.0.0.1:1\"\n\
         token_file = \"{}/token\"\nca_file = \"{}\"\n",
        ca.dir().display(),
        ca.file().display()
    );
    a_caller_takes_little_with(&cluster, |n| format!("service_account = \"team-{n}/app\"")).await;
}
