//! Certificates that bring no token, and files that hold none.

use super::world::{World, get, status, write};
use crate::support::eventually;
use crate::support::sidebearer::{Sidebearer, with_admin};

async fn pending(sidebearer: &Sidebearer, state: &str) -> serde_json::Value {
    let mut shown = serde_json::Value::Null;
    eventually("the other certificate stands by", async || {
        shown = status(sidebearer).await;
        shown["rotation"]["state"] == state
    })
    .await;
    shown
}

#[tokio::test]
async fn a_certificate_that_brings_no_token_waits_while_the_old_one_serves() {
    let world = World::new();
    let (first, second) = (world.certificate(), world.certificate());
    world.server.knows(&first);
    // Renewed with the old certificate while the new one waits.
    world.server.set_lifetime(5);
    let sidebearer = world.start(&first);
    get(&sidebearer, "/http1").await;

    write(&sidebearer, &second);
    let shown = pending(&sidebearer, "refused").await;
    assert_eq!(shown["certificate"], first.thumbprint());
    assert_eq!(shown["rotation"]["certificate"], second.thumbprint());
    let error = shown["rotation"]["last_error"]["message"].as_str().unwrap();
    assert!(error.contains("invalid_client"), "{error}");

    // What else changes is taken up.
    let more = "\n[[routes]]\npath = \"/more\"\nupstream = \"http1\"\n";
    sidebearer.reconfigure(&world.config(more)).await.unwrap();
    get(&sidebearer, "/more").await;
    let mut issued = status(&sidebearer).await["expires_at"].as_u64().unwrap();
    for _ in 0..2 {
        eventually("the token bound to the old one is renewed", async || {
            get(&sidebearer, "/http2").await;
            status(&sidebearer).await["expires_at"].as_u64().unwrap() > issued
        })
        .await;
        issued = status(&sidebearer).await["expires_at"].as_u64().unwrap();
    }
    assert!(world.shown().iter().all(|it| *it == first.thumbprint()));

    // Nobody tells that the server knows it by now.
    world.server.knows(&second);
    world.only(&sidebearer, &second).await;
    assert!(status(&sidebearer).await["rotation"].is_null());
    world.shown();
}

#[tokio::test]
async fn a_silent_server_holds_up_neither_requests_nor_reloads() {
    let (world, _, second, sidebearer) = World::serving().await;
    world.server.knows(&second);
    world.server.hold();
    write(&sidebearer, &second);
    pending(&sidebearer, "fetching").await;

    let more = "\n[[routes]]\npath = \"/more\"\nupstream = \"http2\"\n";
    sidebearer.reconfigure(&world.config(more)).await.unwrap();
    get(&sidebearer, "/more").await;
    assert_eq!(status(&sidebearer).await["rotation"]["state"], "fetching");
    world.server.let_go();
    world.only(&sidebearer, &second).await;
    world.shown();
}

#[tokio::test]
async fn a_certificate_that_is_taken_back_was_never_in_use() {
    let (world, first, second, sidebearer) = World::serving().await;
    write(&sidebearer, &second);
    pending(&sidebearer, "refused").await;
    write(&sidebearer, &first);
    eventually("nothing stands by", async || {
        status(&sidebearer).await["rotation"].is_null()
    })
    .await;
    world.server.knows(&second);
    sidebearer.reload().await.unwrap();
    get(&sidebearer, "/http1").await;
    assert!(world.shown().iter().all(|it| *it == first.thumbprint()));
}

#[tokio::test]
async fn a_third_certificate_overtakes_a_second_that_waits() {
    let world = World::new();
    let (first, second, third) = (
        world.certificate(),
        world.certificate(),
        world.certificate(),
    );
    world.server.knows(&first);
    let sidebearer = world.start(&first);
    get(&sidebearer, "/http1").await;
    write(&sidebearer, &second);
    pending(&sidebearer, "refused").await;
    world.server.knows(&third);
    write(&sidebearer, &third);
    world.only(&sidebearer, &third).await;
    assert!(!world.shown().contains(&second.thumbprint()));
}

