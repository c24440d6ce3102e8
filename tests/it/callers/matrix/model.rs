//! What there is to combine, and what has to become of each combination.

/// The callers: two with keys, one with a SPIFFE ID and a key, one with a name in its certificate, one with JWTs, and one
/// that is a user of this machine.
pub(super) const WITH_KEYS: [&str; 3] = ["alpha", "beta", "gamma"];
pub(super) const SPIFFE_ID: &str = "spiffe://corp.example/ns/x/sa/gamma";
pub(super) const DNS_NAME: &str = "delta.internal";
pub(super) const WITH_TOKENS: &str = "zeta";
/// A JWT of the same caller that has ended.
pub(super) const ENDED: &str = "ended";
pub(super) const USER: &str = "epsilon";

pub(super) struct Listener {
    pub(super) name: &'static str,
    pub(super) forward: bool,
    pub(super) tls: bool,
    /// A unix socket, to which every client is the same user.
    pub(super) unix: bool,
    /// `None`: it identifies nobody.
    pub(super) callers: Option<&'static [&'static str]>,
    pub(super) header: &'static str,
    pub(super) report: bool,
}

pub(super) const LISTENERS: [Listener; 12] = [
    Listener {
        name: "two",
        forward: false,
        tls: false,
        unix: false,
        callers: Some(&["alpha", "beta"]),
        header: "authorization",
        report: false,
    },
    Listener {
        name: "any",
        forward: false,
        tls: false,
        unix: false,
        callers: Some(&["*"]),
        header: "x-caller-key",
        report: false,
    },
    Listener {
        name: "report",
        forward: false,
        tls: false,
        unix: false,
        callers: Some(&["alpha"]),
        header: "authorization",
        report: true,
    },
    Listener {
        name: "open",
        forward: false,
        tls: false,
        unix: false,
        callers: None,
        header: "authorization",
        report: false,
    },
    Listener {
        name: "tls",
        forward: false,
        tls: true,
        unix: false,
        callers: Some(&["*"]),
        header: "authorization",
        report: false,
    },
    Listener {
        name: "tls-header",
        forward: false,
        tls: true,
        unix: false,
        callers: Some(&["alpha", "gamma", "delta"]),
        header: "x-caller-key",
        report: false,
    },
    Listener {
        name: "proxy",
        forward: true,
        tls: false,
        unix: false,
        callers: Some(&["alpha", "gamma"]),
        header: "proxy-authorization",
        report: false,
    },
    Listener {
        name: "proxy-tls",
        forward: true,
        tls: true,
        unix: false,
        callers: Some(&["alpha", "gamma", "zeta"]),
        header: "proxy-authorization",
        report: false,
    },
    Listener {
        name: "report-tls",
        forward: false,
        tls: true,
        unix: false,
        callers: Some(&["alpha"]),
        header: "x-caller-key",
        report: true,
    },
    Listener {
        name: "report-proxy",
        forward: true,
        tls: false,
        unix: false,
        callers: Some(&["alpha"]),
        header: "proxy-authorization",
        report: true,
    },
    Listener {
        name: "socket",
        forward: false,
        tls: false,
        unix: true,
        callers: Some(&["*"]),
        header: "x-caller-key",
        report: false,
    },
    Listener {
        name: "socket-proxy",
        forward: true,
        tls: false,
        unix: true,
        callers: Some(&["alpha", "epsilon"]),
        header: "proxy-authorization",
        report: false,
    },
];

/// `callers` of the route, by its name; no route for the last one.
pub(super) const LISTS: [(&str, Option<&[&str]>); 4] = [
    ("all", None),
    ("any", Some(&["*"])),
    ("alpha", Some(&["alpha"])),
    ("others", Some(&["beta", "gamma", "zeta"])),
];
pub(super) const NO_ROUTE: &str = "nowhere";

/// The credentials of upstreams, by their names: which one for whom.
pub(super) const UPSTREAMS: [(&str, &[(&str, &str)]); 4] = [
    ("plain", &[]),
    ("single", &[("", "one")]),
    ("named", &[("alpha", "ca"), ("gamma", "cg")]),
    ("rest", &[("alpha", "ca"), ("*", "cr")]),
];

/// What a client shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown {
    pub(super) certificate: Option<&'static str>,
    /// By what scheme, and whose key or JWT; `x` is nobody's.
    pub(super) key: Option<(&'static str, &'static str)>,
    /// The same in `Authorization`, if that is not the header for callers.
    pub(super) authorization: Option<(&'static str, &'static str)>,
}

