//! Listeners that come, go, move and change their name.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use super::*;
use crate::support::client::Connection;
use crate::support::{any_port, eventually, loopback};

/// Routes everything to an API that answers its name.
fn rest(api: &Api) -> String {
    [route("/", "api"), upstream("api", &api.url(), "")].concat()
}

fn unix(name: &str, path: &Path, mode: &str) -> String {
    format!(
        "[[listeners]]\nname = \"{name}\"\naddress = \"unix:{}\"\nmode = \"{mode}\"\n\n",
        path.display()
    )
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn get_over_unix(path: &Path) -> u16 {
    let stream = UnixStream::connect(path).await.unwrap();
    Connection::over(stream)
        .await
        .get("/")
        .await
        .unwrap()
        .status
}

#[tokio::test]
async fn an_added_listener_serves_and_a_removed_one_refuses() {
    let api = Api::open();
    let (stays, moves, to) = (loopback(), loopback(), loopback());
    let config = |at| [listener("stays", stays), listener("moves", at), rest(&api)].concat();
    let sidebearer = Sidebearer::start(&config(moves));
    let mut kept = Connection::open(stays).await;
    let mut gone = Connection::open(moves).await;
    for connection in [&mut kept, &mut gone] {
        assert_eq!(connection.get("/").await.unwrap().status, 200);
    }
    assert!(refuses_connections(to));

    sidebearer.reconfigure(&config(to)).await.unwrap();

    assert!(refuses_connections(moves));
    assert_eq!(text(to, "/").await.0, 200);
    assert_eq!(kept.get("/").await.unwrap().status, 200);
    eventually("the old client is told to go", async || {
        sidebearer.status().await["connections"] == 1
    })
    .await;
    assert!(gone.get("/").await.is_err());
}

#[tokio::test]
async fn whoever_has_connected_is_served_though_the_listener_goes() {
    let api = Api::open();
    let (stays, goes) = (loopback(), loopback());
    let without = [listener("stays", stays), rest(&api)].concat();
    let with = [without.clone(), listener("goes", goes)].concat();
    let sidebearer = Sidebearer::start(&with);
    for _ in 0..20 {
        // Their requests come after the reload; whether they were accepted before it or are still
        // with the kernel is not theirs to know.
        let mut connections = Vec::new();
        for _ in 0..20 {
            connections.push(TcpStream::connect(goes).await.unwrap());
        }
        let requests = connections.into_iter().map(|stream| async {
            let answer = Connection::over(stream).await.get("/").await.unwrap();
            assert_eq!(answer.status, 200);
        });
        let requests: Vec<_> = requests.collect();
        sidebearer.reconfigure(&without).await.unwrap();
        for request in requests {
            request.await;
        }
        sidebearer.reconfigure(&with).await.unwrap();
    }
}

#[tokio::test]
async fn a_renamed_listener_keeps_its_socket_and_its_queue() {
    let api = Api::open();
    let address = loopback();
    let config = |name: &str| [listener(name, address), rest(&api)].concat();
    let sidebearer = Sidebearer::start(&config("name-0"));
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = std::sync::Arc::clone(&stop);
    let client = tokio::spawn(async move {
        let mut answers = 0;
        while !told.load(std::sync::atomic::Ordering::SeqCst) {
            assert_eq!(text(address, "/").await.0, 200);
            answers += 1;
        }
        answers
    });
    for number in 1..=30 {
        let name = format!("name-{number}");
        sidebearer.reconfigure(&config(&name)).await.unwrap();
        let series = format!(
            "sidebearer_requests_total{{code=\"200\",listener=\"{name}\",upstream=\"api\"}}"
        );
        eventually("it serves by its new name", async || {
            sidebearer.metric(&series).await > 0.0
        })
        .await;
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(client.await.unwrap() >= 30);
}

#[tokio::test]
async fn listeners_that_swap_names_swap_their_routes() {
    let apis = ["one", "two"].map(|name| Api::start(move |_| response(200, name)));
    let [first, second] = [loopback(), loopback()];
    let config = |one, two| {
        let mut config = [listener("one", one), listener("two", two)].concat();
        for (name, api) in ["one", "two"].iter().zip(&apis) {
            config += &format!("[[routes]]\nlistener = \"{name}\"\nupstream = \"{name}\"\n\n");
            config += &upstream(name, &api.url(), "");
        }
        config
    };
    let sidebearer = Sidebearer::start(&config(first, second));
    assert_eq!(text(first, "/").await.1, "one");
    sidebearer
        .reconfigure(&config(second, first))
        .await
        .unwrap();
    assert_eq!(text(first, "/").await.1, "two");
    assert_eq!(text(second, "/").await.1, "one");
}

#[tokio::test]
async fn a_taken_port_refuses_the_whole_reload() {
    let api = Api::open();
    let (old, new) = (loopback(), loopback());
    let taken = TcpListener::bind(loopback()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("new.sock");
    let server = "[server]\nreload_retry_interval = \"200ms\"\n";
    let sidebearer = Sidebearer::start(&[server, &listener("old", old), &rest(&api)].concat());
    let changed = [
        server.to_owned(),
        listener("new", new),
        unix("unix", &socket, "0600"),
        listener("taken", taken.local_addr().unwrap()),
        rest(&api),
    ]
    .concat();

    let refused = sidebearer
        .reconfigure(&changed)
        .await
        .unwrap_err()
        .to_string();

    let complaint = format!(
        "listener taken: cannot bind {}",
        taken.local_addr().unwrap()
    );
    assert!(refused.contains(&complaint), "{refused}");
    assert_eq!(generation(&sidebearer).await, 1);
    assert_eq!(text(old, "/").await.0, 200);
    assert!(refuses_connections(new), "it is closed again");
    assert!(!socket.exists(), "it is removed again");

    // It is looked at again without a word, and what has not changed is not news.
    let failures = reloads(&sidebearer, "failure").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(reloads(&sidebearer, "failure").await, failures);
    drop(taken);
    eventually("the port is free", async || {
        outcome(&sidebearer).await.0 == "success"
    })
    .await;
    assert_eq!(text(new, "/").await.0, 200);
    assert!(refuses_connections(old));
}

#[tokio::test]
async fn the_admin_pages_move() {
    let api = Api::open();
    let (before, after, health) = (loopback(), loopback(), loopback());
    let config = |at, more: &str| {
        let admin = format!("[admin]\naddress = \"{at}\"\n\n{more}");
        [admin, listener("app", loopback()), rest(&api)].concat()
    };
    let sidebearer = Sidebearer::start(&config(before, ""));
    let more = format!("[health]\naddress = \"{health}\"\n\n");
    std::fs::write(
        sidebearer.dir().join("sidebearer.toml"),
        config(after, &more),
    )
    .unwrap();

    // The answer comes over the socket that goes.
    assert_eq!(client::post(before, "/reload", "").await.status, 200);
    // Its task ends a moment after the answer.
    eventually("it is closed", async || refuses_connections(before)).await;
    assert_eq!(client::get(after, "/status").await.status, 200);
    assert_eq!(client::get(health, "/readyz").await.status, 200);
    assert_eq!(client::get(health, "/status").await.status, 404);

    sidebearer.reconfigure(&config(after, "")).await.unwrap();
    eventually("it is closed", async || refuses_connections(health)).await;
}

#[tokio::test]
async fn several_listeners_may_have_a_port_of_the_systems_choice() {
    let api = Api::open();
    let any = any_port();
    let config = [listener("one", any), listener("two", any), rest(&api)].concat();
    let sidebearer = Sidebearer::start(&config);
    let [one, two] = ["one", "two"].map(|name| sidebearer.address_of(name));
    assert_ne!(one, two);
    sidebearer.reload().await.unwrap();
    for address in [one, two] {
        assert_eq!(text(address, "/").await.0, 200);
    }
}

#[tokio::test]
async fn a_quiet_listener_takes_no_place_from_a_busy_one() {
    let api = Api::open();
    let (quiet, busy) = (loopback(), loopback());
    let config = [
        "[server]\nmax_connections = 1\n\n".to_owned(),
        listener("quiet", quiet),
        listener("busy", busy),
        rest(&api),
    ];
    let _sidebearer = Sidebearer::start(&config.concat());
    for address in [busy, quiet, busy] {
        assert_eq!(text(address, "/").await.0, 200);
    }
}

#[tokio::test]
async fn a_changed_max_connections_counts_from_the_reload_on() {
    let api = Api::open();
    let address = loopback();
    let config = |limit: usize| {
        let limit = format!("[server]\nmax_connections = {limit}\n\n");
        [limit, listener("app", address), rest(&api)].concat()
    };
    let sidebearer = Sidebearer::start(&config(3));
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = Connection::open(address).await;
        assert_eq!(connection.get("/").await.unwrap().status, 200);
        open.push(connection);
    }
    let connections = async || sidebearer.status().await["connections"].as_u64().unwrap();

    sidebearer.reconfigure(&config(2)).await.unwrap();
    assert_eq!(connections().await, 3, "nobody is thrown out");
    let mut waiting = tokio::spawn(client::get(address, "/"));
    open.pop();
    eventually("one leaves", async || connections().await == 2).await;
    tokio::select! {
        biased;
        answer = &mut waiting => panic!("over the limit: {answer:?}"),
        () = tokio::time::sleep(Duration::from_millis(300)) => {}
    }
    open.pop();
    assert_eq!(waiting.await.unwrap().status, 200);

    let mut second = Connection::open(address).await;
    assert_eq!(second.get("/").await.unwrap().status, 200);
    let third = tokio::spawn(client::get(address, "/"));
    sidebearer.reconfigure(&config(3)).await.unwrap();
    assert_eq!(third.await.unwrap().status, 200);
}

#[tokio::test]
async fn a_unix_socket_changes_its_mode_and_goes_with_its_listener() {
    let api = Api::open();
    let dir = tempfile::tempdir().unwrap();
    let (path, other) = (dir.path().join("app.sock"), dir.path().join("other.sock"));
    let sidebearer = Sidebearer::start(&[unix("app", &path, "0600"), rest(&api)].concat());
    assert_eq!((mode(&path), get_over_unix(&path).await), (0o600, 200));
    let kept = UnixStream::connect(&path).await.unwrap();

    let changed = [
        unix("app", &path, "0666"),
        unix("more", &other, "0660"),
        rest(&api),
    ];
    sidebearer.reconfigure(&changed.concat()).await.unwrap();
    assert_eq!((mode(&path), mode(&other)), (0o666, 0o660));
    let mut kept = Connection::over(kept).await;
    assert_eq!(kept.get("/").await.unwrap().status, 200);

    let changed = [unix("more", &other, "0660"), rest(&api)].concat();
    sidebearer.reconfigure(&changed).await.unwrap();
    assert!(!path.exists());
    assert_eq!(get_over_unix(&other).await, 200);

    sidebearer.ended().await;
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let api = Api::open();
    let dir = tempfile::tempdir().unwrap();
    let [stale, live, other] = ["stale", "live", "other"].map(|name| dir.path().join(name));
    drop(UnixListener::bind(&stale).unwrap());
    let _live = UnixListener::bind(&live).unwrap();
    fs::write(&other, "not a socket").unwrap();

    let good = [unix("app", &stale, "0600"), rest(&api)].concat();
    let sidebearer = Sidebearer::start(&good);
    assert_eq!(get_over_unix(&stale).await, 200);
    for (path, reason) in [
        (
            &live,
            "cannot bind unix:PATH: another process listens on it",
        ),
        (&other, "PATH exists and is not a socket"),
    ] {
        let bad = [good.clone(), unix("more", path, "0600")].concat();
        let refused = sidebearer.reconfigure(&bad).await.unwrap_err().to_string();
        let reason = reason.replace("PATH", &path.display().to_string());
        assert!(refused.contains(&reason), "{refused}");
    }
    assert_eq!(fs::read(&other).unwrap(), b"not a socket");
    assert!(UnixStream::connect(&live).await.is_ok());
}

#[tokio::test]
async fn a_socket_file_that_was_removed_is_made_again_by_a_reload() {
    let api = Api::open();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let sidebearer = Sidebearer::start(&[unix("app", &path, "0600"), rest(&api)].concat());
    fs::remove_file(&path).unwrap();
    sidebearer.reload().await.unwrap();
    assert_eq!((mode(&path), get_over_unix(&path).await), (0o600, 200));
}
