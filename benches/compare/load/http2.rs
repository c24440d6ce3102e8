//! A connection of HTTP/2, with one stream at a time.

use std::io::Error;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{HOPELESS, Load, tls};

pub struct Connection {
    /// It goes on only while something is asked for.
    runtime: Runtime,
    requests: SendRequest<Bytes>,
}

impl Connection {
    pub fn open(load: &Load) -> Result<Self, Error> {
        let stream = load.connect()?;
        stream.set_nonblocking(true)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let requests = runtime.block_on(async {
            let stream = TcpStream::from_std(stream)?;
            match &load.tls {
                Some(config) => {
                    let connector = TlsConnector::from(Arc::clone(config));
                    begin(connector.connect(tls::server_name(), stream).await?).await
                }
                None => begin(stream).await,
            }
        })?;
        Ok(Self { runtime, requests })
    }

    /// Sends one request: the status of its answer.
    pub fn ask(&mut self, load: &Load) -> Result<u16, Error> {
        let scheme = if load.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{}", load.authority(), load.path);
        let request = Request::get(uri).body(()).map_err(Error::other)?;
        let exchange = async {
            let mut requests = self.requests.clone().ready().await?;
            let (answer, _) = requests.send_request(request, true)?;
            let answer = answer.await?;
            let status = answer.status().as_u16();
            let mut body = answer.into_body();
            while let Some(data) = body.data().await {
                body.flow_control().release_capacity(data?.len())?;
            }
            Ok::<_, h2::Error>(status)
        };
        let exchange = self
            .runtime
            .block_on(async { timeout(HOPELESS, exchange).await });
        exchange.map_err(Error::other)?.map_err(Error::other)
    }
}

async fn begin<S>(stream: S) -> Result<SendRequest<Bytes>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, connection) = client::handshake(stream).await.map_err(Error::other)?;
    tokio::spawn(connection);
    Ok(requests)
}
