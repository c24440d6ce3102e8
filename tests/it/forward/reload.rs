//! What a reload changes on a forward listener, and which open tunnels it ends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tunnels::{far, leading_to};
use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::process::Process;
use crate::support::server::response;
use crate::support::sidebearer::Sidebearer;
use crate::support::tunnel::{comes_back, end_of, is_reset, tunnel};
use crate::support::{any_port, client, eventually};

const OTHER: &str = "[upstreams.other]\nurl = \"https://other.example.com\"\n";

#[tokio::test]
async fn a_tunnel_whose_permission_ends_by_a_reload_is_cut_and_others_stay() {
    let (far, _seen) = far();
    let idp = Idp::start();
    let own = far.to_string();
    let alias = "far.old.internal:8443";
    let before = leading_to(far, OTHER);
    let listener = "kind = \"forward\"\n";
    let url = format!("url = \"https://{far}\"\n");
    let hosts = "hosts = [\"far.example.com\", \"far.old.internal:8443\"]\n";
    let with = |old: &str, new: &str| {
        assert!(before.contains(old), "{old}");
        before.replace(old, new)
    };
    let credential = format!(
        "\n[credentials.far]\ntoken_endpoint = \"{}\"\nclient_id = \"x\"\nclient_secret = {{ file = \"secret\" }}\n",
        idp.endpoint()
    );
    let second = format!(
        "{before}\n[[listeners]]\nname = \"second\"\naddress = \"{}\"\n",
        any_port()
    );
    let reverse = "kind = \"reverse\"\nupstream = \"far\"\n";
    let route = "\n[[routes]]\nlistener = \"proxy\"\nhost = \"far.old.internal\"\npath = \"/x\"\nupstream = \"other\"\n";
    let table = [
        // What the change is, the target of the tunnel, the configuration then, and whether the tunnel stays.
        ("nothing", &*own, before.clone(), true),
        (
            "a timeout",
            &own,
            with(&url, &format!("{url}connect_timeout = \"7s\"\n")),
            true,
        ),
        ("another upstream is gone", &own, with(OTHER, ""), true),
        ("a listener is added", &own, second, true),
        (
            "another name of the upstream is gone",
            &own,
            with(hosts, ""),
            true,
        ),
        (
            "the upstream gets another name",
            alias,
            before.replace("[upstreams.far]", "[upstreams.away]"),
            true,
        ),
        (
            "the listener names it",
            alias,
            with(listener, &format!("{listener}upstreams = [\"far\"]\n")),
            true,
        ),
        ("the name is gone", alias, with(hosts, ""), false),
        (
            "the listener leads elsewhere",
            &own,
            with(listener, &format!("{listener}upstreams = [\"other\"]\n")),
            false,
        ),
        (
            "the listener leads nowhere",
            &own,
            with(listener, &format!("{listener}upstreams = []\n")),
            false,
        ),
        (
            "the listener is a reverse one",
            &own,
            with(listener, reverse),
            false,
        ),
        (
            "the listener has another name",
            &own,
            with("name = \"proxy\"", "name = \"new\""),
            false,
        ),
        (
            "the upstream is gone",
            &own,
            with(&format!("[upstreams.far]\n{url}{hosts}"), ""),
            false,
        ),
        (
            "the upstream is elsewhere",
            alias,
            with(&url, "url = \"https://127.0.0.1:9\"\n"),
            false,
        ),
        (
            "the upstream speaks plain HTTP",
            &own,
            with(&url, &url.replace("https", "http")),
            false,
        ),
        (
            "the upstream has a credential",
            &own,
            with(&url, &format!("{url}credential = \"far\"\n")) + &credential,
            false,
        ),
        (
            "a route leads to another place too",
            alias,
            with(OTHER, &format!("{OTHER}{route}")),
            true,
        ),
    ];
    for (change, target, after, stays) in table {
        let sidebearer = Sidebearer::start(&before);
        let proxy = sidebearer.address();
        let mut open = tunnel(proxy, target).await;
        comes_back(&mut open, "before").await;
        let reloaded = sidebearer.reconfigure(&after).await;
        reloaded.unwrap_or_else(|refused| panic!("{change}: {refused}"));
        if stays {
            comes_back(&mut open, change).await;
        } else {
            assert!(is_reset(end_of(&mut open).await), "{change}");
            let labels = "end=\"revoked\",listener=\"proxy\",upstream=\"far\"";
            let series = format!("sidebearer_tunnels_ended_total{{{labels}}}");
            assert_eq!(sidebearer.metric(&series).await, 1.0, "{change}");
        }
    }
}

