//! What a token has opened belongs to whom the token means at each moment, and to nobody if it means nobody.

use std::time::Duration;

use serde_json::json;
use sidebearer::jose::Algorithm;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{asked, credential, echo_after_upgrade, echoes};
use crate::support::api::Api;
use crate::support::jwt::{Signer, set};
use crate::support::keys;
use crate::support::server;
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, eventually};

/// The caller whose tokens have this subject.
fn of_subject(name: &str, subject: &str, issuer: &str) -> String {
    format!(
        "[callers.{name}]\ntoken = {{ issuer = \"{issuer}\", audience = \"a\", claims = {{ sub = \"{subject}\" }}, \
         jwks_file = \"jwks\" }}\n"
    )
}

#[tokio::test]
async fn what_a_token_has_opened_is_of_whom_it_means_after_a_reload() {
    let [signer, other] = ["k", "other"].map(|id| {
        let key = keys::key!("p256.jwk");
        Signer::read(key, Algorithm::ES256, id)
    });
    let claims = json!({ "iss": "https://i", "aud": "a", "sub": "s", "exp": 4_000_000_000_u64 });
    let token = signer.sign(&claims);
    let one = of_subject("alpha", "s", "https://i");
    let before = format!("{one}{}", of_subject("beta", "t", "https://i"));
    let swapped = of_subject("alpha", "t", "https://i") + &of_subject("beta", "s", "https://i");
    let elsewhere = of_subject("alpha", "s", "https://j") + &of_subject("beta", "t", "https://j");
    let away = of_subject("alpha", "u", "https://i") + &of_subject("beta", "t", "https://i");
    let more = format!("{}{before}", of_subject("aaa", "x", "https://i"));
    // What changes, the callers then, the keys then, whose requests inside are, and whether the tunnels stay.
    let table = [
        ("nothing", &before, &signer, Some("alpha"), true),
        ("another caller comes", &more, &signer, Some("alpha"), true),
        (
            "the claims are another's",
            &swapped,
            &signer,
            Some("beta"),
            false,
        ),
        ("the claims are nobody's", &away, &signer, None, false),
        ("the issuer is another", &elsewhere, &signer, None, false),
        ("the key is withdrawn", &before, &other, None, false),
    ];
    for (change, after, keys, expected, stays) in table {
        let (api, far, chat) = (Api::open(), server::echo(), echo_after_upgrade());
        let plain = api.url().replace("http://", "");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("jwks"), set([&signer]).to_string()).unwrap();
        let [alpha, beta] = ["alpha", "beta"].map(|name| credential(name, dir.path()));
        let address = any_port();
        let config = |callers: &str| {
            format!(
                "{callers}{alpha}{beta}[[listeners]]\nname = \"app\"\naddress = \"{address}\"\nkind = \"forward\"\n\
                 callers = [\"*\"]\n[upstreams.plain]\nurl = \"http://{plain}\"\n\
                 credentials = {{ alpha = \"alpha\", beta = \"beta\" }}\n[upstreams.far]\nurl = \"https://{far}\"\n\
                 [upstreams.chat]\nurl = \"http://{chat}\"\n"
            )
        };
        let site = Sidebearer::start_in(dir, &config(&before));
        let ask_for = async |target: &str| {
            let mut client = TcpStream::connect(site.address()).await.unwrap();
            let head = format!(
                "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
            );
            let answer = asked(&mut client, &head).await;
            (client, answer)
        };
        let connect = async |target: &str| {
            let (client, answer) = ask_for(target).await;
            assert_eq!(answer, "HTTP/1.1 200 OK");
            client
        };
        eventually("the keys are read", async || {
            ask_for(&plain).await.1.contains(" 200 ")
        })
        .await;
        let mut inside = connect(&plain).await;
        let mut tunnel = connect(&far.to_string()).await;
        let mut upgrade = connect(&chat.to_string()).await;
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {chat}\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n"
        );
        assert!(asked(&mut upgrade, &head).await.contains(" 101 "));
        let head = format!("HEAD / HTTP/1.1\r\nHost: {plain}\r\n\r\n");
        assert_eq!(&asked(&mut inside, &head).await[9..12], "200");

        site.write("jwks", &set([keys]).to_string());
        site.reconfigure(&config(after)).await.unwrap();
        if expected.is_none() {
            // Keys are read beside the reload.
            eventually("the token counts no longer", async || {
                ask_for(&plain).await.1.contains(" 407 ")
            })
            .await;
        }
        let answer = asked(&mut inside, &head).await;
        let seen = api.seen();
        if let Some(caller) = expected {
            assert_eq!(&answer[9..12], "200", "{change}");
            let sent = seen[1].authorization();
            assert!(
                sent.starts_with(&format!("Bearer {caller}")),
                "{change}: {sent}"
            );
        } else {
            assert_eq!((&answer[9..12], seen.len()), ("407", 1), "{change}");
        }
        for tunnel in [&mut tunnel, &mut upgrade] {
            if stays {
                assert!(echoes(tunnel).await, "{change}");
            } else {
                // Long before it is asked anyhow.
                let end = timeout(Duration::from_secs(30), tunnel.read_u8());
                assert!(end.await.expect(change).is_err(), "{change}");
            }
        }
    }
}
