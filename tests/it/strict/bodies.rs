//! Raw HTTP/1.1: where a request ends and the next one begins.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{HOST, PROBE, answers, assert_healthy, attack, config, converse, world};
use crate::support::PATIENCE;
use crate::support::idp::Idp;
use crate::support::sidebearer::Sidebearer;
use crate::support::strict::Recorder;

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n";

#[tokio::test]
async fn a_malformed_chunk_never_completes_a_request() {
    let bodies = [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a\nabc\r\n0\r\n\r\n",
        "5;\nhello\r\n0\r\n\r\n",
        "5 \nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0;a\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        // Sizes that overflow 64 and 32 bits, or a sign.
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "100000005\r\nhello\r\n0\r\n\r\n",
        "8000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
        // Trailers.
        "0\r\nX: a\nY: b\r\n\r\n",
        "0\r\nX: a\rY: b\r\n\r\n",
        "0\r\nX : a\r\n\r\n",
        "0\r\n X: a\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nX: \0\r\n\r\n",
        "0\r\nX: a\r\n b\r\n\r\n",
        "0\r\nGET /hidden HTTP/1.1\r\n\r\n",
    ];
    let (recorder, sidebearer) = world("");
    for body in bodies {
        let bytes = format!("{CHUNKED}\r\n{body}");
        let (answers, arrived) = attack(&recorder, &sidebearer, bytes.as_bytes()).await;
        assert_eq!(arrived, 0, "{body:?}");
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
        assert!(
            matches!(statuses[..], [400 | 408]),
            "{body:?}: {statuses:?}"
        );
    }
    assert_healthy(&recorder, &sidebearer).await;
}

#[tokio::test]
async fn a_lone_lf_in_a_chunked_body_is_400_at_once_wherever_it_stands() {
    let (recorder, sidebearer) = world("");
    for body in [
        "5\nhello",
        "5 \nhello",
        "5;\nhello",
        "5;a\nhello",
        "5;a=b\n\r\nhello",
        "1\r\nx\r\n5;a\nhello",
        "0;a\n",
        "0\r\n\n",
        "0\r\nX: y\n",
    ] {
        // Without an end: what waits for more is told by a timeout instead.
        let bytes = format!("{CHUNKED}\r\n{body}");
        let refused = answers(&converse(&sidebearer, bytes.as_bytes()).await);
        let statuses: Vec<_> = refused.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [400], "{body:?}");
        assert!(refused[0].head.to_lowercase().contains("connection: close"));
    }
    assert!(recorder.requests().is_empty());
    assert_healthy(&recorder, &sidebearer).await;
}

#[tokio::test]
async fn chunks_and_trailers_arrive_as_they_are_read_and_extensions_do_not() {
    let (recorder, sidebearer) = world("");
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "5;a=b\r\nhello\r\n0;c\r\n\r\n",
        "5 ;a=\"b\"\r\nhello\r\n000000\r\n\r\n",
        "2\r\nhe\r\n03\r\nllo\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 9\r\nX-Sum: 1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\
         Authorization: x\r\nConnection: close\r\nTrailer: y\r\nContent-Type: a/b\r\n\r\n",
    ] {
        let bytes = format!("{CHUNKED}Trailer: x-sum\r\n\r\n{body}");
        let (answers, arrived) = attack(&recorder, &sidebearer, bytes.as_bytes()).await;
        assert_eq!((arrived, answers.len()), (2, 2), "{body:?}");
        let seen = recorder.requests();
        let seen = &seen[seen.len() - 2];
        assert_eq!(seen.body, b"hello");
        let trailers: Vec<_> = seen
            .trailers
            .iter()
            .map(|(name, _)| name.as_slice())
            .collect();
        if body.contains("X-Sum") {
            assert_eq!(trailers, [b"X-Sum"])
        } else {
            assert!(trailers.is_empty())
        }
    }
    // More of them than anyone needs.
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000));
    let many = format!("0\r\n{}\r\n", "X: y\r\n".repeat(2_000));
    let long = format!("0\r\nX: {}\r\n\r\n", "y".repeat(200_000));
    for body in [extension, many, long] {
        let bytes = format!("{CHUNKED}\r\n{body}");
        let (answers, arrived) = attack(&recorder, &sidebearer, bytes.as_bytes()).await;
        assert_eq!((arrived, answers[0].status), (0, 400));
    }
    assert_healthy(&recorder, &sidebearer).await;
}

