//! What would become of a request: the steps of a request in their order, as far as they decide, without anything that is
//! sent, waited for or counted.

mod connection;
mod explained_request;
mod inside;
mod lost;
mod sent;
mod shown;
mod state;
mod steps;
mod stop;

use crate::explanation::{Explanation, Explanations, Question, QuestionError};
use crate::snapshot::Snapshot;
use explained_request::ExplainedRequest;
use steps::Steps;

pub use state::ExplainState;

/// What would become of a request by each listener that could take it. Nothing is resolved, connected to or fetched.
///
/// # Errors
/// What is wrong with the question.
pub fn explain(
    snapshot: &Snapshot,
    question: &Question,
    state: ExplainState,
) -> Result<Explanations, QuestionError> {
    let request = ExplainedRequest::read(question)?;
    let caller = explained_request::caller_index(snapshot, question.caller.as_deref())?;
    let listeners = request.listeners(&snapshot.config, question.listener.as_deref())?;
    let explain = |listener| -> Result<Explanation, QuestionError> {
        Steps::begin(snapshot, listener, caller, state).take(&request)
    };
    let explanations = listeners.into_iter().map(explain);
    Ok(Explanations {
        explanations: explanations.collect::<Result<_, _>>()?,
    })
}
