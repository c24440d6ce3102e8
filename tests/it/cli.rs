//! The commands of the real binary: what they print, where, and how they end.

mod about_itself;
mod hidden_input;
mod inherited;
mod init;
mod online;
mod progress;
mod reload;
mod terminal;
mod without_file;

use rustix::process::Signal;

use crate::support::api::{Api, unauthorized};
use crate::support::client::get;
use crate::support::idp::{Behaviour, Idp};
use crate::support::process::{Ended, Process, command, run};
use crate::support::server::response;
use crate::support::sidebearer::{directory, with_admin};
use crate::support::{any_port, eventually, loopback, smallest};

async fn ask(arguments: &[&str]) -> Ended {
    run(command(arguments)).await
}

#[tokio::test]
async fn check_says_ok_on_stdout_and_problems_on_stderr() {
    let (api, idp) = (Api::open(), Idp::start());
    let (dir, path) = directory(&smallest(&api, &idp));
    let good = ask(&["check", "--config", &path]).await;
    assert_eq!(
        (good.code, good.stdout.as_str(), good.stderr.as_str()),
        (0, "ok\n", "")
    );
    // A directory is read whole, and the environment may name it.
    let mut by_environment = command(&["check"]);
    by_environment.env("SIDEBEARER_CONFIG", dir.path());
    let good = run(by_environment).await;
    assert_eq!((good.code, good.stdout.as_str()), (0, "ok\n"), "{good:?}");

    std::fs::remove_file(dir.path().join("secret")).unwrap();
    let bad = ask(&["check", "--config", &path]).await;
    assert_eq!((bad.code, bad.stdout.as_str()), (2, ""), "{bad:?}");
    assert!(
        bad.stderr.contains("secret") && bad.stderr.contains("-->"),
        "{bad:?}"
    );
}

#[tokio::test]
async fn every_command_ends_with_2_when_the_configuration_is_missing_or_wrong() {
    let (_dir, path) = directory("[[listener]]\n");
    for command in [
        &["run"][..],
        &["check"],
        &["check", "--online"],
        &["token", "api"],
    ] {
        for path in [path.as_str(), "/nowhere/sidebearer.toml"] {
            let ended = ask(&[command, &["--config", path]].concat()).await;
            assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{ended:?}");
            assert!(ended.stderr.contains(path), "{ended:?}");
        }
    }
    for wrong in [&[][..], &["serve"], &["token"], &["check", "--offline"]] {
        let ended = ask(wrong).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (2, ""), "{wrong:?}");
    }
    assert_eq!(ask(&["--version"]).await.code, 0);
}

#[tokio::test]
async fn run_ends_with_1_when_it_cannot_start() {
    let (api, idp) = (Api::open(), Idp::start());
    let taken = std::net::TcpListener::bind(loopback()).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let any = any_port().to_string();
    let (_dir, path) = directory(&smallest(&api, &idp).replacen(&any, &address, 1));
    let ended = ask(&["run", "--config", &path]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stderr.contains(&address), "{ended:?}");
}

#[tokio::test]
async fn workers_is_how_many_threads_serve() {
    let (api, idp) = (Api::open(), Idp::start());
    for workers in [1, 3] {
        let config = format!("[server]\nworkers = {workers}\n{}", smallest(&api, &idp));
        let process = Process::start(&config).await;
        // Each names itself when it begins.
        eventually("as many as configured", async || {
            let threads = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
            let names = threads.map(|thread| {
                std::fs::read_to_string(thread.unwrap().path().join("comm")).unwrap_or_default()
            });
            names.filter(|name| name.starts_with("shard-")).count() == workers
        })
        .await;
    }
}

#[tokio::test]
async fn run_says_where_it_listens_also_after_a_reload() {
    let (api, idp) = (Api::open(), Idp::start());
    let [health, added] = [loopback(), loopback()];
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "s3cret\n").unwrap();
    let socket = format!("unix:{}", dir.path().join("batch.sock").display());
    let config = format!(
        "[health]\naddress = \"{health}\"\n{}[[listeners]]\nname = \"batch\"\n\
         address = \"unix:batch.sock\"\nupstream = \"api\"\n",
        smallest(&api, &idp)
    );
    let process = Process::start_in(dir, &config).await;
    let says = |message: &str, listener: Option<&str>, address: &str| {
        process.log().lines().any(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["message"] == message
                && line["listener"].as_str() == listener
                && line["address"].as_str() == Some(address)
        })
    };
    eventually("everything is told", async || {
        says("listening", Some("batch"), &socket)
            && process.log().contains(r#""listener":"app""#)
            && says("health", None, &health.to_string())
    })
    .await;
    let more = format!(
        "{config}[[listeners]]\nname = \"added\"\naddress = \"{added}\"\nupstream = \"api\"\n"
    );
    assert!(!says("listening", Some("added"), &added.to_string()));
    std::fs::write(process.dir().join("sidebearer.toml"), with_admin(&more)).unwrap();
    eventually("the added one is told", async || {
        says("listening", Some("added"), &added.to_string())
    })
    .await;
}

