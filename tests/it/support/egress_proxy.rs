//! Corporate proxies. Whatever host they are asked for, they lead to one address: names are theirs to resolve.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::server;

/// A running proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

/// What an HTTP proxy does.
#[derive(Clone, Default)]
pub(crate) struct HttpProxy {
    /// Where everything leads.
    target: Option<SocketAddr>,
    /// The value of `Proxy-Authorization` without which it answers 407.
    wants: Option<String>,
    /// What it answers in place of a tunnel or a response.
    answer: Option<Vec<u8>>,
    /// It closes the connection behind that.
    closes: bool,
    tls: Option<ServerConfig>,
}

impl HttpProxy {
    /// Leads to `target`: by tunnels, and with requests in absolute form, which it passes on to the byte.
    pub(crate) fn to(target: SocketAddr) -> Self {
        Self {
            target: Some(target),
            ..Self::default()
        }
    }

    /// Answers these bytes to whatever it is asked, and keeps the connection.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        Self {
            answer: Some(answer.into()),
            ..Self::default()
        }
    }

    /// The same, and closes the connection.
    pub(crate) fn closing_after(answer: impl Into<Vec<u8>>) -> Self {
        Self {
            closes: true,
            ..Self::answering(answer)
        }
    }

    /// Only for who brings this value of `Proxy-Authorization`.
    pub(crate) fn wanting(self, value: &str) -> Self {
        let wants = Some(value.to_owned());
        Self { wants, ..self }
    }

    /// Over TLS.
    pub(crate) fn over(self, tls: ServerConfig) -> Self {
        let tls = Some(tls);
        Self { tls, ..self }
    }

    pub(crate) fn start(self) -> Proxy {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (keep, acceptor) = (
            Arc::clone(&asked),
            self.tls
                .clone()
                .map(|config| TlsAcceptor::from(Arc::new(config))),
        );
        let address = server::bytes(move |_, stream| {
            let (proxy, keep, acceptor) = (self.clone(), Arc::clone(&keep), acceptor.clone());
            async move {
                match acceptor {
                    None => proxy.serve(stream, &keep).await,
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            proxy.serve(stream, &keep).await;
                        }
                    }
                }
            }
        });
        Proxy { address, asked }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut client: S,
        asked: &Mutex<Vec<String>>,
    ) {
        while let Some(head) = read_head(&mut client).await {
            asked.lock().unwrap().push(head.clone());
            if let Some(answer) = &self.answer {
                let _ = client.write_all(answer).await;
                let _ = client.flush().await;
                if self.closes {
                    let _ = client.shutdown().await;
                    return;
                }
                // Until the other side has had enough.
                let _ = client.read_to_end(&mut Vec::new()).await;
                return;
            }
            let line = |value: &String| format!("proxy-authorization: {value}");
            let is_shown = |line: String| head.lines().any(|held| held.eq_ignore_ascii_case(&line));
            if self
                .wants
                .as_ref()
                .map(line)
                .is_some_and(|line| !is_shown(line))
            {
                let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\n\
                    Proxy-Authenticate: Basic realm=\"corp\"\r\nContent-Length: 2\r\n\r\nno";
                let _ = client.write_all(refusal.as_bytes()).await;
                continue;
            }
            let Ok(mut server) = TcpStream::connect(self.target.unwrap()).await else {
                return;
            };
            let first = if head.starts_with("CONNECT ") {
                client
                    .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    .await
            } else {
                server.write_all(head.as_bytes()).await
            };
            if first.is_ok() && client.flush().await.is_ok() {
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
            return;
        }
    }
}

/// A SOCKS 5 proxy that leads to `target`, for who knows `password` if there is one (`user:password`). It answers
/// `reply` (RFC 1928 section 6).
pub(crate) fn socks5(target: SocketAddr, password: Option<&str>, reply: u8) -> Proxy {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (keep, password) = (Arc::clone(&asked), password.map(str::to_owned));
    let address = server::bytes(move |_, stream| {
        let (keep, password) = (Arc::clone(&keep), password.clone());
        async move {
            let _ = serve_socks5(stream, target, password.as_deref(), reply, &keep).await;
        }
    });
    Proxy { address, asked }
}

async fn serve_socks5(
    mut client: TcpStream,
    target: SocketAddr,
    password: Option<&str>,
    reply: u8,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    assert_eq!(client.read_u8().await?, 5);
    let methods = read_counted(&mut client).await?;
    let method = if password.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        return client.write_all(&[5, 0xFF]).await;
    }
    client.write_all(&[5, method]).await?;
    if let Some(password) = password {
        assert_eq!(client.read_u8().await?, 1);
        let user = read_counted(&mut client).await?;
        let shown = [&user[..], b":", &read_counted(&mut client).await?].concat();
        let is_known = shown == password.as_bytes();
        client.write_all(&[1, u8::from(!is_known)]).await?;
        if !is_known {
            return Ok(());
        }
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request[3] {
        3 => String::from_utf8(read_counted(&mut client).await?).unwrap(),
        kind => {
            let mut ip = vec![0; if kind == 1 { 4 } else { 16 }];
            client.read_exact(&mut ip).await?;
            format!("{ip:?}")
        }
    };
    let port = client.read_u16().await?;
    asked.lock().unwrap().push(format!("{host}:{port}"));
    client
        .write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
        .await?;
    if reply == 0 {
        let mut server = TcpStream::connect(target).await?;
        copy_bidirectional(&mut client, &mut server).await?;
    }
    Ok(())
}

async fn read_counted(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A request head, and no byte beyond it.
async fn read_head<S: AsyncRead + Unpin>(client: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

impl Proxy {
    /// The first head on each connection, and behind a 407 the next one; of SOCKS the host and port.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Its URL with this scheme.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.address)
    }
}
