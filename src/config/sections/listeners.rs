//! Reads `[[listeners]]`.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};

use super::super::draft::{Draft, NameUse};
use super::super::file_rules::FileRules;
use super::super::keys::{LISTENER, ListenerKind};
use super::super::parse::address::{is_loopback_ip, socket};
use super::super::parse::listener::{EVERY_HOST, Mode};
use super::super::read::Section;
use super::super::report::Expected;
use super::super::settings::listener::{is_common_loopback, other_loopback};
use super::super::settings::{
    CallerList, Enforcement, HostPattern, Limits, ListenAddress, Listener, ListenerTls, Route,
};
use super::super::words::secret_part;
use super::{callers, forward};
use crate::files;

/// What a unix socket's file can be called: `sun_path` less its final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// The permissions to write, of which a client of a unix socket needs its own.
const TO_CONNECT: u32 = 0o222;

/// How long a connection is kept whose client may have shown a certificate: what the certificate was checked against
/// changes.
const AGE_WITH_CLIENT_CERTIFICATES: Duration = Duration::from_secs(60 * 60);

/// Reads one listener, and the route that its `upstream` stands for.
pub(super) fn read(section: Section<'_>, files: &FileRules<'_>, draft: &mut Draft) {
    let allow_network = section.read(&LISTENER.allow_network);
    let hosts = section.read(&LISTENER.hosts);
    let allow_browsers = section.read(&LISTENER.allow_browsers);
    let allow_origins = section.read(&LISTENER.allow_origins);
    if allow_browsers && let Some(value) = section.written(&LISTENER.allow_origins) {
        value.error(
            "has no effect",
            "`allow_browsers` lets the pages of every origin in",
        );
    }
    if hosts.len() > 1
        && hosts.iter().flatten().any(|host| host == EVERY_HOST)
        && let Some(value) = section.written(&LISTENER.hosts)
    {
        value.error("names hosts beside \"*\"", "\"*\" stands for all of them");
    }
    let before = section.report.errors();
    let tls = ListenerTls::read(&section, files);
    let known_tls = section.report.errors() == before;
    let intercept = section.read(&LISTENER.intercept);
    if !section.has(&LISTENER.tls) && !intercept {
        let handshake = [
            &LISTENER.handshake_timeout.name,
            &LISTENER.max_handshakes.name,
        ];
        for value in handshake.into_iter().filter_map(|key| section.value(key)) {
            value.error(
                "has no effect",
                "it belongs to `tls` and `intercept`, and neither is there",
            );
        }
    }
    let callers = callers::read_list(&section, &LISTENER.callers, draft);
    // With a mistake in the list, somebody was to be named.
    let known_callers = callers.is_some();
    let callers = callers.unwrap_or(CallerList::Any);
    let address = section.read(&LISTENER.address);
    let name = section.read(&LISTENER.name);
    let upstream = section.read(&LISTENER.upstream);
    let mode = section.read(&LISTENER.mode);

    let kind = forward::read_kind(&section);
    let is_redirected = kind == Some(ListenerKind::Redirected);
    let socket = address.as_ref().and_then(|(value, text)| {
        let socket = value.check(listen_address(text, mode, files))?;
        match (&socket, section.written(&LISTENER.mode)) {
            // There the system redirects connections to, and nobody else has any business there.
            (socket, _) if is_redirected && (socket.is_on_network() || socket.is_unix()) => {
                value.error(
                    "is no loopback address",
                    "the system redirects connections to one: write \"127.0.0.1:15001\", which stands for \"[::1]:15001\" \
                     as well",
                );
            }
            // The other family's address is bound as well, and the rules of the system name these two.
            (ListenAddress::Tcp(address), _) if is_redirected && !is_common_loopback(*address) => {
                let other = other_loopback(*address);
                let own = other_loopback(other);
                value.error(
                    "is neither 127.0.0.1 nor ::1",
                    format!("the system redirects connections to these two: write \"{own}\", which stands for \"{other}\" as well"),
                );
            }
            (ListenAddress::Tcp(address), _)
                if !is_loopback_ip(address.ip()) && !allow_network && callers.is_unsaid() =>
            {
                value.error(
                    "can be reached from the network",
                    "everyone who reaches it uses its credentials; say who may with `callers`, \
                     allow it with `allow_network = true`, or use a loopback address",
                );
            }
            (ListenAddress::Tcp(_), Some(mode)) => {
                mode.error("has no effect", "only a unix socket has a mode");
            }
            _ => {}
        }
        if let (ListenAddress::Unix { .. }, Some(Mode(bits)), Some(value)) =
            (&socket, mode, section.written(&LISTENER.mode))
            && bits & TO_CONNECT == 0
        {
            let message = format!("{} lets nobody connect", value.name());
            let help = "who connects to a unix socket needs the permission to write: expected one such as \"0660\"";
            section.report.warning(&value.place, message, help);
        }
        if socket.is_unix() {
            let says = [!hosts.is_empty(), !allow_origins.is_empty(), allow_browsers];
            refuse_on_unix_socket(&section, says);
        }
        if let ListenAddress::Unix { path, .. } = &socket {
            files.note_written(path.clone(), &value.place, "a unix socket");
        }
        draft.sockets.push((socket.clone(), value.place.clone()));
        if let ListenAddress::Tcp(address) = socket
            && is_redirected
        {
            let other = ListenAddress::Tcp(other_loopback(address));
            draft.sockets.push((other, value.place.clone()));
        }
        Some(socket)
    });

    let (at, way) = (socket.as_ref(), (kind, intercept));
    let forward = forward::read(&section, way, at, &callers, draft);
    let caller_header = caller_header(&section, kind == Some(ListenerKind::Forward));
    let enforcement = section.read(&LISTENER.enforcement);
    if callers.is_unsaid() {
        refuse_without_callers(&section, enforcement);
    }
    let place = section.place.clone();
    let name = name.or_else(|| {
        let (_, text) = address?;
        // Messages would repeat it.
        let is_shown = socket.is_some() || secret_part(text, true).is_none();
        is_shown.then(|| text.to_owned())
    });
    if let Some((value, target)) = &upstream {
        draft.references.upstreams.push(NameUse::new(target, value));
    }
    if let (Some(name), Some((value, target)), None) = (&name, upstream, &forward) {
        draft.route_listeners.push(Some(name.clone()));
        let route = Route {
            listener: Some(name.as_str().into()),
            host: HostPattern::Any,
            path: "/".into(),
            methods: Box::default(),
            upstream: target.into(),
            replace_prefix: None,
            callers: CallerList::Unsaid,
            limits: Limits::default(),
        };
        draft.routes.push((route, value.place));
    }
    if let Some(name) = name {
        draft.listener_names.push((name.clone(), place.clone()));
        if let Some(forward) = &forward {
            let listener = (name.clone(), forward.clone());
            draft.forward_listeners.push((listener, place.clone()));
        }
        let is_known = known_tls && known_callers && kind.is_some();
        if let Some(address) = socket.filter(|_| is_known) {
            let listener = Listener {
                name,
                address,
                hosts: hosts.into_iter().flatten().collect(),
                allow_browsers,
                allow_origins: allow_origins.into_iter().flatten().collect(),
                caller_header,
                forward,
                allow_plaintext: section.read(&LISTENER.allow_plaintext),
                handshake_timeout: section.read(&LISTENER.handshake_timeout),
                max_handshakes: section.read(&LISTENER.max_handshakes),
                max_connection_age: max_connection_age(&section, tls.as_ref()),
                tls,
                callers,
                enforcement,
                only_uid: None,
            };
            draft.listeners.push((listener, place));
        }
    }
}

