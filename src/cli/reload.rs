//! `sidebearer reload`: asks a running sidebearer to read its configuration again.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::output::{CommandError, print, print_note};
use super::request::{RequestError, send};

/// Longer than first tokens are waited for, unless `fetch_timeout` is very long.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Done when a POST to `url` has brought the configuration in use.
///
/// # Errors
/// The mistakes for which it was refused, or why there was no answer.
pub(super) async fn run(url: Url) -> Result<(), CommandError> {
    match send(Method::POST, &url, TIMEOUT).await {
        Ok((StatusCode::OK, text)) => print(match field(&text, "generation") {
            Some(generation) => format!("reloaded: snapshot {generation}"),
            None => "reloaded".to_owned(),
        }),
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
            "{url}: {reason}; is sidebearer running, and is this its admin address? --url names another"
        ))),
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
