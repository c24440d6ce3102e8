//! Upgrades on a listener that identifies nobody end with the certificate of their client.

use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::{NAME, connect, write};
use crate::support::any_port;
use crate::support::server::{self, read_head};
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::{Ca, CertificateAndKey};

struct Chat {
    ca: Ca,
    clients: Ca,
    sidebearer: Sidebearer,
}

impl Chat {
    fn start() -> Self {
        let api = server::bytes(|_, mut stream| async move {
            read_head(&mut stream).await;
            let switch: &[u8] =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
            stream.write_all(switch).await.unwrap();
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let (ca, clients) = (Ca::new(), Ca::new());
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "own", &ca.certificate(&[NAME]));
        std::fs::write(dir.path().join("clients.pem"), &clients.pem).unwrap();
        std::fs::write(dir.path().join("clients.crl"), clients.crl(&[], 4000)).unwrap();
        let config = format!(
            "[[listeners]]\nname = \"app\"\naddress = \"{}\"\nupstream = \"api\"\nhosts = [\"*\"]\n\
             tls = {{ certificate_file = \"own.pem\", key_file = \"own.key\"{} }}\n\
             [upstreams.api]\nurl = \"http://{api}\"\n",
            any_port(),
            super::WITH_CRL
        );
        let sidebearer = Sidebearer::start_in(dir, &config);
        Self {
            ca,
            clients,
            sidebearer,
        }
    }

    /// A connection that an upgrade has made a tunnel.
    async fn open(&self, certificate: &CertificateAndKey) -> TlsStream<TcpStream> {
        let config = self.ca.client_with(certificate);
        let mut stream = connect(self.sidebearer.address(), config, NAME)
            .await
            .unwrap();
        let head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = read_head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        stream
    }
}

async fn echoes(stream: &mut TlsStream<TcpStream>) -> bool {
    let _ = stream.write_all(b"x").await;
    let _ = stream.flush().await;
    stream.read_u8().await.is_ok()
}

#[tokio::test]
async fn an_upgrade_ends_when_the_certificate_of_its_client_is_revoked() {
    let chat = Chat::start();
    let names = ["a.internal"];
    let (good, bad) = (
        chat.clients.certificate(&names),
        chat.clients.certificate(&names),
    );
    let (mut stays, mut ends) = (chat.open(&good).await, chat.open(&bad).await);
    assert!(echoes(&mut stays).await && echoes(&mut ends).await);
    let crl = chat.clients.crl(&[&bad], 4000);
    chat.sidebearer.write("clients.crl", &crl);
    chat.sidebearer.reload().await.unwrap();
    assert!(ends.read_u8().await.is_err());
    assert!(echoes(&mut stays).await);
}

#[tokio::test]
async fn an_upgrade_ends_with_the_certificate_of_its_client() {
    let chat = Chat::start();
    let names = ["a.internal"];
    let mut stays = chat.open(&chat.clients.certificate(&names)).await;
    // On a busy machine a handshake takes its time.
    let (end, mut ends) = {
        let mut good_for = 4;
        loop {
            let end = SystemTime::now() + Duration::from_secs(good_for);
            let certificate = chat.clients.certificate_ending(&names, end);
            let limit = Duration::from_secs(good_for - 2);
            if let Ok(opened) = tokio::time::timeout(limit, chat.open(&certificate)).await {
                break (end, opened);
            }
            good_for *= 4;
        }
    };
    assert!(ends.read_u8().await.is_err());
    // Its end has whole seconds.
    let early = SystemTime::now() + Duration::from_secs(1) < end;
    assert!(!early, "cut before the certificate has ended");
    assert!(echoes(&mut stays).await);
}
