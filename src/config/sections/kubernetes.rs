//! Reads `[kubernetes]`.

use super::super::file_rules::FileRules;
use super::super::keys::KUBERNETES;
use super::super::read::Section;
use super::super::settings::Kubernetes;

impl Kubernetes {
    pub(super) fn read(section: &Section<'_>, files: &FileRules<'_>) -> Option<Self> {
        let audience = section.read(&KUBERNETES.audience);
        let issuer = section.read(&KUBERNETES.issuer);
        let review = section.read(&KUBERNETES.review);
        let review_grace = section.read(&KUBERNETES.review_grace);
        let api_server = section.read(&KUBERNETES.api_server);
        let token_file = section.read(&KUBERNETES.token_file);
        let ca_file = section.read(&KUBERNETES.ca_file);
        Some(Self {
            audience: audience?,
            issuer: issuer.map(|(_, issuer)| issuer.to_owned()),
            review,
            review_grace,
            api_server: api_server.map(|(_, url)| url),
            token_file: files.named(&token_file?),
            ca_file: files.named(&ca_file?),
        })
    }
}