pub(super) const SHOWN: [Shown; 27] = [
    shown(None, None),
    shown(None, Some(("Bearer", "alpha"))),
    shown(None, Some(("Basic", "beta"))),
    shown(None, Some(("Bearer", "x"))),
    shown(None, Some(("Digest", "alpha"))),
    shown(None, Some(("Bearer", WITH_TOKENS))),
    shown(None, Some(("Basic", WITH_TOKENS))),
    shown(Some(SPIFFE_ID), None),
    shown(Some(DNS_NAME), None),
    shown(Some("stranger.internal"), None),
    shown(Some("stranger.internal"), Some(("Basic", "alpha"))),
    shown(Some(SPIFFE_ID), Some(("Bearer", "gamma"))),
    shown(Some(SPIFFE_ID), Some(("Bearer", "alpha"))),
    shown(Some(DNS_NAME), Some(("Bearer", WITH_TOKENS))),
    shown(Some(SPIFFE_ID), Some(("Bearer", "x"))),
    shown(Some(DNS_NAME), Some(("Digest", "alpha"))),
    shown(Some(DNS_NAME), Some(("Basic", "gamma"))),
    shown(Some(DNS_NAME), Some(("Digest", "x"))),
    shown(None, Some(("Bearer", "alpha"))).beside(("Token", "alpha")),
    shown(None, Some(("Bearer", "alpha"))).beside(("Bearer", "beta")),
    shown(None, Some(("Basic", "beta"))).beside(("Bearer", "x")),
    shown(Some(SPIFFE_ID), None).beside(("Basic", "gamma")),
    shown(Some(SPIFFE_ID), None).beside(("Digest", "alpha")),
    shown(Some(DNS_NAME), None).beside(("Bearer", WITH_TOKENS)),
    shown(Some(DNS_NAME), None).beside(("Bearer", ENDED)),
    shown(Some(DNS_NAME), Some(("Bearer", ENDED))),
    shown(None, Some(("Basic", ENDED))),
];

pub(super) const fn shown(
    certificate: Option<&'static str>,
    key: Option<(&'static str, &'static str)>,
) -> Shown {
    Shown {
        certificate,
        key,
        authorization: None,
    }
}

impl Shown {
    const fn beside(self, authorization: (&'static str, &'static str)) -> Self {
        Self {
            authorization: Some(authorization),
            ..self
        }
    }

    /// What it sends to this listener in `Authorization`.
    pub(super) fn in_authorization(
        self,
        listener: &Listener,
    ) -> Option<(&'static str, &'static str)> {
        match listener.header {
            "authorization" => self.key,
            _ => self.authorization,
        }
    }
}

/// What has to become of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Status and code.
    Refused(u16, &'static str),
    /// The credential whose token the API sees, and the caller whose name.
    Served(Option<&'static str>, Option<&'static str>),
}

/// The model.
pub(super) fn expected(shown: Shown, listener: &Listener, list: &str, upstream: &str) -> Expected {
    let unknown = Expected::Refused(if listener.forward { 407 } else { 401 }, "caller_unknown");
    let not_permitted = Expected::Refused(403, "not_permitted");
    let mut caller = None;
    if let Some(permitted) = listener.callers {
        let by_connection = match shown.certificate.filter(|_| listener.tls) {
            Some(SPIFFE_ID) => Some("gamma"),
            Some(DNS_NAME) => Some("delta"),
            _ => listener.unix.then_some(USER),
        };
        let by_key = match shown.key {
            None => Ok(None),
            Some(("Digest", _)) if listener.header != "x-caller-key" => Err(()),
            Some(("Digest", _) | (_, "x" | ENDED)) => Err(()),
            Some((_, owner)) => Ok(Some(owner)),
        };
        caller = match (by_connection, by_key) {
            // `Authorization` is judged below.
            (Some(known), Err(())) if listener.header == "authorization" => Some(known),
            (_, Err(())) | (None, Ok(None)) => return unknown,
            (Some(one), Ok(Some(other))) if one != other => return unknown,
            (known, Ok(by_key)) => known.or(by_key),
        };
        // Whatever the scheme, it may show nobody else.
        let beside = shown.in_authorization(listener);
        let beside = beside.filter(|(_, owner)| !["x", ENDED].contains(owner));
        if beside.is_some_and(|(_, owner)| Some(owner) != caller) {
            return unknown;
        }
        if !listener.report && !is_in(permitted, caller) {
            return not_permitted;
        }
    }
    if list == NO_ROUTE {
        return if listener.forward {
            // An upstream has its own name on a forward listener, which no list narrows.
            served(caller, upstream).unwrap_or(not_permitted)
        } else {
            Expected::Refused(404, "no_route")
        };
    }
    let (_, permitted) = LISTS.iter().find(|(name, _)| *name == list).unwrap();
    if !listener.report && !permitted.is_none_or(|permitted| is_in(permitted, caller)) {
        return not_permitted;
    }
    served(caller, upstream).unwrap_or(not_permitted)
}

pub(super) fn is_in(list: &[&str], caller: Option<&str>) -> bool {
    caller.is_some_and(|caller| list.contains(&"*") || list.contains(&caller))
}

pub(super) fn served(caller: Option<&'static str>, upstream: &str) -> Option<Expected> {
    let (_, credentials) = UPSTREAMS
        .iter()
        .find(|(name, _)| *name == upstream)
        .unwrap();
    let of = |who: &str| credentials.iter().find(|(caller, _)| *caller == who);
    let credential = match credentials {
        [] => None,
        [("", only)] => Some(*only),
        _ => {
            let of_caller = caller.and_then(|caller| of(caller).or(of("*")));
            Some(of_caller?.1)
        }
    };
    Some(Expected::Served(credential, caller))
}

/// Routes of a listener: each list with each upstream. A listener that identifies nobody can have no lists, and no
/// credentials for callers.
pub(super) fn paths(listener: &Listener) -> impl Iterator<Item = (&'static str, &'static str)> {
    let identifies = listener.callers.is_some();
    let lists = LISTS
        .iter()
        .filter(move |(_, list)| identifies || list.is_none());
    let names = lists.map(|(name, _)| *name).chain([NO_ROUTE]);
    names.flat_map(move |list| {
        let upstreams = UPSTREAMS.iter();
        let upstreams =
            upstreams.filter(move |(name, _)| identifies || ["plain", "single"].contains(name));
        upstreams.map(move |(upstream, _)| (list, *upstream))
    })
}
