//! Secrets and tokens are nowhere: not in the log at `trace`, not in an answer, not on a page, not
//! in what a command prints.

mod search;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderValue, Method};
use http_body_util::BodyExt;
use rustix::process::Signal;
use tempfile::TempDir;

use search::{assert_clean, assert_clean_output, encodings, needles};

use crate::support::api::Api;
use crate::support::client::{self, get, raw, request};
use crate::support::process::{Process, command, run};
use crate::support::server::{self, response};
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, eventually, loopback};

/// From a file, in a literal, as another form field and as another header.
const SECRETS: [&str; 4] = [
    "fi1e+s3cret/with&all=kinds%of: @chars~",
    "l1teral-s3cret?with>more<kinds+of/chars",
    "parameter s3cret&of=the%form/body",
    "header-s3cret-of-the-token-request",
];
/// What clients bring along, which does not belong in a log either.
const CLIENT_SECRETS: [&str; 4] = [
    "secret-of-the-query-string",
    "secret-of-another-header",
    "Bearer-secret-of-the-client",
    "password-of-the-userinfo",
];
const TOKEN: &str = "t0ken~value.of-the+server/";
/// A signature that never belongs on a screen.
const SIGNATURE: &str = "c2lnbmF0dXJlLW9mLWEtdG9rZW4";

/// The tokens are `TOKEN` with a number; those of `/jwt` are signed.
struct AuthorizationServer {
    url: String,
    /// Every request as it came: where the secrets must be.
    received: Arc<Mutex<String>>,
}

impl AuthorizationServer {
    fn start() -> Self {
        let received = Arc::<Mutex<String>>::default();
        let (keep, issued) = (Arc::clone(&received), Arc::new(AtomicUsize::new(0)));
        let address = server::serve(None, move |request| {
            let (keep, issued) = (Arc::clone(&keep), Arc::clone(&issued));
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = String::from_utf8(body.to_vec()).unwrap();
                let authorization = head.headers.get("authorization");
                let authorization = authorization.map_or("", |value| value.to_str().unwrap());
                let asked = format!("{authorization} {body} {:?}\n", head.headers);
                keep.lock().unwrap().push_str(&asked);
                match head.uri.path() {
                    "/good" => {
                        let number = issued.fetch_add(1, Ordering::SeqCst) + 1;
                        response(200, token_response(&format!("{TOKEN}{number}"), 4))
                    }
                    "/jwt" => response(200, token_response(&jwt(), 3600)),
                    "/html" => response(200, format!("<html>{asked}{}</html>", echoes())),
                    _ => response(401, refusal(&asked)),
                }
            }
        });
        let url = format!("http://{address}");
        Self { url, received }
    }
}

fn token_response(token: &str, expires_in: u64) -> String {
    format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{expires_in}}}"#)
}

fn jwt() -> String {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let (header, claims) = (part(r#"{"alg":"none"}"#), part(r#"{"sub":"billing"}"#));
    format!("{header}.{claims}.{SIGNATURE}")
}

/// A refusal whose texts hold the secrets in each encoding, one at a time within what is shown.
fn refusal(asked: &str) -> String {
    let basic = STANDARD.encode(format!("billing:{}", SECRETS[0]));
    let description = format!("{} Basic {basic} {asked} {}", SECRETS[0], echoes());
    serde_json::json!({ "error": SECRETS[0], "error_description": description }).to_string()
}

fn echoes() -> String {
    let mut text = String::new();
    for secret in SECRETS {
        for encoded in encodings(secret) {
            let _ = write!(text, "<{encoded}> ");
        }
    }
    text
}

fn config(server: &AuthorizationServer, api: &str) -> String {
    let mut text = format!(
        "[log]\nlevel = \"trace\"\naccess = \"all\"\n\
         [[listeners]]\nname = \"app\"\naddress = \"{}\"\n",
        any_port()
    );
    let literal = SECRETS[1];
    for (name, secret, method) in [
        (
            "good",
            "{ file = \"secret\" }".to_owned(),
            "client_secret_basic",
        ),
        ("jwt", format!("\"{literal}\""), "client_secret_post"),
        (
            "html",
            "{ file = \"secret\" }".to_owned(),
            "client_secret_post",
        ),
        (
            "refusing",
            "{ file = \"secret\" }".to_owned(),
            "client_secret_basic",
        ),
    ] {
        let _ = write!(
            text,
            "[[routes]]\npath = \"/{name}\"\nupstream = \"{name}\"\n\
             [upstreams.{name}]\nurl = \"{api}\"\ncredential = \"{name}\"\n\
             [credentials.{name}]\ntoken_endpoint = \"{}/{name}?code={}\"\nclient_id = \"billing\"\n\
             client_secret = {secret}\nauth_method = \"{method}\"\n\
             extra_parameters = {{ more = \"{}\" }}\ntoken_headers = {{ x-more = \"{}\" }}\n",
            server.url, SECRETS[3], SECRETS[2], SECRETS[3],
        );
    }
    text
}

fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), SECRETS[0]).unwrap();
    dir
}

