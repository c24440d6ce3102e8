//! What would become of a request, by what serves now.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Admin;
use crate::blocking;
use crate::explanation::Question;
use crate::proxy::{ExplainState, explain};

/// As long as a URL may be, and some more.
const MOST_BYTES: usize = 64 << 10;

/// Answers the question in a body.
pub(super) async fn answer(admin: &Admin, body: Incoming) -> (StatusCode, Value) {
    let snapshot = admin.snapshots.load_full();
    let page = snapshot.config.admin.as_ref();
    let patience = page.map_or(Duration::ZERO, |page| page.header_timeout);
    let question = match read(body, patience).await {
        Ok(question) => question,
        Err(refusal) => return refusal,
    };
    // A large configuration has many routes to compare.
    let explained = blocking::run(move || {
        let explained = explain(&snapshot, &question, ExplainState::Shown);
        explained.map(|explained| json!(explained))
    });
    match explained.await {
        Ok(Ok(explained)) => (StatusCode::OK, explained),
        Ok(Err(error)) => refusal(StatusCode::UNPROCESSABLE_ENTITY, "no_answer", error),
        Err(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, "no_thread", error),
    }
}

/// Reads a question, which has to be there within this time.
async fn read(body: Incoming, within: Duration) -> Result<Question, (StatusCode, Value)> {
    const EXPECTED: &str =
        r#"{"method": "GET", "url": "/v2/x"}, and if wanted "listener" and "caller""#;
    let body = tokio::time::timeout(within, Limited::new(body, MOST_BYTES).collect()).await;
    let body: Bytes = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("a question has {MOST_BYTES} bytes at most");
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
        }
        Ok(Err(_)) => {
            let detail = format!("the body broke off; expected {EXPECTED}");
            return Err(refusal(StatusCode::BAD_REQUEST, "bad_request", detail));
        }
        Err(_) => {
            let detail = "the body did not arrive within admin.header_timeout";
            return Err(refusal(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                detail,
            ));
        }
    };
    // Serde takes an array for an object without names.
    if !body.trim_ascii_start().starts_with(b"{") {
        let detail = format!("the body is no JSON object; expected {EXPECTED}");
        return Err(refusal(StatusCode::BAD_REQUEST, "bad_request", detail));
    }
    serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("{error}; expected {EXPECTED}");
        refusal(StatusCode::BAD_REQUEST, "bad_request", detail)
    })
}

fn refusal(status: StatusCode, error: &str, detail: impl std::fmt::Display) -> (StatusCode, Value) {
    (
        status,
        json!({ "error": error, "detail": detail.to_string() }),
    )
}
