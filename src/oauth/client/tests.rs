use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::discovered_endpoint::{DiscoveredEndpoint, REDISCOVERY};
use super::*;
use crate::config::{
    BasicEncoding, ClientAuth, Dialing, Grant, Refresh, RetryPauses, Secret, SecretSource, Tls,
};

const SECRET: &str = "s3cret-of-billing";

fn credential(issuer: &str) -> Credential {
    Credential {
        proxy: Default::default(),
        name: "crm".to_owned(),
        server: AuthorizationServer::Issuer(issuer.to_owned(), issuer.parse().unwrap()),
        client_id: Some(SecretSource::Literal(Secret::new("billing"))),
        auth: ClientAuth::SecretBasic {
            secret: SecretSource::Literal(Secret::new(SECRET)),
            encoding: BasicEncoding::Form,
        },
        grant: Grant::ClientCredentials,
        dpop: None,
        assertion_nbf: false,
        scopes: Vec::new(),
        audience: None,
        resources: Vec::new(),
        max_response_bytes: 64 << 10,
        dialing: Dialing::default(),
        pauses: RetryPauses::default(),
        max_token_bytes: 16 << 10,
        max_nonce_bytes: 4 << 10,
        extra_parameters: BTreeMap::new(),
        token_headers: Vec::new(),
        refresh: Refresh::Eager,
        required: true,
        default_lifetime: Duration::from_secs(300),
        default_token_type: None,
        max_lifetime: Duration::from_secs(86400),
        fetch_timeout: Duration::from_secs(20),
        acquire_timeout: Duration::from_secs(5),
        allow_plaintext: false,
        discovery_hosts: Vec::new(),
        tls: Tls::default(),
    }
}

/// Serves one connection after another: the n-th gets the n-th answer, `{}` in it being the
/// server's own origin. Returns what was asked.
async fn script(listener: &TcpListener, answers: &[&str]) -> Vec<String> {
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let mut asked = Vec::new();
    for answer in answers {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 4096];
        let read = tcp.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..read]).into_owned();
        let target = request.split(' ').nth(1).unwrap();
        asked.push(target.to_owned());
        let body = answer.replace("{}", &origin);
        let status = if body.is_empty() { 500 } else { 200 };
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        tcp.write_all((head + &body).as_bytes()).await.unwrap();
    }
    asked
}

/// Lets the minute pass after which a doubtful document is read again.
fn a_minute_later(client: &Client) {
    let EndpointSource::Discovered(discovery) = &client.server else {
        panic!("the client discovers")
    };
    lock(&discovery.found).asked_at = None;
}

#[tokio::test]
async fn a_doubtful_document_is_read_again_and_the_old_one_serves_on_without() {
    const TOKEN: &str = r#"{"access_token":"tok","token_type":"bearer"}"#;
    const OLD: &str = r#"{"issuer":"{}","token_endpoint":"{}/old"}"#;
    const NEW: &str = r#"{"issuer":"{}","token_endpoint":"{}/new"}"#;
    const FOREIGN: &str = r#"{"issuer":"https://evil.example","token_endpoint":"{}/evil"}"#;
    const DOCUMENT: &str = "/.well-known/oauth-authorization-server";

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(&credential(&issuer)).unwrap();

    // A success leaves no doubt, so the document is not read again however old it is.
    let server = script(&listener, &[OLD, TOKEN]);
    let (asked, token) = tokio::join!(server, client.request());
    token.unwrap();
    assert_eq!(asked, [DOCUMENT, "/old"]);
    a_minute_later(&client);
    let (asked, failed) = tokio::join!(script(&listener, &[""]), client.request());
    assert_eq!(failed.unwrap_err().kind, TokenErrorKind::ServerError);
    assert_eq!(asked, ["/old"]);

    // A failure does; a document that is not usable changes nothing.
    let server = script(&listener, &[FOREIGN, ""]);
    let (asked, failed) = tokio::join!(server, client.request());
    assert_eq!(failed.unwrap_err().kind, TokenErrorKind::ServerError);
    assert_eq!(asked, [DOCUMENT, "/old"]);

    // Within the minute it is not read again.
    let (asked, failed) = tokio::join!(script(&listener, &[""]), client.request());
    assert_eq!(failed.unwrap_err().kind, TokenErrorKind::ServerError);
    assert_eq!(asked, ["/old"]);

    a_minute_later(&client);
    let server = script(&listener, &[NEW, TOKEN]);
    let (asked, token) = tokio::join!(server, client.request());
    assert_eq!(token.unwrap().access_token.expose(), "tok");
    assert_eq!(asked, [DOCUMENT, "/new"]);
}

