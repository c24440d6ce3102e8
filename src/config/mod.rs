//! The configuration: what the TOML files say, checked whole.
//!
//! [`load`] reads a file (or a directory of files), reports **every** problem as a
//! [`Diagnostic`], and returns a [`Config`] in which nothing is left to check: names resolve,
//! durations are durations, URLs are URLs. Nothing downstream validates again.
//!
//! What a key may hold and what it means is declared once, in `keys`. The readers of `sections` go by
//! that, and fill in the types of `settings`, one for each table.

mod arguments;
mod config_files;
mod cross_checks;
mod declare;
mod diagnostics;
mod draft;
mod file_rules;
mod keys;
mod kinds;
mod load;
mod otel;
mod parse;
mod permissions;
mod program;
mod read;
mod reference;
mod report;
mod rules;
mod schema;
mod secret_variables;
mod sections;
mod settings;
mod source_file;
#[cfg(test)]
mod tests;
mod tls_files;
mod unused_proxy;
mod value;
mod words;

pub use arguments::{
    ARGUMENT_KEYS, Argument, ArgumentKey, Arguments, ArgumentsError, SECRET_VARIABLE,
    SECRET_VARIABLE_OF_FILE, misspelt_variable,
};
pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use load::{ConfigOrigin, ConfigSource, Loaded, admin_address, load};
pub use parse::address::is_loopback;
pub use parse::interception::domain as interception_domain;
pub use parse::units::parse_duration;
pub use program::{PROGRAM_LISTENER, ProgramSettings};
pub use reference::{ReferenceTable, reference};
pub use schema::schema;
pub use settings::{
    AccessLog, AssertionAudience, AssertionForm, Audit, AuditFile, AuditOverflow,
    AuthorizationServer, BasicEncoding, Caller, CallerList, CallerToken, CertificateFiles,
    ClientAuth, ClientCertificates, Config, Credential, Dialing, Dpop, EVERY_CALLER, Egress,
    EgressAction, EgressAddresses, EgressPorts, EgressProxy, EgressRule, Enforcement,
    EnvironmentProxies, Forwarding, Grant, HostPattern, HostPort, Http2, HttpVersion, Interception,
    IssuerKeys, KeepAlive, Kubernetes, Limits, ListenAddress, Listener, ListenerTls, Log,
    LogFormat, NamedFile, NoProxy, OperatorListener, Propagators, ProxyAuthorization, ProxyChoice,
    ProxyScheme, Redact, RedirectedEgress, Redirection, Refresh, RetryPauses, Route, Sampler,
    Scheme, Secret, SecretError, SecretSource, SecurityToken, Server, ServiceAccount,
    SpiffePattern, Tls, TokenIssuer, Tracing, Upstream,
};
pub use tls_files::dns_names;
pub use unused_proxy::unused_proxy;
pub use words::did_you_mean;
