//! Why a request gets no further, and which keys would change that.

use crate::explanation::QuestionError;
use crate::proxy::error::{DeniedBy, ErrorKind, ProxyError};

/// It gets no further.
pub(super) enum Stop {
    /// It is refused, and these keys would change that.
    Refused(Box<ProxyError>, Option<&'static str>),
    /// It is no request.
    Question(QuestionError),
}

impl From<QuestionError> for Stop {
    fn from(error: QuestionError) -> Self {
        Self::Question(error)
    }
}

/// A refusal that these keys would change.
pub(super) fn unless(change: &'static str) -> impl Fn(ProxyError) -> Stop {
    move |error| Stop::Refused(Box::new(error), Some(change))
}

/// A refusal that no key changes.
pub(super) fn always(error: ProxyError) -> Stop {
    Stop::Refused(Box::new(error), None)
}

/// A refusal because nothing leads there.
pub(super) fn way_denied(error: ProxyError) -> Stop {
    let change = match (
        error.kind,
        error.egress.map(|denial| (denial.rule, denial.by)),
    ) {
        (ErrorKind::NoRoute, _) => "[[routes]], or `upstream` of the listener",
        (ErrorKind::DestinationDenied, Some((0, DeniedBy::Host))) => {
            "`url` or `hosts` of an upstream, [[routes]], [[egress.rules]], or `unmatched` of the listener"
        }
        (ErrorKind::DestinationDenied, Some((_, DeniedBy::Host))) => {
            "`action`, `listeners` or `callers` of the rule in [[egress.rules]]"
        }
        (ErrorKind::DestinationDenied, Some((_, DeniedBy::Port))) => "`ports` of [egress]",
        (ErrorKind::DestinationDenied, None) => {
            "`addresses`, `allow` and `deny` of [egress]; for upstreams at several places their `url` and `hosts`"
        }
        (ErrorKind::InterceptionOff, _) => {
            "`intercept` of the listener, or `domains` of [interception]"
        }
        (ErrorKind::NotPermitted, _) => match error.rule {
            Some(rule) => rule,
            None => return always(error),
        },
        (ErrorKind::Loop, _) => "`url` of the upstream, or `no_proxy` of the client",
        _ => return always(error),
    };
    unless(change)(error)
}
