//! `sidebearer reload`: asks a running sidebearer to read its configuration again.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::output::{CommandError, print, print_note};
use super::request::{RequestError, send};
use crate::http_client::RequestErrorKind;

/// Longer than first tokens are waited for, unless `fetch_timeout` is very long.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A running process sees by itself that its file has changed, and takes some moments to move to the admin address that
/// the file names now. For so long it is asked there again.
const MOVES_WITHIN: Duration = Duration::from_secs(5);
const MOVES_AGAIN: Duration = Duration::from_millis(100);

/// Done when a POST to `url` has brought the configuration in use.
///
/// # Errors
/// The mistakes for which it was refused, or why there was no answer.
pub(super) async fn run(url: Url) -> Result<(), CommandError> {
    match post_once_it_listens(&url).await {
        Ok((StatusCode::OK, text)) => match field(&text, "generation") {
            Some(generation) => print(format!("reloaded: snapshot {generation}")),
            // Any other server that takes a POST.
            None => Err(CommandError::Failed(format!(
                "{url} answered 200, but not as a sidebearer does that has reloaded: is this its admin address?"
            ))),
        },
        Ok((StatusCode::UNPROCESSABLE_ENTITY, text)) => {
            print_note(field(&text, "text").unwrap_or(text));
            Err(CommandError::Usage(
                "refused: the last good configuration keeps serving".to_owned(),
            ))
        }
        Ok((status, text)) => Err(CommandError::Failed(format!(
            "{url} answered {status}\n{text}"
        ))),
        Err(reason @ RequestError::Scheme) => Err(CommandError::Usage(format!("{url}: {reason}"))),
        Err(reason @ RequestError::Timeout(_)) => {
            Err(CommandError::Failed(format!("{url}: {reason}")))
        }
        Err(reason) => Err(CommandError::Failed(format!(
            "{url}: {reason}; is sidebearer running, and is this its admin address? A process whose \
             configuration is refused stays where it is; --url names another address"
        ))),
    }
}

async fn post_once_it_listens(url: &Url) -> Result<(StatusCode, String), RequestError> {
    let started = Instant::now();
    loop {
        let sent = send(Method::POST, url, TIMEOUT).await;
        let is_unreachable = matches!(&sent, Err(RequestError::Http(error)) if error.kind == RequestErrorKind::Unreachable);
        if !is_unreachable || started.elapsed() >= MOVES_WITHIN {
            return sent;
        }
        tokio::time::sleep(MOVES_AGAIN).await;
    }
}

/// A member of a JSON object, as text.
fn field(text: &str, name: &str) -> Option<String> {
    let object: Value = serde_json::from_str(text).ok()?;
    match object.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}
