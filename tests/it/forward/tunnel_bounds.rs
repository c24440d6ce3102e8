//! Where tunnels may lead, and how much of everything they may take.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

use super::tunnels::{Seen, far, leading_to, next};
use crate::support::api::Api;
use crate::support::process::{Memory, Process, scale};
use crate::support::server::{self, read_head, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::tunnel::{comes_back, end_of, is_reset, tunnel};
use crate::support::{PATIENCE, any_port, client, eventually};

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_ends_after_tunnel_idle_timeout() {
    let (far, mut seen) = far();
    let idle = "[egress]\ntunnel_idle_timeout = \"300ms\"\n";
    let sidebearer = Sidebearer::start(&leading_to(far, idle));
    let mut stream = tunnel(sidebearer.address(), &far.to_string()).await;
    assert_eq!(end_of(&mut stream).await.unwrap_or(0), 0);
    assert!(matches!(next(&mut seen).await, Seen::End | Seen::Reset));
    let labels = "end=\"idle\",listener=\"proxy\",upstream=\"far\"";
    let ended = format!("sidebearer_tunnels_ended_total{{{labels}}}");
    eventually("it is counted", async || {
        sidebearer.metric(&ended).await == 1.0
    })
    .await;
}

/// Sends without end, to whoever reads.
fn flood() -> SocketAddr {
    server::bytes(|_, mut stream| async move {
        let piece = vec![b'x'; 64 << 10];
        while stream.write_all(&piece).await.is_ok() {}
    })
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_and_is_ended_when_nothing_moves() {
    let (far, _seen) = far();
    let (flood, any) = (flood(), any_port());
    let config = format!(
        r#"
[server]
workers = 1

[egress]
tunnel_idle_timeout = "1s"

[[listeners]]
name = "proxy"
address = "{any}"
kind = "forward"
upstreams = ["far"]

[[listeners]]
name = "other"
address = "{any}"
kind = "forward"
upstreams = ["flood"]

[upstreams.far]
url = "https://{far}"

[upstreams.flood]
url = "https://{flood}"
"#
    );
    let sidebearer = Sidebearer::start(&config);
    let mut stalled = Vec::new();
    for _ in 0..5 {
        stalled.push(tunnel(sidebearer.address_of("other"), &flood.to_string()).await);
    }
    let mut other = tunnel(sidebearer.address_of("proxy"), &far.to_string()).await;
    let labels = "end=\"idle\",listener=\"other\",upstream=\"flood\"";
    let ended = format!("sidebearer_tunnels_ended_total{{{labels}}}");
    eventually("they are ended", async || {
        comes_back(&mut other, "ping").await;
        sidebearer.metric(&ended).await == 5.0
    })
    .await;
}

#[tokio::test]
async fn tunnels_take_no_more_than_max_connections_and_others_wait() {
    let (far, _seen) = far();
    let config = format!("[server]\nmax_connections = 16\n{}", leading_to(far, ""));
    let sidebearer = Sidebearer::start(&config);
    let proxy = sidebearer.address();
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(tunnel(proxy, &far.to_string()).await);
    }
    let target = far.to_string();
    let mut waiting = std::pin::pin!(tunnel(proxy, &target));
    let too_early = timeout(Duration::from_millis(300), waiting.as_mut()).await;
    assert!(too_early.is_err(), "there is no place");
    // Those that are open go on, and the admin pages have places of their own.
    comes_back(&mut open[0], "ping").await;
    let series = "sidebearer_tunnels{listener=\"proxy\",upstream=\"far\"}";
    assert_eq!(sidebearer.metric(series).await, 16.0);
    open.pop();
    let mut last = timeout(PATIENCE, waiting).await.expect("a place is free");
    comes_back(&mut last, "ping").await;
}

/// `SIDEBEARER_TEST_TUNNELS` has more than 300 of them.
#[tokio::test]
async fn many_open_tunnels_cost_little_and_give_everything_back() {
    let tunnels = scale("SIDEBEARER_TEST_TUNNELS", 300);
    let (far, _seen) = far();
    // One place is left, and it is taken by whoever asks for another tunnel.
    let lines = format!("max_connections = {}", 2 * tunnels);
    let server = format!("[server]\nmax_connections = {}\n", tunnels + 1);
    let process = Process::start(&(server + &leading_to(far, &lines))).await;
    let (proxy, target) = (process.address(), "far.old.internal:8443");
    let count = "sidebearer_tunnels{listener=\"proxy\",upstream=\"far\"}";
    let active = "sidebearer_upstream_connections{state=\"active\",upstream=\"far\"}";

    let (mut before, mut grown) = (None, Vec::new());
    for _ in 0..3 {
        let mut open = Vec::new();
        for _ in 0..tunnels {
            let mut stream = tunnel(proxy, target).await;
            comes_back(&mut stream, "ping").await;
            open.push(stream);
        }
        for series in [count, active] {
            assert_eq!(process.metric(series).await, tunnels as f64, "{series}");
        }
        // The last place is there, and not one more.
        let mut last = tunnel(proxy, target).await;
        let mut waiting = std::pin::pin!(tunnel(proxy, target));
        let too_early = timeout(Duration::from_millis(300), waiting.as_mut()).await;
        assert!(too_early.is_err(), "there is no place");
        comes_back(&mut last, "ping").await;
        drop(last);
        let last = timeout(PATIENCE, waiting).await.expect("a place is free");
        drop(last);
        grown.push(process.memory(Memory::Now));
        let files = process.open_files();
        assert!(files > 2 * tunnels, "{files} files");
        drop(open);
        eventually("every place is given back", async || {
            let mut left = 0.0;
            for series in [count, active] {
                left += process.metric(series).await;
            }
            left == 0.0
        })
        .await;
        let before = *before.get_or_insert_with(|| process.open_files());
        // Those of the page that was just read may be open for a moment.
        eventually("every file is closed", async || {
            process.open_files() <= before
        })
        .await;
    }
    println!("{tunnels} tunnels: {grown:?} KiB");
    let more = grown[2].saturating_sub(grown[0]);
    assert!(more < 2048 + grown[0] / 10, "{grown:?} KiB");
    let each = process.memory(Memory::Peak) / tunnels;
    assert!(tunnels < 1000 || each < 48, "{each} KiB each");
}

#[tokio::test]
async fn a_tunnel_ends_with_the_process_when_drain_timeout_is_over() {
    let (far, mut seen) = far();
    let config = format!(
        "[server]\ndrain_timeout = \"300ms\"\n{}",
        leading_to(far, "")
    );
    let sidebearer = Sidebearer::start(&config);
    let mut stream = tunnel(sidebearer.address(), &far.to_string()).await;
    comes_back(&mut stream, "ping").await;
    let ended = timeout(PATIENCE, sidebearer.ended()).await;
    assert_eq!(ended.expect("it ends").cut, 1);
    assert!(is_reset(end_of(&mut stream).await));
    while next(&mut seen).await != Seen::Reset {}
}

#[tokio::test]
async fn a_tunnel_to_ourselves_carries_nothing() {
    let own = crate::support::loopback();
    let config = format!(
        "[[listeners]]\naddress = \"{own}\"\nkind = \"forward\"\n[upstreams.own]\nurl = \"https://{own}\"\n"
    );
    let sidebearer = Sidebearer::start(&config);
    let connect = format!("CONNECT {own} HTTP/1.1\r\nHost: {own}\r\n\r\n");
    let refused = client::raw(sidebearer.address(), connect).await;
    assert!(
        refused.starts_with("HTTP/1.1 508 sidebearer loop\r\n"),
        "{refused}"
    );
}

/// What becomes of a CONNECT to `target`: a tunnel, plain HTTP, or the code of the error.
async fn becomes(proxy: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(connect.as_bytes()).await.unwrap();
    let head = read_head(&mut stream).await;
    if !head.starts_with("HTTP/1.1 200 ") {
        let mut body = String::new();
        let _ = stream.read_to_string(&mut body).await;
        let code = body.split("urn:sidebearer:error:").nth(1).unwrap_or(&head);
        return code.split('"').next().unwrap().to_owned();
    }
    // Whatever reads HTTP here refuses this.
    stream.write_all(b"ping\r\n\r\n").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    if &answer == b"ping" {
        "tunnel".to_owned()
    } else {
        "http".to_owned()
    }
}

#[tokio::test]
async fn every_target_of_connect_leads_to_what_it_names_or_nowhere() {
    const DENIED: &str = "destination_denied";
    let (far, _seen) = far();
    let plain = Api::start(|_| response(200, "plain"));
    let lines = format!(
        "[upstreams.plain]\nurl = \"http://{}\"\nhosts = [\"plain.example.com:8080\"]\n[[routes]]\nlistener = \"proxy\"\n\
         host = \"*.routed.example.com\"\nupstream = \"far\"\n",
        plain.address
    );
    let hosts = "\"far.old.internal:8443\"";
    let more = format!("{hosts}, \"far.legacy.internal:80\", \"a.routed.example.com:80\"");
    let sidebearer = Sidebearer::start(&leading_to(far, &lines).replace(hosts, &more));
    let (proxy, port) = (sidebearer.address(), far.port());
    let number = match far.ip() {
        std::net::IpAddr::V4(ip) => u32::from(ip),
        std::net::IpAddr::V6(_) => unreachable!("the tests' own address is of IPv4"),
    };
    let table = [
        (format!("{far}"), "tunnel"),
        (format!("far.example.com:{port}"), "tunnel"),
        (format!("FAR.Example.com.:{port}"), "tunnel"),
        ("far.old.internal:8443".to_owned(), "tunnel"),
        ("far.old.internal:08443".to_owned(), "tunnel"),
        ("a.routed.example.com:443".to_owned(), "tunnel"),
        ("far.example.com:80".to_owned(), "http"),
        ("a.routed.example.com:80".to_owned(), "http"),
        ("far.legacy.internal:80".to_owned(), "http"),
        (format!("far.legacy.internal:{port}"), DENIED),
        (format!("{}", plain.address), "http"),
        ("plain.example.com:8080".to_owned(), "http"),
        ("far.example.com:443".to_owned(), DENIED),
        ("far.old.internal:443".to_owned(), DENIED),
        ("far.old.internal:80".to_owned(), DENIED),
        ("plain.example.com:443".to_owned(), DENIED),
        ("routed.example.com:443".to_owned(), DENIED),
        ("b.a.routed.example.com:443".to_owned(), DENIED),
        ("a.routed.example.com:444".to_owned(), DENIED),
        (format!("x.far.example.com:{port}"), DENIED),
        (format!("{number}:{port}"), DENIED),
        (format!("0x{number:08x}:{port}"), DENIED),
        (format!("0{number:o}:{port}"), DENIED),
        (format!("[::ffff:{}]:{port}", far.ip()), "tunnel"),
        (format!("[64:ff9b::{}]:{port}", far.ip()), DENIED),
        ("169.254.169.254:443".to_owned(), DENIED),
        ("[fd00:ec2::254]:80".to_owned(), DENIED),
        (format!("{proxy}"), "loop"),
        (format!("localhost:{}", proxy.port()), DENIED),
        (format!("[::ffff:{}]:{}", proxy.ip(), proxy.port()), "loop"),
        (format!("{}", sidebearer.admin()), "loop"),
        (format!("evil@far.example.com:{port}"), "bad_request"),
        (format!("far..example.com:{port}"), "bad_request"),
        (format!("*.example.com:{port}"), "bad_request"),
        (format!("[fe80::1%25eth0]:{port}"), "bad_request"),
        ("far.example.com:+443".to_owned(), "bad_request"),
        ("far.example.com:443:443".to_owned(), "bad_request"),
        (format!("far.example.com:{port}/"), "bad_request"),
        (format!("https://far.example.com:{port}"), "bad_request"),
    ];
    for (target, expected) in &table {
        let becomes = becomes(proxy, target).await;
        assert_eq!(becomes, *expected, "{target}");
    }
    assert!(plain.seen().is_empty());
}
