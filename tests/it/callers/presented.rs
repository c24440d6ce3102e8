//! How clients show who they are, and what they are told that do not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::{key, with_keys};
use crate::support::any_port;
use crate::support::api::Api;
use crate::support::client::{self, Connection, request};
use crate::support::namespaces::USERS;
use crate::support::process::{command, run};
use crate::support::sidebearer::Sidebearer;

/// A listener for the callers `alpha` and `beta`; `listener` is more of its lines.
fn site(api: &Api, listener: &str) -> Sidebearer {
    let dir = tempfile::tempdir().unwrap();
    let callers = with_keys(dir.path(), &["alpha", "beta"]);
    // It cannot be known by plain HTTP over TCP.
    let elsewhere = "[callers.elsewhere]\ncertificate_name = \"a.internal\"\nuser = 4711\n";
    let config = format!(
        "{callers}{elsewhere}[[listeners]]\nname = \"app\"\naddress = \"{}\"\ncallers = [\"*\"]\n{listener}\n\
         [upstreams.api]\nurl = \"{}\"\nforward_caller = \"x-caller\"\n",
        any_port(),
        api.url()
    );
    Sidebearer::start_in(dir, &config)
}

const REVERSE: &str = "upstream = \"api\"";
const FORWARD: &str = "kind = \"forward\"";

fn basic(caller: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("anyone:{}", key(caller)))
    )
}

#[tokio::test]
async fn a_user_who_has_no_number_here_is_warned_about() {
    if !USERS.can_be_had() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    let config = "[[listeners]]\nname = \"in\"\naddress = \"unix:in.sock\"\nupstream = \"crm\"\ncallers = [\"billing\"]\n\
                  [upstreams.crm]\nurl = \"https://crm.example.com\"\n[callers.billing]\nuser = 12345\n";
    std::fs::write(&path, config).unwrap();
    let check = command(&["check", "--config", path.to_str().unwrap()]);
    let apart = USERS.around(&check);
    let here = run(check).await;
    assert_eq!((here.code, &*here.stderr), (0, ""), "{here:?}");
    let apart = run(apart).await;
    assert_eq!(apart.code, 0, "{apart:?}");
    assert!(
        apart.stderr.contains("user 12345, who has no number"),
        "{apart:?}"
    );
}

#[tokio::test]
async fn nobody_is_told_how_to_show_who_it_is_and_keeps_its_connection() {
    let api = Api::open();
    let site = site(&api, REVERSE);
    let mut connection = Connection::open(site.address()).await;
    let refused = connection.get("/").await.unwrap();
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (401, "caller_unknown")
    );
    let challenges = refused.headers.get_all("www-authenticate").iter();
    let challenges: Vec<_> = challenges.map(|value| value.to_str().unwrap()).collect();
    assert_eq!(
        challenges,
        [
            "Basic realm=\"sidebearer\", charset=\"UTF-8\"",
            "Bearer realm=\"sidebearer\""
        ]
    );
    let mut known = request(Method::GET, "/", "");
    known
        .headers_mut()
        .insert("authorization", basic("alpha").parse().unwrap());
    assert_eq!(connection.send(known).await.unwrap().status, 200);
    assert_eq!(api.seen().len(), 1);
}

