//! HTTP servers of tests: what they answer is a function of what arrives.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::loopback;

/// A response body of any kind; an error cuts the connection.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
type Reply = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Handler = Arc<dyn Fn(Request<Incoming>) -> Reply + Send + Sync>;

/// A body that is there whole.
pub(crate) fn whole(body: impl Into<Bytes>) -> Body {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// Feeds a body piece by piece; dropping it ends the body.
pub(crate) type Feed = mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>;

/// A body that a test feeds as it goes on.
pub(crate) fn fed() -> (Feed, Body) {
    let (feed, pieces) = mpsc::channel(1);
    (feed, Fed(pieces).boxed_unsync())
}

struct Fed(mpsc::Receiver<Result<Frame<Bytes>, std::io::Error>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx)
    }
}

/// A response with this status and body.
pub(crate) fn response(status: u16, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder()
        .status(status)
        .body(whole(body))
        .unwrap()
}

/// Who sent a request, as an extension of it: the same as long as its connection is open.
#[derive(Clone)]
pub(crate) struct Peer(pub(crate) Arc<Option<CertificateDer<'static>>>);

/// Serves HTTP/1.1, and HTTP/2 to who begins with its preface or agrees on it by ALPN, on a thread
/// of its own that ends with the test process.
pub(crate) fn serve<F, Fut>(tls: Option<rustls::ServerConfig>, handler: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    serve_on(
        std::net::TcpListener::bind(loopback()).unwrap(),
        tls,
        handler,
    )
}

/// As [`serve`], on a socket that a test has made.
pub(crate) fn serve_on<F, Fut>(
    socket: std::net::TcpListener,
    tls: Option<rustls::ServerConfig>,
    handler: F,
) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let handler: Handler = Arc::new(move |request| Box::pin(handler(request)));
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    bytes_on(socket, move |_, stream| {
        let (acceptor, handler) = (acceptor.clone(), Arc::clone(&handler));
        async move {
            let Some(acceptor) = acceptor else {
                let http2 = begins_http2(&stream).await;
                return connection(stream, http2, None, handler).await;
            };
            if let Ok(stream) = acceptor.accept(stream).await {
                let tls = stream.get_ref().1;
                let http2 = tls.alpn_protocol() == Some(b"h2");
                let shown = tls.peer_certificates();
                let shown = shown.map(|chain| chain[0].clone().into_owned());
                connection(stream, http2, shown, handler).await;
            }
        }
    })
}

/// Serves each connection, numbered from 0, as bytes: for servers that break the rules. On a thread
/// of its own, as [`serve`].
pub(crate) fn bytes<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    bytes_on(std::net::TcpListener::bind(loopback()).unwrap(), serve)
}

/// As [`bytes`], on a socket that a test has made.
pub(crate) fn bytes_on<F, Fut>(socket: std::net::TcpListener, serve: F) -> SocketAddr
where
    F: Fn(usize, TcpStream) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(socket).unwrap();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(serve(number, stream));
            }
        });
    });
    address
}

/// Sends back what comes on a connection, until the client ends its side.
pub(crate) fn echo() -> SocketAddr {
    bytes(|_, stream| send_back(stream))
}

/// Sends back what comes, until the other side ends.
pub(crate) async fn send_back(mut stream: TcpStream) {
    let (mut from, mut to) = stream.split();
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

/// Serves each request over HTTP/2, with its stream in the hand of `serve`: for servers that break the rules on
/// single streams. On a thread of its own, as [`serve`].
pub(crate) fn http2<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    http2_with(None, h2::server::Builder::new(), serve)
}

/// As [`http2`], with other settings, and over TLS if `tls` is there.
pub(crate) fn http2_with<F, Fut>(
    tls: Option<rustls::ServerConfig>,
    settings: h2::server::Builder,
    serve: F,
) -> SocketAddr
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
    let shared = Arc::new((settings, serve));
    bytes(move |_, stream| {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        async move {
            let (settings, serve) = &*shared;
            match acceptor {
                None => http2_streams(stream, settings, serve).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        http2_streams(stream, settings, serve).await;
                    }
                }
            }
        }
    })
}

async fn http2_streams<Fut>(
    io: impl AsyncRead + AsyncWrite + Unpin,
    settings: &h2::server::Builder,
    serve: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> Fut,
) where
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut connection = settings.handshake(io).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(serve(request, respond));
    }
}

/// A server that can be connected to and says nothing. What a test wants to hear or say it does itself on each
/// [`connection`](Self::connection). Once this is dropped, its address refuses.
pub(crate) struct Silent(TcpListener);

impl Silent {
    pub(crate) fn start() -> Self {
        Self::on(std::net::TcpListener::bind(loopback()).unwrap())
    }

    /// On a socket that a test has made.
    pub(crate) fn on(socket: std::net::TcpListener) -> Self {
        socket.set_nonblocking(true).unwrap();
        Self(TcpListener::from_std(socket).unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The next connection.
    pub(crate) async fn connection(&self) -> TcpStream {
        let (stream, _) = self.0.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

/// Reads up to the end of a head, with its names in lower case; empty when the other side closes
/// before it.
pub(crate) async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let lines = head.split_inclusive("\r\n").enumerate();
    let lowered = lines.map(|(number, line)| match line.split_once(':') {
        Some((name, value)) if number > 0 => format!("{}:{value}", name.to_lowercase()),
        _ => line.to_owned(),
    });
    lowered.collect()
}

/// Whether the preface of HTTP/2 comes first: no method begins so.
async fn begins_http2(stream: &TcpStream) -> bool {
    let mut start = [0; 4];
    let mut looks = super::Looks::default();
    loop {
        let length = stream.peek(&mut start).await.unwrap_or(0);
        if length == start.len() || length == 0 || !b"PRI ".starts_with(&start[..length]) {
            return &start == b"PRI ";
        }
        looks.next().await;
    }
}

async fn connection<S>(
    stream: S,
    http2: bool,
    certificate: Option<CertificateDer<'static>>,
    handler: Handler,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Peer(Arc::new(certificate));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let reply = handler(request);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder.enable_connect_protocol();
        let _ = builder.serve_connection(io, service).await;
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        let _ = builder.serve_connection(io, service).with_upgrades().await;
    }
}