#[tokio::test]
async fn pipelined_requests_arrive_one_by_one_and_are_answered_in_order() {
    let (recorder, sidebearer) = world("");
    let mut bytes = Vec::new();
    for number in 0..50 {
        let (method, body) = match number % 4 {
            0 => ("GET", "\r\n".to_owned()),
            1 => (
                "POST",
                "Content-Length: 17\r\n\r\nGET /x HTTP/1.1\r\n".to_owned(),
            ),
            2 => (
                "PUT",
                "Transfer-Encoding: chunked\r\n\r\n10\r\nGET /x HTTP/1.1\n\r\n0\r\n\r\n".to_owned(),
            ),
            _ => ("DELETE", "Content-Length: 0\r\n\r\n\r\n".to_owned()),
        };
        bytes.extend(format!("{method} /{number} HTTP/1.1\r\n{HOST}{body}").bytes());
    }
    let (answers, arrived) = attack(&recorder, &sidebearer, &bytes).await;
    assert_eq!((arrived, answers.len()), (51, 51));
    for (number, answer) in answers[..50].iter().enumerate() {
        let method = ["GET", "POST", "PUT", "DELETE"][number % 4];
        assert_eq!(
            (answer.status, &*answer.body),
            (200, &*format!("{method} /{number}"))
        );
    }
}

