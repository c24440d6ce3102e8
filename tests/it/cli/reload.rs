//! `sidebearer reload`.

use rustix::process::Signal;

use crate::support::api::Api;
use crate::support::idp::Idp;
use crate::support::process::{Process, command, run};
use crate::support::{eventually, loopback, smallest};

#[tokio::test]
async fn reload_tells_what_is_wrong_and_asks_whom_a_broken_configuration_names() {
    let (api, idp) = (Api::open(), Idp::start());
    let process = Process::start(&smallest(&api, &idp)).await;
    let path = process.dir().join("sidebearer.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let reload = async || {
        let path = path.to_str().unwrap();
        run(command(&["reload", "--config", path])).await
    };

    // The port is of the system's choice here: the file cannot name it.
    let named = format!("[admin]\naddress = \"{}\"\n", process.admin());
    let url = format!("http://{}/reload", process.admin());
    let done = run(command(&["reload", "--url", &url])).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.starts_with("reloaded: snapshot "), "{done:?}");

    let listeners = good.find("[[listeners]]").unwrap();
    let broken = format!("{named}nonsense = 1\n{}", &good[listeners..]);
    std::fs::write(&path, broken).unwrap();
    let refused = reload().await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("nonsense"), "{refused:?}");
    assert!(refused.stderr.contains("keeps serving"), "{refused:?}");
    eventually("the last good one is ready", async || {
        let health = command(&["health", "--config", path.to_str().unwrap()]);
        run(health).await.code == 0
    })
    .await;

    process.signal(Signal::TERM);
    assert_eq!(process.ended().await.code, 0);
    let nobody = run(command(&["reload", "--url", &url])).await;
    assert_eq!(nobody.code, 1, "{nobody:?}");
    assert!(
        nobody.stderr.contains("--url names another address"),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn reload_asks_where_a_changed_configuration_moves_the_admin_pages() {
    let (api, idp) = (Api::open(), Idp::start());
    let process = Process::start(&smallest(&api, &idp)).await;
    let path = process.dir().join("sidebearer.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    let listeners = good.find("[[listeners]]").unwrap();
    let moved = format!(
        "[admin]\naddress = \"{}\"\n{}",
        loopback(),
        &good[listeners..]
    );
    std::fs::write(&path, moved).unwrap();
    let done = run(command(&["reload", "--config", path.to_str().unwrap()])).await;
    assert_eq!(done.code, 0, "{done:?}");
}

#[tokio::test]
async fn a_url_is_asked_for_the_page_of_the_command_and_its_answer_is_checked() {
    let (api, idp) = (Api::open(), Idp::start());
    let process = Process::start(&smallest(&api, &idp)).await;
    let admin = format!("http://{}", process.admin());
    let done = run(command(&["reload", "--url", &admin])).await;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.starts_with("reloaded: snapshot "), "{done:?}");
    let ready = run(command(&["health", "--url", &admin])).await;
    assert_eq!(ready.code, 0, "{ready:?}");
    // The listener of the service, whose API answers 200.
    let app = format!("http://{}/x", process.address());
    let other = run(command(&["reload", "--url", &app])).await;
    assert_eq!((other.code, other.stdout.as_str()), (1, ""), "{other:?}");
    assert!(
        other.stderr.contains("is this its admin address?"),
        "{other:?}"
    );
}
