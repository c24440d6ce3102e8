//! A target is matched in its canonical form and arrives byte for byte as it came: signatures hold for
//! one spelling only.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{HOST, answers, config, converse};
use crate::support::any_port;
use crate::support::api::Api;
use crate::support::frames::{self, END_HEADERS, END_STREAM, FrameClient, HEADERS, frame};
use crate::support::idp::Idp;
use crate::support::sidebearer::Sidebearer;
use crate::support::strict::Recorder;

/// An upstream with a path of its own, and routes that replace their prefix.
fn rewriting(url: &str) -> String {
    let any = any_port();
    format!(
        r#"
[[listeners]]
name = "app"
address = "{any}"

[upstreams]
plain = {{ url = "{url}" }}
based = {{ url = "{url}/v2/" }}

[[routes]]
path = "/crm/caf%C3%A9"
upstream = "plain"
replace_prefix = "/"

[[routes]]
path = "/based"
upstream = "based"

[[routes]]
path = "/both"
upstream = "based"
replace_prefix = "/new"
"#
    )
}

/// What arrives of a GET; `None`: it is refused.
async fn arrives(recorder: &Recorder, sidebearer: &Sidebearer, target: &str) -> Option<String> {
    let before = recorder.requests().len();
    let get = format!("GET {target} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n");
    let answers = answers(&converse(sidebearer, get.as_bytes()).await);
    let arrived = recorder.requests().split_off(before);
    assert_eq!(
        arrived.len(),
        usize::from(answers[0].status == 200),
        "{target}"
    );
    arrived.first().map(|arrived| arrived.target.clone())
}

#[tokio::test]
async fn what_needs_no_change_arrives_as_it_came() {
    let (recorder, idp) = (Recorder::start(), Idp::start());
    let sidebearer = Sidebearer::start(&config(&recorder.url(), &idp, ""));
    for target in [
        "/%e4",
        "/%41",
        "/%7euser/%2d?%41=%e4",
        "/a%2fb%2Fc",
        "/a%2e%2e%2e",
        "//a//",
        "/a;v=%2e?x",
        "/!$&'()*+,=:@",
    ] {
        assert_eq!(
            arrives(&recorder, &sidebearer, target).await.as_deref(),
            Some(target)
        );
        let absolute = format!("http://localhost{target}");
        let arrived = arrives(&recorder, &sidebearer, &absolute).await;
        assert_eq!(arrived.as_deref(), Some(target));
    }
}

#[tokio::test]
async fn a_lone_dot_is_taken_away_and_dots_that_climb_are_refused() {
    let (recorder, idp) = (Recorder::start(), Idp::start());
    let sidebearer = Sidebearer::start(&config(&recorder.url(), &idp, ""));
    for (target, expected) in [
        // What apt asks of a flat repository.
        ("/repo/./Packages", Some("/repo/Packages")),
        ("/repo/%2e/%e4/%2E?./x", Some("/repo/%e4/?./x")),
        ("/.", Some("/")),
        ("/repo/../Packages", None),
        ("/repo/%2e%2e/Packages", None),
        ("/repo/.;x/Packages", None),
        ("/repo%2f./Packages", None),
        ("/repo/%C0%AE%C0%AE/Packages", None),
    ] {
        let arrived = arrives(&recorder, &sidebearer, target).await;
        assert_eq!(arrived.as_deref(), expected, "{target}");
    }
}

#[tokio::test]
async fn a_path_that_is_rewritten_keeps_what_was_not_replaced_as_it_came() {
    let recorder = Recorder::start();
    let sidebearer = Sidebearer::start(&rewriting(&recorder.url()));
    for (target, expected) in [
        ("/crm/caf%c3%a9/%e4/%41?%41", Some("/%e4/%41?%41")),
        ("/%63rm/./c%61f%C3%a9//x%2f", Some("//x%2f")),
        ("/crm/caf%c3%a9", Some("/")),
        ("/based/%e4%41", Some("/v2/based/%e4%41")),
        ("/b%61sed/./x", Some("/v2/b%61sed/x")),
        ("/%62oth/%e4/%41", Some("/v2/new/%e4/%41")),
        ("/both", Some("/v2/new")),
        ("/bot%48", None),
        ("/both%2fx", None),
    ] {
        let arrived = arrives(&recorder, &sidebearer, target).await;
        assert_eq!(arrived.as_deref(), expected, "{target}");
    }
}

#[tokio::test]
async fn who_asks_the_server_as_a_whole_reaches_the_upstream_of_its_root() {
    for http in ["1.1", "2"] {
        let (api, idp) = (Api::open(), Idp::start());
        // Neither its path nor a replaced prefix is of `*`.
        let url = format!("{}/v2", api.url());
        let sidebearer = Sidebearer::start(&config(&url, &idp, &format!("http = \"{http}\"")));
        for target in ["*", "http://localhost"] {
            let options = format!("OPTIONS {target} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n");
            let answers = answers(&converse(&sidebearer, options.as_bytes()).await);
            assert_eq!((answers.len(), answers[0].status), (1, 200), "{answers:?}");
        }
        let mut client = FrameClient::open(sidebearer.address(), &[]).await;
        for (stream, method) in [(1, "OPTIONS"), (3, "GET")] {
            let head = frames::request(method, "*", &[]);
            client
                .send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &head))
                .await;
            let (outcome, _) = client.outcome(stream).await;
            assert_eq!(outcome.is_ok(), method == "OPTIONS", "{http}: {outcome:?}");
        }
        let seen = api.seen();
        let asked: Vec<_> = seen
            .iter()
            .map(|seen| (&*seen.method, &*seen.target))
            .collect();
        assert_eq!(asked, [("OPTIONS", "*"); 3], "{http}");
        assert!(
            seen.iter()
                .all(|seen| seen.authorization().starts_with("Bearer "))
        );
    }
}

#[tokio::test]
async fn the_server_as_a_whole_is_that_of_its_hosts_root_or_nobodys() {
    let recorder = Recorder::start();
    let url = recorder.url();
    let rooted = format!(
        "{}[[routes]]\nhost = \"whole\"\nupstream = \"plain\"\n",
        rewriting(&url)
    );
    let sidebearer = Sidebearer::start(&rooted);
    for (host, status) in [("whole", 200), ("localhost", 404)] {
        let mut stream = TcpStream::connect(sidebearer.address()).await.unwrap();
        let options = format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(options.as_bytes()).await.unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).await.unwrap();
        assert_eq!(answers(&raw)[0].status, status, "{host}");
    }
    assert_eq!(recorder.only().target, "*");
}
