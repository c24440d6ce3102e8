//! What it costs to compare thousands of listeners, routes and callers with each other.

use std::fmt::Write;

use super::super::cross_checks::callers::questions;
use super::super::load::load_now;
use super::*;

const CALLERS: usize = 400;
const LISTENERS: usize = 40;
const ROUTES: usize = 400;

/// How many questions each name may cost that is written.
const FOR_EACH: usize = 12;

/// A configuration, and how many names it has.
#[derive(Default)]
struct SizedText {
    text: String,
    names: usize,
}

impl SizedText {
    /// The callers `c0`, `c1` and so on: users of this machine.
    fn callers() -> Self {
        let mut written = Self::default();
        for at in 0..CALLERS {
            written.add(&format!("[callers.c{at}]\nuser = {}\n", at + 1000), 1);
        }
        written
    }

    fn add(&mut self, text: &str, names: usize) {
        self.text.push_str(text);
        self.names += names;
    }

    /// Listeners that are unix sockets, each with what `rest` says of it.
    fn listeners(self, names: usize, rest: impl Fn(usize) -> String) -> Self {
        self.listeners_at(names, |at| format!("unix:/run/l{at}.sock"), rest)
    }

    /// The same of others, which know no user.
    fn tcp_listeners(self, names: usize, rest: impl Fn(usize) -> String) -> Self {
        self.listeners_at(names, |at| format!("127.0.0.1:{}", 20000 + at), rest)
    }

    fn listeners_at(
        mut self,
        names: usize,
        address: impl Fn(usize) -> String,
        rest: impl Fn(usize) -> String,
    ) -> Self {
        for at in 0..LISTENERS {
            let (address, rest) = (address(at), rest(at));
            let text =
                format!("[[listeners]]\nname = \"l{at}\"\naddress = \"{address}\"\n{rest}\n");
            self.add(&text, 1 + names);
        }
        self
    }

    fn routes(mut self, names: usize, rest: impl Fn(usize) -> String) -> Self {
        for at in 0..ROUTES {
            let rest = rest(at);
            let text = format!("[[routes]]\npath = \"/{at}\"\nupstream = \"crm\"\n{rest}\n");
            self.add(&text, 1 + names);
        }
        self
    }

    /// The upstream of all routes, with one credential for these callers.
    fn upstream(mut self, callers: impl Iterator<Item = String>) -> Self {
        self.add("[upstreams.crm]\nurl = \"https://crm.example.com\"\n", 1);
        let mut callers = callers.peekable();
        if callers.peek().is_some() {
            self.add("[upstreams.crm.credentials]\n", 0);
        }
        for caller in callers {
            self.add(&format!("{caller} = \"crm\"\n"), 1);
        }
        self
    }

    /// Loads it, which is right, and compares what that costs with how much is written.
    fn costs_little(&self, what: &str) {
        let text = [&self.text, CREDENTIAL].concat();
        let directory = directory(&[("sidebearer.toml", &text)]);
        let origin = directory.path().join("sidebearer.toml").into();
        let before = questions::asked();
        // On this thread, whose questions are counted.
        let loaded = load_now(&origin, None);
        let errors = loaded.err().map(|found| found.to_string());
        assert_eq!(errors, None, "{what}");
        let asked = questions::asked() - before;
        assert!(
            asked <= FOR_EACH * self.names,
            "{what}: {asked} questions for {} names",
            self.names
        );
    }
}

/// `callers` with `count` of them from number `from` on.
fn list(from: usize, count: usize) -> String {
    let mut text = "callers = [".to_owned();
    for at in from..from + count {
        write!(text, "\"c{}\", ", at % CALLERS).unwrap();
    }
    text + "]"
}

fn all() -> impl Iterator<Item = String> {
    (0..CALLERS).map(|at| format!("c{at}"))
}

#[test]
fn listeners_of_one_caller_and_an_upstream_with_credentials_for_all_cost_little() {
    let last = |at| list(CALLERS - 1 - at, 1);
    let open = |_: usize| String::new();
    let pinned = |at: usize| format!("listener = \"l{}\"", at % LISTENERS);
    let written = SizedText::callers().listeners(1, last);
    let written = written.routes(0, open).upstream(all());
    written.costs_little("routes for all listeners");
    let written = SizedText::callers().listeners(1, last);
    let written = written.routes(1, pinned).upstream(all());
    written.costs_little("routes for one listener each");
    let rest = (0..CALLERS - LISTENERS).map(|at| format!("c{at}"));
    let written = SizedText::callers().listeners(1, last);
    let written = written.routes(0, open).upstream(rest);
    written.costs_little("credentials for none of those that are let in");
}

#[test]
fn lists_of_routes_that_most_listeners_are_closed_to_cost_little() {
    let few = |at| list(at * 20, 20);
    let written = SizedText::callers().listeners(1, |at| list(at, 1));
    let written = written.routes(20, few).upstream(std::iter::empty());
    written.costs_little("no credentials");
    let written = SizedText::callers().listeners(1, |at| list(at, 1));
    let written = written.routes(20, few).upstream(all());
    written.costs_little("credentials for all");
    let half = (CALLERS / 2..CALLERS).map(|at| format!("c{at}"));
    let written = SizedText::callers().listeners(20, |at| list(at, 20));
    let written = written.routes(20, |at| list(at % 20, 20)).upstream(half);
    written.costs_little("credentials for none whom a route names");
}

#[test]
fn listeners_for_every_caller_that_know_none_cost_little() {
    let every = |_| "callers = [\"*\"]".to_owned();
    let written = SizedText::callers().tcp_listeners(1, every);
    let written = written.routes(0, |_| String::new()).upstream(all());
    written.costs_little("every caller");
    let reports = |at| format!("enforcement = \"report\"\n{}", list(at, 1));
    let written = SizedText::callers().tcp_listeners(1, reports);
    let written = written.routes(20, |at| list(at * 20, 20));
    let written = written.upstream(all());
    written.costs_little("lists that only report");
}

#[test]
fn rules_of_egress_with_lists_of_callers_cost_little() {
    let forward = |at| format!("kind = \"forward\"\n{}", list(at, 1));
    let mut written = SizedText::callers().listeners(1, forward);
    for at in 0..ROUTES {
        let text = format!(
            "[[egress.rules]]\nhosts = [\"h{at}.example.com\"]\naction = \"pass\"\n{}\n",
            list(at * 20, 20)
        );
        written.add(&text, 21);
    }
    written.costs_little("rules");
}
