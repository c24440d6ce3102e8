//! One identity that two callers could claim would be nobody's.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::Hash;

use super::super::super::draft::Draft;
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::{Caller, CallerToken, IssuerKeys, SpiffePattern};
use super::super::super::words::QuotedWord;

/// What the API server calls a service account in a token.
const SERVICE_ACCOUNT: &str = "system:serviceaccount";

/// Reports it.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    same(draft, report, "certificate_name", |caller| {
        caller.certificate_name.as_ref()
    });
    same(draft, report, "user", |caller| caller.user.as_ref());
    same(draft, report, "service_account", |caller| {
        caller.service_account.as_ref()
    });
    spiffe_ids(draft, report);
    keys(draft, report);
    issuers(draft, report);
    tokens(draft, report);
    service_account_tokens(draft, report);
}

/// Reports callers that share an identity.
fn same<'d, T: Hash + Eq + Display + 'd>(
    draft: &'d Draft,
    report: &Report<'_>,
    key: &str,
    identity: impl Fn(&'d Caller) -> Option<&'d T>,
) {
    let mut seen: HashMap<&T, &str> = HashMap::new();
    for (caller, place) in draft.sound_callers() {
        let Some(identity) = identity(caller) else {
            continue;
        };
        if let Some(first) = seen.insert(identity, &caller.name) {
            let message = format!(
                "callers {} and {} have the same `{key}`",
                QuotedWord(first),
                QuotedWord(&caller.name)
            );
            let help = format!("nobody could tell whose {identity} is: leave it to one of them");
            report.error(place, message, help);
        }
    }
}

/// Patterns of one shape have the same trust domain, length and stars. Two patterns have an ID in common if they are
/// equal where neither has a star, so that the patterns of two shapes are compared by what they have there.
fn spiffe_ids(draft: &Draft, report: &Report<'_>) {
    type Patterns<'d> = Vec<(&'d SpiffePattern, &'d Caller, &'d SourceSpan)>;
    let mut shapes: HashMap<_, Patterns<'_>> = HashMap::new();
    for (caller, place) in draft.sound_callers() {
        if let Some(pattern) = &caller.spiffe_id {
            let patterns = shapes.entry(pattern.shape()).or_default();
            patterns.push((pattern, caller, place));
        }
    }
    let mut shapes: Vec<_> = shapes.into_iter().collect();
    shapes.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (index, (shape, patterns)) in shapes.iter().enumerate() {
        for (other_shape, others) in &shapes[..=index] {
            let Some(compared) = shape.compared_with(other_shape) else {
                continue;
            };
            let known: HashMap<_, _> = others
                .iter()
                .rev()
                .map(|other| (other.0.parts(&compared), other))
                .collect();
            for (pattern, caller, place) in patterns {
                if let Some((other, first, _)) = known.get(&pattern.parts(&compared))
                    && first.name != caller.name
                {
                    let message = format!(
                        "callers {} and {} have a `spiffe_id` in common",
                        QuotedWord(&first.name),
                        QuotedWord(&caller.name)
                    );
                    let help =
                        format!("nobody could tell whose it is: {other} and {pattern} overlap");
                    report.error(place, message, help);
                }
            }
        }
    }
}

/// Keys of different callers with the same value.
fn keys(draft: &Draft, report: &Report<'_>) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for (name, secret) in &draft.caller_keys {
        for key in Caller::keys_of(secret) {
            let first = *seen.entry(key).or_insert(name);
            if first != name
                && let Some(Some((_, place))) = draft.callers.get(name)
            {
                let message = format!(
                    "callers {} and {} have a key in common",
                    QuotedWord(first),
                    QuotedWord(name)
                );
                report.error(
                    place,
                    message,
                    "nobody could tell whose it is: give each its own",
                );
                break;
            }
        }
    }
}

