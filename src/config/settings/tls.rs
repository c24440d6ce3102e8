//! TLS towards a server.

use super::NamedFile;

/// TLS client settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tls {
    /// Replaces the system's roots.
    pub ca_file: Option<NamedFile>,
    /// Our certificate chain, PEM; together with `key_file`.
    pub certificate_file: Option<NamedFile>,
    /// The key of `certificate_file`, PEM.
    pub key_file: Option<NamedFile>,
    /// The name the server's certificate must carry; that of the URL when absent.
    pub server_name: Option<String>,
    /// Refuse TLS 1.2.
    pub tls13_only: bool,
}

impl Tls {
    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &NamedFile> {
        [&self.ca_file, &self.certificate_file, &self.key_file]
            .into_iter()
            .flatten()
    }
}
