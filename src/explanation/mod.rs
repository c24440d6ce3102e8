//! What would become of a request, in words and in JSON: what `explain` answers.
//!
//! Nothing is decided here. No secret is in it: what would be sent of a token is `***`.

mod text;

use serde::{Deserialize, Serialize};

/// What somebody wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The method of the request.
    pub method: String,
    /// A path for a reverse listener, or the whole URL that a client of a proxy asks for.
    pub url: String,
    /// The listener that it comes to; `None`: each one that could take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Who sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
}

/// A question that has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {problem}")]
pub struct QuestionError {
    /// Which part of the question: a field of [`Question`].
    pub part: &'static str,
    /// What is wrong with it, and what was expected.
    pub problem: String,
}

/// What would become of a request, by each listener that could take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanations {
    /// One for each listener, in the order of the configuration.
    pub explanations: Vec<Explanation>,
}

/// What would become of a request by one listener. What it does not come to is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Where it comes in.
    pub listener: ExplainedListener,
    /// What its client sends.
    pub asked: String,
    /// What of the question may not be meant as it is written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Who sends it; `None` where nobody has to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<ExplainedCaller>,
    /// What a CONNECT, or a redirected connection, becomes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ExplainedConnection>,
    /// The route that it takes; of a connection whose requests are read, one that those inside take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<ExplainedRoute>,
    /// The routes that it nearly takes: the one that would be next, and others that lack one thing. Of a connection whose requests
    /// are read, those that some of them take as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<LostRoute>,
    /// The rule about what may leave that decides where no route leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<ExplainedRule>,
    /// The list of callers that would refuse it, if the listener did not only report that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reported: Option<String>,
    /// Where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<ExplainedUpstream>,
    /// The credential whose token goes with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// How that is connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialled: Option<Dialled>,
    /// What is sent there; `None` where nobody reads what is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<ExplainedHead>,
    /// How much the caller and the route may ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<ExplainedLimit>,
    /// Why the requests inside of a connection are refused, which is opened all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<ExplainedRefusal>,
    /// Why it gets no further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<ExplainedRefusal>,
    /// How it is now, in a process that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<LiveState>,
}

/// Where a request comes in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedListener {
    /// Its name.
    pub name: String,
    /// The address, as it is configured.
    pub address: String,
    /// `reverse`, `forward` or `redirected`.
    pub kind: String,
}

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedCaller {
    /// The name.
    pub name: String,
    /// By what it is taken to be known: a key of `[callers.NAME]`.
    pub by: String,
}

/// What a CONNECT, or a redirected connection, becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplainedConnection {
    /// Plain HTTP is served inside of it.
    PlainHttp,
    /// TLS is ended inside of it.
    Intercepted,
    /// TLS is ended inside of it if the client names a host in its handshake that a route leads to; else it is a tunnel, or is
    /// closed.
    InterceptedByName,
    /// Bytes go both ways that nobody reads here.
    Tunnel,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRoute {
    /// As the access log names it.
    pub route: String,
    /// The methods it is limited to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The listener it is limited to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Nobody wrote it: it is an own name of its upstream.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub implied: bool,
}

/// A route that a request does not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRoute {
    /// As the access log names it.
    pub route: String,
    /// Where it leads.
    pub upstream: String,
    /// Why it is not taken.
    pub reason: String,
}

/// A rule about what may leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRule {
    /// The host of the rule, or `unmatched` for the key of the listener.
    pub rule: String,
    /// `pass` or `deny`.
    pub action: String,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedUpstream {
    /// NAME in `[upstreams.NAME]`; `None` for what passes and was not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its URL.
    pub url: String,
}

/// How an upstream is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialled {
    /// Host and port.
    pub authority: String,
    /// Whether TLS is begun there.
    pub tls: bool,
    /// The proxy on the way; `None`: directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// What is decided only when it is dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<String>,
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedHead {
    /// The method.
    pub method: String,
    /// The request-target, rewritten.
    pub target: String,
    /// The headers that do not come from the client: names and values, secrets masked.
    pub headers: Vec<(String, String)>,
    /// Headers that a client may send, and that do not pass.
    pub removed: Vec<String>,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedLimit {
    /// `caller` or `route`.
    pub of: String,
    /// The key.
    pub key: String,
    /// How much it allows.
    pub limit: u32,
    /// How much of it is taken, if that is more than one: by a CONNECT and by the request inside of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub takes: Option<u32>,
    /// What of it is used now, in a process that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_use: Option<u32>,
    /// As many requests more may come at once now, in a process that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u32>,
}

/// Why a request gets no further.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedRefusal {
    /// The code of the error.
    pub error: String,
    /// The status of the answer.
    pub status: u16,
    /// What the client is told.
    pub detail: String,
    /// What only the log is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The keys of the configuration that would change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
}

/// How it is now, in a process that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveState {
    /// The snapshot that answered.
    pub generation: u64,
    /// The token; `None` where none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<LiveToken>,
    /// The upstream; `None` for what was not configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<LiveUpstream>,
}

/// The token that would be sent now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveToken {
    /// Where the credential is in its life, as in `/status`.
    pub phase: String,
    /// Whether there is a token that may be sent.
    pub usable: bool,
    /// The seconds until it is not sent any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usable_for: Option<u64>,
    /// The upstream has rejected it: it is not sent there until another has come, or cannot be had.
    pub quarantined: bool,
    /// The last failure, free of secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// The upstream as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveUpstream {
    /// Open connections.
    pub connections: usize,
    /// As many may be open.
    pub max_connections: usize,
    /// How the last attempt to connect ended; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reachable: Option<bool>,
    /// It rejects tokens that it has not accepted before.
    pub rejects_fresh_tokens: bool,
}

impl QuestionError {
    /// What is wrong with one part of a question.
    pub fn new(part: &'static str, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        Self { part, problem }
    }
}