/// All callers of an issuer find its keys in the same way.
fn issuers(draft: &Draft, report: &Report<'_>) {
    let mut issuers: HashMap<&str, (&str, &IssuerKeys)> = HashMap::new();
    for (caller, place) in draft.sound_callers() {
        let Some(token) = &caller.token else { continue };
        let (first, keys) = *issuers
            .entry(&token.issuer.name)
            .or_insert((&caller.name, &token.issuer.keys));
        if *keys != token.issuer.keys {
            let message = format!(
                "callers {} and {} have the same issuer, and other keys or `tls` for it",
                QuotedWord(first),
                QuotedWord(&caller.name)
            );
            let help = "write `jwks_file` and `tls` alike for all callers of an issuer";
            report.error(place, message, help);
        }
    }
}

/// Where all claims of one caller are also asked of the other, every token of the other is that of both. Where each asks
/// for a claim of its own, only a request can tell. Callers with claims of the same names are compared by the values, so
/// that thousands of them stay cheap.
fn tokens(draft: &Draft, report: &Report<'_>) {
    type DeclaredToken<'d> = (&'d CallerToken, &'d Caller, &'d SourceSpan);
    let mut by_names: BTreeMap<(&str, &str, Vec<&str>), Vec<DeclaredToken<'_>>> = BTreeMap::new();
    for (caller, place) in draft.sound_callers() {
        if let Some(token) = &caller.token {
            let names = token.claims.iter().map(|(name, _)| &**name).collect();
            let key = (token.issuer.name.as_str(), &*token.audience, names);
            by_names
                .entry(key)
                .or_default()
                .push((token, caller, place));
        }
    }
    for ((issuer, audience, names), fewer) in &by_names {
        let mut known: HashMap<Vec<&str>, &Caller> = HashMap::new();
        for (token, caller, _) in fewer {
            known.entry(values(token, names)).or_insert(caller);
        }
        let of_same = |key: &(&str, &str, Vec<&str>)| key.0 == *issuer && key.1 == *audience;
        let asks_for_all =
            |key: &(&str, &str, Vec<&str>)| names.iter().all(|name| key.2.contains(name));
        let more = by_names
            .iter()
            .filter(|(key, _)| of_same(key) && asks_for_all(key));
        for (token, caller, place) in more.flat_map(|(_, more)| more) {
            if let Some(first) = known.get(&values(token, names))
                && first.name != caller.name
            {
                let message = format!(
                    "a token of caller {} could be one of {} too",
                    QuotedWord(&caller.name),
                    QuotedWord(&first.name)
                );
                let help = "they have the same issuer and audience: give each a claim that tells them apart, such as `sub`";
                report.error(place, message, help);
            }
        }
    }
}

/// What a caller asks of the claims with these names.
fn values<'d>(token: &'d CallerToken, names: &[&str]) -> Vec<&'d str> {
    let values = names.iter().filter_map(|name| token.claim(name));
    values.collect()
}

/// A token of a service account is a JWT as well.
fn service_account_tokens(draft: &Draft, report: &Report<'_>) {
    let Some((Some(kubernetes), _)) = &draft.kubernetes else {
        return;
    };
    let of_cluster = |caller: &&Caller| {
        let token = caller.token.as_ref();
        token.is_some_and(|token| {
            Some(&token.issuer.name) == kubernetes.issuer.as_ref()
                && *token.audience == *kubernetes.audience
        })
    };
    let by_token: Vec<_> = draft
        .sound_callers()
        .filter(|(caller, _)| of_cluster(caller))
        .collect();
    for (account_of, place) in draft.sound_callers() {
        let Some(account) = &account_of.service_account else {
            continue;
        };
        let subject = format!("{SERVICE_ACCOUNT}:{}:{}", account.namespace, account.name);
        let claims = |caller: &Caller| {
            let token = caller.token.as_ref();
            token.is_some_and(|token| {
                token
                    .claims
                    .iter()
                    .all(|(claim, value)| **claim == *"sub" && **value == *subject)
            })
        };
        let mut others = by_token.iter().map(|(caller, _)| *caller);
        if let Some(other) = others.find(|other| other.name != account_of.name && claims(other)) {
            let message = format!(
                "a token of service account {account} of caller {} could be one of caller {} too",
                QuotedWord(&account_of.name),
                QuotedWord(&other.name)
            );
            let help = "give the `token` of the other a claim `sub` of its own";
            report.error(place, message, help);
        }
    }
}
