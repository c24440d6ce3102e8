//! What is in progress and used up stays so over a reload.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use http::Method;

use super::{config, flood, holding, status};
use crate::support::api::Api;
use crate::support::client::{self, http1, streaming};
use crate::support::eventually;
use crate::support::server::whole;
use crate::support::sidebearer::Sidebearer;

#[tokio::test]
async fn a_reload_keeps_what_is_in_progress() {
    let (api, arrived, gate) = holding();
    let url = format!("http://{api}");
    let sidebearer = Sidebearer::start(&config(&url, "concurrent = 2"));
    let mut asked = flood(sidebearer.address(), 2).await;
    eventually("both have arrived", async || arrived.load(SeqCst) == 2).await;
    for (limit, free) in [(2, false), (1, false), (3, true)] {
        let changed = config(&url, &format!("concurrent = {limit}"));
        let unlimited = changed.replace("limits =", "# limits =");
        sidebearer.reconfigure(&unlimited).await.unwrap();
        sidebearer.reconfigure(&changed).await.unwrap();
        if free {
            let mut connection = http1(sidebearer.address()).await;
            let get = streaming(Method::GET, "/", whole(""));
            asked.spawn(async move { status(connection.send_request(get).await) });
            eventually("it has arrived", async || arrived.load(SeqCst) == 3).await;
        }
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 429);
    }
    gate.add_permits(3);
    assert!(
        asked
            .join_all()
            .await
            .iter()
            .all(|answer| *answer == (200, None))
    );
}

#[tokio::test]
async fn a_reload_that_changes_the_methods_of_a_route_keeps_what_is_in_progress() {
    let (api, arrived, gate) = holding();
    let before = config(&format!("http://{api}"), "concurrent = 1");
    let with = |methods| before.replace("limits =", &format!("methods = [{methods}]\nlimits ="));
    let sidebearer = Sidebearer::start(&before);
    let asked = flood(sidebearer.address(), 1).await;
    eventually("it has arrived", async || arrived.load(SeqCst) == 1).await;
    for changed in [with("\"GET\""), with("\"GET\", \"POST\""), before.clone()] {
        sidebearer.reconfigure(&changed).await.unwrap();
        assert_eq!(client::get(sidebearer.address(), "/").await.status, 429);
    }
    // Beside one that has the methods of before, another one begins anew.
    let route =
        "[[routes]]\nupstream = \"api\"\nmethods = [\"HEAD\"]\nlimits = { concurrent = 1 }\n";
    let both = before.clone() + route;
    sidebearer.reconfigure(&both).await.unwrap();
    assert_eq!(client::get(sidebearer.address(), "/").await.status, 429);
    gate.add_permits(1);
    assert_eq!(asked.join_all().await, [(200, None)]);
}

#[tokio::test]
async fn what_is_used_up_stays_with_the_methods_of_a_route_over_a_reload() {
    let api = Api::open();
    let route = |methods: &str, limits: &str| {
        format!("[[routes]]\nupstream = \"api\"\nmethods = [{methods}]\n{limits}\n")
    };
    let slow = "limits = { requests_per_second = 1, burst = 5 }";
    let fast = "limits = { requests_per_second = 1000, burst = 1000 }";
    let config = |routes: &[String]| {
        let all = config(&api.url(), "concurrent = 1");
        let (before, after) = all.split_once("[[routes]]").unwrap();
        let after = after.split_once("[upstreams.api]").unwrap().1;
        format!("{before}{}[upstreams.api]{after}", routes.concat())
    };
    let [get, head] = ["\"GET\"", "\"GET\", \"HEAD\""];
    let [post, put] = ["\"POST\"", "\"POST\", \"PUT\""];
    for (before, after) in [
        // One without limits has no use for it.
        (
            [route(post, ""), route(get, slow)],
            [route(post, ""), route(head, slow)],
        ),
        (
            [route(post, ""), route(get, slow)],
            [route(put, ""), route(head, slow)],
        ),
        (
            [route(get, slow), route(post, fast)],
            [route(put, fast), route(head, slow)],
        ),
    ] {
        let sidebearer = Sidebearer::start(&config(&before));
        let statuses = async || {
            let answers = flood(sidebearer.address(), 50).await.join_all().await;
            answers.iter().filter(|(status, _)| *status == 200).count()
        };
        let begun = Instant::now();
        let served = statuses().await;
        sidebearer.reconfigure(&config(&after)).await.unwrap();
        let served = served + statuses().await;
        // One more comes with each second that this takes.
        let most = 5 + begun.elapsed().as_secs() as usize + 1;
        assert!((5..=most).contains(&served), "{after:?}: {served}");
    }
}
