//! Tokens bound to a certificate (RFC 8705 section 3), and the rotation of the certificate under
//! them.

mod rotation;
mod trouble;
mod world;

use crate::support::client;
use crate::support::process::{command, run};
use world::World;

#[tokio::test]
async fn a_token_is_sent_with_the_certificate_it_is_bound_to() {
    let world = World::new();
    let first = world.certificate();
    world.server.knows(&first);
    let sidebearer = world.start(&first);
    for path in ["/http1", "/http2"] {
        let answer = client::get(sidebearer.address(), path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    assert_eq!(world.shown(), [first.thumbprint(), first.thumbprint()]);
    assert_eq!(world.server.requests(), 1);
    let credential = sidebearer.status().await["credentials"]["bound"].clone();
    assert_eq!(credential["certificate"], first.thumbprint());
    assert!(credential["rotation"].is_null(), "{credential}");
}

#[tokio::test]
async fn check_connects_with_the_certificate_of_the_credential() {
    let world = World::new();
    let certified_key = world.certificate();
    world.server.knows(&certified_key);
    let dir = world.files(&certified_key);
    let path = dir.path().join("sidebearer.toml");
    let bound = world.config("");
    let bare = bound.replace(", certificate_from = \"bound\"", "");
    for (config, code) in [(&bound, 0), (&bare, 1)] {
        std::fs::write(&path, config).unwrap();
        let arguments = ["check", "--online", "--config", path.to_str().unwrap()];
        let ended = run(command(&arguments)).await;
        assert_eq!(ended.code, code, "{}", ended.stderr);
    }
}
