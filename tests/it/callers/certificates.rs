//! What the names in a certificate do: they choose a caller and its token, and nothing else.

use super::credential;
use crate::listener_tls::{NAME, connect, write};
use crate::support::any_port;
use crate::support::api::Api;
use crate::support::client::Connection;
use crate::support::sidebearer::Sidebearer;
use crate::support::tls::Ca;

/// A name that would be lines of their own, if it were written as it is.
macro_rules! evil {
    ($name:literal) => {
        concat!($name, "\r\nx-evil: 1\r\n{\"evil\":1}")
    };
}

#[tokio::test]
async fn names_in_a_certificate_choose_a_caller_and_its_token_and_nothing_else() {
    let (ca, clients, api) = (Ca::new(), Ca::new(), Api::open());
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "own", &ca.certificate(&[NAME]));
    std::fs::write(dir.path().join("clients.pem"), &clients.pem).unwrap();
    let credentials = ["billing", "search"].map(|name| credential(name, dir.path()));
    let config = format!(
        "{}[audit]\nfile = \"audit.jsonl\"\n\
         [callers.billing]\ncertificate_name = \"billing.internal\"\n\
         [callers.search]\nspiffe_id = \"spiffe://corp.example/search/*\"\n\
         [[listeners]]\nname = \"app\"\naddress = \"{}\"\nupstream = \"api\"\ncallers = [\"*\"]\nhosts = [\"*\"]\n\
         tls = {{ certificate_file = \"own.pem\", key_file = \"own.key\", client_ca_file = \"clients.pem\" }}\n\
         [upstreams.api]\nurl = \"{}\"\nforward_caller = \"x-caller\"\n\
         credentials = {{ billing = \"billing\", search = \"search\" }}\n",
        credentials.concat(),
        any_port(),
        api.url()
    );
    let sidebearer = Sidebearer::start_in(dir, &config);
    sidebearer.ready().await;
    let (good, uri) = ("billing.internal", "spiffe://corp.example/search/a");
    let evil = evil!("spiffe://corp.example/search/a");
    let cases: [(&[&str], Option<&str>); 14] = [
        (&[good], Some("billing")),
        (&["other.internal", good], Some("billing")),
        (&["BILLING.internal"], Some("billing")),
        (&[good, evil!("billing.internal")], Some("billing")),
        (&[good, evil], Some("billing")),
        (&[uri], Some("search")),
        (&[uri, evil!("a.internal")], Some("search")),
        // One that is two callers is none.
        (&[good, uri], None),
        (&[evil!("billing.internal")], None),
        (&["billing.internal\0.evil.example"], None),
        (&["*.internal"], None),
        (&[evil], None),
        // Of two URIs none counts.
        (&[uri, evil], None),
        (&["spiffe://corp.example/search/a/b"], None),
    ];
    for (names, expected) in cases {
        let config = ca.client_with(&clients.certificate(names));
        let stream = connect(sidebearer.address(), config, NAME).await.unwrap();
        let answer = Connection::over(stream).await.get("/").await.unwrap();
        let seen = api.seen().pop();
        let Some(caller) = expected else {
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (401, "caller_unknown"),
                "{names:?}"
            );
            continue;
        };
        assert_eq!(answer.status, 200, "{names:?}");
        let seen = seen.unwrap();
        assert_eq!(seen.header("x-caller"), caller, "{names:?}");
        assert!(
            seen.authorization()
                .starts_with(&format!("Bearer {caller}")),
            "{names:?}"
        );
        assert!(!seen.headers.contains_key("x-evil"), "{names:?}");
    }
    assert_eq!(api.seen().len(), 7);
    let file = sidebearer.dir().join("audit.jsonl");
    let mut audit = String::new();
    crate::support::eventually("all are in the audit", async || {
        audit = std::fs::read_to_string(&file).unwrap_or_default();
        audit.matches("\"event\":\"request\"").count() == cases.len()
    })
    .await;
    assert!(!audit.contains("evil"), "{audit}");
}