#[tokio::test]
async fn with_nothing_left_to_lose_the_new_certificate_is_in_use_without_a_token() {
    let world = World::new();
    let (first, second) = (world.certificate(), world.certificate());
    world.server.knows(&first);
    world.server.set_lifetime(4);
    let sidebearer = world.start(&first);
    get(&sidebearer, "/http1").await;
    write(&sidebearer, &second);
    pending(&sidebearer, "refused").await;

    world.server.knows_nobody();
    eventually("the old one gives way", async || {
        let shown = status(&sidebearer).await;
        shown["certificate"] == second.thumbprint() && shown["rotation"].is_null()
    })
    .await;
    world.server.knows(&second);
    sidebearer.reload().await.unwrap();
    world.only(&sidebearer, &second).await;
    world.shown();
}

#[tokio::test]
async fn broken_files_change_nothing() {
    let (world, first, second, sidebearer) = World::serving().await;
    world.server.knows(&second);
    let half = &second.certificate_pem[..second.certificate_pem.len() / 2];
    let (certificate, key) = ("client.pem", "client.key");
    for (broken, file) in [
        (half, certificate),
        ("", certificate),
        (second.certificate_pem.as_str(), key),
    ] {
        // The last is whole, but not of the key.
        sidebearer.write("client.pem", broken);
        let refused = sidebearer.reload().await.unwrap_err().to_string();
        assert!(
            refused.contains("_file` in [credentials.bound.tls]"),
            "{refused}"
        );
        let shown = sidebearer.status().await;
        assert_eq!(shown["reload"]["outcome"], "failure");
        for path in ["/http1", "/http2"] {
            get(&sidebearer, path).await;
        }
        let shown = status(&sidebearer).await;
        assert!(shown["rotation"].is_null());
        let at_fault = shown["faults"][0]["file"].as_str().unwrap_or_default();
        assert!(at_fault.ends_with(file), "{file}: {}", shown["faults"]);
    }
    assert!(world.shown().iter().all(|it| *it == first.thumbprint()));
    assert_eq!(world.server.requests(), 1);
    write(&sidebearer, &second);
    world.only(&sidebearer, &second).await;
    assert_eq!(world.server.requests(), 2);
    assert_eq!(status(&sidebearer).await["faults"], serde_json::json!([]));
    world.shown();
}

#[tokio::test]
async fn a_refused_configuration_does_not_hold_up_a_certificate() {
    let (world, _, second, sidebearer) = World::serving().await;
    world.server.knows(&second);
    sidebearer.write("sidebearer.toml", &with_admin("mistake = true\n"));
    sidebearer.reload().await.unwrap_err();
    write(&sidebearer, &second);
    world.only(&sidebearer, &second).await;
    assert_eq!(sidebearer.status().await["reload"]["outcome"], "failure");
    world.shown();
}

#[tokio::test]
async fn a_broken_file_of_another_does_not_hold_up_a_certificate() {
    let world = World::new();
    let (first, second) = (world.certificate(), world.certificate());
    world.server.knows(&first);
    world.server.knows(&second);
    let dir = world.files(&first);
    for (name, text) in [
        ("own.pem", &first.certificate_pem),
        ("own.key", &first.key_pem),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let more = r#"
[[routes]]
path = "/other"
upstream = "other"

[upstreams.other]
url = "https://localhost:1"
tls = { certificate_file = "own.pem", key_file = "own.key" }
"#;
    let sidebearer = Sidebearer::start_in(dir, &world.config(more));
    get(&sidebearer, "/http1").await;
    sidebearer.write("own.pem", "");
    sidebearer.reload().await.unwrap_err();
    write(&sidebearer, &second);
    world.only(&sidebearer, &second).await;
    assert_eq!(sidebearer.status().await["reload"]["outcome"], "failure");
    world.shown();
}

#[tokio::test]
async fn an_upstream_that_is_bound_by_a_reload_gets_a_token_of_its_certificate() {
    let world = World::new();
    let certified_key = world.certificate();
    world.server.knows(&certified_key);
    let sidebearer = world.start(&certified_key);
    get(&sidebearer, "/http1").await;
    let bound = world.config("");
    let own = "certificate_file = \"client.pem\", key_file = \"client.key\"";
    let free = bound.replace("certificate_from = \"bound\"", own);
    for config in [&free, &bound] {
        sidebearer.reconfigure(config).await.unwrap();
        get(&sidebearer, "/http1").await;
        get(&sidebearer, "/http2").await;
        let is_bound = !status(&sidebearer).await["certificate"].is_null();
        assert_eq!(is_bound, config == &bound);
    }
    world.shown();
}
