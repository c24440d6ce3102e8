//! What a caller is known by ends while its connections live.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use sidebearer::jose::Algorithm;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{asked, echo_after_upgrade, echoes, key, with_keys};
use crate::support::api::Api;
use crate::support::jwt::{Signer, set};
use crate::support::keys;
use crate::support::server;
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, eventually};

/// By how much the clocks of an issuer and of this machine may differ.
const LEEWAY: u64 = 30;

/// A forward listener, and where it leads to.
struct Proxy {
    site: Sidebearer,
    signer: Signer,
    /// Plain HTTP, which is served inside of a CONNECT.
    plain: String,
    /// What a tunnel leads to.
    far: String,
    /// What every request to it becomes an upgrade at.
    chat: String,
}

/// What one client has open.
struct Opened {
    inside: TcpStream,
    tunnel: TcpStream,
    upgrade: TcpStream,
    upgrade_inside: TcpStream,
}

impl Proxy {
    async fn start(api: &Api) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::read(keys::key!("p256.jwk"), Algorithm::ES256, "k");
        std::fs::write(dir.path().join("jwks"), set([&signer]).to_string()).unwrap();
        let plain = api.url().replace("http://", "");
        let (far, chat) = (server::echo().to_string(), echo_after_upgrade().to_string());
        let keys = with_keys(dir.path(), &["beta"]);
        let config = format!(
            "{keys}[callers.alpha]\n\
             token = {{ issuer = \"https://i\", audience = \"a\", claims = {{ sub = \"s\" }}, jwks_file = \"jwks\" }}\n\
             [[listeners]]\nname = \"app\"\naddress = \"{}\"\nkind = \"forward\"\ncallers = [\"*\"]\n\
             [upstreams.plain]\nurl = \"http://{plain}\"\n[upstreams.far]\nurl = \"https://{far}\"\n\
             [upstreams.chat]\nurl = \"http://{chat}\"\n",
            any_port()
        );
        Self {
            site: Sidebearer::start_in(dir, &config),
            signer,
            plain,
            far,
            chat,
        }
    }

    /// A token that is good until this time.
    fn token(&self, until: u64) -> String {
        let claims = json!({ "iss": "https://i", "aud": "a", "sub": "s", "exp": until - LEEWAY });
        self.signer.sign(&claims)
    }

    /// One of each, opened with this key or token.
    async fn open(&self, secret: &str) -> Opened {
        let shown = format!("Proxy-Authorization: Bearer {secret}\r\n");
        let ask = async |head: String, status: &str| {
            let mut client = TcpStream::connect(self.site.address()).await.unwrap();
            let answer = asked(&mut client, &head).await;
            assert!(answer.starts_with(status), "{head}{answer}");
            client
        };
        let connect = |target: &str| {
            let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{shown}\r\n");
            ask(head, "HTTP/1.1 200 ")
        };
        let upgrade = "Connection: upgrade\r\nUpgrade: chat\r\n";
        let chat = &self.chat;
        let head = format!("GET http://{chat}/ HTTP/1.1\r\nHost: {chat}\r\n{upgrade}{shown}\r\n");
        let mut upgrade_inside = connect(chat).await;
        let inside = format!("GET / HTTP/1.1\r\nHost: {chat}\r\n{upgrade}\r\n");
        let switched = asked(&mut upgrade_inside, &inside).await;
        assert!(switched.starts_with("HTTP/1.1 101 "), "{switched}");
        Opened {
            inside: connect(&self.plain).await,
            tunnel: connect(&self.far).await,
            upgrade: ask(head, "HTTP/1.1 101 ").await,
            upgrade_inside,
        }
    }

    /// The status of a request inside of a CONNECT.
    async fn inside(&self, opened: &mut Opened) -> String {
        let plain = &self.plain;
        let head = format!("HEAD / HTTP/1.1\r\nHost: {plain}\r\n\r\n");
        asked(&mut opened.inside, &head).await[9..12].to_owned()
    }
}

impl Opened {
    /// All but the one that plain HTTP is served in.
    fn tunnels(&mut self) -> [&mut TcpStream; 3] {
        [
            &mut self.tunnel,
            &mut self.upgrade,
            &mut self.upgrade_inside,
        ]
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.as_ref().map(Duration::as_secs).unwrap()
}

#[tokio::test]
async fn what_a_token_has_opened_ends_with_it() {
    let api = Api::open();
    let proxy = Proxy::start(&api).await;
    let mut of_key = proxy.open(&key("beta")).await;
    // The keys have been read when this is over, so that no request waits for them.
    drop(proxy.open(&proxy.token(now() + 3600)).await);
    // On a busy machine opening takes its time.
    let (until, mut of_token) = {
        let mut good_for = 4;
        loop {
            let until = now() + good_for;
            let token = proxy.token(until);
            let opened =
                tokio::time::timeout(Duration::from_secs(good_for - 1), proxy.open(&token));
            if let Ok(opened) = opened.await {
                break (until, opened);
            }
            good_for *= 4;
        }
    };
    eventually("a request inside is refused", async || {
        let status = proxy.inside(&mut of_token).await;
        let is_over = now() >= until;
        match status.as_str() {
            "200" => false,
            "407" => {
                assert!(is_over, "refused before the end of the token");
                true
            }
            other => panic!("{other}"),
        }
    })
    .await;
    for tunnel in of_token.tunnels() {
        let end = tunnel.read_u8().await;
        assert!(end.is_err(), "{end:?}");
    }
    assert_eq!(proxy.inside(&mut of_key).await, "200");
    for tunnel in of_key.tunnels() {
        assert!(echoes(tunnel).await);
    }
    // A reload ends nothing that it still permits.
    let keys = [key("beta"), key("next")].join("\n");
    proxy.site.write("beta.key", &keys);
    proxy.site.reload().await.unwrap();
    assert_eq!(proxy.inside(&mut of_key).await, "200");
    for tunnel in of_key.tunnels() {
        assert!(echoes(tunnel).await);
    }
}
