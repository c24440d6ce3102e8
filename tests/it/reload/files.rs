//! Configuration files that vanish, come back, multiply, and change at awkward moments.

use std::fs;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sidebearer::config;

use super::*;
use crate::support::process;
use crate::support::sidebearer::with_admin;
use crate::support::tls::Ca;
use crate::support::{eventually, loopback};

fn app(address: SocketAddr, api: &Api) -> String {
    with_admin(&rest(address, api))
}

fn rest(address: SocketAddr, api: &Api) -> String {
    [
        listener("app", address),
        route("/", "api"),
        upstream("api", &api.url(), ""),
    ]
    .concat()
}

#[tokio::test]
async fn an_unreadable_configuration_keeps_serving() {
    let (api, address) = (Api::open(), loopback());
    let sidebearer = Sidebearer::start(&app(address, &api));
    let path = sidebearer.dir().join("sidebearer.toml");
    let good = fs::read(&path).unwrap();
    type Spoil = fn(&std::path::Path);
    let spoil: [(Spoil, &str); 4] = [
        (
            |path| fs::remove_file(path).unwrap(),
            "cannot read the configuration",
        ),
        (
            |path| fs::create_dir(path).unwrap(),
            "the directory holds no configuration",
        ),
        (|path| fs::write(path, b"\xff").unwrap(), "not UTF-8"),
        (|path| fs::write(path, "").unwrap(), "there is no listener"),
    ];
    for (round, (spoil, complaint)) in spoil.into_iter().enumerate() {
        let before = generation(&sidebearer).await;
        if round == 1 {
            fs::remove_file(&path).unwrap();
        }
        spoil(&path);
        eventually("/status says why", async || {
            let (outcome, diagnostics) = outcome(&sidebearer).await;
            outcome == "failure" && diagnostics.contains(complaint)
        })
        .await;
        assert_eq!(text(address, "/").await.0, 200);
        assert_eq!(generation(&sidebearer).await, before);
        if path.is_dir() {
            fs::remove_dir(&path).unwrap();
        }
        fs::write(&path, &good).unwrap();
        eventually("it is picked up", async || {
            outcome(&sidebearer).await.0 == "success"
        })
        .await;
    }
}

#[tokio::test]
async fn another_file_of_a_directory_adds_its_routes() {
    let (api, more) = (Api::open(), Api::start(|_| response(200, "more")));
    let address = loopback();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("conf.d");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.toml"), app(address, &api)).unwrap();
    let sidebearer = Sidebearer::start_at(dir, path.clone());
    assert_eq!(text(address, "/more").await.1, "ok");

    let second = [route("/more", "more"), upstream("more", &more.url(), "")].concat();
    fs::write(path.join("b.toml"), &second).unwrap();
    eventually("it is added", async || {
        text(address, "/more").await.1 == "more"
    })
    .await;
    fs::remove_file(path.join("b.toml")).unwrap();
    eventually("it is gone", async || {
        text(address, "/more").await.1 == "ok"
    })
    .await;

    fs::remove_file(path.join("a.toml")).unwrap();
    eventually("an empty directory is no configuration", async || {
        outcome(&sidebearer)
            .await
            .1
            .contains("holds no configuration")
    })
    .await;
    assert_eq!(text(address, "/").await.0, 200);
}

#[tokio::test]
async fn what_changes_while_it_starts_is_not_missed() {
    let old = Api::start(|_| response(200, "old"));
    let new = Api::start(|_| response(200, "new"));
    let address = loopback();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    fs::write(&path, app(address, &old)).unwrap();
    let loaded = config::load(&path).unwrap();

    fs::write(&path, app(address, &new)).unwrap();
    let _sidebearer = Sidebearer::start_with(dir, path, loaded);

    eventually("the change is seen", async || {
        text(address, "/").await.1 == "new"
    })
    .await;
}

#[tokio::test]
async fn a_start_without_changes_is_no_reload() {
    let (api, address) = (Api::open(), loopback());
    let sidebearer = Sidebearer::start(&app(address, &api));
    assert_eq!(text(address, "/").await.0, 200);
    sidebearer.reload().await.unwrap();
    assert_eq!(generation(&sidebearer).await, 2);
    assert_eq!(reloads(&sidebearer, "success").await, 1.0);
}

#[tokio::test]
async fn hangup_and_post_reload_and_terminate_ends() {
    let api = Api::open();
    let (address, admin) = (loopback(), loopback());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sidebearer.toml");
    let head = format!("[admin]\naddress = \"{admin}\"\n\n");
    fs::write(&path, head + &rest(address, &api)).unwrap();
    let mut process = Process::start(&path);
    eventually("it serves", async || !refuses_connections(admin)).await;
    let generation =
        async || client::get(admin, "/status").await.json()["snapshot"]["generation"].clone();
    assert_eq!(generation().await, 1);

    process.signal(Signal::HUP);
    eventually("it has reloaded", async || generation().await == 2).await;
    let answer = client::post(admin, "/reload", "").await;
    assert_eq!(
        (answer.status, &answer.json()["generation"]),
        (200, &3.into())
    );
    assert_eq!(client::get(admin, "/reload").await.status, 405);
    assert_eq!(text(address, "/").await.0, 200);

    process.signal(Signal::TERM);
    let ended = tokio::task::spawn_blocking(move || process.0.wait().unwrap());
    assert_eq!(ended.await.unwrap().code(), Some(0));
}

/// The real thing. Killed if a test fails.
struct Process(Child);

impl Process {
    fn start(config: &std::path::Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sidebearer"));
        command
            .arg("run")
            .arg("--config")
            .arg(config)
            .stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_roots_of_the_system_are_read_again_by_a_reload() {
    let ca = Ca::new();
    let tls = ca.own_certificate().server(&[]);
    let api = Api::with_tls(Some(tls), |_| response(200, "ok"));
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem");
    fs::write(&roots, &ca.pem).unwrap();
    let config = [
        listener("app", loopback()),
        route("/", "api"),
        upstream("api", &format!("https://{}", api.address), ""),
    ];
    let spawn = |mut command: Command, dir| {
        command.env("SSL_CERT_FILE", &roots);
        process::Process::spawn(command, dir)
    };
    let sidebearer = process::Process::start_by(spawn, dir, &config.concat()).await;
    let address = sidebearer.address();
    assert_eq!(text(address, "/").await.0, 200);

    for (pem, expected) in [(Ca::new().pem, 502), (ca.pem, 200)] {
        fs::write(&roots, pem).unwrap();
        let answer = client::post(sidebearer.admin(), "/reload", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(text(address, "/").await.0, expected);
    }
}
