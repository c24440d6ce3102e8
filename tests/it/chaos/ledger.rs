//! What happened: faults and when, requests and how they ended, and all that was wrong.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::servers::Servers;

/// How long a fault explains failures that begin after its end: connections that it broke are found
/// broken one by one.
const AFTERMATH: Duration = Duration::from_secs(2);

/// A token that could not be had is asked for again after up to 30 s, and the answer takes a moment.
const BACK_OFF: Duration = Duration::from_secs(35);

/// The record of one run.
#[derive(Default)]
pub(super) struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    wrong: Vec<String>,
    /// Failures by what they were.
    failures: BTreeMap<String, usize>,
    successes: usize,
    /// How often an order was carried out, by its id.
    orders: HashMap<u64, usize>,
    /// When no process listened.
    restarts: Vec<Span>,
}

/// A time that has begun and may be over.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Span {
    pub(super) to: Option<Instant>,
}

/// Why a request failed, as far as it can be seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failure {
    /// A status that is not a success, with the code of our own problems.
    Status(u16, String),
    /// The connection ended without a whole response.
    Broken,
    /// No connection.
    Refused,
}

impl Span {
    /// Whether it can be why a request failed that began at `began`.
    fn explains(&self, began: Instant, patience: Duration) -> bool {
        self.to.is_none_or(|to| to + patience >= began)
    }
}

impl Ledger {
    /// Something that may never happen.
    pub(super) fn violation(&self, what: String) {
        self.book().wrong.push(what);
    }

    /// An API has read a whole order and carries it out.
    pub(super) fn carried_out(&self, id: u64) {
        let mut book = self.book();
        let times = book.orders.entry(id).or_default();
        *times += 1;
        if *times > 1 {
            let what = format!("order {id} was carried out {times} times");
            book.wrong.push(what);
        }
    }

    pub(super) fn succeeded(&self) {
        self.book().successes += 1;
    }

    /// A request to an API, behind one to another, that began at `began` failed: is there a reason?
    pub(super) fn failed(
        &self,
        servers: &Servers,
        (api, behind): (&str, Option<&str>),
        began: Instant,
        failure: &Failure,
    ) {
        let faults = servers.api(api).spans();
        let broken = |spans: &[Span]| spans.iter().any(|span| span.explains(began, AFTERMATH));
        let mut book = self.book();
        let explained = broken(&book.restarts)
            || match failure {
                Failure::Refused => false,
                Failure::Broken => {
                    let before = behind.map(|api| servers.api(api).spans());
                    broken(&faults) || before.is_some_and(|before| broken(&before))
                }
                Failure::Status(503, code) if code == "token_unavailable" => {
                    let tokens = servers.tokens(api).map(|server| server.spans());
                    let tokens = tokens.unwrap_or_default();
                    tokens.iter().any(|span| span.explains(began, BACK_OFF))
                }
                Failure::Status(_, code) => {
                    let upstream = ["upstream_connect", "upstream_timeout", "upstream_protocol"];
                    (code.is_empty() || upstream.contains(&code.as_str())) && broken(&faults)
                }
            };
        let what = format!("{api} {failure:?}");
        if !explained {
            book.wrong.push(format!("{what} without a reason"));
        }
        *book.failures.entry(what).or_default() += 1;
    }

    /// No process listens, or one does again.
    pub(super) fn restarting(&self, begins: bool) {
        let mut book = self.book();
        match book.restarts.last_mut() {
            Some(span) if !begins => span.to = Some(Instant::now()),
            _ => book.restarts.push(Span::default()),
        }
    }

    pub(super) fn wrong(&self) -> Vec<String> {
        self.book().wrong.clone()
    }

    /// Numbers for the report.
    pub(super) fn summary(&self) -> String {
        let book = self.book();
        let failures: usize = book.failures.values().sum();
        format!(
            "{} requests succeeded, {} orders among them; {failures} failed for a reason: {:#?}",
            book.successes,
            book.orders.len(),
            book.failures,
        )
    }

    /// A run in which little happened would prove little.
    pub(super) fn was_worth_it(&self, servers: &Servers) {
        let book = self.book();
        assert!(book.successes > 500, "{} successes", book.successes);
        assert!(book.orders.len() > 100, "{} orders", book.orders.len());
        assert!(!book.failures.is_empty(), "no fault was noticed by anyone");
        for server in servers.faulty() {
            println!("faults of {}: {:?}", server.name, server.moods());
            assert!(!server.spans().is_empty(), "{} had no fault", server.name);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }
}
