//! TLS, with a client certificate where there is one.

use std::io::Error;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Failure;

/// What the certificate of the server has to name.
pub fn server_name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("it is a name")
}

/// TLS 1.3 without resumption, so that each handshake is a full one.
pub fn client(directory: &Path, is_http2: bool) -> Result<Arc<ClientConfig>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.join("ca.pem"))?)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let chain = directory.join("client.pem");
    let mut config = if chain.exists() {
        let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_file(directory.join("client.key"))?;
        builder.with_client_auth_cert(chain, key)?
    } else {
        builder.with_no_client_auth()
    };
    config.resumption = Resumption::disabled();
    let version: &[u8] = if is_http2 { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![version.to_vec()];
    Ok(Arc::new(config))
}

/// Over a connection, whose handshake begins with what is written first.
pub fn over(
    stream: TcpStream,
    config: &Arc<ClientConfig>,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Error> {
    let connection = ClientConnection::new(Arc::clone(config), server_name());
    Ok(StreamOwned::new(connection.map_err(Error::other)?, stream))
}
