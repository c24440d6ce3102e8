//! Names that lead elsewhere later, by the system's own resolver. Sidebearer gets a hosts file that only it sees: root
//! makes that possible. Without root each test says `skipped`.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use tokio::io::AsyncWriteExt;

use crate::support::process::Process;
use crate::support::server::{self, read_head};
use crate::support::{any_port, client, skip};

/// A hosts file in which one name moves.
struct HostsFile(PathBuf);

impl HostsFile {
    const NAME: &str = "moving.example";

    /// In place, since it is this very file that is seen.
    fn lead_to(&self, ips: &[IpAddr]) {
        let lines: Vec<_> = ips
            .iter()
            .map(|ip| format!("{ip} {}\n", Self::NAME))
            .collect();
        std::fs::write(&self.0, lines.concat()).unwrap();
    }
}

/// Runs this configuration with a hosts file of its own. `None` where that is not possible: the test has told so,
/// and must not go on.
async fn start(config: &str, ips: &[IpAddr]) -> Option<(Process, HostsFile)> {
    if !rustix::process::geteuid().is_root() {
        skip("a mount namespace", "only root can make one");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let hosts = HostsFile(dir.path().join("hosts"));
    hosts.lead_to(ips);
    let file = hosts.0.clone();
    let spawn = move |command: Command, dir| {
        let mut apart = Command::new("unshare");
        let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
        apart.args(["--mount", "sh", "-c", script, "sh"]).arg(file);
        apart.arg(command.get_program()).args(command.get_args());
        Process::spawn(apart, dir)
    };
    Some((Process::start_by(spawn, dir, config).await, hosts))
}

/// Three addresses of this machine with a server at each, all at one port: each answers with its number, on one
/// connection for each request.
fn servers() -> ([IpAddr; 3], u16) {
    let [_, b, c, _] = crate::support::ip().octets();
    let ips = [201, 202, 203].map(|last| IpAddr::from([127, b, c, last]));
    let first = TcpListener::bind((ips[0], 0)).unwrap();
    let port = first.local_addr().unwrap().port();
    let [second, third] =
        [ips[1], ips[2]].map(|ip| TcpListener::bind(SocketAddr::new(ip, port)).unwrap());
    for (number, listener) in [first, second, third].into_iter().enumerate() {
        server::bytes_on(listener, move |_, mut stream| async move {
            read_head(&mut stream).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{number}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
    (ips, port)
}

#[tokio::test]
async fn the_next_connection_leads_to_where_the_name_has_moved() {
    let (ips, port) = servers();
    let config = format!(
        "[[listeners]]\naddress = \"{}\"\nupstream = \"api\"\n[upstreams.api]\nurl = \"http://{}:{port}\"\n",
        any_port(),
        HostsFile::NAME
    );
    let Some((process, hosts)) = start(&config, &ips[..1]).await else {
        return;
    };
    for (place, expected) in [(0, "0"), (1, "1"), (2, "2"), (0, "0")] {
        hosts.lead_to(&ips[place..=place]);
        let answer = client::get(process.address(), "/").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, expected));
    }
    hosts.lead_to(&[]);
    let answer = client::get(process.address(), "/").await;
    assert_eq!((answer.status, &*answer.code()), (502, "upstream_connect"));
    hosts.lead_to(&ips[1..=1]);
    assert_eq!(client::get(process.address(), "/").await.text(), "1");
}

#[tokio::test]
async fn a_name_that_moves_to_a_denied_address_passes_no_more() {
    let (ips, port) = servers();
    let config = format!(
        "[egress]\naddresses = \"any\"\nports = [{port}]\ndeny = [\"{}\"]\n\
         [[listeners]]\naddress = \"{}\"\nkind = \"forward\"\nunmatched = \"pass\"\n",
        ips[1],
        any_port()
    );
    let Some((process, hosts)) = start(&config, &ips[..1]).await else {
        return;
    };
    let get = format!(
        "GET http://{name}:{port}/ HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n",
        name = HostsFile::NAME
    );
    for (led_to, expected) in [
        (vec![ips[0]], "0"),
        (vec![ips[1]], "destination_denied"),
        // Of several, those that may be dialled.
        (vec![ips[1], ips[2]], "2"),
        (vec![ips[2], ips[1]], "2"),
        (vec![ips[1]], "destination_denied"),
    ] {
        hosts.lead_to(&led_to);
        let answer = client::raw(process.address(), &get).await;
        let is_expected = answer.contains(&format!("error:{expected}"))
            || answer.ends_with(&format!("\r\n\r\n{expected}"));
        assert!(is_expected, "{led_to:?}: {answer}");
    }
}