/// The age that is written, or what holds without it.
fn max_connection_age(section: &Section<'_>, tls: Option<&ListenerTls>) -> Option<Duration> {
    let asks_clients = tls.is_some_and(|tls| tls.client_ca_file.is_some());
    let default = asks_clients.then_some(AGE_WITH_CLIENT_CERTIFICATES);
    let written = section.read(&LISTENER.max_connection_age);
    written.or(default).filter(|age| !age.is_zero())
}

/// The header that keys and tokens of callers come in.
fn caller_header(section: &Section<'_>, forward: bool) -> HeaderName {
    let written = section.read(&LISTENER.caller_header);
    let always = if forward {
        PROXY_AUTHORIZATION
    } else {
        AUTHORIZATION
    };
    let Some(header) = written else {
        return always;
    };
    if (forward != (header == PROXY_AUTHORIZATION))
        && let Some(value) = section.written(&LISTENER.caller_header)
    {
        let (message, help) = if forward {
            (
                "is another header than clients of a proxy send",
                "leave it out: on a forward listener it is always `proxy-authorization`",
            )
        } else {
            (
                "is a header that clients send to proxies alone",
                "expected another one, such as \"authorization\"",
            )
        };
        value.error(message, help);
    }
    header
}

/// What has no effect on a unix socket, as far as it says something.
fn refuse_on_unix_socket(section: &Section<'_>, [hosts, origins, browsers]: [bool; 3]) {
    if let Some(tls) = section.written(&LISTENER.tls) {
        tls.error(
            "has no effect",
            "a unix socket speaks plain HTTP: nobody else can listen in",
        );
    }
    let pages = [
        section.written(&LISTENER.hosts).filter(|_| hosts),
        section.written(&LISTENER.allow_origins).filter(|_| origins),
        section
            .written(&LISTENER.allow_browsers)
            .filter(|_| browsers),
    ];
    for value in pages.into_iter().flatten() {
        value.error(
            "has no effect",
            "no web page reaches a unix socket: nothing is refused there",
        );
    }
}