#[tokio::test]
async fn an_expectation_never_shifts_what_follows() {
    let (recorder, idp) = (Recorder::start(), Idp::start());
    // The recorder never says 100: after a second the body is asked for all the same.
    let patient = config(&recorder.url(), &idp, "").replace("stream_idle_timeout = \"1s\"", "");
    let sidebearer = Sidebearer::start(&patient);
    for (lines, body) in [
        ("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"),
        (
            "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        ("Expect: 100-continue\r\n", ""),
        ("Expect: 100-continue\r\nContent-Length: 0\r\n", ""),
        ("Expect: 200-ok\r\nContent-Length: 5\r\n", "hello"),
        ("Expect: 100-continue, x\r\nContent-Length: 5\r\n", "hello"),
        (
            "Expect: y\r\nExpect: 100-continue\r\nContent-Length: 5\r\n",
            "hello",
        ),
    ] {
        let bytes = format!("POST / HTTP/1.1\r\n{HOST}{lines}\r\n{body}");
        let sent = [bytes.as_bytes(), PROBE.as_bytes()].concat();
        let before = recorder.requests().len();
        let raw = String::from_utf8(converse(&sidebearer, &sent).await).unwrap();
        let raw = raw.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
        let answers = answers(raw.as_bytes());
        let arrived = recorder.requests().split_off(before);
        let bodies: Vec<_> = arrived.iter().map(|seen| seen.body.len()).collect();
        let theirs = answers.iter().filter(|answer| !answer.is_ours()).count();
        assert_eq!(theirs, arrived.len(), "{lines}: {answers:?}");
        assert_eq!(bodies, [body.len().min(5), 0], "{lines}");
    }
}

#[tokio::test]
async fn java_and_curl_that_offer_h2c_are_answered_in_http_1_1() {
    let (recorder, sidebearer) = world("");
    let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n";
    for (line, body) in [
        ("GET /", "\r\n"),
        ("POST /", "Content-Length: 5\r\n\r\nhello"),
    ] {
        let bytes = format!("{line} HTTP/1.1\r\n{HOST}{offer}{body}");
        let (answers, arrived) = attack(&recorder, &sidebearer, bytes.as_bytes()).await;
        assert_eq!((arrived, answers.len(), answers[0].status), (2, 2, 200));
        let seen = recorder.requests();
        let seen = &seen[seen.len() - 2];
        for name in ["upgrade", "http2-settings", "connection"] {
            assert!(seen.values(name).is_empty(), "{name}");
        }
    }
    // Frames behind the offer are not a request.
    let bytes = format!("GET / HTTP/1.1\r\n{HOST}{offer}\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let (answers, arrived) = attack(&recorder, &sidebearer, bytes.as_bytes()).await;
    assert_eq!((arrived, answers.len(), answers[1].status), (1, 2, 400));
}

#[tokio::test]
async fn what_follows_a_refused_upgrade_unseen_is_not_read() {
    let (recorder, sidebearer) = world("");
    let offer =
        format!("GET / HTTP/1.1\r\n{HOST}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    let hidden = "GET /hidden HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n";
    let (answers, arrived) = attack(
        &recorder,
        &sidebearer,
        format!("{offer}{hidden}").as_bytes(),
    )
    .await;
    assert_eq!((arrived, answers[0].status), (1, 200));
    // Who waits for the answer goes on.
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    for _ in 0..2 {
        stream.write_all(offer.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"GET /") {
            answer.push(stream.read_u8().await.unwrap());
        }
    }
}

#[tokio::test]
async fn a_pipelined_head_that_stops_is_told_so() {
    let (recorder, sidebearer) = world("");
    let both = format!("GET / HTTP/1.1\r\n{HOST}\r\nGET /second HTTP/1.1\r\nHo");
    let answers = answers(&converse(&sidebearer, both.as_bytes()).await);
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 408]);
    assert_eq!(recorder.only().target, "/");
}

#[tokio::test]
async fn bytes_that_arrive_one_by_one_are_read_the_same() {
    let (recorder, sidebearer) = world("");
    let bytes = format!(
        "\r\nPOST /1 HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n5;x\r\na\nb\nc\r\n0\r\nX-Sum: 1\r\n\r\n\
         POST /2 HTTP/1.1\r\n{HOST}Content-Length: 3\r\n\r\n\n\r\n{PROBE}"
    );
    let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut raw = Vec::new();
    let write = async {
        for byte in bytes.as_bytes() {
            writing.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let both = async {
        tokio::join!(write, reading.read_to_end(&mut raw))
            .1
            .unwrap()
    };
    tokio::time::timeout(PATIENCE, both).await.expect("closed");
    assert_eq!(answers(&raw).len(), 3);
    let targets: Vec<_> = recorder
        .requests()
        .into_iter()
        .map(|seen| seen.target)
        .collect();
    assert_eq!(targets, ["/1", "/2", "/probe"]);
}

/// Not what it says, but how an answer is framed, decides what the next request is answered with.
#[tokio::test]
async fn an_answer_that_could_be_read_differently_is_never_joined_to_the_next() {
    let idp = Idp::start();
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 204 No\r\nContent-Length: 48\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden",
        "HTTP/1.1 304 No\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhidden",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked, x\r\n\r\nok",
    ] {
        let recorder = Recorder::start();
        let sidebearer = Sidebearer::start(&config(&recorder.url(), &idp, ""));
        recorder.answer(answer);
        let both = format!("GET /1 HTTP/1.1\r\n{HOST}\r\n{PROBE}");
        let raw = String::from_utf8(converse(&sidebearer, both.as_bytes()).await).unwrap();
        assert!(!raw.contains("hidden"), "{answer:?}: {raw}");
        // The second is answered with its own, or not at all.
        if let Some(second) = raw.rsplit("\r\n\r\n").next()
            && recorder.requests().len() == 2
        {
            assert!(
                second == "GET /probe" || raw.matches("HTTP/1.1 ").count() == 1,
                "{raw}"
            );
        }
    }
}
