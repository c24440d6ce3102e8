//! Tokens that end, are renewed or are rejected while clients are served.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::*;

const REJECTED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\n\
    WWW-Authenticate: Bearer error=\"invalid_token\"\r\nContent-Length: 0\r\n\r\n";

/// A token endpoint in memory, which gives `token-N` to request N.
#[derive(Default)]
struct InMemoryTokenEndpoint {
    /// When it was asked.
    requests: Rc<RefCell<Vec<Instant>>>,
    /// It answers 503.
    is_down: Rc<Cell<bool>>,
}

impl InMemoryTokenEndpoint {
    /// Its tokens live for so many seconds.
    fn start(lifetime: u64) -> Self {
        let endpoint = Self::default();
        let (requests, is_down) = (Rc::clone(&endpoint.requests), Rc::clone(&endpoint.is_down));
        serve_at(Self::address(), move |_, mut stream| {
            let (requests, is_down) = (Rc::clone(&requests), Rc::clone(&is_down));
            async move {
                read_message(&mut stream).await;
                requests.borrow_mut().push(Instant::now());
                let number = requests.borrow().len();
                let (status, body) = if is_down.get() {
                    ("503 Service Unavailable", "down".to_owned())
                } else {
                    let token = format!(
                        r#"{{"access_token":"token-{number}","token_type":"Bearer","expires_in":{lifetime}}}"#
                    );
                    ("200 OK", token)
                };
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        endpoint
    }

    fn address() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 81).into()
    }

    /// The table of a credential whose tokens it gives; `lines` are more of it.
    fn credential(lines: &str) -> String {
        format!(
            "[credentials.crm]\ntoken_endpoint = \"http://{}/token\"\n\
             client_id = \"billing\"\nclient_secret = \"s3cret\"\n{lines}\n",
            Self::address()
        )
    }

    fn requests(&self) -> usize {
        self.requests.borrow().len()
    }
}

/// A shard before [`api`], with tokens of [`InMemoryTokenEndpoint`]; `upstream` and `credential` are more lines of their
/// tables.
fn shard_with_tokens(upstream: &str, credential: &str) -> InMemoryShard {
    let credential = InMemoryTokenEndpoint::credential(credential);
    shard(
        "",
        &format!("credential = \"crm\"\n{upstream}\n{credential}"),
    )
}

/// The number of the token that a request was sent with.
fn token_of(head: &str) -> usize {
    let (_, rest) = head.split_once("authorization: bearer token-").unwrap();
    rest.split("\r\n").next().unwrap().parse().unwrap()
}

#[test]
fn expired_token_is_never_sent() {
    on_paused_time(async {
        let endpoint = InMemoryTokenEndpoint::start(60);
        let passed = Rc::<Cell<usize>>::default();
        let count = Rc::clone(&passed);
        serve(move |_, mut stream| {
            let count = Rc::clone(&count);
            async move {
                while !read_head(&mut stream).await.is_empty() {
                    count.set(count.get() + 1);
                    stream.write_all(OK).await.unwrap();
                }
            }
        });
        let shard = shard_with_tokens("", "acquire_timeout = \"100ms\"");
        let mut client = shard.connect();
        let granted = Instant::now();
        assert_eq!(exchange(&mut client, GET).await.1, "ok");
        endpoint.is_down.set(true);

        let mut answered = 1;
        let (refused, body) = loop {
            let (head, body) = exchange(&mut client, GET).await;
            if !head.starts_with("HTTP/1.1 200 ") {
                break (head, body);
            }
            answered += 1;
            assert!(granted.elapsed() < secs(60), "sent when it has expired");
            sleep(Duration::from_millis(500)).await;
        };
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(body.contains("token_unavailable"), "{body}");
        let (_, retry_after) = refused.split_once("\r\nretry-after: ").unwrap();
        let retry_after = retry_after.split("\r\n").next().unwrap();
        assert!(retry_after.parse::<u64>().unwrap() >= 1, "{refused}");
        // The margin is a small part of its life, and no request was refused in the rest.
        assert!(granted.elapsed() > secs(50), "{:?}", granted.elapsed());
        for _ in 0..20 {
            let (head, _) = exchange(&mut client, GET).await;
            assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
            sleep(secs(30)).await;
        }
        assert_eq!(passed.get(), answered);

        endpoint.is_down.set(false);
        sleep(secs(60)).await;
        assert_eq!(exchange(&mut client, GET).await.1, "ok");
    });
}

#[test]
fn a_token_that_expires_while_a_connection_is_opened_is_replaced() {
    on_paused_time(async {
        for renewed in [true, false] {
            let endpoint = InMemoryTokenEndpoint::start(60);
            let api = HesitantApi::start();
            let shard = InMemoryShard::start(&format!(
                "[[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\nupstream = \"api\"\n\
                 [upstreams.api]\nurl = \"https://{}\"\ncredential = \"crm\"\n\
                 connect_timeout = \"10m\"\ntls = {{ ca_file = \"{}\" }}\n{}",
                self::api(),
                api.ca_file.path().display(),
                InMemoryTokenEndpoint::credential("acquire_timeout = \"1s\"")
            ));
            let mut client = shard.connect();
            client.write_all(GET).await.unwrap();
            api.dialed.notified().await;
            assert_eq!(endpoint.requests(), 1);
            endpoint.is_down.set(!renewed);
            // Whatever it began with has expired.
            sleep(secs(300)).await;
            let newest = endpoint.requests();
            api.go.notify_one();

            let (answer, body) = read_message(&mut client).await;
            let heads = api.heads.borrow();
            if renewed {
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                assert!(newest > 3, "{newest}");
                assert_eq!(heads.len(), 1);
                assert_eq!(token_of(&heads[0]), newest);
            } else {
                assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
                assert!(body.contains("token_unavailable"), "{body}");
                assert_eq!(heads.concat(), "", "nothing was sent");
            }
        }
    });
}

/// An API over TLS that begins each handshake when the test says so.
struct HesitantApi {
    ca_file: NamedTempFile,
    dialed: Rc<Notify>,
    go: Rc<Notify>,
    /// What came on each connection; empty if nothing did.
    heads: Rc<RefCell<Vec<String>>>,
}

impl HesitantApi {
    fn start() -> Self {
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let ca_file = NamedTempFile::new().unwrap();
        std::fs::write(&ca_file, own.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
        let api = Self {
            ca_file,
            dialed: Rc::default(),
            go: Rc::default(),
            heads: Rc::default(),
        };
        let (dialed, go) = (Rc::clone(&api.dialed), Rc::clone(&api.go));
        let heads = Rc::clone(&api.heads);
        serve(move |_, stream| {
            let (acceptor, heads) = (acceptor.clone(), Rc::clone(&heads));
            let (dialed, go) = (Rc::clone(&dialed), Rc::clone(&go));
            async move {
                dialed.notify_one();
                go.notified().await;
                let mut stream = acceptor.accept(stream).await.unwrap();
                let head = read_head(&mut stream).await;
                heads.borrow_mut().push(head);
                // Nobody may be there any more.
                let _ = stream.write_all(OK).await;
            }
        });
        api
    }
}

#[test]
fn an_upstream_that_rejects_every_token_causes_one_fetch_and_then_one_after_each_cooldown() {
    on_paused_time(async {
        let (fetches, sent) = fetches_while_rejected(GET).await;
        assert_eq!(fetches, [0, 10, 30, 70, 130, 190]);
        assert_eq!(sent[..4], [1, 2, 2, 2]);
    });
}

#[test]
fn uploads_that_cannot_be_replayed_do_not_hammer_the_token_endpoint_either() {
    on_paused_time(async {
        // Larger than what is kept to be sent again. That the next token is rejected too shows with the next upload.
        let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n";
        let upload = [head.as_bytes(), &[b'x'; 100_000]].concat();
        let (fetches, sent) = fetches_while_rejected(&upload).await;
        assert_eq!(fetches, [0, 11, 32, 73, 134, 195]);
        assert_eq!(sent[..4], [1, 2, 2, 2]);
    });
}

/// Sends this request once a second, for four minutes, to an API that rejects every token. After how many seconds
/// that has caused a token request, and with which tokens the API got it.
async fn fetches_while_rejected(request: &[u8]) -> (Vec<u64>, Vec<usize>) {
    let endpoint = InMemoryTokenEndpoint::start(3600);
    let sent = Rc::<RefCell<Vec<usize>>>::default();
    let tokens = Rc::clone(&sent);
    serve(move |_, mut stream| {
        let tokens = Rc::clone(&tokens);
        async move {
            loop {
                let (head, _) = read_message(&mut stream).await;
                if head.is_empty() {
                    return;
                }
                tokens.borrow_mut().push(token_of(&head));
                stream.write_all(REJECTED).await.unwrap();
            }
        }
    });
    let shard = shard_with_tokens("", "");
    let mut client = shard.connect();
    sleep(secs(60)).await;
    let start = Instant::now();
    while start.elapsed() < secs(240) {
        let (answer, _) = exchange(&mut client, request).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        let challenge = "\r\nwww-authenticate: bearer error=\"invalid_token\"\r\n";
        assert!(answer.contains(challenge), "{answer}");
        sleep(secs(1)).await;
    }
    let asked = endpoint.requests.borrow();
    let fetches = asked[1..].iter().map(|at| (*at - start).as_secs());
    let sent = sent.take();
    // No token is sent again once there is a newer one.
    assert!(sent.is_sorted());
    assert_eq!(sent.last(), Some(&asked.len()));
    (fetches.collect(), sent)
}

#[test]
fn a_removed_credential_is_not_renewed_even_for_a_response_that_lasts() {
    on_paused_time(async {
        let endpoint = InMemoryTokenEndpoint::start(10);
        let (arrived, finish) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (at_api, last) = (Rc::clone(&arrived), Rc::clone(&finish));
        serve(move |_, mut stream| {
            let (at_api, last) = (Rc::clone(&at_api), Rc::clone(&last));
            async move {
                read_head(&mut stream).await;
                at_api.notify_one();
                last.notified().await;
                stream.write_all(OK).await.unwrap();
            }
        });
        let listener = "[[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\n";
        let open = format!(
            "{listener}[upstreams.open]\nurl = \"http://{0}\"\n[[routes]]\nupstream = \"open\"\n",
            api()
        );
        let with_credential = format!(
            "{open}[upstreams.slow]\nurl = \"http://{}\"\ncredential = \"crm\"\nresponse_timeout = \"10m\"\n\
             [[routes]]\npath = \"/slow\"\nupstream = \"slow\"\n{}",
            api(),
            InMemoryTokenEndpoint::credential("")
        );
        let shard = InMemoryShard::start(&with_credential);
        let mut client = shard.connect();
        let slow = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
        client.write_all(slow).await.unwrap();
        arrived.notified().await;
        sleep(secs(25)).await;
        assert!(endpoint.requests() >= 3, "renewed while it is configured");
        let expiry = "sidebearer_token_expiry_timestamp_seconds{credential=\"crm\"}";
        assert!(shard.metric(expiry) > 0.0);

        shard.reconfigure(&open);
        assert_eq!(shard.metric(expiry), 0.0);
        // One may have been under way.
        sleep(secs(1)).await;
        let fetched = endpoint.requests();
        sleep(secs(100)).await;
        assert_eq!(endpoint.requests(), fetched, "ten lives later");

        finish.notify_one();
        let (head, body) = read_message(&mut client).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, "ok");
        // The series does not come back with what a late attempt brings.
        assert_eq!(shard.metric(expiry), 0.0);
    });
}
