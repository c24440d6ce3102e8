//! Authorization servers and APIs that die, hang, reset, and come back.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::clients::{checksum, filler};
use super::ledger::{Ledger, Span};
use crate::support::loopback;
use crate::support::server::{Body, bytes_on, fed, response};

/// Seconds that a token lives.
const LIFETIME: u64 = 2;

/// What a server is like for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mood {
    Healthy,
    /// Connections end as soon as they begin, and those there are end.
    Dead,
    /// Requests are taken and not answered.
    Hanging,
    /// Connections end when a request was read.
    Resetting,
    /// Answers end in the middle.
    Cutting,
    /// Answers are 500.
    Failing,
}

impl Mood {
    pub(super) const FAULTS: [Self; 5] = [
        Self::Dead,
        Self::Hanging,
        Self::Resetting,
        Self::Cutting,
        Self::Failing,
    ];
}

/// One server.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    mood: watch::Sender<Mood>,
    spans: Arc<Mutex<Vec<(Mood, Span)>>>,
}

/// All of them.
#[derive(Clone)]
pub(super) struct Servers {
    pub(super) alpha: Server,
    pub(super) beta: Server,
    pub(super) open: Server,
    /// Gives the tokens of `alpha`.
    pub(super) shaky: Server,
    /// Gives those of `beta`, and has no faults.
    pub(super) firm: Server,
}

/// The tokens of one credential, and when they end.
type Tokens = Arc<Mutex<HashMap<String, Instant>>>;

impl Servers {
    pub(super) fn start(ledger: &Arc<Ledger>) -> Self {
        let (shaky, firm) = (Tokens::default(), Tokens::default());
        let issuer = |name: &'static str, tokens: &Tokens| {
            let tokens = tokens.clone();
            Server::start(name, move |request| issue(name, tokens.clone(), request))
        };
        let api = |name: &'static str, tokens: Option<&Tokens>| {
            let (tokens, ledger) = (tokens.cloned(), ledger.clone());
            Server::start(name, move |request| {
                answer(name, tokens.clone(), ledger.clone(), request)
            })
        };
        Self {
            alpha: api("alpha", Some(&shaky)),
            beta: api("beta", Some(&firm)),
            open: api("open", None),
            shaky: issuer("shaky", &shaky),
            firm: issuer("firm", &firm),
        }
    }

    /// Those that may have faults.
    pub(super) fn faulty(&self) -> [&Server; 4] {
        [&self.alpha, &self.beta, &self.open, &self.shaky]
    }

    pub(super) fn calm(&self) {
        for server in self.faulty() {
            server.turn(Mood::Healthy);
        }
    }

    pub(super) fn api(&self, name: &str) -> &Server {
        match name {
            "alpha" => &self.alpha,
            "beta" => &self.beta,
            _ => &self.open,
        }
    }

    /// Who gives the tokens for an API.
    pub(super) fn tokens(&self, api: &str) -> Option<&Server> {
        match api {
            "alpha" => Some(&self.shaky),
            "beta" => Some(&self.firm),
            _ => None,
        }
    }
}

