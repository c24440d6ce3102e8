//! Whether a listener can know the callers that it lets in.

use http::header::AUTHORIZATION;

use super::super::super::draft::{Defined, Draft};
use super::super::super::report::{Report, SourceSpan};
use super::super::super::settings::{
    Caller, CallerList, ClientCertificates, ListenAddress, Listener,
};
use super::super::super::words::QuotedWord;

const NOBODY_KNOWN: &str =
    "none of the callers can be known there, by a certificate, a user or a key";

/// Reports keys and tokens in plain text, and callers that cannot be known where they are let in.
pub(super) fn check(draft: &Draft, report: &Report<'_>) {
    for (listener, place) in &draft.listeners {
        plaintext(draft, listener, place, report);
        keys_of_none(draft, listener, place, report);
        match &listener.callers {
            CallerList::Unsaid => {}
            CallerList::Any => {
                // One with a mistake may be the one that can be known.
                let mut callers = draft.callers.values();
                let cannot_know = |slot: &Defined<Option<Caller>>| {
                    let caller = slot.as_ref().and_then(|(caller, _)| caller.as_ref());
                    caller.is_some_and(|caller| !can_know(listener, caller))
                };
                if !draft.callers.is_empty() && callers.all(cannot_know) {
                    let name = QuotedWord(&listener.name);
                    let message = format!("listener {name} refuses everyone");
                    report.warning(place, message, NOBODY_KNOWN);
                }
            }
            CallerList::Named(names) => {
                let callers = names.iter().filter_map(|name| defined(draft, name));
                for caller in callers.filter(|caller| !can_know(listener, caller)) {
                    let message = format!(
                        "caller {} cannot be known by listener {}",
                        QuotedWord(&caller.name),
                        QuotedWord(&listener.name)
                    );
                    report.warning(place, message, help(caller));
                }
            }
        }
    }
}

/// What a listener asks its clients for, and none of them is known by.
fn keys_of_none(draft: &Draft, listener: &Listener, place: &SourceSpan, report: &Report<'_>) {
    let name = QuotedWord(&listener.name);
    let tls = listener.tls.as_ref();
    let asks = tls.is_some_and(|tls| {
        tls.client_ca_file.is_some() && tls.client_certificates == ClientCertificates::Optional
    });
    let callers = match &listener.callers {
        CallerList::Unsaid if asks => {
            let message = format!("`client_ca_file` of listener {name} keeps nobody out");
            let help = "a client needs no certificate, and nobody is identified: set `client_certificates = \"required\"`, \
                        or say who may with `callers`";
            report.warning(place, message, help);
            return;
        }
        CallerList::Unsaid => return,
        CallerList::Any => draft.callers.values().map(sound).collect(),
        CallerList::Named(names) => {
            let callers = names.iter().map(|name| defined(draft, name));
            callers.collect::<Option<Vec<_>>>()
        }
    };
    // One with a mistake may be the one that counts. That there is none is said elsewhere.
    let Some(callers) = callers.filter(|callers| !callers.is_empty()) else {
        return;
    };
    let own_header = listener.forward.is_none() && listener.caller_header != AUTHORIZATION;
    if own_header && !callers.iter().any(|caller| caller.shows_a_secret()) {
        let message = format!("`caller_header` of listener {name} has no effect");
        let help = "none of the callers has a key or a token to show there";
        report.warning(place, message, help);
    }
}

fn sound(slot: &Defined<Option<Caller>>) -> Option<&Caller> {
    slot.as_ref()?.0.as_ref()
}

fn defined<'d>(draft: &'d Draft, name: &str) -> Option<&'d Caller> {
    sound(draft.callers.get(name)?)
}

/// The keys and tokens of callers are passwords: whoever reads one on the way is that caller from then on.
fn plaintext(draft: &Draft, listener: &Listener, place: &SourceSpan, report: &Report<'_>) {
    if listener.tls.is_some() || listener.allow_plaintext || !listener.address.is_on_network() {
        return;
    }
    let exposed = |caller: &&Caller| caller.shows_a_secret();
    let exposed = match &listener.callers {
        CallerList::Unsaid => None,
        CallerList::Any => draft
            .sound_callers()
            .map(|(caller, _)| caller)
            .find(exposed),
        CallerList::Named(names) => {
            let mut callers = names.iter().filter_map(|name| defined(draft, name));
            callers.find(exposed)
        }
    };
    if let Some(caller) = exposed {
        let message = format!(
            "caller {} would show listener {} its key or token in plain text",
            QuotedWord(&caller.name),
            QuotedWord(&listener.name)
        );
        let help = "give the listener `tls`, or allow it with `allow_plaintext = true`";
        report.error(place, message, help);
    }
}

impl Caller {
    /// Whether it is known by something that others could show as well.
    fn shows_a_secret(&self) -> bool {
        self.key.is_some() || self.token.is_some() || self.service_account.is_some()
    }

    /// Whether it is known by its certificate.
    fn has_certificate(&self) -> bool {
        self.spiffe_id.is_some() || self.certificate_name.is_some()
    }
}

/// Whether a listener can know a caller.
pub(super) fn can_know(listener: &Listener, caller: &Caller) -> bool {
    let takes_certificates = listener
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca_file.is_some());
    let is_unix = matches!(listener.address, ListenAddress::Unix { .. });
    caller.shows_a_secret()
        || caller.has_certificate() && takes_certificates
        || caller.user.is_some() && is_unix
}

/// Why a listener cannot know a caller.
pub(super) fn help(caller: &Caller) -> &'static str {
    match (caller.has_certificate(), caller.user.is_some()) {
        (true, true) => {
            "it is known by certificate where `tls` has `client_ca_file`, and as a user by unix sockets"
        }
        (true, false) => {
            "it is known by certificate, and the listener has no `tls` with `client_ca_file`"
        }
        _ => "it is known as a user, and the listener is no unix socket",
    }
}