#[tokio::test]
async fn nobody_learns_which_hosts_there_are() {
    let api = Api::open();
    let site = site(&api, REVERSE);
    let ask = async |host: &str, shown: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n{shown}Connection: close\r\n\r\n");
        let answer = client::raw(site.address(), head).await;
        let without_date = |line: &&str| !line.to_ascii_lowercase().starts_with("date:");
        answer
            .lines()
            .filter(without_date)
            .collect::<Vec<_>>()
            .join("\n")
    };
    let (known, unknown) = ("localhost", "unknown.example");
    let refused = ask(known, "").await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    assert_eq!(ask(unknown, "").await, refused);
    let shown = format!("Authorization: {}\r\n", basic("alpha"));
    assert!(ask(known, &shown).await.starts_with("HTTP/1.1 200 "));
    assert!(ask(unknown, &shown).await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_call_of_grpc_is_refused_in_its_own_form() {
    let site = site(&Api::open(), REVERSE);
    let mut call = request(Method::POST, "/", "");
    call.headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let refused = client::send(site.address(), call).await;
    assert_eq!((refused.status, refused.header("grpc-status")), (200, "16"));
}

#[tokio::test]
async fn who_shows_something_twice_is_nobody() {
    let site = site(&Api::open(), REVERSE);
    for (first, second) in [("alpha", "alpha"), ("alpha", "beta"), ("alpha", "x")] {
        let mut twice = request(Method::GET, "/", "");
        for caller in [first, second] {
            let value = format!("Bearer {}", key(caller)).parse().unwrap();
            twice.headers_mut().append("authorization", value);
        }
        assert_eq!(
            client::send(site.address(), twice).await.status,
            401,
            "{second}"
        );
    }
}

#[tokio::test]
async fn each_stream_of_http2_shows_its_own_caller() {
    let api = Api::open();
    let site = site(&api, REVERSE);
    let mut sender = client::http2(site.address()).await;
    for caller in ["alpha", "", "beta", "x"] {
        let mut request = client::streaming(
            Method::GET,
            "/",
            Empty::new().map_err(|never| match never {}).boxed_unsync(),
        );
        if !caller.is_empty() {
            let value = format!("Bearer {}", key(caller)).parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let status = sender.send_request(request).await.unwrap().status();
        let expected = if ["alpha", "beta"].contains(&caller) {
            200
        } else {
            401
        };
        assert_eq!(status, expected, "{caller:?}");
    }
    let seen = api.seen();
    let callers: Vec<_> = seen.iter().map(|seen| seen.header("x-caller")).collect();
    assert_eq!(callers, ["alpha", "beta"]);
}

/// Sends a head on a connection that stays open, and reads the answer's head and, by its length, its body.
async fn exchange(stream: &mut TcpStream, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let read = stream.read_buf(&mut answer).await.unwrap();
        assert_ne!(read, 0, "the connection was closed behind {text}");
    }
}

#[tokio::test]
async fn the_caller_of_a_connect_is_that_of_what_is_inside() {
    let api = Api::open();
    let site = site(&api, FORWARD);
    let (host, mut stream) = (
        api.address,
        TcpStream::connect(site.address()).await.unwrap(),
    );
    let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n");
    let refused = exchange(&mut stream, &format!("{connect}\r\n")).await;
    assert!(
        refused.starts_with("HTTP/1.1 407 sidebearer caller_unknown\r\n"),
        "{refused}"
    );
    assert!(
        refused
            .to_lowercase()
            .contains("\r\nproxy-authenticate: basic "),
        "{refused}"
    );
    let of_alpha = format!("Proxy-Authorization: {}\r\n", basic("alpha"));
    let opened = exchange(&mut stream, &format!("{connect}{of_alpha}\r\n")).await;
    assert!(opened.starts_with("HTTP/1.1 200 "), "{opened}");
    let inside = format!("GET /a HTTP/1.1\r\nHost: {host}\r\n");
    let own = "Authorization: Bearer of-the-app\r\n";
    let answer = exchange(&mut stream, &format!("{inside}{own}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let of_beta = format!("Proxy-Authorization: {}\r\n", basic("beta"));
    let answer = exchange(&mut stream, &format!("{inside}{of_beta}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
    let seen = api.seen();
    let seen: Vec<_> = seen
        .iter()
        .map(|it| (it.header("x-caller"), it.authorization()))
        .collect();
    assert_eq!(seen, [("alpha", "Bearer of-the-app")]);
}

#[tokio::test]
async fn what_comes_behind_a_refused_connect_is_no_request() {
    let api = Api::open();
    let site = site(&api, FORWARD);
    let host = api.address;
    let hidden = format!(
        "GET http://{host}/hidden HTTP/1.1\r\nHost: {host}\r\nProxy-Authorization: {}\r\n\r\n",
        basic("alpha")
    );
    let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n{hidden}");
    let answer = client::raw(site.address(), connect).await;
    assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(api.seen().len(), 0);
}

#[tokio::test]
async fn a_process_is_known_by_its_user() {
    let api = Api::open();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("app.sock");
    let keys = with_keys(dir.path(), &["beta"]);
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir.path()).unwrap());
    let config = format!(
        "{keys}[callers.alpha]\nuser = \"{own}\"\n[[listeners]]\nname = \"app\"\naddress = \"unix:{}\"\n\
         callers = [\"*\"]\ncaller_header = \"x-key\"\nupstream = \"api\"\n\
         [upstreams.api]\nurl = \"{}\"\nforward_caller = \"x-caller\"\n",
        socket.display(),
        api.url()
    );
    let _site = Sidebearer::start_in(dir, &config);
    let mut connection = Connection::over(UnixStream::connect(&socket).await.unwrap()).await;
    let mut plain: Request<_> = request(Method::GET, "/", "");
    plain
        .headers_mut()
        .insert("authorization", "Bearer of-the-app".parse().unwrap());
    assert_eq!(connection.send(plain.clone()).await.unwrap().status, 200);
    plain
        .headers_mut()
        .insert("x-key", key("beta").parse().unwrap());
    assert_eq!(connection.send(plain.clone()).await.unwrap().status, 401);
    // What holds nothing is as good as absent.
    plain.headers_mut().insert("x-key", "".parse().unwrap());
    assert_eq!(connection.send(plain).await.unwrap().status, 200);
    let seen = api.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].header("x-caller"), "alpha");
    assert_eq!(seen[0].header("x-caller"), "alpha");
    assert_eq!(seen[0].authorization(), "Bearer of-the-app");
}