/// Accepts tokens from the second of the good ones on.
fn api() -> String {
    let address = server::serve(None, |request| async move {
        let authorization = request.headers().get("authorization");
        let authorization = authorization.map_or("", |value| value.to_str().unwrap());
        let first = authorization == format!("Bearer {TOKEN}1");
        response(if first { 401 } else { 200 }, "answer")
    });
    format!("http://{address}")
}

#[tokio::test]
async fn no_secret_is_in_a_log_an_answer_or_a_page() {
    let (server, dir) = (AuthorizationServer::start(), directory());
    let config = config(&server, &api());
    let process = Process::start_in(dir, &config).await;
    let (address, admin) = (process.address(), process.admin());
    let fetched = async |outcome: &str| {
        let page = get(admin, "/metrics").await.text();
        let count = page.lines().find_map(|line| {
            let series = "sidebearer_token_requests_total{credential=";
            line.strip_prefix(series)?
                .strip_prefix(outcome)?
                .trim()
                .parse()
                .ok()
        });
        count.unwrap_or(0)
    };

    // The first tokens, a rejected one that is renewed, failures, and a refresh.
    eventually("renewed", async || {
        get(address, "/good").await.status == 200
    })
    .await;
    let mut seen = String::new();
    for path in [
        "/good",
        "/good/again",
        "/jwt",
        "/html",
        "/refusing",
        "/nowhere",
    ] {
        let target = format!("{path}?key={}", CLIENT_SECRETS[0]);
        let mut request = request(Method::GET, &target, "");
        let headers = request.headers_mut();
        headers.insert("x-api-key", HeaderValue::from_static(CLIENT_SECRETS[1]));
        headers.insert("authorization", HeaderValue::from_static(CLIENT_SECRETS[2]));
        let answer = client::send(address, request).await;
        let good = ["/good", "/good/again", "/jwt"].contains(&path);
        assert_eq!(answer.status == 200, good, "{path}: {answer:?}");
        let _ = writeln!(seen, "{:?} {}", answer.headers, answer.text());
    }
    let userinfo = format!("billing:{}@localhost", CLIENT_SECRETS[3]);
    for (target, host) in [
        ("/", userinfo.as_str()),
        (&format!("http://{userinfo}/"), "localhost"),
    ] {
        let head = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = raw(address, head).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        seen.push_str(&answer);
    }
    let garbage = format!("garbage {}\r\n\r\n", CLIENT_SECRETS[0]);
    seen.push_str(&raw(address, garbage).await);
    eventually("a refresh", async || {
        fetched(r#""good",outcome="success"}"#).await >= 3_u64
    })
    .await;

    // Reloads of files that are wrong around a secret.
    let literal = format!("client_secret = \"{}\"", SECRETS[1]);
    for broken in [
        config.replace(&literal, &format!("client_secret = \"{}", SECRETS[1])),
        config.replace(&literal, &format!("{literal} {}", SECRETS[2])),
        config.replace(&literal, &format!("client_secret = [\"{}\"]", SECRETS[1])),
        config.replace(&literal, &format!("client_sekret = \"{}\"", SECRETS[1])),
        config.replace("more = ", "grant_type = "),
    ] {
        assert_ne!(broken, config);
        let with_admin = format!("[admin]\naddress = \"{admin}\"\n{broken}");
        std::fs::write(process.dir().join("sidebearer.toml"), with_admin).unwrap();
        let refused = client::post(admin, "/reload", "").await;
        assert_eq!(refused.status, 422, "{}", refused.text());
        seen.push_str(&refused.text());
        seen.push_str(&get(admin, "/status").await.text());
    }
    // A secret that is damaged for a moment.
    let damaged = [SECRETS[0].as_bytes(), &[0xff]].concat();
    std::fs::write(process.dir().join("secret"), damaged).unwrap();
    eventually("/status tells", async || {
        let page = get(admin, "/status").await.text();
        page.contains("it is not UTF-8 text")
    })
    .await;
    for page in [
        "/status",
        "/metrics",
        "/readyz",
        "/startupz",
        "/livez",
        "/nothing",
    ] {
        seen.push_str(&get(admin, page).await.text());
    }
    process.signal(Signal::TERM);
    let ended = process.ended().await;

    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_clean("answers and pages", &seen);
    assert_clean_output("the process", &ended);
    assert!(
        seen.contains("sidebearer_token_rejections_total{credential=\"good\"} 1"),
        "{seen}"
    );
    // All of it was there to be leaked, and failures were talked about.
    let received = server.received.lock().unwrap().clone();
    for secret in SECRETS {
        let found = needles(secret)
            .iter()
            .any(|needle| received.contains(needle));
        assert!(found, "{secret} in {received}");
    }
    for text in ["[redacted]", "configuration refused", "\"path\":\"/good\""] {
        assert!(ended.stderr.contains(text), "{text} in {}", ended.stderr);
    }
    assert!(seen.contains("[redacted]"), "{seen}");
}

#[tokio::test]
async fn commands_print_no_secret_unless_asked_to_reveal_a_token() {
    let (server, dir) = (AuthorizationServer::start(), directory());
    let path = dir.path().join("sidebearer.toml");
    let config = config(&server, &api());
    std::fs::write(&path, &config).unwrap();
    let ask = async |arguments: &[&str]| {
        let arguments = [arguments, &["--config", path.to_str().unwrap()]].concat();
        run(command(&arguments)).await
    };
    for (arguments, code) in [
        (&["check"][..], 0),
        (&["check", "--online"], 1),
        (&["token", "good"], 0),
        (&["token", "jwt"], 0),
        (&["token", "html"], 1),
        (&["token", "refusing"], 1),
        (&["token", "unknown"], 2),
    ] {
        let ended = ask(arguments).await;
        assert_eq!(ended.code, code, "{arguments:?}: {ended:?}");
        assert_clean_output(&format!("{arguments:?}"), &ended);
    }
    let revealed = ask(&["token", "good", "--reveal"]).await;
    assert!(revealed.stdout.contains(TOKEN), "{revealed:?}");
    let revealed = ask(&["token", "jwt", "--reveal"]).await;
    assert!(revealed.stdout.contains(&jwt()), "{revealed:?}");
    assert!(!revealed.stderr.contains(SIGNATURE), "{revealed:?}");

    let literal = format!("client_secret = \"{}\"", SECRETS[1]);
    for broken in [
        config.replace(&literal, &format!("client_secret = \"{}", SECRETS[1])),
        config.replace(&literal, &format!("client_secret = {}", SECRETS[1])),
        config.replace(&literal, &format!("client_secret = [\"{}\"]", SECRETS[1])),
        config.replace("more = ", "client_id = "),
    ] {
        std::fs::write(&path, broken).unwrap();
        for arguments in [&["check"][..], &["token", "good"], &["run"]] {
            let ended = ask(arguments).await;
            assert_eq!(ended.code, 2, "{arguments:?}: {ended:?}");
            assert_clean_output(&format!("{arguments:?}"), &ended);
        }
    }
}

#[tokio::test]
async fn memory_cannot_be_dumped() {
    use std::os::unix::fs::MetadataExt;
    let config = config(&AuthorizationServer::start(), &api());
    let process = Process::start_in(directory(), &config).await;
    let about = format!("/proc/{}", process.id());
    let limits = std::fs::read_to_string(format!("{about}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let values: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(values, ["0", "0"]);
    // The files of a process that is not dumpable belong to root, whatever user runs it.
    assert_eq!(std::fs::metadata(format!("{about}/mem")).unwrap().uid(), 0);
}

#[tokio::test]
async fn a_secret_is_never_sent_to_a_socket_of_this_process() {
    let (api, listener) = (Api::open(), loopback());
    let config = |endpoint: &str| {
        format!(
            "[[listeners]]\naddress = \"{listener}\"\nupstream = \"api\"\n\
             [upstreams.api]\nurl = \"{}\"\n\
             [[routes]]\nhost = \"protected.example\"\nupstream = \"protected\"\n\
             [upstreams.protected]\nurl = \"https://unused.example\"\ncredential = \"back\"\n\
             [credentials.back]\n{endpoint}\nallow_plaintext = true\nrequired = false\n\
             client_id = \"billing\"\nclient_secret = \"s3cret-of-billing\"\n",
            api.url()
        )
    };
    let named = format!("token_endpoint = \"http://{listener}/token\"");
    let issuer = format!("issuer = \"http://{listener}\"");
    for endpoint in [named, issuer] {
        let sidebearer = Sidebearer::start(&config(&endpoint));
        // The listener itself serves.
        assert_eq!(get(listener, "/x").await.status, 200);
        let mut status = String::new();
        eventually("the credential tells why", async || {
            status = sidebearer.page("/status").await;
            status.contains("is a socket of this process")
        })
        .await;
        assert!(status.contains("\"bad_response\""), "{status}");
        sidebearer.ended().await;
    }
    let paths: Vec<_> = api.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(paths, ["/x", "/x"], "nothing else has come");
}