/// What says how callers are treated, where nobody is identified.
fn refuse_without_callers(section: &Section<'_>, enforcement: Enforcement) {
    let header = section.written(&LISTENER.caller_header);
    let report = section.written(&LISTENER.enforcement);
    let report = report.filter(|_| enforcement == Enforcement::Report);
    for value in [header, report].into_iter().flatten() {
        let help = "`callers` is missing or empty: nobody is identified";
        value.error("has no effect", help);
    }
}

fn listen_address(
    text: &str,
    mode: Option<Mode>,
    files: &FileRules<'_>,
) -> Result<ListenAddress, Expected> {
    let Some(path) = text.strip_prefix("unix:") else {
        return match socket(text) {
            Err(_) if text.contains('/') => Err("write a unix socket as \"unix:PATH\"".into()),
            socket => socket.map(ListenAddress::Tcp),
        };
    };
    if path.is_empty() || path.ends_with('/') {
        return Err("expected the path of a file after \"unix:\"".into());
    }
    if path.starts_with('@') {
        let help = "expected the path of a file after \"unix:\"; abstract sockets let everyone in, and \"./@\" begins the \
                    name of a file";
        return Err(help.into());
    }
    let path: PathBuf = files.path(path);
    let length = path.as_os_str().len();
    if length > LONGEST_SOCKET_PATH || text.contains('\0') {
        let help = format!(
            "the path of a unix socket has at most {LONGEST_SOCKET_PATH} bytes, this one {length}"
        );
        return Err(help.into());
    }
    can_be_bound(&path)?;
    // After a mistake, which refuses the configuration, any mode does.
    let mode = mode.map_or(0, |Mode(bits)| bits);
    Ok(ListenAddress::Unix { path, mode })
}

/// Whether a socket can be made there, as far as that can be known without making one.
fn can_be_bound(path: &Path) -> Result<(), Expected> {
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    let directory = directory.unwrap_or(Path::new("."));
    let shown = directory.display();
    let (inside, named) = (directory.to_owned(), path.to_owned());
    let found = files::run_within_timeout(path, move || {
        let directory = fs::metadata(inside)?.is_dir();
        let file = fs::symlink_metadata(named).ok();
        Ok((
            directory,
            file.is_none_or(|file| file.file_type().is_socket()),
        ))
    });
    match found {
        Ok((true, true)) => Ok(()),
        Ok((true, false)) => Err(format!("{} exists and is not a socket", path.display()).into()),
        Ok((false, _)) => Err(format!("{shown} is not a directory").into()),
        // What is not there may be no path.
        Err(error) => {
            let what = match secret_part(&shown.to_string(), false) {
                Some(_) => "its directory".to_owned(),
                None => format!("the directory {shown}"),
            };
            Err(format!("{what} cannot be used: {error}").into())
        }
    }
}
