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
    let everyone = Everyone::of(draft);
    for (listener, place) in &draft.listeners {
        plaintext(draft, &everyone, (listener, place), report);
        keys_of_none(draft, &everyone, (listener, place), report);
        let kind = Kinds::of(listener);
        match &listener.callers {
            CallerList::Unsaid => {}
            CallerList::Any => {
                if everyone.exists && !everyone.kinds.meets(kind) {
                    let name = QuotedWord(&listener.name);
                    let message = format!("listener {name} refuses everyone");
                    report.warning(place, message, NOBODY_KNOWN);
                }
            }
            CallerList::Named(names) => {
                let callers = names.iter().filter_map(|name| defined(draft, name));
                for caller in callers.filter(|caller| !Kinds::that_know(caller).meets(kind)) {
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
fn keys_of_none(
    draft: &Draft,
    everyone: &Everyone<'_>,
    (listener, place): (&Listener, &SourceSpan),
    report: &Report<'_>,
) {
    let name = QuotedWord(&listener.name);
    let tls = listener.tls.as_ref();
    let asks = tls.is_some_and(|tls| {
        tls.client_ca_file.is_some() && tls.client_certificates == ClientCertificates::Optional
    });
    // One with a mistake may be the one that counts. That there is none is said elsewhere.
    let shows_none = match &listener.callers {
        CallerList::Unsaid if asks => {
            let message = format!("`client_ca_file` of listener {name} keeps nobody out");
            let help = "a client needs no certificate, and nobody is identified: set `client_certificates = \"required\"`, \
                        or say who may with `callers`";
            report.warning(place, message, help);
            return;
        }
        CallerList::Unsaid => return,
        CallerList::Any => everyone.exists && everyone.is_sound && everyone.showing.is_none(),
        CallerList::Named(names) => {
            let mut callers = names.iter().map(|name| defined(draft, name));
            callers.all(|caller| caller.is_some_and(|caller| !caller.shows_a_secret()))
        }
    };
    let own_header = listener.forward.is_none() && listener.caller_header != AUTHORIZATION;
    if own_header && shows_none {
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
fn plaintext(
    draft: &Draft,
    everyone: &Everyone<'_>,
    (listener, place): (&Listener, &SourceSpan),
    report: &Report<'_>,
) {
    if listener.tls.is_some() || listener.allow_plaintext || !listener.address.is_on_network() {
        return;
    }
    let exposed = |caller: &&Caller| caller.shows_a_secret();
    let exposed = match &listener.callers {
        CallerList::Unsaid => None,
        CallerList::Any => everyone.showing,
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

/// Kinds of listeners, told apart by which means of callers they can know: a set of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kinds(u8);

impl Kinds {
    /// How many there are.
    pub(super) const COUNT: usize = 4;
    pub(super) const ALL: Self = Self(0b1111);
    const TAKING_CERTIFICATES: Self = Self(0b1010);
    const UNIX: Self = Self(0b1100);

    /// That of one listener.
    pub(super) fn of(listener: &Listener) -> Self {
        let tls = listener.tls.as_ref();
        let takes_certificates = tls.is_some_and(|tls| tls.client_ca_file.is_some());
        let is_unix = matches!(listener.address, ListenAddress::Unix { .. });
        Self(1 << (u8::from(takes_certificates) + 2 * u8::from(is_unix)))
    }

    /// Those that can know a caller.
    pub(super) fn that_know(caller: &Caller) -> Self {
        if caller.shows_a_secret() {
            return Self::ALL;
        }
        let only = |has_means: bool, kinds: Self| if has_means { kinds } else { Self::default() };
        let by_certificate = only(caller.has_certificate(), Self::TAKING_CERTIFICATES);
        by_certificate.or(only(caller.user.is_some(), Self::UNIX))
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The number of each of them, below `COUNT`.
    pub(super) fn each(self) -> impl Iterator<Item = usize> {
        (0..Self::COUNT).filter(move |number| self.0 >> number & 1 == 1)
    }
}

/// All callers: what a listener asks of them that is for every caller.
struct Everyone<'d> {
    /// Whether there is one.
    exists: bool,
    /// Whether none of them has a mistake.
    is_sound: bool,
    /// The first that shows a secret.
    showing: Option<&'d Caller>,
    /// The listeners that can know one. One with a mistake may be the one that can be known.
    kinds: Kinds,
}

impl<'d> Everyone<'d> {
    fn of(draft: &'d Draft) -> Self {
        let callers = || draft.callers.values().map(sound);
        let kinds = callers().map(|caller| caller.map_or(Kinds::ALL, Kinds::that_know));
        Self {
            exists: !draft.callers.is_empty(),
            is_sound: callers().all(|caller| caller.is_some()),
            showing: callers().flatten().find(|caller| caller.shows_a_secret()),
            kinds: kinds.fold(Kinds::default(), Kinds::or),
        }
    }
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