#[tokio::test]
async fn check_online_fetches_tokens_and_connects() {
    let (api, idp) = (Api::open(), Idp::start());
    let (_dir, path) = directory(&smallest(&api, &idp));
    let online = ["check", "--online", "--config", &path];
    let good = ask(&online).await;
    assert_eq!((good.code, good.stdout.as_str()), (0, "ok\n"), "{good:?}");
    assert_eq!(idp.requests(), 1);
    assert!(api.seen().is_empty(), "it connects, and asks nothing");

    idp.behave(Behaviour::Answers(
        401,
        r#"{"error":"invalid_client"}"#.to_owned(),
    ));
    let refused = ask(&online).await;
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (1, ""),
        "{refused:?}"
    );
    assert!(
        refused.stderr.contains("FAILED  credential api"),
        "{refused:?}"
    );
    assert!(
        refused.stderr.contains("ok      upstream api"),
        "{refused:?}"
    );

    idp.behave(Behaviour::Healthy);
    let nobody = format!("http://{}", loopback());
    let (_dir, path) = directory(&smallest(&api, &idp).replace(&api.url(), &nobody));
    let alone = ask(&["check", "--online", "--config", &path]).await;
    assert_eq!((alone.code, alone.stdout.as_str()), (1, ""), "{alone:?}");
    assert!(alone.stderr.contains("FAILED  upstream api"), "{alone:?}");
    assert!(alone.stderr.contains("ok      credential api"), "{alone:?}");
}

#[tokio::test]
async fn check_online_tries_what_it_is_told_to_with_the_token() {
    let idp = Idp::start();
    let api = Api::start(|seen| match seen.target.as_str() {
        "/base/v2/me?all=1" => response(200, "me"),
        "/base/missing" => response(404, "no"),
        "/base/page" => {
            let mut login = response(302, "");
            let to = "https://login.example/authorize?state=abc".parse().unwrap();
            login.headers_mut().insert("location", to);
            login
        }
        _ => unauthorized("Bearer error=\"invalid_token\", error_description=\"wrong audience\""),
    });
    let config = smallest(&api, &idp).replace(&api.url(), &format!("{}/base", api.url()));
    let (_dir, path) = directory(&config);
    let check = ["check", "--config", &path, "--online"];
    let good = ask(&[&check[..], &["--try", "api=/v2/me?all=1"]].concat()).await;
    assert_eq!((good.code, good.stdout.as_str()), (0, "ok\n"), "{good:?}");
    assert!(good.stderr.contains("answers 200"), "{good:?}");
    assert_eq!(api.seen().len(), 1);
    assert_eq!(api.seen()[0].authorization(), "Bearer token-1");

    let tries = ["--try", "api=/other", "--try", "api=/missing"];
    let bad = ask(&[&check[..], &tries].concat()).await;
    assert_eq!((bad.code, bad.stdout.as_str()), (1, ""), "{bad:?}");
    let expected = "FAILED  try api: GET /base/other answers 401 (invalid_token: wrong audience); \
                    it rejects the token: check the credential's audience";
    assert!(bad.stderr.contains(expected), "{bad:?}");
    assert!(
        bad.stderr.contains("GET /base/missing answers 404"),
        "{bad:?}"
    );

    let page = ask(&[&check[..], &["--try", "api=/page"]].concat()).await;
    assert_eq!((page.code, page.stdout.as_str()), (1, ""), "{page:?}");
    let expected = "FAILED  try api: GET /base/page answers 302; redirected to \
                    https://login.example/authorize (the API may want a browser's login); \
                    not shown to accept the token\n";
    assert!(page.stderr.contains(expected), "{page:?}");

    let unknown = ask(&[&check[..], &["--try", "crm=/me"]].concat()).await;
    assert_eq!(unknown.code, 2, "{unknown:?}");
    assert!(unknown.stderr.contains("there are: api"), "{unknown:?}");
}

