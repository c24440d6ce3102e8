//! Which answers say that the token is not usable.

use http::{Method, Response};

use super::{config, holding_token_1};
use crate::support::api::{Api, unauthorized};
use crate::support::client::{self, http1, streaming};
use crate::support::idp::Idp;
use crate::support::server::{Body, response, whole};

/// What a client gets when `answer` meets its token, and how many tokens were fetched.
async fn meets(
    upstream: &str,
    answer: impl Fn() -> Response<Body> + Send + Sync + 'static,
) -> (u16, usize) {
    let idp = Idp::start();
    let api = Api::start(move |seen| {
        let injected = [seen.authorization(), seen.header("x-api-key")].concat();
        if injected.ends_with("token-1") {
            answer()
        } else {
            response(200, "ok")
        }
    });
    let sidebearer = holding_token_1(&config(&api.url(), &idp, upstream, "")).await;
    let answer = client::get(sidebearer.address(), "/").await;
    (answer.status, idp.requests())
}

#[tokio::test]
async fn answers_that_reject_the_token_are_renewed() {
    let grpc = || {
        let mut answer = response(200, "");
        let headers = answer.headers_mut();
        headers.insert("content-type", "application/grpc".parse().unwrap());
        headers.insert("grpc-status", "16".parse().unwrap());
        answer
    };
    let renewed = tokio::join!(
        meets("", || response(401, "no challenge")),
        meets("", || unauthorized("bearer")),
        meets("", || unauthorized(
            "Basic realm=\"x, Bearer\", Bearer realm=\"api\", error=\"invalid_token\""
        )),
        meets("", || {
            let mut two = unauthorized("Negotiate");
            let bearer = "Bearer error=invalid_token".parse().unwrap();
            two.headers_mut().append("www-authenticate", bearer);
            two
        }),
        meets("", grpc),
        meets("", || unauthorized("Basic realm=\"x\"")),
        meets("", || unauthorized(
            "OAuth realm=\"x\", error=\"invalid_token\""
        )),
        meets("header_prefix = \"JWT\"", || unauthorized("JWT")),
        meets("", || unauthorized("Bearer realm=\"unterminated")),
        meets("header = \"x-api-key\"", || response(401, "no challenge")),
        meets("", || unauthorized("Bearer error='invalid_token'")),
        meets("", || unauthorized("Bearer error=\"token_expired\"")),
    );
    let all = (200, 2);
    assert_eq!(
        renewed,
        (all, all, all, all, all, all, all, all, all, all, all, all)
    );
}

#[tokio::test]
async fn answers_that_do_not_reject_the_token_pass() {
    let passed = tokio::join!(
        meets("", || unauthorized(
            "Bearer error=\"insufficient_scope\", scope=\"admin\""
        )),
        meets("header_prefix = \"JWT\"", || unauthorized(
            "JWT error=\"insufficient_scope\""
        )),
        meets("retry_on_401 = false", || unauthorized(
            "Bearer error=\"invalid_token\""
        )),
    );
    let all = (401, 1);
    assert_eq!(passed, (all, all, all));
    assert_eq!(meets("", || response(403, "no")).await, (403, 1));
}

#[tokio::test]
async fn a_401_to_an_authorization_of_the_clients_own_passes() {
    let idp = Idp::start();
    let api = Api::start(|_| unauthorized("Bearer error=\"invalid_token\""));
    let config = config(&api.url(), &idp, "header = \"x-api-key\"", "");
    let sidebearer = holding_token_1(&config).await;
    let mut request = streaming(Method::GET, "/", whole(""));
    let own = "Bearer of-the-client".parse().unwrap();
    request.headers_mut().insert("authorization", own);
    let answer = http1(sidebearer.address())
        .await
        .send_request(request)
        .await;
    assert_eq!(answer.unwrap().status(), 401);
    assert_eq!((api.seen().len(), idp.requests()), (1, 1));
    assert_eq!(api.seen()[0].header("x-api-key"), "Bearer token-1");
}