#[tokio::test]
async fn requests_follow_the_kind_hosts_and_upstreams_of_a_reload() {
    let api = Api::start(|_| response(200, "api"));
    let config = |listener: &str, upstream: &str| {
        format!(
            "[[listeners]]\nname = \"proxy\"\naddress = \"{}\"\n{listener}\n[upstreams.api]\nurl = \"http://{}\"\n{upstream}\n\
             [upstreams.other]\nurl = \"http://other.example.com\"\n",
            any_port(),
            api.address
        )
    };
    let (forward, name) = ("kind = \"forward\"\n", "hosts = [\"api.example.com:80\"]\n");
    let (own, named) = (
        format!("http://{}/x", api.address),
        "http://api.example.com/x",
    );
    let sidebearer = Sidebearer::start(&config(forward, ""));
    // On one connection: each request takes the configuration of its moment.
    let mut connection = client::Connection::open(sidebearer.address()).await;
    assert_eq!(connection.get(named).await.unwrap().status, 403);
    let targets = [own.as_str(), named];
    for (listener, upstream, expected) in [
        (forward, name, [200, 200]),
        (
            "kind = \"forward\"\nupstreams = [\"other\"]\n",
            name,
            [403, 403],
        ),
        (
            "kind = \"forward\"\nupstreams = [\"other\", \"api\"]\n",
            "",
            [200, 403],
        ),
    ] {
        sidebearer
            .reconfigure(&config(listener, upstream))
            .await
            .unwrap();
        for (target, status) in targets.iter().zip(expected) {
            let answer = connection.get(target).await.unwrap();
            assert_eq!(answer.status, status, "{target} {listener}{upstream}");
        }
    }
    let reverse = config("upstream = \"api\"\n", name);
    sidebearer.reconfigure(&reverse).await.unwrap();
    assert_eq!(connection.get("/x").await.unwrap().status, 200);
    sidebearer
        .reconfigure(&config(forward, name))
        .await
        .unwrap();
    assert_eq!(connection.get(named).await.unwrap().status, 200);
    assert_eq!(connection.get("/x").await.unwrap().status, 400);
}

#[tokio::test]
async fn a_tunnel_that_opens_while_its_permission_ends_is_refused() {
    // Its connection is made, and not accepted yet: whether the tunnel opens before or after the reload, it ends.
    let (far, _seen) = far();
    let sidebearer = Sidebearer::start(&leading_to(far, OTHER));
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let connect = format!("CONNECT {far} HTTP/1.1\r\nHost: {far}\r\n\r\n");
        stream.write_all(connect.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let after = leading_to(far, OTHER).replace(
        "kind = \"forward\"",
        "kind = \"forward\"\nupstreams = [\"other\"]",
    );
    sidebearer.reconfigure(&after).await.unwrap();
    for mut stream in streams {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(crate::support::PATIENCE, read).await;
        // A reset, or the end behind a refusal.
        let _ = read.expect("no tunnel is left");
    }
}

#[tokio::test]
async fn the_log_says_why_a_reload_cut_a_tunnel() {
    let (far, _seen) = far();
    let mut process = Process::start(&leading_to(far, OTHER)).await;
    let mut open = tunnel(process.address(), &far.to_string()).await;
    comes_back(&mut open, "ping").await;
    let path = process.dir().join("sidebearer.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let forward = "kind = \"forward\"";
    let after = config.replace(forward, &format!("{forward}\nupstreams = [\"other\"]"));
    std::fs::write(&path, after).unwrap();
    process.signal(rustix::process::Signal::HUP);
    assert!(is_reset(end_of(&mut open).await));
    eventually("the line is there", async || {
        process.read_log();
        process.told("tunnel ended").is_some()
    })
    .await;
    let line = process.told("tunnel ended").unwrap();
    for (key, expected) in [
        ("end", "revoked"),
        ("upstream", "far"),
        ("host", &far.to_string()),
    ] {
        assert_eq!(line[key], expected, "{line}");
    }
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("no route leads to"), "{line}");
}
