//! A gateway with listeners, callers, routes and rules of all kinds, and servers that keep what arrives.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::configured;
use crate::support::api::{Api, Seen};
use crate::support::client::post;
use crate::support::egress_proxy::{HttpProxy, Proxy};
use crate::support::idp::Idp;
use crate::support::process::{Process, command, run};
use crate::support::server::{read_head, response};
use crate::support::tls::Ca;
use crate::support::{PATIENCE, eventually, loopback};

/// The key of a caller.
pub(super) fn key(caller: &str) -> String {
    format!("{caller:x<32}")
}

/// What clients send in headers that are not theirs.
const FORGED: [&str; 2] = ["DPoP", "X-Caller"];

/// What one server has seen.
pub(super) struct Arrived {
    pub(super) at: &'static str,
    pub(super) seen: Seen,
}

/// What has become of a request.
pub(super) struct Outcome {
    /// Its access line: that of the CONNECT, if that was refused or is all.
    pub(super) line: Value,
    /// The request that arrived somewhere.
    pub(super) arrived: Option<Arrived>,
}

/// A running gateway, and what stands around it.
pub(super) struct Site {
    pub(super) process: Process,
    listeners: BTreeMap<&'static str, SocketAddr>,
    apis: [(&'static str, Api); 3],
    pub(super) corporate: Proxy,
    pub(super) far: Api,
    _idp: Idp,
    _ca: Ca,
}

/// The listeners.
const LISTENERS: [&str; 5] = ["app", "gate", "proxy", "known", "open"];

impl Site {
    pub(super) async fn start() -> Self {
        let (ca, idp) = (Ca::new(), Idp::start());
        let crm = Api::start(|_| response(200, "crm"));
        let web = Api::start(|_| response(200, "web"));
        let far = Api::start(|_| response(200, "far"));
        let certificate = ca.own_certificate().server(&["http/1.1"]);
        let secure = Api::with_tls(Some(certificate), |_| response(200, "secure"));
        let corporate = HttpProxy::to(far.address).start();
        let listeners: BTreeMap<_, _> = LISTENERS.map(|name| (name, loopback())).into();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
        for caller in ["billing", "audit", "slow"] {
            std::fs::write(dir.path().join(caller), key(caller)).unwrap();
        }
        let config = configured::config(&configured::Places {
            listeners: &listeners,
            crm: crm.address,
            web: web.address,
            secure: secure.address,
            far: far.address,
            corporate: corporate.address,
            ca_file: &ca.file(),
            token_endpoint: &idp.endpoint(),
        });
        let path = dir.path().join("sidebearer.toml");
        std::fs::write(&path, &config).unwrap();
        let checked = run(command(&["check", "--config", path.to_str().unwrap()])).await;
        assert_eq!(checked.code, 0, "{checked:?}");
        let process = Process::start_in(dir, &config).await;
        eventually("ready", async || process.told("ready").is_some()).await;
        Self {
            process,
            listeners,
            apis: [("crm", crm), ("web", web), ("secure", secure)],
            corporate,
            far,
            _idp: idp,
            _ca: ca,
        }
    }

    /// What `POST /explain` answers to a question.
    pub(super) async fn explain(&self, question: &Value) -> Value {
        let answer = post(self.process.admin(), "/explain", question.to_string()).await;
        assert_eq!(answer.status, 200, "{question}: {}", answer.text());
        answer.json()
    }

    pub(super) fn address_of(&self, listener: &str) -> SocketAddr {
        self.listeners[listener]
    }

    pub(super) fn api(&self, name: &str) -> SocketAddr {
        let mut apis = self.apis.iter();
        apis.find(|(known, _)| *known == name).unwrap().1.address
    }

    fn arrived(&self, before: &[usize; 4]) -> Option<Arrived> {
        let apis = self.apis.iter().map(|(name, api)| (*name, api));
        let apis = apis.chain([("far", &self.far)]);
        let mut arrived = apis.zip(before).flat_map(|((at, api), before)| {
            let seen = api.seen().split_off(*before);
            seen.into_iter().map(move |seen| Arrived { at, seen })
        });
        let first = arrived.next();
        assert!(arrived.next().is_none(), "it arrived more than once");
        first
    }

    fn counts(&self) -> [usize; 4] {
        let [crm, web, secure] = &self.apis;
        [&crm.1, &web.1, &secure.1, &self.far].map(|api| api.seen().len())
    }

    /// Sends a request as a client does that knows the listener for what it is.
    pub(super) async fn send(
        &self,
        listener: &str,
        method: &str,
        url: &str,
        caller: Option<&str>,
    ) -> Outcome {
        let before = self.counts();
        let id = format!("{:032x}", fastrand::u128(..));
        let of_proxy = ["proxy", "known", "open"].contains(&listener);
        let header = if of_proxy {
            "Proxy-Authorization"
        } else {
            "Authorization"
        };
        let shown = caller.map_or_else(String::new, |caller| {
            format!("{header}: Bearer {}\r\n", key(caller))
        });
        let forged = FORGED.map(|name| format!("{name}: forged\r\n")).concat();
        let lines = format!("X-Request-Id: {id}\r\n{shown}");
        let mut stream = TcpStream::connect(self.address_of(listener)).await.unwrap();
        if method == "CONNECT" {
            let head = format!("CONNECT {url} HTTP/1.1\r\nHost: {url}\r\n{lines}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            read_head(&mut stream).await;
            drop(stream);
        } else if let Some(rest) = url.strip_prefix("https://") {
            let (authority, path) = rest.split_at(rest.find('/').unwrap());
            let target = match authority.rsplit_once(':') {
                Some(_) => authority.to_owned(),
                None => format!("{authority}:443"),
            };
            let inside = format!("{method} {path}");
            return self.inside(listener, &target, true, &inside, caller).await;
        } else {
            let host = match url.strip_prefix("http://") {
                Some(rest) => rest[..rest.find('/').unwrap_or(rest.len())].to_owned(),
                None => self.address_of(listener).to_string(),
            };
            let target = match url.strip_prefix("http://") {
                Some(rest) if !of_proxy => &rest[rest.find('/').unwrap()..],
                _ => url,
            };
            let head = format!(
                "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}Connection: close\r\n{forged}\r\n"
            );
            exchange(&mut stream, &head).await;
        }
        Outcome {
            line: self.line(&id).await.expect("an access line"),
            arrived: self.arrived(&before),
        }
    }

    /// Sends a request inside of a CONNECT to this host and port, over TLS or as plain HTTP.
    pub(super) async fn inside(
        &self,
        listener: &str,
        target: &str,
        is_tls: bool,
        request: &str,
        caller: Option<&str>,
    ) -> Outcome {
        let before = self.counts();
        let id = format!("{:032x}", fastrand::u128(..));
        let shown = caller.map_or_else(String::new, |caller| {
            format!("Proxy-Authorization: Bearer {}\r\n", key(caller))
        });
        let connect = format!(
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nX-Request-Id: {id}\r\n{shown}\r\n"
        );
        let mut stream = TcpStream::connect(self.address_of(listener)).await.unwrap();
        stream.write_all(connect.as_bytes()).await.unwrap();
        let is_open = read_head(&mut stream).await.starts_with("HTTP/1.1 200 ");
        let authority = target.strip_suffix(":443").unwrap_or(target);
        let forged = FORGED.map(|name| format!("{name}: forged\r\n")).concat();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {authority}\r\nX-Request-Id: {id}-inside\r\nConnection: close\r\n{forged}\r\n"
        );
        let mut line = None;
        if is_open && is_tls {
            let host = authority.split(':').next().unwrap();
            if let Ok(mut secured) = self.secure(stream, host).await {
                exchange(&mut secured, &head).await;
                line = self.line(&format!("{id}-inside")).await;
            }
        } else if is_open {
            exchange(&mut stream, &head).await;
            line = self.line(&format!("{id}-inside")).await;
        }
        Outcome {
            line: match line {
                Some(line) => line,
                // Nobody has read it.
                None => self.line(&id).await.expect("an access line"),
            },
            arrived: self.arrived(&before),
        }
    }

    /// The access line of a request; `None` if there is none when a later one has been written.
    async fn line(&self, id: &str) -> Option<Value> {
        let find = || {
            let log = self.process.log();
            let mut lines = log
                .lines()
                .rev()
                .map(|line| serde_json::from_str::<Value>(line).unwrap_or_default());
            lines.find(|line| line["request_id"] == id && line["message"] != "tunnel ended")
        };
        if let Some(line) = find() {
            return Some(line);
        }
        // The log is written in order.
        let mark = format!("{:032x}", fastrand::u128(..));
        let app = self.address_of("app");
        let mut stream = TcpStream::connect(app).await.unwrap();
        let head = format!(
            "GET /mark HTTP/1.1\r\nHost: {app}:1:2\r\nX-Request-Id: {mark}\r\nConnection: close\r\n\r\n"
        );
        exchange(&mut stream, &head).await;
        eventually("the line behind it", async || {
            self.process.log().contains(&mark) || find().is_some()
        })
        .await;
        find()
    }

    /// TLS by a client that trusts the CA of interception, and that of the APIs.
    async fn secure(
        &self,
        stream: TcpStream,
        host: &str,
    ) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin> {
        let ours = std::fs::read(self.process.dir().join("trust/ca.pem")).unwrap();
        let mut roots = RootCertStore::empty();
        for pem in [&ours[..], self._ca.pem.as_bytes()] {
            roots
                .add(CertificateDer::from_pem_slice(pem).unwrap())
                .unwrap();
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream);
        tokio::time::timeout(PATIENCE, connected).await.unwrap()
    }
}

/// Sends a head and reads until the end.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), head: &str) {
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // What is cut has been answered all the same.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("an answer");
}
