//! A file system that does not answer stops nothing but what needs the file.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use sidebearer::config::{Credential, Tls};
use sidebearer::files::DEFAULT_TIMEOUT;
use sidebearer::oauth::{Client, TokenEndpoint};

use crate::support::api::Api;
use crate::support::client::{get, post};
use crate::support::idp::Idp;
use crate::support::process::{Process, command};
use crate::support::scripted::{GOOD, Server, credential, ok};
use crate::support::tls::Ca;
use crate::support::{eventually, loopback, skip, smallest, with_patience};

const SILENT: &str = "the file system has not answered within 1s";

/// Every process that opens the file waits, as on a mount whose server is gone: Linux asks the holder of a
/// lease first, and this one never answers. `None` where there is no Python to take it.
fn hold(file: &Path) -> Option<FileHolder> {
    let script = "import fcntl, os, signal, sys, time\n\
                  signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
                  file = os.open(sys.argv[1], os.O_RDWR)\n\
                  fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
                  print('held', flush=True)\n\
                  time.sleep(600)\n";
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(file).stdout(Stdio::piped());
    let mut python = match python.spawn() {
        Ok(python) => FileHolder(python),
        Err(why) => {
            skip("Python", &why.to_string());
            return None;
        }
    };
    let mut line = String::new();
    let told = BufReader::new(python.0.stdout.take().unwrap()).read_line(&mut line);
    assert_eq!((told.unwrap(), line.as_str()), (5, "held\n"));
    Some(python)
}

struct FileHolder(Child);

impl Drop for FileHolder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_configuration_file_that_hangs_refuses_the_reload_and_stops_nothing() {
    let (api, app, admin) = (Api::open(), loopback(), loopback());
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.d");
    std::fs::create_dir(&config).unwrap();
    let good = format!(
        "[server]\nfile_timeout = \"1s\"\n[admin]\naddress = \"{admin}\"\n\
         [[listeners]]\nname = \"app\"\naddress = \"{app}\"\nupstream = \"api\"\n\
         [upstreams.api]\nurl = \"{}\"\n",
        api.url()
    );
    std::fs::write(config.join("a.toml"), &good).unwrap();
    let run = command(&["run", "--config", config.to_str().unwrap()]);
    let process = Process::spawn(run, dir);
    eventually("listening", async || process.told("admin").is_some()).await;

    // To open it is to wait for somebody who writes.
    let hangs = config.join("b.toml");
    mknodat(CWD, &hangs, FileType::Fifo, Mode::RUSR, 0).unwrap();
    // Whoever asks is told what was seen now.
    for _ in 0..2 {
        let refused = post(admin, "/reload", "").await;
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert!(refused.text().contains(SILENT), "{}", refused.text());
        assert!(refused.text().contains("b.toml"), "{}", refused.text());
        assert_eq!(get(app, "/").await.status, 200);
        assert_eq!(get(admin, "/livez").await.status, 200);
    }
    std::fs::remove_file(&hangs).unwrap();
    assert_eq!(post(admin, "/reload", "").await.status, 200);

    // A good one in its place is found by who asks, though it would be left alone still.
    mknodat(CWD, &hangs, FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(post(admin, "/reload", "").await.status, 422);
    std::fs::remove_file(&hangs).unwrap();
    std::fs::write(&hangs, "[log]\nlevel = \"warn\"\n").unwrap();
    let reloaded = post(admin, "/reload", "").await;
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    std::fs::remove_file(&hangs).unwrap();
    assert_eq!(post(admin, "/reload", "").await.status, 200);

    mknodat(CWD, &hangs, FileType::Fifo, Mode::RUSR, 0).unwrap();
    process.signal(Signal::HUP);
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
}

#[tokio::test]
async fn a_secret_that_hangs_for_longer_than_its_token_lives_costs_no_request() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.set_lifetime(6);
    // Shorter than file_timeout is by default, and so is what a renewal leaves.
    let process = Process::start(&with_patience(&smallest(&api, &idp), "1s")).await;
    assert_eq!(get(process.address(), "/").await.status, 200);
    let Some(held) = hold(&process.dir().join("secret")) else {
        return;
    };
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    let before = idp.requests();
    while idp.requests() < before + 3 {
        ticks.tick().await;
        let answer = get(process.address(), "/").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    drop(held);
}

#[tokio::test]
async fn tls_files_that_hang_do_not_keep_a_token_request_from_its_server() {
    let ca = Ca::new();
    let tls = Some(ca.certificate(&["localhost"]).server(&[]));
    let server = Server::with_tls(tls, |_| ok(GOOD)).await;
    let url = format!("https://localhost:{}/token", server.address.port());
    let tls = Tls {
        ca_file: Some(ca.file().into()),
        ..Tls::default()
    };
    let credential = Credential {
        tls,
        ..credential(&url)
    };
    let client = Client::new(&credential).unwrap();
    let Some(held) = hold(&ca.file()) else {
        return;
    };
    let begun = Instant::now();
    client.prepare().await.unwrap();
    client.request().await.unwrap();
    let took = begun.elapsed();
    assert!(took < DEFAULT_TIMEOUT, "{took:?}");
    drop(held);
}

#[tokio::test]
async fn a_secret_that_hangs_costs_neither_connections_nor_tokens_nor_the_end() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.set_lifetime(3);
    let config = format!("[server]\nfile_timeout = \"1s\"\n{}", smallest(&api, &idp));
    let process = Process::start(&config).await;
    assert_eq!(get(process.address(), "/").await.status, 200);
    let Some(held) = hold(&process.dir().join("secret")) else {
        return;
    };

    // The one that was last good is used, for one renewal after another.
    let before = idp.requests();
    eventually("renewed twice", async || idp.requests() >= before + 2).await;
    assert_eq!(get(process.address(), "/").await.status, 200);
    let admin = process.admin();
    assert_eq!(get(admin, "/livez").await.status, 200);
    let status = get(admin, "/status").await.text();
    assert!(status.contains(SILENT), "{status}");

    // Nothing good of it stands in for a reload, which says so.
    let refused = post(admin, "/reload", "").await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains(SILENT), "{}", refused.text());

    drop(held);
    eventually("the secret can be read again", async || {
        process.told("can be used again").is_some()
    })
    .await;
    assert_eq!(post(admin, "/reload", "").await.status, 200);
    let held = hold(&process.dir().join("secret"));
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
    drop(held);
}
