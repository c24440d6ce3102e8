//! `POST /explain`, and `sidebearer explain --live`: the state as it is.

use http::{Method, Request};
use serde_json::{Value, json};

use super::site::{Site, key};
use crate::support::api::{Api, unauthorized};
use crate::support::client::{get, post, request, send};
use crate::support::idp::{Behaviour, Idp};
use crate::support::process::{command, run};
use crate::support::server::response;
use crate::support::sidebearer::Sidebearer;
use crate::support::{any_port, eventually, loopback, smallest};

async fn explain(sidebearer: &Sidebearer, url: &str) -> Value {
    let question = json!({ "method": "GET", "url": url }).to_string();
    let answer = post(sidebearer.admin(), "/explain", question).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["explanations"][0].take()
}

#[tokio::test]
async fn the_token_and_the_upstream_are_shown_as_they_are_and_nothing_is_fetched() {
    let (api, idp) = (Api::open(), Idp::start());
    let lazy = "client_id = \"billing\"\nrefresh = \"lazy\"";
    let config = smallest(&api, &idp).replace("client_id = \"billing\"", lazy);
    let sidebearer = Sidebearer::start(&config);
    let state = explain(&sidebearer, "/").await["state"].take();
    assert_eq!(state["token"]["phase"], "idle", "{state}");
    assert_eq!(state["token"]["usable"], false, "{state}");
    assert_eq!(state["upstream"]["connections"], 0, "{state}");
    assert!(state["upstream"].get("reachable").is_none(), "{state}");
    assert_eq!((idp.requests(), api.seen().len()), (0, 0));

    assert_eq!(get(sidebearer.address(), "/").await.status, 200);
    let state = explain(&sidebearer, "/").await["state"].take();
    assert_eq!(state["token"]["phase"], "valid", "{state}");
    assert_eq!(state["token"]["usable"], true, "{state}");
    assert!(
        state["token"]["usable_for"].as_u64().unwrap() > 60,
        "{state}"
    );
    assert_eq!(state["token"]["quarantined"], false, "{state}");
    assert_eq!(state["upstream"]["reachable"], true, "{state}");
    assert_eq!((idp.requests(), api.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_rejected_token_is_shown_in_quarantine_and_a_failure_with_its_error() {
    let idp = Idp::start();
    let api = Api::start(|_| unauthorized("Bearer error=\"invalid_token\""));
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));
    sidebearer.ready().await;
    idp.behave(Behaviour::Holds);
    let address = sidebearer.address();
    let waiting = tokio::spawn(async move { get(address, "/").await.status });
    eventually("in quarantine", async || {
        explain(&sidebearer, "/").await["state"]["token"]["quarantined"] == true
    })
    .await;
    waiting.abort();
}

#[tokio::test]
async fn limits_are_shown_with_what_is_used() {
    let site = Site::start().await;
    let question =
        json!({ "method": "GET", "url": "/audit", "listener": "gate", "caller": "audit" });
    let explained = site.explain(&question).await["explanations"][0].take();
    let limit = json!({ "of": "route", "key": "requests_per_second", "limit": 1000, "left": 1000 });
    assert_eq!(explained["limits"], json!([limit]), "{explained}");
    let question =
        json!({ "method": "GET", "url": "/own", "listener": "gate", "caller": "billing" });
    let explained = site.explain(&question).await["explanations"][0].take();
    let limit = json!({ "of": "caller", "key": "concurrent", "limit": 50, "in_use": 0 });
    assert_eq!(explained["limits"], json!([limit]), "{explained}");
}

#[tokio::test]
async fn a_request_inside_of_a_connect_needs_room_for_two_in_the_rate() {
    let site = Site::start().await;
    let ask = async |method: &str, url: &str| {
        let question =
            json!({ "method": method, "url": url, "listener": "known", "caller": "slow" });
        site.explain(&question).await["explanations"][0].take()
    };
    let limit = json!({ "of": "caller", "key": "requests_per_second", "limit": 1, "left": 1 });
    let connect = ask("CONNECT", "secure.example.com:443").await;
    assert_eq!(connect["limits"], json!([limit]), "{connect}");
    assert!(connect["refused"].is_null(), "{connect}");
    let mut two = limit.clone();
    two["takes"] = json!(2);
    let inside = ask("GET", "https://secure.example.com/").await;
    assert_eq!(inside["limits"], json!([two]), "{inside}");
    assert_eq!(inside["refused"]["error"], "rate_limited", "{inside}");
    let plain = ask("GET", "http://crm.example.com/v2").await;
    assert_eq!(plain["limits"], json!([limit]), "{plain}");
    assert!(plain["refused"].is_null(), "{plain}");
}

#[tokio::test]
async fn a_limit_that_is_reached_is_shown_as_the_refusal_that_it_is_now() {
    let api = Api::open();
    let idp = Idp::start();
    let config = |limits: &str| {
        let upstream = "upstream = \"api\"\n";
        let route = format!("{upstream}limits = {{ {limits} }}\n");
        let smallest = smallest(&api, &idp).replacen(upstream, "", 1);
        smallest.replacen(
            "[upstreams.api]",
            &format!("[[routes]]\n{route}\n[upstreams.api]"),
            1,
        )
    };
    let sidebearer = Sidebearer::start(&config("requests_per_second = 1, burst = 3600"));
    sidebearer.ready().await;
    let left = async || {
        let explained = explain(&sidebearer, "/").await;
        assert!(explained["limits"][0].get("left").is_none(), "{explained}");
        assert_eq!(explained["limits"][1]["key"], "burst", "{explained}");
        explained["limits"][1]["left"].as_u64().unwrap()
    };
    for _ in 0..20 {
        assert_eq!(left().await, 3600, "asking uses nothing");
    }
    for _ in 0..3 {
        assert_eq!(get(sidebearer.address(), "/").await.status, 200);
    }
    assert!((3597..3600).contains(&left().await));

    let sidebearer = Sidebearer::start(&config("requests_per_second = 1"));
    sidebearer.ready().await;
    eventually("used up", async || {
        let status = get(sidebearer.address(), "/").await.status;
        let explained = explain(&sidebearer, "/").await;
        if explained["refused"].is_null() {
            return false;
        }
        assert_eq!(explained["refused"]["error"], "rate_limited", "{explained}");
        assert_eq!(explained["refused"]["status"], 429, "{explained}");
        assert_eq!(explained["limits"][0]["left"], 0, "{explained}");
        assert_eq!(explained["sent"]["target"], "/", "{explained}");
        status == 200 || status == 429
    })
    .await;
}

#[tokio::test]
async fn a_place_that_is_held_is_shown_as_the_refusal_that_it_is_now() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let api = Api::start(move |_| {
        let _ = held.lock().unwrap().recv();
        response(200, "ok")
    });
    let any = any_port();
    let sidebearer = Sidebearer::start(&format!(
        "[[listeners]]\nname = \"app\"\naddress = \"{any}\"\n\n[[routes]]\nupstream = \"api\"\nlimits = {{ concurrent = 1 }}\n\n\
         [upstreams.api]\nurl = \"{}\"\n",
        api.url()
    ));
    assert!(explain(&sidebearer, "/").await["refused"].is_null());
    let address = sidebearer.address();
    let waiting = tokio::spawn(async move { get(address, "/").await.status });
    eventually("it is held", async || {
        let explained = explain(&sidebearer, "/").await;
        let refused = &explained["refused"];
        let is_held = explained["limits"][0]["in_use"] == 1;
        assert_eq!(is_held, refused["error"] == "rate_limited", "{explained}");
        is_held && refused["change"] == "`limits` of the route"
    })
    .await;
    assert_eq!(get(address, "/").await.status, 429);
    drop(release);
    assert_eq!(waiting.await.unwrap(), 200);
}

