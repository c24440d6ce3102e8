//! An authorization server that answers whatever a test wants, to the byte.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use sidebearer::config::{
    AuthorizationServer, BasicEncoding, ClientAuth, Credential, Dialing, Grant, Refresh,
    RetryPauses, Secret, SecretSource, Tls,
};
use sidebearer::oauth::{Client, TokenEndpoint, TokenError, TokenResponse};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::{loopback, server};

/// A good token response.
pub(crate) const GOOD: &str = r#"{"access_token":"tok","token_type":"Bearer","expires_in":60}"#;
/// Answers each connection with the bytes that `answer` makes of its request, then closes it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::with_tls(None, answer).await
    }

    pub(crate) async fn always(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |_| answer.clone()).await
    }

    pub(crate) async fn with_tls(
        tls: Option<ServerConfig>,
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        // Certificates are for `localhost`, which is not an address of this process alone.
        let address = match tls {
            None => loopback(),
            Some(_) => (Ipv4Addr::LOCALHOST, 0).into(),
        };
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let acceptor = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let answer = Arc::new(answer);
        let socket = std::net::TcpListener::bind(address).unwrap();
        let address = server::bytes_on(socket, move |_, tcp| {
            let (acceptor, seen, answer) = (acceptor.clone(), seen.clone(), answer.clone());
            async move {
                match acceptor {
                    None => serve(tcp, &seen, &*answer).await,
                    Some(acceptor) => {
                        if let Ok(tls) = acceptor.accept(tcp).await {
                            serve(tls, &seen, &*answer).await;
                        }
                    }
                }
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The first line of each request.
    pub(crate) fn targets(&self) -> Vec<String> {
        let first = |request: &String| request.lines().next().unwrap().to_owned();
        self.requests().iter().map(first).collect()
    }
}

async fn serve(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Mutex<Vec<String>>,
    answer: &(impl Fn(&str) -> Vec<u8> + Send + Sync + 'static),
) {
    let mut request = Vec::new();
    while !is_whole(&request) {
        let mut chunk = [0; 4096];
        match io.read(&mut chunk).await {
            Ok(read @ 1..) => request.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    let request = lowered(&String::from_utf8(request).unwrap());
    let answer = answer(&request);
    seen.lock().unwrap().push(request);
    // A client that has read enough may be gone.
    let _ = io.write_all(&answer).await;
    let _ = io.shutdown().await;
}

/// The same request with the names of its headers in lower case.
fn lowered(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let line = |line: &str| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
        None => line.to_owned(),
    };
    let lines: Vec<_> = head.split("\r\n").map(line).collect();
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let text = if text.contains("\r\n\r\n") {
        lowered(&text)
    } else {
        return false;
    };
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    body.len() == length.map_or(0, |length| length.parse().unwrap())
}

pub(crate) fn http(status: &str, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{more}\r\n{body}").into_bytes()
}

pub(crate) fn ok(body: &str) -> Vec<u8> {
    http("200 OK", "", body)
}

pub(crate) fn literal(value: &str) -> SecretSource {
    SecretSource::Literal(Secret::new(value))
}

pub(crate) fn basic(secret: &str, encoding: BasicEncoding) -> ClientAuth {
    let secret = literal(secret);
    ClientAuth::SecretBasic { secret, encoding }
}

pub(crate) fn credential(token_endpoint: &str) -> Credential {
    Credential {
        proxy: Default::default(),
        name: "crm".to_owned(),
        server: AuthorizationServer::TokenEndpoint(token_endpoint.parse().unwrap()),
        client_id: Some(literal("billing")),
        auth: basic("s3cret", BasicEncoding::Form),
        grant: Grant::ClientCredentials,
        dpop: None,
        assertion_nbf: false,
        scopes: Vec::new(),
        audience: None,
        resources: Vec::new(),
        extra_parameters: BTreeMap::new(),
        token_headers: Vec::new(),
        refresh: Refresh::Eager,
        required: true,
        default_lifetime: Duration::from_secs(300),
        default_token_type: None,
        max_lifetime: Duration::from_secs(86400),
        fetch_timeout: Duration::from_secs(20),
        acquire_timeout: Duration::from_secs(5),
        max_response_bytes: 64 << 10,
        dialing: Dialing::default(),
        pauses: RetryPauses::default(),
        max_token_bytes: 16 << 10,
        max_nonce_bytes: 4 << 10,
        allow_plaintext: false,
        discovery_hosts: Vec::new(),
        tls: Tls::default(),
    }
}

pub(crate) fn discovering(issuer: &str) -> Credential {
    Credential {
        server: AuthorizationServer::Issuer(issuer.to_owned(), issuer.parse().unwrap()),
        ..credential("http://unused")
    }
}

pub(crate) async fn fetch(credential: &Credential) -> Result<TokenResponse, TokenError> {
    Client::new(credential).unwrap().request().await
}
