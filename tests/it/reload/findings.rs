//! What is told of very many mistakes and warnings.

use serde_json::Value;

use super::*;
use crate::support::loopback;
use crate::support::process::Process;
use crate::support::sidebearer::with_admin;

/// A configuration with a caller for each number, known by what `means` says.
fn with_callers(api: &Api, count: usize, means: impl Fn(usize) -> String) -> String {
    let caller = |n| format!("[callers.c{n}]\n{}\n", means(n));
    let callers: String = (0..count).map(caller).collect();
    let app = listener("app", loopback()).replace("\n\n", "\ncallers = [\"*\"]\n\n");
    [
        app,
        route("/", "api"),
        upstream("api", &api.url(), ""),
        callers,
    ]
    .concat()
}

/// Each that is told, the last of which stands for others.
fn told(findings: &Value) -> (usize, &Value, u64) {
    let told = findings.as_array().unwrap();
    let counts = told
        .iter()
        .map(|found| found["count"].as_u64().unwrap_or(1));
    (told.len(), told.last().unwrap(), counts.sum())
}

#[tokio::test]
async fn of_very_many_mistakes_each_channel_tells_some_and_counts_the_others() {
    let api = Api::open();
    let sidebearer = Sidebearer::start(&with_callers(&api, 1, |_| "user = 1".to_owned()));
    let mistaken = with_callers(&api, 300, |_| "spiffe_id = \"none\"".to_owned());
    sidebearer.write("sidebearer.toml", &with_admin(&mistaken));
    let refused = client::post(sidebearer.admin(), "/reload", "").await;
    assert_eq!(refused.status, 422);
    let body = refused.json();
    let text = body["text"].as_str().unwrap();
    assert_eq!(text.matches("expected a SPIFFE ID").count(), 101);
    assert!(text.contains("200 more have the same advice, from here to "));
    let (told_at_once, last, count) = told(&body["diagnostics"]);
    assert_eq!(
        (told_at_once, last["count"].as_u64(), count),
        (101, Some(200), 300)
    );
    let status = sidebearer.status().await;
    let (kept, last, count) = told(&status["reload"]["diagnostics"]);
    assert_eq!((kept, count), (101, 300));
    assert_eq!(last["message"], "200 more are not shown here");
}

#[tokio::test]
async fn the_log_tells_few_of_very_many_warnings_and_counts_the_others() {
    let api = Api::open();
    let process = Process::start(&with_callers(&api, 300, |n| format!("key = \"{n:0>43}\""))).await;
    let log = process.log();
    assert_eq!(log.matches("prefer `{ file").count(), 101, "{log}");
    assert!(log.contains("200 more have the same advice, from here to "));
    let status = client::get(process.admin(), "/status").await.json();
    let (kept, _, count) = told(&status["reload"]["warnings"]);
    assert_eq!((kept, count), (101, 300));
}

#[tokio::test]
async fn what_is_refused_for_very_many_mistakes_is_refused_once() {
    let api = Api::open();
    let often = "[server]\nreload_retry_interval = \"100ms\"\n\n";
    let sidebearer =
        Sidebearer::start(&[often, &with_callers(&api, 1, |_| "user = 1".to_owned())].concat());
    let mistaken = with_callers(&api, 300, |_| "spiffe_id = \"none\"".to_owned());
    sidebearer.reconfigure(&mistaken).await.unwrap_err();
    let failures = reloads(&sidebearer, "failure").await;
    // It is looked at again without a word: what has not changed is not news.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(reloads(&sidebearer, "failure").await, failures);
}