#[tokio::test]
async fn without_a_listener_each_one_is_explained_that_could_take_it() {
    let site = Site::start().await;
    let own = format!("http://{}/x", site.address_of("app"));
    for (url, expected) in [
        ("/x", &["app", "gate"][..]),
        ("http://crm.example.com/v2/x", &["proxy", "known", "open"]),
        ("https://secure.example.com/", &["proxy", "known", "open"]),
        (&*own, &["app", "proxy", "known", "open"]),
    ] {
        let answer = site.explain(&json!({ "method": "GET", "url": url })).await;
        let listeners: Vec<_> = answer["explanations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["listener"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(listeners, expected, "{url}");
    }
}

#[tokio::test]
async fn no_secret_is_in_an_explanation() {
    let site = Site::start().await;
    for url in ["/own/x", "/far/x", "/", "http://own.example.com/own/x"] {
        let question = json!({ "method": "GET", "url": url, "caller": "billing" });
        let answer = site.explain(&question).await.to_string();
        for secret in ["token-1", "s3cret", &key("billing"), &key("audit")] {
            assert!(!answer.contains(secret), "{url}: {answer}");
        }
        assert!(answer.contains("billing"), "{url}: {answer}");
    }
}

#[tokio::test]
async fn a_question_is_strict_json_of_bounded_size_and_no_page_may_ask_it() {
    let (api, idp) = (Api::open(), Idp::start());
    let config = format!(
        "[health]\naddress = \"{}\"\n{}",
        loopback(),
        smallest(&api, &idp)
    );
    let health = config.split('"').nth(1).unwrap().parse().unwrap();
    let sidebearer = Sidebearer::start(&config);
    let admin = sidebearer.admin();
    let good = r#"{"method": "GET", "url": "/"}"#;
    for (body, status, said) in [
        (good, 200, "Bearer ***"),
        ("", 400, "expected {"),
        ("[]", 400, "the body is no JSON object; expected {"),
        (
            r#"["GET", "/"]"#,
            400,
            "the body is no JSON object; expected {",
        ),
        (r#"{"method": "GET"}"#, 400, "missing field `url`"),
        (
            r#"{"method": "GET", "url": "/", "host": "x"}"#,
            400,
            "unknown field `host`",
        ),
        (
            r#"{"method": "GET", "url": "/"} x"#,
            400,
            "trailing characters",
        ),
        (
            r#"{"method": "GET", "url": "/", "listener": "ap"}"#,
            422,
            "did you mean `app`?",
        ),
        (&"x".repeat(65_537), 413, "65536 bytes at most"),
    ] {
        let answer = post(admin, "/explain", body.to_owned()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(said), "{}", answer.text());
    }
    let page = Request::post("/explain")
        .header("host", admin.to_string())
        .header("origin", "https://attacker.example")
        .body(good.into())
        .unwrap();
    let answer = send(admin, page).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(answer.json()["error"], "browser_request");
    let answer = send(admin, request(Method::GET, "/explain", "")).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    assert_eq!(post(health, "/explain", good).await.status, 404);
}

#[tokio::test]
async fn the_command_asks_the_running_process() {
    let site = Site::start().await;
    let path = site.process.dir().join("sidebearer.toml");
    let url = format!("http://{}/explain", site.process.admin());
    let ask = async |more: &[&str]| {
        let config = ["--config", path.to_str().unwrap(), "--live", "--url", &url];
        run(command(&[&["explain"], more, &config].concat())).await
    };
    let explained = ask(&["GET", "/new/x", "--listener", "app"]).await;
    assert_eq!(
        (explained.code, explained.stderr.as_str()),
        (0, ""),
        "{explained:?}"
    );
    for line in [
        "listener      app (reverse, ",
        "\nroute         */new\n",
        "\ncredential    crm\n",
        "\nsent          GET /v2/old/x\n",
        "\n              Authorization: Bearer ***\n",
        "\ntoken         there is one, for ",
        "\nnow           ",
    ] {
        assert!(
            explained.stdout.contains(line),
            "{line:?} in\n{}",
            explained.stdout
        );
    }
    let refused = ask(&["GET", "/", "--caller", "biling"]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.stderr.contains("did you mean `billing`?"),
        "{refused:?}"
    );
    let nobody = format!("http://{}/explain", loopback());
    let arguments = ["explain", "GET", "/", "--live", "--url", &nobody];
    let failed = run(command(&arguments)).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(
        failed.stderr.contains("is sidebearer running"),
        "{failed:?}"
    );
}
