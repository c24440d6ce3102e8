//! `sidebearer explain`: what would become of a request, and why.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::check;
use super::output::{CommandError, block_on, print};
use super::request::{RequestError, send_body};
use crate::address::OwnSockets;
use crate::config::{Config, ConfigOrigin};
use crate::explanation::{Explanations, Question};
use crate::metrics::Metrics;
use crate::proxy::{ExplainState, explain};
use crate::snapshot::{BuildError, Builder, Snapshot};
use crate::token::SystemClock;

/// Longer than it takes to compare very many routes.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Explains by the configuration alone, or asks a running sidebearer. What would be refused has been explained too.
///
/// # Errors
/// What is wrong with the configuration or with the question.
pub(super) fn run(question: &Question, origin: ConfigOrigin) -> Result<(), CommandError> {
    let loaded = check::offline(origin)?;
    // It ends without a pause, so that none of the tasks begins that would fetch.
    let explained = block_on(async { offline(loaded.config, question) })??;
    print(explained)
}

/// Asks `url`.
///
/// # Errors
/// What is wrong with the question, or why there was no answer.
pub(super) async fn run_live(question: &Question, url: Url) -> Result<(), CommandError> {
    let body = json!(question).to_string().into();
    match send_body(Method::POST, &url, body, TIMEOUT).await {
        Ok((StatusCode::OK, text)) => match serde_json::from_str::<Explanations>(&text) {
            Ok(explained) => print(explained),
            Err(error) => Err(CommandError::Failed(format!(
                "{url} answered what is no explanation: {error}; is it of the same version?"
            ))),
        },
        Ok((StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST, text)) => {
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            let detail = answer["detail"].as_str().unwrap_or(&text);
            Err(CommandError::Usage(detail.to_owned()))
        }
        Ok((status, text)) => Err(CommandError::Failed(format!(
            "{url} answered {status}\n{text}"
        ))),
        Err(reason @ RequestError::Scheme) => Err(CommandError::Usage(format!("{url}: {reason}"))),
        Err(reason) => Err(CommandError::Failed(format!(
            "{url}: {reason}; is sidebearer running, and is this its admin address? --url or SIDEBEARER_ADMIN names another"
        ))),
    }
}

fn offline(config: Config, question: &Question) -> Result<Explanations, CommandError> {
    let snapshot = preview(config).map_err(|error| CommandError::Failed(error.to_string()))?;
    let explained = explain(&snapshot, question, ExplainState::Left);
    explained.map_err(|error| CommandError::Usage(error.to_string()))
}

/// What a process with this configuration would decide by.
fn preview(config: Config) -> Result<Snapshot, BuildError> {
    let own = OwnSockets::default();
    own.set(config.tcp_sockets());
    let builder = Builder::new(Metrics::new(), Arc::new(SystemClock), 1);
    builder.with_own_sockets(own.into()).preview(config)
}
