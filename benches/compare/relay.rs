//! The limit: a relay of bytes on the same TLS library, which knows no HTTP and injects nothing.
//!
//! usage: relay LISTEN UPSTREAM CA

use std::net::SocketAddr;
use std::sync::Arc;

use mimalloc::MiMalloc;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio_rustls::TlsConnector;

/// As the program it is compared with.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("usage: relay LISTEN UPSTREAM CA");
    let (listen, upstream, ca): (SocketAddr, SocketAddr, String) =
        (next()?.parse()?, next()?.parse()?, next()?);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(relay(listen, upstream, connector))
}

async fn relay(
    listen: SocketAddr,
    upstream: SocketAddr,
    connector: TlsConnector,
) -> Result<(), Failure> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    let listener = socket.listen(4096)?;
    let name = ServerName::try_from("localhost")?;
    loop {
        let (mut client, _) = listener.accept().await?;
        let (connector, name) = (connector.clone(), name.clone());
        tokio::spawn(async move {
            client.set_nodelay(true)?;
            let server = TcpStream::connect(upstream).await?;
            server.set_nodelay(true)?;
            let mut server = connector.connect(name, server).await?;
            copy_bidirectional(&mut client, &mut server).await?;
            std::io::Result::Ok(())
        });
    }
}
