//! `[[listeners]]`

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::address::{host_name, is_loopback_ip, origin, socket};
use super::draft::{Draft, Files, Named};
use super::read::Section;
use super::report::Expected;
use super::{HostPattern, ListenAddress, Listener, Route};
use crate::files;

/// What a unix socket's file can be called: `sun_path` less its final zero.
const LONGEST_SOCKET_PATH: usize = 107;

/// Who may connect to a unix socket unless `mode` says otherwise.
const DEFAULT_MODE: u32 = 0o660;

/// Reads one listener, and the route that its `upstream` stands for.
pub(super) fn read(section: Section<'_>, files: &Files<'_>, draft: &mut Draft) {
    section.missing("address", "an address such as \"127.0.0.1:7080\"");
    let mode = section.get("mode");
    let allow_network = section.boolean("allow_network", false);
    let hosts = section.parse_each("hosts", |text| match text {
        "*" => Ok(text.to_owned()),
        _ => host_name(text),
    });
    let allow_browsers = section.boolean("allow_browsers", false);
    let allow_origins = section.parse_each("allow_origins", origin);
    if allow_browsers && let Some(value) = section.get("allow_origins") {
        value.error(
            "has no effect",
            "`allow_browsers` lets the pages of every origin in",
        );
    }
    let address = section.text("address");
    let name = section.parse("name", name);
    let upstream = section.text("upstream");

    let bits = mode.as_ref().and_then(|mode| {
        let text = mode.text("an octal string such as \"0660\"")?;
        mode.check(octal(text))
    });
    let socket = address.as_ref().and_then(|(value, text)| {
        let socket = value.check(listen_address(text, bits, files))?;
        match (&socket, &mode) {
            (ListenAddress::Tcp(address), _) if !is_loopback_ip(address.ip()) && !allow_network => {
                value.error(
                    "can be reached from the network",
                    "whoever reaches it uses its credentials; \
                     allow that with `allow_network = true`, or use a loopback address",
                );
            }
            (ListenAddress::Tcp(_), Some(mode)) => {
                mode.error("has no effect", "only a unix socket has a mode");
            }
            _ => {}
        }
        draft.sockets.push((socket.clone(), value.place.clone()));
        Some(socket)
    });

    let place = section.place.clone();
    let name = name.or_else(|| address.map(|(_, text)| text.to_owned()));
    if let Some((value, target)) = &upstream {
        draft.references.upstreams.push(Named::new(target, value));
    }
    if let (Some(name), Some((value, target))) = (&name, upstream) {
        draft.scopes.push(Some(name.clone()));
        let route = Route {
            listener: Some(name.clone()),
            host: HostPattern::Any,
            path: "/".to_owned(),
            methods: Vec::new(),
            upstream: target.to_owned(),
            replace_prefix: None,
        };
        draft.routes.push((route, value.place));
    }
    section.finish();
    if let Some(name) = name {
        draft.listener_names.push((name.clone(), place));
        if let Some(address) = socket {
            draft.listeners.push(Listener {
                name,
                address,
                hosts,
                allow_browsers,
                allow_origins,
            });
        }
    }
}

/// A name as it stands in logs, metrics and other sections.
pub(super) fn name(text: &str) -> Result<String, Expected> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("expected a name without control characters".into());
    }
    Ok(text.to_owned())
}

fn listen_address(
    text: &str,
    mode: Option<u32>,
    files: &Files<'_>,
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
    let path: PathBuf = files.path(path);
    let length = path.as_os_str().len();
    if length > LONGEST_SOCKET_PATH || text.contains('\0') {
        let help = format!(
            "the path of a unix socket has at most {LONGEST_SOCKET_PATH} bytes, this one {length}"
        );
        return Err(help.into());
    }
    can_be_bound(&path)?;
    let mode = mode.unwrap_or(DEFAULT_MODE);
    Ok(ListenAddress::Unix { path, mode })
}

/// Whether a socket can be made there, as far as that can be known without making one.
fn can_be_bound(path: &Path) -> Result<(), Expected> {
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    let directory = directory.unwrap_or(Path::new("."));
    let shown = directory.display();
    let (inside, named) = (directory.to_owned(), path.to_owned());
    let found = files::within(path, move || {
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
        Err(error) => Err(format!("the directory {shown} cannot be used: {error}").into()),
    }
}

fn octal(text: &str) -> Result<u32, Expected> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && !text.starts_with('+'))
        .ok_or("expected an octal string such as \"0660\"".into())
}
