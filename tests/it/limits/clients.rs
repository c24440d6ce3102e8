//! `[server]`: what a client may take.

use std::process::Command;
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::config;
use crate::support::client::{self, Connection, http2, read, streaming};
use crate::support::frames::{
    END_HEADERS, FrameClient, HEADERS, SETTINGS, WINDOW_UPDATE, frame, request,
};
use crate::support::process::Process;
use crate::support::server::{self, read_head, response, whole};
use crate::support::sidebearer::{Sidebearer, with_admin};
use crate::support::{PATIENCE, eventually};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn ok() -> std::net::SocketAddr {
    server::serve(None, |_| async { response(200, "ok") })
}

#[tokio::test]
async fn a_request_with_more_than_max_headers_is_431() {
    let sidebearer = Sidebearer::start(&config("max_headers = 10", ok(), ""));
    for (number, status) in [(8, 200), (11, 431)] {
        let mut request = client::request(Method::GET, "/", "");
        for number in 0..number {
            let name: http::HeaderName = format!("x-{number}").parse().unwrap();
            request.headers_mut().insert(name, "1".parse().unwrap());
        }
        let headers = request.headers().clone();
        let answer = client::send(sidebearer.address(), request).await;
        assert_eq!(answer.status, status, "{number}");
        let mut request = streaming(Method::GET, "/", whole(""));
        request.headers_mut().extend(headers);
        let mut connection = http2(sidebearer.address()).await;
        let over_http2 = read(connection.send_request(request).await.unwrap());
        let over_http2 = over_http2.await.unwrap();
        assert_eq!(over_http2.status, status, "{number} over HTTP/2");
        for answer in [answer, over_http2] {
            let code = if status == 431 {
                "header_too_large"
            } else {
                ""
            };
            assert_eq!(answer.code(), code);
            assert_eq!(answer.text().contains("max_headers"), status == 431);
        }
    }
}

/// Whether the system takes a connection.
async fn is_taken(address: std::net::SocketAddr) -> Option<TcpStream> {
    let connecting = TcpStream::connect(address);
    timeout(Duration::from_millis(500), connecting)
        .await
        .ok()?
        .ok()
}

#[tokio::test]
async fn the_system_keeps_as_many_connections_as_backlog_says_from_the_reload_on() {
    let api = ok();
    let with = |backlog| {
        config(
            &format!("max_connections = 1\nbacklog = {backlog}"),
            api,
            "",
        )
    };
    // The reload goes on with the same socket.
    let first = with(2);
    let sidebearer = Sidebearer::start(&first);
    let mut served = Connection::open(sidebearer.address()).await;
    assert_eq!(served.get("/").await.unwrap().status, 200);
    let mut waiting = Vec::new();
    while let Some(stream) = is_taken(sidebearer.address()).await {
        waiting.push(stream);
        assert!(
            waiting.len() <= 3,
            "more than the backlog, and one that Linux adds"
        );
    }
    let second = first.replace("backlog = 2", "backlog = 64");
    sidebearer.reconfigure(&second).await.unwrap();
    for _ in 0..20 {
        let stream = timeout(PATIENCE, TcpStream::connect(sidebearer.address())).await;
        waiting.push(stream.expect("there is room").unwrap());
    }
}

#[tokio::test]
async fn reserved_files_are_left_when_clients_take_the_others() {
    let mut taken = Vec::new();
    for reserved in [30, 2] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sidebearer.toml");
        let text = config(&format!("reserved_files = {reserved}"), ok(), "");
        let text = format!("{text}\n[log]\nformat = \"json\"\n");
        std::fs::write(&path, with_admin(&text)).unwrap();
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 256 && exec \"$0\" run --config \"$1\""]);
        limited.args([env!("CARGO_BIN_EXE_sidebearer").as_ref(), path.as_os_str()]);
        let process = Process::spawn(limited, dir);
        eventually("listening", async || process.told("admin").is_some()).await;
        let mut clients = Vec::new();
        eventually("no file is left for clients", async || {
            clients.push(TcpStream::connect(process.address()).await.unwrap());
            process.log().contains("cannot accept")
        })
        .await;
        taken.push(process.open_files());
    }
    assert!(taken[1] >= taken[0] + 20, "{taken:?}");
}

