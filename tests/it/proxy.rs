//! The path of a request, end to end.

use crate::support::api::Api;
use crate::support::client::{self, Connection};
use crate::support::idp::Idp;
use crate::support::sidebearer::Sidebearer;
use crate::support::smallest;

#[tokio::test]
async fn a_request_gets_the_token_and_its_answer_comes_back() {
    let idp = Idp::start();
    let api = Api::protected_by(&idp);
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));

    let answer = client::get(sidebearer.address(), "/orders?page=2").await;

    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let seen = api.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].target, "/orders?page=2");
    assert_eq!(seen[0].authorization(), "Bearer token-1");
    assert_eq!(seen[0].header("host"), api.address.to_string());
}

#[tokio::test]
async fn a_connection_carries_one_request_after_another() {
    let idp = Idp::start();
    let api = Api::protected_by(&idp);
    let sidebearer = Sidebearer::start(&smallest(&api, &idp));

    let mut connection = Connection::open(sidebearer.address()).await;
    for number in 0..10 {
        let answer = connection.get(&format!("/{number}")).await.unwrap();
        assert_eq!(answer.status, 200);
    }

    assert_eq!(idp.requests(), 1);
    let connects = r#"sidebearer_upstream_connects_total{outcome="success",upstream="api"}"#;
    assert_eq!(sidebearer.metric(connects).await, 1.0);
}
