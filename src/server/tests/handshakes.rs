//! TLS with clients: handshakes that do not end, how old a connection gets, and how it ends.

use std::io::ErrorKind;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::duplex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::frames::{END_HEADERS, END_STREAM, HEADERS, frame, get};
use super::*;
use crate::client_socket::ClientSocket;

/// A shard with TLS before [`api`], and what its clients trust.
struct Secured {
    shard: InMemoryShard,
    client: ClientConfig,
    _files: TempDir,
}

impl Secured {
    /// `listener` is more of the listener's lines.
    fn start(listener: &str) -> Self {
        let own = rcgen::generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        let path = |name: &str| files.path().join(name).display().to_string();
        std::fs::write(path("own.pem"), own.cert.pem()).unwrap();
        std::fs::write(path("own.key"), own.signing_key.serialize_pem()).unwrap();
        let shard = InMemoryShard::start(&format!(
            "[server]\nidle_timeout = \"10s\"\n\
             [[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\nupstream = \"api\"\nhosts = [\"*\"]\n\
             tls = {{ certificate_file = \"{}\", key_file = \"{}\" }}\n{listener}\n\
             [upstreams.api]\nurl = \"http://{}\"\n",
            path("own.pem"),
            path("own.key"),
            api()
        ));
        let mut roots = RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            shard,
            client,
            _files: files,
        }
    }

    /// A client's end of a connection whose handshake is over.
    async fn connect(&self) -> TlsStream<DuplexStream> {
        let name = ServerName::try_from("gateway.example").unwrap();
        let connector = TlsConnector::from(Arc::new(self.client.clone()));
        connector.connect(name, self.shard.connect()).await.unwrap()
    }

    /// The first message of a client.
    fn hello(&self) -> Vec<u8> {
        let name = ServerName::try_from("gateway.example").unwrap();
        let config = Arc::new(self.client.clone());
        let mut session = rustls::ClientConnection::new(config, name).unwrap();
        let mut hello = Vec::new();
        session.write_tls(&mut hello).unwrap();
        hello
    }

    fn handshakes(&self, outcome: &str) -> f64 {
        let series =
            format!("sidebearer_tls_handshakes_total{{listener=\"app\",outcome=\"{outcome}\"}}");
        self.shard.metric(&series)
    }
}

#[test]
fn a_handshake_ends_after_handshake_timeout_wherever_its_client_stops() {
    on_paused_time(async {
        let site = Secured::start("handshake_timeout = \"7s\"");
        let hello = site.hello();
        for sent in [0, 1, hello.len() / 2, hello.len()] {
            let mut client = site.shard.connect();
            let since = Instant::now();
            client.write_all(&hello[..sent]).await.unwrap();
            // What the server says of itself is no end.
            let _ = client.read_to_end(&mut Vec::new()).await;
            assert_took(since, secs(7));
        }
        assert_eq!(site.handshakes("timeout"), 4.0);
        // One byte now and then does not make it longer.
        let mut client = site.shard.connect();
        let since = Instant::now();
        for byte in hello.chunks(1) {
            if client.write_all(byte).await.is_err() {
                break;
            }
            sleep(secs(1)).await;
        }
        assert!(since.elapsed() <= secs(9), "{:?}", since.elapsed());
    });
}

#[test]
fn handshakes_beyond_max_handshakes_are_closed_at_once_and_counted_until_others_end() {
    on_paused_time(async {
        serve_ok();
        let site = Secured::start("max_handshakes = 2\nhandshake_timeout = \"7s\"");
        // A connection whose handshake is over does not count.
        let mut kept = site.connect().await;
        kept.write_all(GET).await.unwrap();
        read_head(&mut kept).await;
        kept.read_exact(&mut [0; 2]).await.unwrap();
        let _half_open = [site.shard.connect(), site.shard.connect()];
        let (mut near, far) = duplex(1000);
        assert!(!site.shard.offer(ClientSocket::Memory(Box::new(far))));
        assert_eq!(near.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(site.handshakes("shed"), 1.0);
        kept.write_all(GET).await.unwrap();
        assert!(read_head(&mut kept).await.starts_with("HTTP/1.1 200 "));
        sleep(secs(8)).await;
        let mut new = site.connect().await;
        new.write_all(GET).await.unwrap();
        assert!(read_head(&mut new).await.starts_with("HTTP/1.1 200 "));
        assert_eq!(site.handshakes("success"), 2.0);
    });
}

#[test]
fn a_connection_takes_no_more_requests_when_it_is_as_old_as_it_may_be() {
    on_paused_time(async {
        serve_ok();
        let site = Secured::start("max_connection_age = \"1h\"");
        let (mut client, since) = (site.connect().await, Instant::now());
        loop {
            client.write_all(GET).await.unwrap();
            let head = read_head(&mut client).await;
            client.read_exact(&mut [0; 2]).await.unwrap();
            // It is told with the last answer, or closed while it is idle.
            let ended = timeout(secs(5), client.read(&mut [0])).await;
            if head.contains("connection: close") || ended.is_ok() {
                break;
            }
        }
        let age = since.elapsed();
        assert!((secs(50 * 60)..=secs(3610)).contains(&age), "{age:?}");

        let mut client = FrameClient::over(site.connect().await, &[]).await;
        let (since, mut stream) = (Instant::now(), 1);
        let ask = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get("/", &[]));
        loop {
            client.send(&ask(stream)).await;
            let (outcome, goaway) = client.outcome(stream).await;
            assert!(outcome.is_ok() || goaway.is_some(), "{outcome:?}");
            if goaway.is_some() {
                break;
            }
            stream += 2;
            sleep(secs(5)).await;
        }
        let age = since.elapsed();
        assert!((secs(50 * 60)..=secs(3610)).contains(&age), "{age:?}");
    });
}

#[test]
fn a_response_that_breaks_off_does_not_end_as_a_whole_one_does() {
    on_paused_time(async {
        serve(|number, mut stream| async move {
            read_head(&mut stream).await;
            let length = if number == 0 { 5 } else { 2 };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nok");
            stream.write_all(head.as_bytes()).await.unwrap();
        });
        let site = Secured::start("");
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        for is_whole in [false, true] {
            let mut client = site.connect().await;
            client.write_all(request).await.unwrap();
            let mut answer = Vec::new();
            let ended = client.read_to_end(&mut answer).await;
            assert!(answer.ends_with(b"\r\n\r\nok"));
            match ended {
                Ok(_) => assert!(is_whole),
                Err(error) => {
                    assert!(!is_whole);
                    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
                }
            }
        }
    });
}

#[test]
fn a_slow_reader_of_a_large_response_is_served_for_as_long_as_it_reads() {
    on_paused_time(async {
        let length = 1 << 20;
        serve(move |_, mut stream| async move {
            read_head(&mut stream).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let _ = stream.write_all(&vec![b'x'; length]).await;
        });
        let site = Secured::start("");
        let mut client = site.connect().await;
        client.write_all(GET).await.unwrap();
        read_head(&mut client).await;
        let (since, mut left) = (Instant::now(), length);
        let mut bytes = vec![0; 20 * 1024];
        while left > 0 {
            sleep(secs(1)).await;
            let most = left.min(bytes.len());
            client.read_exact(&mut bytes[..most]).await.unwrap();
            left -= most;
        }
        assert!(since.elapsed() > secs(40), "{:?}", since.elapsed());
    });
}
