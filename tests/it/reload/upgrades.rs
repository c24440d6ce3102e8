//! Upgrades that nobody is known for are judged again by a reload, as tunnels of CONNECT are.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::any_port;
use crate::support::server::{self, read_head};
use crate::support::sidebearer::Sidebearer;
use crate::support::tunnel::{comes_back, end_of, is_reset};

/// Switches protocols, and sends back what comes.
fn chat() -> std::net::SocketAddr {
    server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let switch: &[u8] =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
        stream.write_all(switch).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
}

async fn upgraded(proxy: std::net::SocketAddr, target: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let head =
        format!("GET {target} HTTP/1.1\r\n{headers}Connection: upgrade\r\nUpgrade: chat\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_head(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream
}

#[tokio::test]
async fn an_upgrade_that_would_not_be_opened_any_more_is_cut_whoever_asked_for_it() {
    let (chat, other, any) = (chat(), chat(), any_port());
    let before = format!(
        "[[listeners]]\nname = \"app\"\naddress = \"{any}\"\nallow_origins = [\"https://a.example\"]\n\
         [[listeners]]\nname = \"proxy\"\naddress = \"{any}\"\nkind = \"forward\"\n\
         [[routes]]\npath = \"/chat\"\nupstream = \"chat\"\nlistener = \"app\"\n\
         [upstreams.chat]\nurl = \"http://{chat}\"\nhosts = [\"chat.example\"]\n\
         [upstreams.other]\nurl = \"http://{other}\"\n"
    );
    let with = |old: &str, new: &str| {
        assert!(before.contains(old), "{old}");
        before.replace(old, new)
    };
    let url = format!("url = \"http://{chat}\"");
    let key = "[callers.a]\nkey = { file = \"secret\" }\n";
    let listener = "name = \"app\"\n";
    let forward = "kind = \"forward\"\n";
    // What changes, and whether the upgrade by the reverse listener stays, that by the forward one, and that inside of
    // a CONNECT.
    let table = [
        ("nothing", before.clone(), [true; 3]),
        (
            "a timeout",
            with(&url, &format!("{url}\nconnect_timeout = \"7s\"")),
            [true; 3],
        ),
        (
            "another upstream",
            with(&other.to_string(), "127.0.0.1:9"),
            [true; 3],
        ),
        (
            "the route is gone",
            with("path = \"/chat\"", "path = \"/x\""),
            [false, true, true],
        ),
        (
            "the route leads elsewhere",
            with("upstream = \"chat\"", "upstream = \"other\""),
            [false, true, true],
        ),
        (
            "the upstream is elsewhere",
            with(&url, "url = \"http://127.0.0.1:9\""),
            [false; 3],
        ),
        (
            "the name is gone",
            with("\"chat.example\"", "\"x.example\""),
            [true, false, false],
        ),
        (
            "the listener leads elsewhere",
            with(forward, &format!("{forward}upstreams = [\"other\"]\n")),
            [true, false, false],
        ),
        (
            "the listener knows its callers",
            with(listener, &format!("{listener}callers = [\"a\"]\n")) + key,
            [false, true, true],
        ),
        (
            "both do",
            with(forward, &format!("{forward}callers = [\"a\"]\n"))
                .replace(listener, &format!("{listener}callers = [\"a\"]\n"))
                + key,
            [false; 3],
        ),
        (
            "the listener is another",
            with("\"app\"", "\"new\""),
            [false, true, true],
        ),
        (
            "the page is not allowed",
            with("https://a.example", "https://b.example"),
            [false, true, true],
        ),
    ];
    for (change, after, stay) in table {
        let dir = tempfile::tempdir().unwrap();
        let secret = "key-0123456789abcdef0123456789abcdef0123456789";
        std::fs::write(dir.path().join("secret"), secret).unwrap();
        let sidebearer = Sidebearer::start_in(dir, &before);
        let proxy = sidebearer.address_of("proxy");
        let name = format!("chat.example:{}", chat.port());
        let host = format!("Host: {name}\r\n");
        let page = "Host: localhost\r\nOrigin: https://a.example\r\n";
        let mut inside = crate::support::tunnel::tunnel(proxy, &name).await;
        let ask =
            format!("GET /chat HTTP/1.1\r\n{host}Connection: upgrade\r\nUpgrade: chat\r\n\r\n");
        inside.write_all(ask.as_bytes()).await.unwrap();
        assert!(read_head(&mut inside).await.starts_with("HTTP/1.1 101 "));
        let open = [
            upgraded(sidebearer.address_of("app"), "/chat?q=1", page).await,
            upgraded(proxy, &format!("http://{name}/chat"), &host).await,
            inside,
        ];
        let reloaded = sidebearer.reconfigure(&after).await;
        reloaded.unwrap_or_else(|refused| panic!("{change}: {refused}"));
        for ((mut stream, stays), way) in open
            .into_iter()
            .zip(stay)
            .zip(["reverse", "forward", "inside"])
        {
            if stays {
                comes_back(&mut stream, change).await;
            } else {
                assert!(is_reset(end_of(&mut stream).await), "{change}, {way}");
            }
        }
    }
}

#[tokio::test]
async fn all_of_many_tunnels_are_judged_by_a_reload() {
    let (chat, any) = (chat(), any_port());
    let config = |path: &str| {
        format!(
            "[server]\nworkers = 1\n[[listeners]]\nname = \"app\"\naddress = \"{any}\"\n\
             [[routes]]\npath = \"{path}\"\nupstream = \"chat\"\n[[routes]]\npath = \"/b\"\nupstream = \"chat\"\n\
             [upstreams.chat]\nurl = \"http://{chat}\"\n"
        )
    };
    let sidebearer = Sidebearer::start(&config("/a"));
    let mut open = Vec::new();
    for at in 0..200 {
        let target = if at % 2 == 0 { "/a" } else { "/b" };
        open.push(upgraded(sidebearer.address(), target, "Host: localhost\r\n").await);
    }
    sidebearer.reconfigure(&config("/c")).await.unwrap();
    for (at, mut stream) in open.into_iter().enumerate() {
        if at % 2 == 0 {
            assert!(is_reset(end_of(&mut stream).await), "{at}");
        } else {
            comes_back(&mut stream, "on").await;
        }
    }
}
