//! Where a running sidebearer is asked.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use clap::Args;
use url::Url;

use super::arguments::{ConfigChoice, ConfigPath};
use super::output::CommandError;
use crate::config::{self, ConfigOrigin};

/// Where a process has it that says nothing else.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7090);

/// The admin address of a process that was started without a file.
#[derive(Debug, Args)]
pub struct AdminAddress {
    /// The admin address of a sidebearer that runs without a configuration file
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SIDEBEARER_ADMIN",
        hide_env_values = true
    )]
    admin: Option<OsString>,
}

impl AdminAddress {
    /// A page there. If nothing was said, one at the admin address that the configuration names, whatever else is wrong with
    /// it, or at the default one.
    ///
    /// # Errors
    /// What was said is no address.
    pub(super) fn page(&self, config: &ConfigPath, page: &str) -> Result<Url, CommandError> {
        // An empty variable is as good as none.
        let Some(said) = self.admin.as_ref().filter(|said| !said.is_empty()) else {
            return Ok(configured_page(&config.path, page));
        };
        said_page(said, page)
    }
}

/// A page of the process that runs by this configuration, at the address that was said for it, whatever a file says.
///
/// # Errors
/// What was said is no address.
pub(super) fn page_of(config: &ConfigChoice, page: &str) -> Result<Url, CommandError> {
    match (&config.admin, &config.origin) {
        (Some(said), _) => said_page(OsStr::new(said), page),
        (None, ConfigOrigin::Path(path)) => Ok(configured_page(path, page)),
        (None, ConfigOrigin::Arguments(_)) => Ok(page_at(DEFAULT, page)),
    }
}

/// A page at a URL that names a server alone; any other URL as it is.
pub(super) fn page_of_url(mut url: Url, page: &str) -> Url {
    if url.path() == "/" && url.query().is_none() {
        url.set_path(page);
    }
    url
}

fn said_page(said: &OsStr, page: &str) -> Result<Url, CommandError> {
    let address = said.to_str().and_then(|said| said.parse().ok());
    let address = address.ok_or_else(|| {
        let expected = "expected an IP address and a port, such as \"127.0.0.1:7090\"";
        CommandError::Usage(format!("invalid --admin or SIDEBEARER_ADMIN: {expected}"))
    })?;
    Ok(page_at(address, page))
}

fn configured_page(config: &Path, page: &str) -> Url {
    page_at(config::admin_address(config).unwrap_or(DEFAULT), page)
}

fn page_at(address: SocketAddr, page: &str) -> Url {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(ip, address.port());
    Url::parse(&format!("http://{address}{page}")).expect("an address and a path make a URL")
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn without_a_configuration_the_default_admin_address_is_asked() {
        let url = configured_page(Path::new("/nowhere/sidebearer.toml"), "/readyz");
        assert_eq!(url.as_str(), "http://127.0.0.1:7090/readyz");
    }

    #[test]
    fn a_url_without_a_path_is_asked_for_the_page() {
        for (url, asked) in [
            ("http://a:1", "http://a:1/readyz"),
            ("http://a:1/", "http://a:1/readyz"),
            ("http://a:1/x", "http://a:1/x"),
            ("http://a:1/?x", "http://a:1/?x"),
            ("http://a:1/readyz?full", "http://a:1/readyz?full"),
        ] {
            let url = page_of_url(url.parse().unwrap(), "/readyz");
            assert_eq!(url.as_str(), asked);
        }
    }

    #[test]
    fn what_was_said_is_asked_and_nothing_else() {
        let config = ConfigPath {
            path: "/nowhere/sidebearer.toml".into(),
        };
        let page = |said: &[u8]| {
            let admin = Some(OsString::from_vec(said.to_owned()));
            let page = AdminAddress { admin }.page(&config, "/readyz");
            page.map(String::from)
        };
        assert_eq!(page(b"[::1]:9").unwrap(), "http://[::1]:9/readyz");
        assert_eq!(page(b"0.0.0.0:9").unwrap(), "http://127.0.0.1:9/readyz");
        assert_eq!(page(b"").unwrap(), "http://127.0.0.1:7090/readyz");
        for said in [&b"localhost"[..], b"\xff"] {
            let error = page(said).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("SIDEBEARER_ADMIN"), "{error}");
        }
    }
}