#[test]
fn a_document_is_read_again_after_a_minute_of_doubt_and_not_before() {
    let credential = credential("https://as.example");
    let url: Url = "http://127.0.0.1/token".parse().unwrap();
    let settings = network_settings(
        &url,
        &credential,
        None,
        None,
        Arc::default(),
        Arc::default(),
    );
    let http = HttpClient::connecting(&url, settings).unwrap();
    let start = Instant::now();
    let doubtful = DiscoveredEndpoint {
        token_endpoint: Some(Arc::new(ServerEndpoint::new(url, http, &credential))),
        asked_at: Some(start),
        doubtful: true,
    };
    assert!(doubtful.good(start).is_some());
    assert!(
        doubtful
            .good(start + Duration::from_millis(59_999))
            .is_some()
    );
    assert!(doubtful.good(start + REDISCOVERY).is_none());
    let sound = DiscoveredEndpoint {
        doubtful: false,
        ..doubtful
    };
    assert!(sound.good(start + Duration::from_secs(86_400)).is_some());
    assert!(DiscoveredEndpoint::default().good(start).is_none());
}

#[tokio::test]
async fn a_request_that_was_dropped_leaves_doubt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(&credential(&issuer)).unwrap();
    let document = r#"{"issuer":"{}","token_endpoint":"{}/token"}"#;
    let hang = async {
        script(&listener, &[document]).await;
        // The token request arrives and is not answered.
        listener.accept().await.unwrap()
    };
    tokio::select! {
        _ = client.request() => panic!("nothing was answered"),
        _ = hang => {}
    }
    let EndpointSource::Discovered(discovery) = &client.server else {
        panic!("the client discovers")
    };
    assert!(lock(&discovery.found).doubtful);
}

#[tokio::test]
async fn a_token_request_is_sent_after_the_discovery_and_once_more_for_a_nonce() {
    const DOCUMENT: &str = r#"{"issuer":"{}","token_endpoint":"{}/token"}"#;
    const TOKEN: &str = r#"{"access_token":"tok","token_type":"bearer"}"#;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::new(&credential(&issuer)).unwrap();
    let sent = std::sync::atomic::AtomicUsize::new(0);
    let count = || sent.load(std::sync::atomic::Ordering::SeqCst);
    let note = || {
        sent.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    };
    let server = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        read_request(&mut tcp).await;
        assert_eq!(count(), 0, "while the document is asked for");
        answer(&mut tcp, "200 x", &DOCUMENT.replace("{}", &issuer)).await;
        let (mut tcp, _) = listener.accept().await.unwrap();
        assert!(read_request(&mut tcp).await.starts_with("POST /token "));
        assert_eq!(count(), 1);
        let nonce = "400 x\r\ndpop-nonce: n-1";
        answer(&mut tcp, nonce, r#"{"error":"use_dpop_nonce"}"#).await;
        let (mut tcp, _) = listener.accept().await.unwrap();
        read_request(&mut tcp).await;
        assert_eq!(count(), 2);
        answer(&mut tcp, "200 x", TOKEN).await;
    };
    let ((), token) = tokio::join!(server, client.request_telling(&note));
    assert_eq!(token.unwrap().access_token.expose(), "tok");
    assert_eq!(count(), 2);
}

async fn read_request(tcp: &mut tokio::net::TcpStream) -> String {
    let mut request = vec![0; 4096];
    let read = tcp.read(&mut request).await.unwrap();
    String::from_utf8_lossy(&request[..read]).into_owned()
}

async fn answer(tcp: &mut tokio::net::TcpStream, status: &str, body: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    tcp.write_all((head + body).as_bytes()).await.unwrap();
}

#[test]
fn debug_shows_no_secret() {
    let client = Client::new(&credential("http://127.0.0.1")).unwrap();
    assert_eq!(format!("{client:?}"), "Client(crm)");
}
