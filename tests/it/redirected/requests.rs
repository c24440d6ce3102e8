//! Requests of plain HTTP.

use http::Version;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{World, request, told};
use crate::support::api::Api;
use crate::support::client::{Connection, read};
use crate::support::eventually;
use crate::support::server::response;

#[tokio::test]
async fn a_matched_request_gets_its_token_wherever_it_was_on_its_way_to() {
    let Some(world) = World::start().await else {
        return;
    };
    for address in world.nobody(80) {
        let answer = world.get(address, "crm.example.com").await;
        assert_eq!((answer.status, &*answer.text()), (200, "crm"), "{address}");
    }
    // Over TLS, since its upstream is.
    let answer = world.get(world.nobody(443)[0], "secure.example.com").await;
    assert_eq!(answer.text(), "secure crm");
    let crm = world.crm.address;
    assert_eq!(
        told(&world.crm),
        [
            format!("{crm} /v1 Bearer token-1"),
            format!("{crm} /v1 Bearer token-1")
        ]
    );
    assert_eq!(world.secure.seen()[0].authorization(), "Bearer token-1");
    eventually("a line", async || {
        !world.lines_of("crm.example.com").is_empty()
    })
    .await;
    let line = &world.lines_of("crm.example.com")[0];
    assert_eq!(line["original"], "10.0.0.77:80");
    assert_eq!(
        (&line["listener"], &line["upstream"]),
        (&"apps".into(), &"crm".into())
    );
}

#[tokio::test]
async fn a_port_that_the_upstream_does_not_have_is_no_match() {
    let Some(world) = World::start().await else {
        return;
    };
    let api = Api::on(world.network.there.listen(443), None, |_| {
        response(200, "plain")
    });
    let address = world.network.there.address(443);
    assert_eq!(world.get(address, "crm.example.com").await.text(), "plain");
    assert_eq!(told(&api), ["crm.example.com /v1 "]);
}

#[tokio::test]
async fn a_connect_on_a_connection_that_was_redirected_opens_nothing() {
    let Some(world) = World::with("", "[egress]\nports = [80]\n").await else {
        return;
    };
    let mut stream = world.connect(world.network.there.address(80));
    // What comes first decides who reads on. The CONNECT is read here.
    let connect = "CONNECT other.example.com:443 HTTP/1.1\r\nHost: other.example.com:443\r\n\r\n";
    for (request, status, end) in [
        (
            "GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n",
            "200",
            "other",
        ),
        (connect, "400", "}"),
    ] {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
    }
}

#[tokio::test]
async fn what_nothing_matches_goes_on_to_its_own_address_as_it_was_sent() {
    let Some(world) = World::start().await else {
        return;
    };
    let there = &world.network.there;
    let other_v6 = Api::on(there.listen_at(there.address_v6(80)), None, |_| {
        response(200, "v6")
    });
    let addresses = [there.address(80), there.address_v6(80)];
    for (address, text) in addresses.into_iter().zip(["other", "v6"]) {
        let mut connection = Connection::over(world.connect(address)).await;
        let mut asked = request("other.example.com:8080", "/a?b");
        let own = "Bearer of-the-app".parse().unwrap();
        asked.headers_mut().insert("authorization", own);
        assert_eq!(connection.send(asked).await.unwrap().text(), text);
        // The next one of the connection is matched by its own name.
        let answer = connection
            .send(request("crm.example.com", "/v1"))
            .await
            .unwrap();
        assert_eq!(answer.text(), "crm");
        let answer = connection
            .send(request("third.example.com", "/c"))
            .await
            .unwrap();
        assert_eq!(answer.text(), text);
    }
    let sent = [
        "other.example.com:8080 /a?b Bearer of-the-app",
        "third.example.com /c ",
    ];
    assert_eq!(told(&world.other), sent);
    assert_eq!(told(&other_v6), sent);
    // Nothing listens there.
    let answer = world.get(world.nobody(80)[0], "other.example.com").await;
    assert_eq!((answer.status, &*answer.code()), (502, "upstream_connect"));
}

#[tokio::test]
async fn http2_by_prior_knowledge_stays_http2() {
    let Some(world) = World::start().await else {
        return;
    };
    let io = TokioIo::new(world.connect(world.network.there.address(80)));
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    for (host, text) in [("other.example.com", "other"), ("crm.example.com", "crm")] {
        let asked = http::Request::get(format!("http://{host}/v1"));
        let asked = asked.body(Full::<bytes::Bytes>::default()).unwrap();
        let answer = sender.send_request(asked).await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        assert_eq!(read(answer).await.unwrap().text(), text);
    }
    // HTTP/2 has no such header: it came as `:authority`.
    let seen = &world.other.seen()[0];
    assert_eq!(
        (&*seen.host, seen.header("host")),
        ("other.example.com", "")
    );
}

#[tokio::test]
async fn http10_without_a_host_goes_on_to_its_address() {
    let Some(world) = World::start().await else {
        return;
    };
    let there = &world.network.there;
    let api = Api::on(there.listen_at(there.address_v6(80)), None, |_| {
        response(200, "old")
    });
    let mut stream = world.connect(there.address_v6(80));
    stream
        .write_all(b"GET /old HTTP/1.0\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("old"), "{answer}");
    assert_eq!(told(&api), ["[fd53::2] /old "]);
}

#[tokio::test]
async fn rules_judge_by_the_name_and_by_the_original_address() {
    let rest = "[egress]\ndeny = [\"10.0.0.2\"]\n[[egress.rules]]\nhosts = [\"bad.example.com\"]\naction = \"deny\"\n";
    let Some(world) = World::with("", rest).await else {
        return;
    };
    let there = &world.network.there;
    let _other_v6 = Api::on(there.listen_at(there.address_v6(80)), None, |_| {
        response(200, "v6")
    });
    for (address, host, status) in [
        (there.address_v6(80), "good.example.com", 200),
        (there.address_v6(80), "bad.example.com", 403),
        (there.address(80), "good.example.com", 403),
        // The address that it was on its way to is of no account.
        (there.address(80), "crm.example.com", 200),
    ] {
        let answer = world.get(address, host).await;
        assert_eq!(answer.status, status, "{address} {host}");
        let denied = if status == 403 {
            "destination_denied"
        } else {
            ""
        };
        assert_eq!(answer.code(), denied);
    }
    assert!(world.other.seen().is_empty());
}

#[tokio::test]
async fn what_is_refused_by_default_names_no_address() {
    let Some(world) = World::with("unmatched = \"deny\"", "").await else {
        return;
    };
    let answer = world
        .get(world.network.there.address(80), "other.example.com")
        .await;
    assert_eq!(
        (answer.status, &*answer.code()),
        (403, "destination_denied")
    );
    assert!(!answer.text().contains("10.0.0.2"), "{}", answer.text());
}
