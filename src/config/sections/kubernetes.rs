//! Reads `[kubernetes]`.

use super::super::file_rules::FileRules;
use super::super::keys::{KUBERNETES, OF_POD};
use super::super::parse::address::is_loopback;
use super::super::permissions;
use super::super::read::Section;
use super::super::settings::file::shown_of_secret;
use super::super::settings::{Kubernetes, NamedFile, SecretError, SecretSource};
use super::tls::check_roots;

impl Kubernetes {
    pub(super) fn read(section: &Section<'_>, files: &FileRules<'_>) -> Option<Self> {
        let audience = section.read(&KUBERNETES.audience);
        let issuer = section.read(&KUBERNETES.issuer);
        let review = section.read(&KUBERNETES.review);
        let review_grace = section.read(&KUBERNETES.review_grace);
        if !review && let Some(value) = section.written(&KUBERNETES.review_grace) {
            value.error("has no effect", "it belongs to `review = true`");
        }
        let api_server = section.read(&KUBERNETES.api_server);
        let token_file = section.read(&KUBERNETES.token_file);
        let ca_file = section.read(&KUBERNETES.ca_file);
        if let Some((value, url)) = &api_server
            && url.scheme() == "http"
            && !is_loopback(url)
        {
            let help = "use https: the token of the gateway itself would be sent in plain text";
            value.error("is not asked over TLS", help);
        }
        let place = |key| section.place_written(key);
        let token_file = files.named(&token_file?, &place(&KUBERNETES.token_file));
        let ca_file = files.named(&ca_file?, &place(&KUBERNETES.ca_file));
        // What a pod is given need not be where its configuration is checked.
        let given = |file: &NamedFile| file.path().starts_with(OF_POD);
        if let Some(value) = section
            .written(&KUBERNETES.ca_file)
            .filter(|_| !given(&ca_file))
        {
            permissions::check(&value, &ca_file);
            check_roots(&value, &ca_file);
        }
        if let Some(value) = section
            .written(&KUBERNETES.token_file)
            .filter(|_| !given(&token_file))
        {
            permissions::check_secret(&value, &token_file);
            let read = SecretSource::File(token_file.clone()).read();
            value.check(read.map_err(|error| match error {
                SecretError::File { reason, .. } => {
                    let file = shown_of_secret(token_file.path());
                    format!("cannot read {file}: {reason}").into()
                }
                error => error.to_string().into(),
            }));
        }
        Some(Self {
            audience: audience?,
            issuer: issuer.map(|(_, issuer)| issuer.to_owned()),
            review,
            review_grace,
            api_server: api_server.map(|(_, url)| url),
            token_file,
            ca_file,
        })
    }
}
