//! Rules by host: the most specific one decides.

use std::collections::HashMap;

use crate::config::{Config, EgressAction, HostPattern};
use crate::policy::{CallerNames, CallerSet};

/// What becomes of a host, and which rule says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EgressDecision {
    /// What becomes of it.
    pub action: EgressAction,
    /// The index of the rule in [`EgressPolicy::rules`](super::EgressPolicy::rules).
    pub rule: usize,
    /// Whether a rule names the very host.
    pub by_exact_host: bool,
}

/// The rules of one configuration, by the hosts that they name.
#[derive(Debug)]
pub(super) struct HostRules {
    exact: HashMap<Box<str>, Vec<HostRule>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<Box<str>, Vec<HostRule>>,
    /// The hosts as the configuration has them.
    labels: Vec<String>,
}

/// One host of one rule.
#[derive(Debug)]
struct HostRule {
    /// The index of its label, from 1.
    rule: usize,
    action: EgressAction,
    /// The indices of the listeners; `None` for all.
    listeners: Option<Box<[usize]>>,
    /// `None`: also for nobody known.
    callers: Option<CallerSet>,
}

impl HostRules {
    pub(super) fn new(config: &Config, names: &CallerNames) -> Self {
        let mut rules = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            labels: Vec::new(),
        };
        let index = |name: &String| {
            let mut listeners = config.listeners.iter();
            listeners.position(|listener| listener.name == *name)
        };
        for rule in &config.egress.rules {
            for host in &rule.hosts {
                let (table, name) = match host {
                    // No rule names any host: that is what `unmatched` is for.
                    HostPattern::Any => continue,
                    HostPattern::Exact(name) => (&mut rules.exact, name),
                    HostPattern::Wildcard(parent) => (&mut rules.wildcard, parent),
                };
                rules.labels.push(host.to_string());
                let named = !rule.listeners.is_empty();
                table
                    .entry(name.as_str().into())
                    .or_default()
                    .push(HostRule {
                        rule: rules.labels.len(),
                        action: rule.action,
                        listeners: named.then(|| rule.listeners.iter().filter_map(index).collect()),
                        callers: CallerSet::new(&rule.callers, names),
                    });
            }
        }
        rules
    }

    pub(super) fn labels(&self) -> impl Iterator<Item = &str> + Clone {
        self.labels.iter().map(String::as_str)
    }

    pub(super) fn pass_any(&self) -> bool {
        let mut rules = self.exact.values().chain(self.wildcard.values()).flatten();
        rules.any(|rule| rule.action == EgressAction::Pass)
    }

    /// What the most specific host says that a rule for this listener names; of several rules the first.
    pub(super) fn find(
        &self,
        listener: usize,
        host: &str,
        is_listed: impl Fn(&CallerSet) -> bool,
    ) -> Option<EgressDecision> {
        let is_for =
            |rule: &HostRule| rule.is_for(listener) && rule.callers.as_ref().is_none_or(&is_listed);
        if let Some(found) = pick(&self.exact, host, is_for) {
            return Some(found.decision(true));
        }
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(found) = pick(&self.wildcard, parent, is_for) {
                return Some(found.decision(false));
            }
            rest = parent;
        }
        None
    }
}

fn pick<'t>(
    table: &'t HashMap<Box<str>, Vec<HostRule>>,
    host: &str,
    is_for: impl Fn(&HostRule) -> bool,
) -> Option<&'t HostRule> {
    table.get(host)?.iter().find(|rule| is_for(rule))
}

impl HostRule {
    fn decision(&self, by_exact_host: bool) -> EgressDecision {
        EgressDecision {
            action: self.action,
            rule: self.rule,
            by_exact_host,
        }
    }

    fn is_for(&self, listener: usize) -> bool {
        let listeners = self.listeners.as_ref();
        listeners.is_none_or(|listeners| listeners.contains(&listener))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;

    fn rules(text: &str) -> HostRules {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sidebearer.toml");
        let listeners = ["a", "b"].map(|name| {
            format!(
                "[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nkind = \"forward\"\n"
            )
        });
        std::fs::write(&path, listeners.concat() + text).unwrap();
        let config = load(&path).unwrap().config;
        HostRules::new(&config, &CallerNames::default())
    }

    fn found(rules: &HostRules, listener: usize, host: &str) -> Option<(String, bool)> {
        let found = rules.find(listener, host, |_| false)?;
        let label = &rules.labels[found.rule - 1];
        assert_eq!(found.by_exact_host, !label.starts_with('*'));
        Some((label.clone(), found.action == EgressAction::Pass))
    }

    #[test]
    fn the_most_specific_host_decides_whatever_the_order() {
        let rules = rules(
            r#"
[[egress.rules]]
hosts = ["*.example.com", "pinned.example.com"]
action = "pass"

[[egress.rules]]
hosts = ["*.secret.example.com", "x.example.com", "[2001:db8::1]", "192.0.2.1", "[::FFFF:c000:209]"]
action = "deny"

[[egress.rules]]
hosts = ["*.example.org"]
listeners = ["b"]
action = "pass"

[[egress.rules]]
hosts = ["*.example.org"]
action = "deny"
"#,
        );
        for (listener, host, expected) in [
            (0, "a.example.com", Some(("*.example.com", true))),
            (0, "a.b.c.example.com", Some(("*.example.com", true))),
            (0, "pinned.example.com", Some(("pinned.example.com", true))),
            (0, "x.pinned.example.com", Some(("*.example.com", true))),
            (0, "x.example.com", Some(("x.example.com", false))),
            (0, "y.x.example.com", Some(("*.example.com", true))),
            (0, "secret.example.com", Some(("*.example.com", true))),
            (
                0,
                "a.secret.example.com",
                Some(("*.secret.example.com", false)),
            ),
            (0, "[2001:db8::1]", Some(("[2001:db8::1]", false))),
            (0, "192.0.2.1", Some(("192.0.2.1", false))),
            (0, "192.0.2.9", Some(("192.0.2.9", false))),
            (0, "a.example.org", Some(("*.example.org", false))),
            (1, "a.example.org", Some(("*.example.org", true))),
            (0, "example.com", None),
            (0, "aexample.com", None),
            (0, "example.com.evil.example", None),
            (0, "com", None),
            (0, "", None),
        ] {
            let expected = expected.map(|(rule, pass)| (rule.to_owned(), pass));
            assert_eq!(found(&rules, listener, host), expected, "{listener} {host}");
        }
    }
}
