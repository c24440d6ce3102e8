//! Programs that call an API by `https`, and trust a CA that lives as long as they do.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::World;
use crate::support::api::Api;
use crate::support::namespaces::MOUNTS;
use crate::support::process::{Process, prepared, run};
use crate::support::server::response;
use crate::support::tls::Ca;
use crate::support::{eventually, ip};

const CALL: &str = "curl -sS --max-time 20 https://crm.example.com/me";

/// A world whose API is called by `https`.
struct Secured {
    world: World,
    api: Api,
    ca: Ca,
}

impl Secured {
    fn start() -> Self {
        let (ca, world) = (Ca::new(), World::start());
        let server = ca.own_certificate().server(&["h2", "http/1.1"]);
        let api = Api::with_tls(Some(server), |_| response(200, "secured"));
        let config = world.config(&format!("https://{}", api.address));
        let config = config.replace(
            "hosts = [\"crm.example.com:80\"]",
            &format!(
                "hosts = [\"crm.example.com:443\"]\ntls = {{ ca_file = \"{}\", server_name = \"{}\" }}",
                ca.file().display(),
                ip()
            ),
        );
        world.configure(&config);
        Self { world, api, ca }
    }

    /// Where private directories are made.
    fn places(&self) -> PathBuf {
        let places = self.world.path("places");
        std::fs::create_dir_all(&places).unwrap();
        places
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[tokio::test]
async fn an_https_request_of_an_unmodified_program_gets_a_token() {
    let secured = Secured::start();
    for version in ["--http1.1", "--http2"] {
        let script = format!("{CALL} {version} -w ' %{{http_version}}'");
        let ended = secured.world.shell(&script).await;
        let spoken = version.trim_start_matches("--http").trim_end_matches(".0");
        assert_eq!(
            (ended.code, ended.stdout, ended.stderr.as_str()),
            (0, format!("secured {spoken}"), "")
        );
    }
    let seen = secured.api.seen();
    assert_eq!(seen.len(), 2);
    for request in seen {
        assert!(
            request.authorization().starts_with("Bearer token-"),
            "{request:?}"
        );
    }
}

#[tokio::test]
async fn what_is_no_upstream_stays_end_to_end() {
    let secured = Secured::start();
    let other = secured.ca.own_certificate().server(&["http/1.1"]);
    let other = Api::with_tls(Some(other), |_| response(200, "other"));
    // By the proxy too, but with the other server's own certificate.
    let script = format!(
        "curl -sS --cacert {} https://{}/ && ! curl -sS https://{}/ 2>&1",
        secured.ca.file().display(),
        other.address,
        other.address
    );
    let ended = secured.world.shell(&script).await;
    assert!(
        ended.code == 0 && ended.stdout.starts_with("other"),
        "{ended:?}"
    );
    assert!(ended.stdout.contains("certificate"), "{ended:?}");
    assert_eq!(other.seen().len(), 1);
    assert_eq!(other.seen()[0].header("via"), "");
}

#[tokio::test]
async fn files_that_are_trusted_already_go_on_to_be() {
    let secured = Secured::start();
    let other = secured.ca.own_certificate().server(&["http/1.1"]);
    let other = Api::with_tls(Some(other), |_| response(200, "other "));
    let script = format!("curl -sS https://{}/ && {CALL}", other.address);
    let mut exec = secured.world.exec(&["sh", "-c", &script]);
    exec.env("CURL_CA_BUNDLE", secured.ca.file());
    let ended = run(exec).await;
    assert_eq!(
        (ended.code, &*ended.stdout),
        (0, "other secured"),
        "{ended:?}"
    );

    let mut exec = secured.world.exec(&["true"]);
    exec.env("CURL_CA_BUNDLE", "/dev/zero");
    let ended = run(exec).await;
    assert_eq!(ended.code, 125, "{ended:?}");
    assert!(ended.stderr.contains("CURL_CA_BUNDLE: /dev/zero"));
}

#[tokio::test]
async fn java_is_told_of_the_proxy_and_of_whom_to_trust() {
    let secured = Secured::start();
    let mut exec = secured.world.exec(&["printenv", "JAVA_TOOL_OPTIONS"]);
    let schemes = "-Djdk.http.auth.tunneling.disabledSchemes=";
    exec.env("JAVA_TOOL_OPTIONS", format!("-Xmx64m {schemes}"));
    let ended = run(exec).await;
    let options: Vec<_> = ended.stdout.split_whitespace().collect();
    assert_eq!(options[0], "-Xmx64m", "{ended:?}");
    let given = options.iter().filter(|option| **option == schemes);
    assert_eq!(given.count(), 1, "{ended:?}");
    for begin in ["-Dhttps.proxyPort=", "-Djavax.net.ssl.trustStore=/"] {
        assert!(
            options.iter().any(|option| option.starts_with(begin)),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn the_ca_is_private_and_gone_in_the_end_however_that_comes() {
    let secured = Secured::start();
    let places = secured.places();
    let begin = async |script: &str| {
        let mut exec = secured.world.exec(&["sh", "-c", script]);
        exec.env("TMPDIR", &places);
        secured.world.begin_as(exec).await
    };
    let process = begin("echo ready; exec sleep 1000").await;
    let made = std::fs::read_dir(&places).unwrap().next().unwrap().unwrap();
    assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let key = made.path().join("ca/issuer.key");
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 128 + 15);
    assert!(is_empty(&places));

    // A program that cannot be started; tokens that do not come; a configuration that is refused.
    for (options, program, code) in [
        (&[][..], "no-such-program", 127),
        (&["--ready-timeout", "1ms"], "true", 125),
        (&["--config", "/nowhere"], "true", 125),
    ] {
        secured.world.idp.behave(if code == 125 {
            crate::support::idp::Behaviour::Holds
        } else {
            crate::support::idp::Behaviour::Healthy
        });
        let mut exec = secured.world.exec_with(options, &[program]);
        exec.env("TMPDIR", &places);
        let ended = run(exec).await;
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(is_empty(&places), "{ended:?}");
    }
}

#[tokio::test]
async fn where_a_limit_of_file_sizes_leaves_no_room_for_it_that_is_told_and_nothing_stays() {
    let secured = Secured::start();
    let places = secured.places();
    let mut exec = secured.world.exec(&["true"]);
    exec.env("TMPDIR", &places);
    for limit in [0, 2, 20] {
        let ended = run(prepared(&format!("ulimit -f {limit}"), &exec)).await;
        assert_eq!(ended.code, 125, "{ended:?}");
        assert!(ended.stderr.contains("File too large"), "{ended:?}");
        assert!(is_empty(&places), "{ended:?}");
    }
}

#[tokio::test]
async fn a_place_that_is_full_is_passed_over() {
    if !MOUNTS.can_be_had() {
        return;
    }
    let secured = Secured::start();
    let places = secured.places();
    for full in ["size=64k", "nr_inodes=3"] {
        let script = format!("dirname \"$SSL_CERT_FILE\"; {CALL}");
        let mut exec = secured.world.exec(&["sh", "-c", &script]);
        exec.env("XDG_RUNTIME_DIR", &places);
        exec.env("TMPDIR", "/dev/shm");
        let mount = format!("mount -t tmpfs -o {full} none /dev/shm; exec \"$@\"");
        let ended = run(MOUNTS.around_script(&mount, &exec)).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        let place = places.to_str().unwrap();
        assert!(ended.stdout.starts_with(place), "{ended:?}");
        assert!(ended.stdout.ends_with("secured"), "{ended:?}");
    }
}

#[tokio::test]
async fn what_a_killed_exec_leaves_behind_is_removed_by_a_later_one() {
    let secured = Secured::start();
    let places = secured.places();
    let made = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&places).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let begin = async || {
        let mut exec = secured.world.exec(&[
            "sh",
            "-c",
            "echo ready; while kill -0 $PPID; do sleep 0.1; done",
        ]);
        exec.env("TMPDIR", &places);
        let before = made();
        let process = secured.world.begin_as(exec).await;
        let new = made().into_iter().find(|path| !before.contains(path));
        (process, new.unwrap())
    };
    let (living, kept) = begin().await;
    let (killed, left) = begin().await;
    drop(killed);
    assert!(left.join("ca/issuer.key").exists());
    let (later, own) = begin().await;
    eventually("it is removed", async || !left.exists()).await;
    for (process, directory) in [(living, kept), (later, own)] {
        assert!(directory.join("ca/issuer.key").exists());
        process.signal(Signal::TERM);
        process.ended().await;
    }
    assert!(is_empty(&places));
}

#[tokio::test]
async fn an_upstream_that_the_ca_is_not_for_is_refused_by_a_reload() {
    let secured = Secured::start();
    let world = &secured.world;
    let done = world.path("done");
    let script = format!(
        "echo ready; until [ -e {} ]; do sleep 0.05; done; {CALL}",
        done.display()
    );
    let process: Process = world.begin(&script).await;
    let config = std::fs::read_to_string(world.path("app.toml")).unwrap();
    let more = "\n[upstreams.new]\nurl = \"https://new.example.org\"\n";
    world.configure(&(config + more));
    eventually("refused", async || {
        process.log().contains("configuration refused")
    })
    .await;
    assert!(
        process.log().contains("new.example.org"),
        "{}",
        process.log()
    );
    std::fs::write(done, "").unwrap();
    let ended = process.ended().await;
    assert_eq!(
        (ended.code, &*ended.stdout),
        (0, "ready\nsecured"),
        "{ended:?}"
    );
}