impl Server {
    fn start<F, Fut>(name: &'static str, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = io::Result<Response<Body>>> + Send + 'static,
    {
        let server = Self {
            name,
            address: loopback(),
            mood: watch::Sender::new(Mood::Healthy),
            spans: Arc::default(),
        };
        let socket = std::net::TcpListener::bind(server.address).unwrap();
        let (mood, handler) = (server.mood.clone(), Arc::new(handler));
        bytes_on(socket, move |_, stream| {
            let (mood, handler) = (mood.clone(), Arc::clone(&handler));
            async move {
                let mut dead = mood.subscribe();
                tokio::select! {
                    biased;
                    _ = dead.wait_for(|mood| *mood == Mood::Dead) => {}
                    () = connection(stream, mood, handler) => {}
                }
            }
        });
        server
    }

    pub(super) fn turn(&self, mood: Mood) {
        let mut spans = self.spans.lock().unwrap();
        if let Some((_, span)) = spans.last_mut() {
            span.to.get_or_insert_with(Instant::now);
        }
        if mood != Mood::Healthy {
            spans.push((mood, Span::default()));
        }
        self.mood.send_replace(mood);
    }

    pub(super) fn is_calm(&self) -> bool {
        *self.mood.borrow() == Mood::Healthy
    }

    /// When it had faults.
    pub(super) fn spans(&self) -> Vec<Span> {
        let spans = self.spans.lock().unwrap();
        spans.iter().map(|(_, span)| *span).collect()
    }

    /// How often it had which.
    pub(super) fn moods(&self) -> BTreeMap<Mood, usize> {
        let mut moods = BTreeMap::new();
        for (mood, _) in &*self.spans.lock().unwrap() {
            *moods.entry(*mood).or_default() += 1;
        }
        moods
    }
}

async fn connection<F, Fut>(stream: TcpStream, mood: watch::Sender<Mood>, handler: Arc<F>)
where
    F: Fn(Request<Incoming>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<Response<Body>>> + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (mood, handler) = (mood.clone(), handler.clone());
        async move {
            let now = *mood.borrow();
            match now {
                Mood::Healthy | Mood::Dead => handler(request).await,
                Mood::Failing => Ok(response(500, "failing")),
                Mood::Hanging => pending().await,
                Mood::Resetting => {
                    let _ = request.into_body().collect().await;
                    Err(io::ErrorKind::ConnectionReset.into())
                }
                Mood::Cutting => Ok(cut(handler(request).await?).await),
            }
        }
    });
    let mut preface = [0; 4];
    let http2 = matches!(stream.peek(&mut preface).await, Ok(4) if &preface == b"PRI ");
    let io = TokioIo::new(stream);
    if http2 {
        let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(io, service).await;
    } else {
        let builder = hyper::server::conn::http1::Builder::new();
        let _ = builder.serve_connection(io, service).await;
    }
}

/// The same answer, its body broken off in the middle.
async fn cut(answer: Response<Body>) -> Response<Body> {
    let (head, body) = answer.into_parts();
    let whole = body.collect().await.unwrap().to_bytes();
    let (feed, body) = fed();
    tokio::spawn(async move {
        let half = whole.slice(..whole.len() / 2);
        let _ = feed.send(Ok(Frame::data(half))).await;
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let _ = feed.send(Err(reset)).await;
    });
    Response::from_parts(head, body)
}

async fn issue(
    credential: &'static str,
    tokens: Tokens,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let arrived = Instant::now();
    let body = request.into_body().collect().await;
    body.map_err(io::Error::other)?;
    let mut tokens = tokens.lock().unwrap();
    let token = format!("{credential}-{}", tokens.len());
    tokens.insert(token.clone(), arrived + Duration::from_secs(LIFETIME));
    let body =
        format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{LIFETIME}}}"#);
    Ok(response(200, body))
}

async fn answer(
    api: &'static str,
    tokens: Option<Tokens>,
    ledger: Arc<Ledger>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let shown: Vec<_> = head.headers.get_all("authorization").iter().collect();
    match (&tokens, &shown[..]) {
        // What the client says by itself passes where no token is injected.
        (None, [value]) if *value == "Bearer of-the-client" => {}
        (Some(tokens), [value]) => {
            let token = value.to_str().unwrap().strip_prefix("Bearer ");
            let end = token.and_then(|token| tokens.lock().unwrap().get(token).copied());
            match end {
                None => ledger.violation(format!("{api} was shown {value:?}")),
                Some(end) if end < arrived => {
                    let ago = arrived - end;
                    ledger.violation(format!("{api} was shown what ended {ago:?} before"));
                }
                Some(_) => {}
            }
        }
        (_, shown) => ledger.violation(format!("{api} was shown {shown:?}")),
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let id: u64 = head.headers["x-id"].to_str().unwrap().parse().unwrap();
    if head.method == Method::POST {
        ledger.carried_out(id);
    }
    let mut text = format!("{id} {api} {} {} ", head.method, checksum(&body)).into_bytes();
    text.extend(filler(id));
    let text = Bytes::from(text);
    // Half of them without a length.
    if id.is_multiple_of(2) {
        return Ok(response(200, text));
    }
    let (feed, body) = fed();
    tokio::spawn(async move {
        for piece in [text.slice(..text.len() / 3), text.slice(text.len() / 3..)] {
            let _ = feed.send(Ok(Frame::data(piece))).await;
        }
    });
    Ok(Response::new(body))
}
