//! Reads `[credentials.NAME]`. Messages repeat no value: quoted lines show those that are no secret.

use std::collections::BTreeMap;

use url::Url;

use super::super::file_rules::FileRules;
use super::super::keys::{CREDENTIAL, TAKEN_HEADERS, TAKEN_PARAMETERS};
use super::super::parse::address::{http_url, is_loopback};
use super::super::read::Section;
use super::super::settings::{
    AuthorizationServer, Credential, Dialing, ProxyChoice, RetryPauses, SecretSource, Tls,
};
use super::secret_source::read_secret;
use super::upstreams::no_tls;
use super::{client_auth, dpop, grant, secret_headers};

/// Reads one credential.
pub(super) fn read(name: &str, section: Section<'_>, files: &FileRules<'_>) -> Option<Credential> {
    let allow_plaintext = section.read(&CREDENTIAL.allow_plaintext);
    let tls = Tls::read(&section, files);
    let server = server(&section, allow_plaintext, &tls);
    let grant = grant::read(&section, files);
    let client = client_auth::read(&section, files, server.as_ref(), &tls, grant.as_ref());
    let dpop = dpop::read(&section, files);
    let some = |texts: Vec<Option<String>>| texts.into_iter().flatten().collect();
    let (client_id, auth) = client.unzip();
    Some(Credential {
        name: name.to_owned(),
        assertion_nbf: section.read(&CREDENTIAL.assertion_nbf),
        scopes: some(section.read(&CREDENTIAL.scopes)),
        audience: section.read(&CREDENTIAL.audience),
        resources: some(section.read(&CREDENTIAL.resources)),
        extra_parameters: extra_parameters(&section, files),
        token_headers: secret_headers::read(
            section.read(&CREDENTIAL.token_headers),
            TAKEN_HEADERS,
            files,
        ),
        refresh: section.read(&CREDENTIAL.refresh),
        required: section.read(&CREDENTIAL.required),
        default_lifetime: section.read(&CREDENTIAL.default_lifetime),
        default_token_type: section.read(&CREDENTIAL.default_token_type),
        max_lifetime: section.read(&CREDENTIAL.max_lifetime),
        fetch_timeout: section.read(&CREDENTIAL.fetch_timeout),
        dialing: Dialing::read_delay(&section),
        pauses: RetryPauses::read(&section),
        acquire_timeout: section.read(&CREDENTIAL.acquire_timeout),
        max_response_bytes: section.read(&CREDENTIAL.max_response_bytes),
        max_token_bytes: section.read(&CREDENTIAL.max_token_bytes),
        max_nonce_bytes: section.read(&CREDENTIAL.max_nonce_bytes),
        allow_plaintext,
        discovery_hosts: discovery_hosts(&section),
        proxy: ProxyChoice::of_credential(&section, files),
        tls,
        // Last, so that the mistakes of all other keys are found.
        server: server?,
        client_id: client_id?,
        auth: auth?,
        grant: grant?,
        dpop: dpop?,
    })
}

fn server(section: &Section<'_>, allow_plaintext: bool, tls: &Tls) -> Option<AuthorizationServer> {
    let issuer = section.read(&CREDENTIAL.issuer);
    let endpoint = section.read(&CREDENTIAL.token_endpoint);
    let (value, text, discovered) = match (issuer, endpoint) {
        (Some(_), Some((value, _))) => {
            value.error(
                "stands beside `issuer`",
                "keep one: `issuer` finds the token endpoint by discovery",
            );
            return None;
        }
        (None, None) => {
            // A wrong type is reported already.
            let key = if section.has(&CREDENTIAL.issuer) {
                &CREDENTIAL.issuer
            } else {
                &CREDENTIAL.token_endpoint
            };
            section.missing(key, "`token_endpoint`, or `issuer` for discovery");
            return None;
        }
        (Some((value, text)), None) => (value, text, true),
        (None, Some((value, text))) => (value, text, false),
    };
    let url: Url = value.check(http_url(text, !discovered))?;
    if url.scheme() == "http" {
        if !allow_plaintext && !is_loopback(&url) {
            value.error(
                "would carry credentials and tokens in plain text",
                "use https, or allow it with `allow_plaintext = true`",
            );
        }
        no_tls(section, tls, false);
    }
    Some(if discovered {
        AuthorizationServer::Issuer(text.to_owned(), url)
    } else {
        AuthorizationServer::TokenEndpoint(url)
    })
}

/// Of no use where nothing is discovered.
fn discovery_hosts(section: &Section<'_>) -> Vec<String> {
    let hosts = section.read(&CREDENTIAL.discovery_hosts);
    let hosts: Vec<_> = hosts.into_iter().flatten().collect();
    if let Some(value) = section.written(&CREDENTIAL.discovery_hosts)
        && !hosts.is_empty()
        && section.has(&CREDENTIAL.token_endpoint)
    {
        value.error(
            "stands beside `token_endpoint`",
            "it says where the discovery of an `issuer` may lead",
        );
    }
    hosts
}

fn extra_parameters(
    section: &Section<'_>,
    files: &FileRules<'_>,
) -> BTreeMap<String, SecretSource> {
    let mut parameters = BTreeMap::new();
    let Some(entries) = section.read(&CREDENTIAL.extra_parameters) else {
        return parameters;
    };
    let report = section.report;
    for (name, place, value) in entries.entries() {
        if TAKEN_PARAMETERS.contains(&name) {
            let message = format!("invalid parameter {}", value.name());
            let help = match name {
                "" => "expected a name".to_owned(),
                "scope" => "use `scopes`".to_owned(),
                "resource" => "use `resources`".to_owned(),
                "grant_type" => "use `grant`".to_owned(),
                "client_assertion_type" => "sidebearer sets this field itself".to_owned(),
                _ => format!("use the key `{name}`"),
            };
            report.error(&place, message, help);
        }
        if let Some((source, _)) = read_secret(&value, files) {
            parameters.insert(name.to_owned(), source);
        }
    }
    parameters
}
