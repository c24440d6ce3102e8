//! Files that are not usable for a moment: renewals go on, and it is known which file and why.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt;
use rcgen::KeyPair;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::outcome;
use crate::support::eventually;
use crate::support::keys::{key, part};
use crate::support::process::Process;
use crate::support::server::{self, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::{client, tls::Ca};

const EMPTY: (Option<&[u8]>, &str) = (Some(b""), "it is empty");
const MISSING: (Option<&[u8]>, &str) = (None, "it cannot be read: No such file");

/// An authorization server that takes everything, and whose tokens are renewed every second.
struct Keen {
    url: String,
    forms: Arc<Mutex<Vec<String>>>,
    /// The last proof of possession.
    proof: Arc<Mutex<String>>,
}

impl Keen {
    fn start() -> Self {
        let forms = Arc::<Mutex<Vec<String>>>::default();
        let proof = Arc::<Mutex<String>>::default();
        let (seen, shown) = (Arc::clone(&forms), Arc::clone(&proof));
        let address = server::serve(None, move |request| {
            let (seen, shown) = (Arc::clone(&seen), Arc::clone(&shown));
            async move {
                if let Some(proof) = request.headers().get("dpop") {
                    *shown.lock().unwrap() = proof.to_str().unwrap().to_owned();
                }
                let form = request.into_body().collect().await.unwrap().to_bytes();
                let mut seen = seen.lock().unwrap();
                seen.push(String::from_utf8(form.to_vec()).unwrap());
                let token = format!("token-{}", seen.len());
                let token = json!({"access_token": token, "token_type": "Bearer", "expires_in": 2});
                response(200, token.to_string())
            }
        });
        let url = format!("http://{address}/token");
        Self { url, forms, proof }
    }

    fn requests(&self) -> usize {
        self.forms.lock().unwrap().len()
    }

    /// The value of a field in the last request.
    fn last(&self, field: &str) -> String {
        let form = self.forms.lock().unwrap().last().cloned();
        let form = form.unwrap_or_default();
        let mut pairs = url::form_urlencoded::parse(form.as_bytes());
        let pair = pairs.find(|(name, _)| name == field);
        pair.map_or_else(String::new, |(_, value)| value.into_owned())
    }

    fn config(&self, credential: &str) -> String {
        format!(
            "[[listeners]]\nname = \"app\"\naddress = \"127.0.0.1:0\"\nupstream = \"api\"\n\
             [upstreams.api]\nurl = \"http://127.0.0.1:9\"\ncredential = \"api\"\n\
             [credentials.api]\ntoken_endpoint = \"{}\"\nclient_id = \"billing\"\n{credential}\n",
            self.url
        )
    }
}

async fn faults(sidebearer: &Sidebearer) -> Vec<Value> {
    let status = sidebearer.status().await;
    let faults = &status["credentials"]["api"]["faults"];
    faults.as_array().expect("it is always there").clone()
}

/// What a file may hold in place of this JWT, and what is said of it.
fn spoiled_jwts(jwt: &str) -> [(Option<&[u8]>, &'static str); 3] {
    let half = Some(&jwt.as_bytes()[..20]);
    [EMPTY, MISSING, (half, "it holds something that is no JWT")]
}

/// Spoils the file `named` in each way, which must harm no renewal and be told by `/status` in these
/// words, then writes `next` into it. `shows` is what a server sees of its content.
async fn spoil(
    credential: &str,
    [good, next]: [&str; 2],
    bad: &[(Option<&[u8]>, &str)],
    shows: impl Fn(&Keen) -> String,
) {
    let idp = Keen::start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("named");
    fs::write(&file, good).unwrap();
    let sidebearer = Sidebearer::start_in(dir, &idp.config(credential));
    sidebearer.ready().await;
    let (healthy, named) = (shows(&idp), file.to_str().unwrap());
    assert_eq!(faults(&sidebearer).await, [Value::Null; 0]);

    for (bad, expected) in bad {
        match bad {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let mut found = Vec::new();
        // While it is written it is empty, which may be seen first.
        eventually(expected, async || {
            found = faults(&sidebearer).await;
            let fault = found.first().and_then(|found| found["fault"].as_str());
            fault.is_some_and(|fault| fault.starts_with(expected))
        })
        .await;
        assert_eq!((found.len(), &found[0]["file"]), (1, &json!(named)));
        let requests = idp.requests();
        eventually("it is renewed twice", async || {
            idp.requests() > requests + 1
        })
        .await;
        assert_eq!(shows(&idp), healthy, "by what was good");
        let status = sidebearer.status().await["credentials"]["api"].clone();
        assert_eq!(status["consecutive_failures"], 0, "{status}");

        fs::write(&file, good).unwrap();
        eventually("it is good again", async || {
            faults(&sidebearer).await.is_empty()
        })
        .await;
    }

    fs::write(&file, next).unwrap();
    eventually("the next good content is used", async || {
        shows(&idp) != healthy
    })
    .await;
    let status = sidebearer.status().await["credentials"]["api"].clone();
    assert_eq!(status["last_error"], Value::Null, "nothing ever failed");
}

fn jwt(subject: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = json!({"sub": subject, "exp": now.as_secs() + 600}).to_string();
    format!("e30.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims))
}

#[tokio::test]
async fn a_client_secret_that_is_spoiled_for_a_moment_harms_no_renewal() {
    let credential = "auth_method = \"client_secret_post\"\nclient_secret = { file = \"named\" }";
    let bad = [
        EMPTY,
        MISSING,
        (Some(&[0xff][..]), "it cannot be read: it is not UTF-8 text"),
    ];
    let shows = |idp: &Keen| idp.last("client_secret");
    spoil(credential, ["one", "two"], &bad, shows).await;
}

#[tokio::test]
async fn a_private_key_that_is_spoiled_for_a_moment_harms_no_renewal() {
    let credential = "auth_method = \"private_key_jwt\"\nprivate_key = { file = \"named\" }";
    let (good, next) = (key!("p256.pkcs8.pem"), key!("ed25519.pkcs8.pem"));
    let bad = [
        EMPTY,
        MISSING,
        (Some(&good.as_bytes()[..80]), "its PEM is not whole"),
    ];
    let shows = |idp: &Keen| part(&idp.last("client_assertion"), 0)["alg"].to_string();
    spoil(credential, [good, next], &bad, shows).await;
}

#[tokio::test]
async fn a_proof_key_that_is_spoiled_for_a_moment_harms_no_renewal() {
    let credential = "client_secret = \"s3cret\"\ndpop = \"optional\"\n\
                      dpop_key = { file = \"named\" }";
    let (good, next) = (key!("p256.pkcs8.pem"), KeyPair::generate().unwrap());
    let bad = [
        EMPTY,
        MISSING,
        (Some(&good.as_bytes()[..80]), "its PEM is not whole"),
        (Some(key!("ed25519.pkcs8.pem").as_bytes()), "ES256 needs"),
    ];
    let shows = |idp: &Keen| part(&idp.proof.lock().unwrap(), 0)["jwk"]["x"].to_string();
    spoil(credential, [good, &next.serialize_pem()], &bad, shows).await;
}

#[tokio::test]
async fn an_assertion_that_is_spoiled_for_a_moment_harms_no_renewal() {
    let credential = "auth_method = \"client_assertion\"\nclient_assertion = { file = \"named\" }";
    let (good, next) = (jwt("one"), jwt("two"));
    let shows = |idp: &Keen| idp.last("client_assertion");
    spoil(credential, [&good, &next], &spoiled_jwts(&next), shows).await;
}

#[tokio::test]
async fn a_subject_token_that_is_spoiled_for_a_moment_harms_no_renewal() {
    let credential = "auth_method = \"none\"\ngrant = \"token-exchange\"\n\
                      subject_token = { file = \"named\" }";
    let (good, next) = (jwt("one"), jwt("two"));
    let shows = |idp: &Keen| idp.last("subject_token");
    spoil(credential, [&good, &next], &spoiled_jwts(&next), shows).await;
}

#[tokio::test]
async fn a_spoiled_tls_file_of_a_credential_is_on_its_status() {
    let ca = Ca::new();
    let certified_key = ca.own_certificate().server(&["http/1.1"]);
    let token = r#"{"access_token":"tok","token_type":"Bearer","expires_in":3600}"#;
    let address = server::serve(
        Some(certified_key),
        move |_| async move { response(200, token) },
    );
    let idp = Keen {
        url: format!("https://{address}/token"),
        forms: Arc::default(),
        proof: Arc::default(),
    };
    let (one, other) = (ca.certificate(&["billing"]), ca.certificate(&["billing"]));
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("ca.pem", &ca.pem);
    write("certificate.pem", &one.certificate_pem);
    write("key.pem", &one.key_pem);
    let credential = "auth_method = \"tls_client_auth\"\ntls = { ca_file = \"ca.pem\", \
                      certificate_file = \"certificate.pem\", key_file = \"key.pem\" }";
    let sidebearer = Sidebearer::start_in(dir, &idp.config(credential));
    sidebearer.ready().await;
    for (name, bad, good, fault) in [
        ("ca.pem", "", &ca.pem, "it holds no PEM certificate"),
        (
            "key.pem",
            &*other.key_pem,
            &one.key_pem,
            "the key is not that of the certificate",
        ),
    ] {
        sidebearer.write(name, bad);
        let named = sidebearer.dir().join(name).display().to_string();
        let mut found = Vec::new();
        eventually("/status names the file", async || {
            found = faults(&sidebearer).await;
            !found.is_empty()
        })
        .await;
        assert_eq!((found.len(), &found[0]["file"]), (1, &json!(named)));
        let told = found[0]["fault"].as_str().unwrap();
        assert!(told.contains(fault), "{told}");
        eventually("the reload ends in failure", async || {
            outcome(&sidebearer).await.0 == "failure"
        })
        .await;

        sidebearer.write(name, good);
        eventually("it is good again", async || {
            faults(&sidebearer).await.is_empty()
        })
        .await;
        eventually("the reload ends in success", async || {
            outcome(&sidebearer).await.0 == "success"
        })
        .await;
    }
}

#[tokio::test]
async fn the_log_tells_once_that_a_file_is_no_good_and_once_that_it_is_again() {
    const BAD: &str = "cannot be used: the last good one stays in use";
    const GOOD: &str = "can be used again";
    let idp = Keen::start();
    let key = key!("p256.pkcs8.pem");
    let (half, content) = (&key[..80], &key[40..60]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("named");
    fs::write(&file, key).unwrap();
    let credential = "auth_method = \"private_key_jwt\"\nprivate_key = { file = \"named\" }";
    let config = format!("[log]\nlevel = \"trace\"\n{}", idp.config(credential));
    let process = Process::start_in(dir, &config).await;
    eventually("a token", async || idp.requests() > 0).await;

    fs::write(&file, half).unwrap();
    eventually("the log tells", async || process.told(BAD).is_some()).await;
    let requests = idp.requests();
    eventually("it is renewed", async || idp.requests() > requests + 1).await;
    let status = client::get(process.admin(), "/status").await.text();
    fs::write(&file, key).unwrap();
    eventually("the log tells", async || process.told(GOOD).is_some()).await;
    process.signal(Signal::TERM);
    let log = process.ended().await.stderr;

    for (message, level) in [(BAD, "WARN"), (GOOD, "INFO")] {
        let lines = log.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == message).then_some(line)
        });
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), 1, "{log}");
        let line = &lines[0];
        assert_eq!(
            (line["level"].as_str(), line["credential"].as_str()),
            (Some(level), Some("api"))
        );
        let named = line["file"].as_str().map(Path::new);
        assert_eq!(named, Some(&*file));
    }
    assert!(status.contains(file.to_str().unwrap()), "{status}");
    for (whose, text) in [("the log", log), ("/status", status)] {
        assert!(!text.contains(content), "the key is in {whose}");
    }
}