#[tokio::test]
async fn token_shows_what_came_and_names_what_there_is() {
    let (api, idp) = (Api::open(), Idp::start());
    let (_dir, path) = directory(&smallest(&api, &idp));
    let shown = ask(&["token", "api", "--config", &path]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(
        shown.stdout.contains("Bearer") && shown.stdout.contains("1h"),
        "{shown:?}"
    );
    assert!(!shown.stdout.contains("token-1"), "{shown:?}");
    let unknown = ask(&["token", "apy", "--config", &path]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    assert!(unknown.stderr.contains("there are: api"), "{unknown:?}");
    idp.behave(Behaviour::Answers(503, String::new()));
    let failed = ask(&["token", "api", "--config", &path]).await;
    assert_eq!((failed.code, failed.stdout.as_str()), (1, ""));
    assert!(failed.stderr.contains("503"), "{failed:?}");
}

#[tokio::test]
async fn a_token_that_is_bound_to_something_else_is_a_failure() {
    let (api, idp) = (Api::open(), Idp::start());
    let (_dir, path) = directory(&smallest(&api, &idp));
    // {"cnf":{"jkt":"other"}}
    let token = "e30.eyJjbmYiOnsiamt0Ijoib3RoZXIifX0.c2ln";
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer"}}"#);
    idp.behave(Behaviour::Answers(200, body));
    let reason = "to a DPoP key (cnf.jkt is other) that requests with this token do not show";
    let shown = ask(&["token", "api", "--config", &path]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.stdout.contains(reason), "{shown:?}");
    assert!(shown.stderr.contains(reason), "{shown:?}");
    let checked = ask(&["check", "--online", "--config", &path]).await;
    assert_eq!((checked.code, checked.stdout.as_str()), (1, ""));
    assert!(checked.stderr.contains(reason), "{checked:?}");
}

#[tokio::test]
async fn health_tells_ready_from_unready_from_absent() {
    let (api, idp) = (Api::open(), Idp::start());
    idp.behave(Behaviour::Holds);
    let process = Process::start(&smallest(&api, &idp)).await;
    let url = format!("http://{}/readyz", process.admin());
    let ask_url = async || ask(&["health", "--url", &url]).await;
    // It is impatient: on a busy machine an answer may be too late, and is asked for again.
    eventually("unready, and why", async || {
        let unready = ask_url().await;
        assert_eq!(unready.code, 1, "{unready:?}");
        unready.stderr.contains("503") && unready.stderr.contains("\"api\"")
    })
    .await;

    idp.behave(Behaviour::Healthy);
    idp.let_go(1);
    eventually("ready", async || ask_url().await.code == 0).await;
    // It finds the address in the configuration too.
    let admin = format!(
        "[admin]\naddress = \"{}\"\n{}",
        process.admin(),
        smallest(&api, &idp)
    );
    let (_dir, path) = directory(&admin);
    eventually("ready", async || {
        ask(&["health", "--config", &path]).await.code == 0
    })
    .await;

    process.signal(Signal::TERM);
    process.ended().await;
    let absent = ask_url().await;
    assert_eq!(absent.code, 1);
    assert!(absent.stderr.contains("cannot connect"), "{absent:?}");
    assert_eq!(
        ask(&["health", "--url", "https://127.0.0.1/"]).await.code,
        2
    );
}

#[tokio::test]
async fn demo_once_prints_the_answer_and_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let mut demo = command(&["demo", "--once"]);
    demo.env("TMPDIR", temp.path());
    let ended = run(demo).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let answer: serde_json::Value = serde_json::from_str(&ended.stdout).expect("the API's answer");
    assert!(answer.is_object(), "{answer}");
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn demo_runs_reloads_as_it_suggests_and_cleans_up() {
    for signal in [Signal::INT, Signal::TERM] {
        let temp = tempfile::tempdir().unwrap();
        let mut demo = command(&["demo"]);
        demo.env("TMPDIR", temp.path());
        let demo = Process::spawn(demo, tempfile::tempdir().unwrap());
        eventually("listening", async || demo.told("admin").is_some()).await;
        // Two pipes: what was written first may be read last.
        let hello = format!("curl -i http://{}/hello", demo.address());
        eventually("lines to try", async || {
            let guide = demo.stdout();
            guide.contains(&hello)
                && guide.lines().filter(|l| l.starts_with("  curl ")).count() >= 4
        })
        .await;
        assert_eq!(get(demo.address(), "/hello").await.status, 200);
        assert_eq!(get(demo.address(), "/bare").await.status, 200);

        let file = std::fs::read_dir(temp.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let file = file.join("sidebearer.toml");
        let path = file.to_str().unwrap();
        assert_eq!(ask(&["check", "--config", path]).await.code, 0);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("\n#+ ", "\n")).unwrap();
        let checked = ask(&["check", "--config", path]).await;
        assert_eq!(checked.code, 0, "{checked:?}");
        eventually("the edit is in use", async || {
            get(demo.address(), "/bare").await.status == 401
        })
        .await;
        assert_eq!(get(demo.address(), "/hello").await.status, 200);

        demo.signal(signal);
        let ended = demo.ended().await;
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
