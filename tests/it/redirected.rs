//! Connections that the system redirects to a listener of kind "redirected", by the very table that `redirect print` prints.
//! Each test has two machines of its own, which are network namespaces: apps and sidebearer here, servers there. Needs root,
//! iproute2 and nftables; where they are missing, each test says `skipped`.

mod connections;
mod explained;
mod requests;
mod table;
mod tls;
mod unread;

use std::net::SocketAddr;

use http::Request;
use http_body_util::Full;
use tokio::net::TcpStream;

use crate::support::api::{Api, Seen};
use crate::support::client::{Answer, Connection};
use crate::support::idp::Idp;
use crate::support::network::Network;
use crate::support::process::{Process, command};
use crate::support::server::response;
use crate::support::skip;
use crate::support::tls::Ca;

/// Whom sidebearer runs as. Everything else in these tests runs as root.
const USER: u32 = 64201;
/// The port of its redirected listener.
const TO: u16 = 15001;
/// Where nobody is.
const NOBODY: u8 = 77;

/// An app's machine with sidebearer, which leads to the API `crm.example.com` with a token, and another machine with that API
/// and with servers that nothing leads to.
struct World {
    network: Network,
    crm: Api,
    /// The same over TLS.
    secure: Api,
    /// At port 80 of both addresses.
    other: Api,
    ca: Ca,
    sidebearer: Process,
    _idp: Idp,
}

impl World {
    /// `None` where it cannot be: the test has told so.
    async fn start() -> Option<Self> {
        Self::with("", "").await
    }

    /// `listener` are more lines of the listener, and `rest` more of the configuration.
    async fn with(listener: &str, rest: &str) -> Option<Self> {
        let network = Network::lay()?;
        let table = print_table(&network, &[])?;
        if let Err(why) = network.here.nft(&table) {
            skip("nftables", &why);
            return None;
        }
        // However long a loaded machine keeps a client from speaking.
        let listener = if listener.contains("detect_timeout") {
            listener.to_owned()
        } else {
            format!("detect_timeout = \"1h\"\n{listener}")
        };
        let there = &network.there;
        let ca = Ca::new();
        let idp = Idp::on(there.listen(9000));
        let crm = Api::on(there.listen(8080), None, |_| response(200, "crm"));
        let certificate = ca.certificate(&["crm.example.com", &there.address(0).ip().to_string()]);
        let secure = Api::on(
            there.listen(8443),
            Some(certificate.server(&["http/1.1"])),
            |_| response(200, "secure crm"),
        );
        let other = Api::on(there.listen(80), None, |_| response(200, "other"));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
        std::fs::copy(ca.file(), dir.path().join("ca.pem")).unwrap();
        let config = format!(
            r#"
[log]
format = "json"
access = "all"

[[listeners]]
name = "apps"
address = "127.0.0.1:{TO}"
kind = "redirected"
{listener}

[upstreams.crm]
url = "http://{crm}"
hosts = ["crm.example.com:80"]
credential = "crm"
allow_plaintext = true

[upstreams.secure]
url = "https://{secure}"
hosts = ["secure.example.com:443"]
credential = "crm"
tls = {{ ca_file = "ca.pem" }}

[credentials.crm]
token_endpoint = "{endpoint}"
client_id = "billing"
client_secret = {{ file = "secret" }}
allow_plaintext = true

{rest}
"#,
            crm = crm.address,
            secure = secure.address,
            endpoint = idp.endpoint(),
        );
        let sidebearer = network.here.run_as(USER, dir, &config).await;
        Some(Self {
            crm,
            secure,
            other,
            ca,
            sidebearer,
            network,
            _idp: idp,
        })
    }

    /// Connects as an app does.
    fn connect(&self, address: SocketAddr) -> TcpStream {
        self.network.here.connect(address)
    }

    /// The address of nobody, with this port: of IPv4, and of IPv6.
    fn nobody(&self, port: u16) -> [SocketAddr; 2] {
        let there = &self.network.there;
        let mut nobody = [there.address(port), there.address_v6(port)];
        nobody[0].set_ip([10, 0, 0, NOBODY].into());
        nobody[1].set_ip([0xfd53, 0, 0, 0, 0, 0, 0, u16::from(NOBODY)].into());
        nobody
    }

    /// One request on a connection of its own.
    async fn get(&self, address: SocketAddr, host: &str) -> Answer {
        let mut connection = Connection::over(self.connect(address)).await;
        connection.send(request(host, "/v1")).await.unwrap()
    }

    /// The value of one series of `/metrics`.
    async fn metric(&self, series: &str) -> f64 {
        let mut page = Connection::over(self.connect(self.sidebearer.admin())).await;
        let page = page.get("/metrics").await.unwrap().text();
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// The lines of the access log so far that have this host.
    fn lines_of(&self, host: &str) -> Vec<serde_json::Value> {
        let log = self.sidebearer.log();
        let lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &serde_json::Value| line["host"] == host)
            .collect()
    }
}

/// A request in origin form.
fn request(host: &str, path: &str) -> Request<Full<bytes::Bytes>> {
    let request = Request::builder().uri(path).header("host", host);
    request.body(Full::default()).unwrap()
}

/// What an API has seen of each request: host, path and authorization.
fn told(api: &Api) -> Vec<String> {
    let line = |seen: &Seen| format!("{} {} {}", seen.host, seen.target, seen.authorization());
    api.seen().iter().map(line).collect()
}

/// The table that the product prints on the machine of the apps; `None` where that is not possible.
fn print_table(network: &Network, more: &[&str]) -> Option<String> {
    let (to, user) = (TO.to_string(), USER.to_string());
    let mut arguments = vec!["redirect", "print", "--to", &to, "--uid", &user];
    arguments.extend(more);
    let mut command = command(&arguments);
    let printed = network.here.within(|| command.output().unwrap());
    let said = String::from_utf8(printed.stderr).unwrap();
    if said.contains("nft cannot be run") {
        skip("nftables", said.trim());
        return None;
    }
    assert!(printed.status.success(), "{said}");
    assert_eq!(said, "");
    Some(String::from_utf8(printed.stdout).unwrap())
}