#[tokio::test]
async fn interim_responses_beyond_max_interim_bytes_are_left_out() {
    let hints = server::bytes(|_, mut stream| async move {
        read_head(&mut stream).await;
        let answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    });
    for (bytes, status) in [("64KiB", "103"), ("10B", "200")] {
        let line = format!("max_interim_bytes = \"{bytes}\"");
        let sidebearer = Sidebearer::start(&config(&line, hints, ""));
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        stream.write_all(GET).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
}

#[tokio::test]
async fn an_http2_client_is_told_max_streams_and_the_windows() {
    let lines = "max_streams = 3\nstream_window = \"128KiB\"";
    let sidebearer = Sidebearer::start(&config(lines, ok(), ""));
    let mut client = FrameClient::open(sidebearer.address(), &[]).await;
    let (mut settings, mut window) = (Vec::new(), None);
    while settings.is_empty() || window.is_none() {
        let frame = client.next().await.unwrap();
        match frame.kind {
            SETTINGS if frame.flags == 0 => settings = frame.payload,
            WINDOW_UPDATE => window = Some(frame.payload),
            _ => {}
        }
    }
    let setting = |name: u16| {
        let found = settings
            .chunks(6)
            .find(|entry| entry[..2] == name.to_be_bytes());
        found.map(|entry| u32::from_be_bytes(entry[2..].try_into().unwrap()))
    };
    // SETTINGS_MAX_CONCURRENT_STREAMS, SETTINGS_INITIAL_WINDOW_SIZE
    assert_eq!((setting(3), setting(4)), (Some(3), Some(128 << 10)));
    let increment = |payload: Vec<u8>| u32::from_be_bytes(payload.try_into().unwrap());
    // A connection begins with 65,535. A third of its window is told of only when it is needed.
    let told = 65_535 + increment(window.unwrap());
    assert_eq!(told, 2 * (128 << 10));
    for stream in [1, 3] {
        let head = request("POST", "/", &[]);
        let head = frame(HEADERS, END_HEADERS, stream, &head);
        client.send(&head).await;
    }
    let rest = loop {
        let frame = client.next().await.unwrap();
        if frame.kind == WINDOW_UPDATE {
            break increment(frame.payload);
        }
    };
    assert_eq!(told + rest, 3 * (128 << 10));
}

#[tokio::test]
async fn bodies_pass_through_the_smallest_windows() {
    let echo = server::serve(None, |request| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        response(200, body)
    });
    let least = "max_streams = 1\nstream_window = \"4KiB\"\nbody_buffer = \"8KiB\"";
    let upstream = format!("http = \"2\"\n{least}");
    let sidebearer = Sidebearer::start(&config(least, echo, &upstream));
    let mut connection = http2(sidebearer.address()).await;
    let body: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    for _ in 0..2 {
        let request = streaming(Method::POST, "/", whole(body.clone()));
        let answer = connection.send_request(request).await.unwrap();
        assert_eq!(read(answer).await.unwrap().body, body);
    }
}

/// The sizes of the chunks in a response.
fn chunks(mut body: &[u8]) -> Vec<usize> {
    let mut sizes = Vec::new();
    loop {
        let end = body
            .windows(2)
            .position(|window| window == b"\r\n")
            .unwrap();
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return sizes;
        }
        sizes.push(size);
        body = &body[end + 2 + size + 2..];
    }
}

#[tokio::test]
async fn a_body_goes_on_in_pieces_no_larger_than_body_buffer() {
    const WHOLE: usize = 16 << 20;
    // Both ways: what is read of a connection is passed on as one piece.
    let api = server::bytes(|_, mut stream| async move {
        let mut head = read_head(&mut stream).await;
        if head.starts_with("POST") {
            // One chunk up, and the chunks that became of it down, as a body of their own.
            let mut upload = Vec::new();
            while !upload.ends_with(b"\r\n0\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut upload).await.unwrap(), 0);
            }
            head = format!("{:?}", chunks(&upload).iter().max().unwrap());
            let length = head.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return;
        }
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{WHOLE:x}\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; WHOLE]).await.unwrap();
        stream.write_all(b"\r\n0\r\n\r\n").await.unwrap();
    });
    let mut largest = Vec::new();
    for size in ["8KiB", "1MiB"] {
        let line = format!("body_buffer = \"{size}\"\nmax_header_bytes = \"8KiB\"");
        let upstream = format!("body_buffer = \"{size}\"\nmax_response_header_bytes = \"8KiB\"");
        let sidebearer = Sidebearer::start(&config(&line, api, &upstream));

        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        stream.write_all(GET).await.unwrap();
        read_head(&mut stream).await;
        let mut body = Vec::new();
        while !body.ends_with(b"\r\n0\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut body).await.unwrap(), 0);
        }
        let down = chunks(&body).into_iter().max().unwrap();

        let mut upload = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{WHOLE:x}\r\n"
        )
        .into_bytes();
        upload.resize(upload.len() + WHOLE, b'x');
        upload.extend_from_slice(b"\r\n0\r\n\r\n");
        let answer = client::raw(sidebearer.address(), upload).await;
        let up: usize = answer.rsplit("\r\n").next().unwrap().parse().unwrap();
        largest.push((down, up));
    }
    let [(down, up), (roomy_down, roomy_up)] = largest[..] else {
        unreachable!("two sizes")
    };
    assert!(down <= 8 << 10 && up <= 8 << 10, "{largest:?}");
    assert!(roomy_down > 64 << 10 && roomy_up > 64 << 10, "{largest:?}");
}

#[tokio::test]
async fn trailers_larger_than_max_header_bytes_are_refused() {
    let api = server::serve(None, |request| async {
        match request.into_body().collect().await {
            Ok(_) => response(200, "ok"),
            Err(_) => response(500, ""),
        }
    });
    for (max, good) in [("64KiB", true), ("8KiB", false)] {
        let sidebearer =
            Sidebearer::start(&config(&format!("max_header_bytes = \"{max}\""), api, ""));
        let long = "x".repeat(10_000);
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n\
             1\r\nx\r\n0\r\nX-Long: {long}\r\n\r\n"
        );
        let answer = client::raw(sidebearer.address(), request).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), good, "{max}: {answer}");
        assert_eq!(
            answer.starts_with("HTTP/1.1 400 "),
            !good,
            "{max}: {answer}"
        );
    }
}
