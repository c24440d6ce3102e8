//! The declaration of every key, one file for each table. What is said of a key here is what the
//! reader goes by, and what the documentation says.

/// Declares the keys of one table:
///
/// ```text
/// keys! {
///     /// What the table is about.
///     SERVER: Server, SERVER_TABLE = "[server]" {
///         /// What the key means: this very comment stands in the documentation.
///         workers: Integer<usize> = Integer::new(0, 0..=1024);
///     }
/// }
/// ```
///
/// makes a static `SERVER` whose fields are the keys, which is what the reader reads by, and a
/// static `SERVER_TABLE` that lists them. A key that nobody reads is a field that nobody reads, and
/// the compiler warns of it: the list is made of the declarations, not of the fields.
///
/// `, and OTHER_TABLE` behind the title lets the table have the keys of another one, too, and `, rules RULES` says what
/// its keys have to do with each other. `, only with auth_method = &["none"]` behind a key says that it means nothing
/// with other choices.
macro_rules! keys {
    (
        $(#[$about:meta])*
        $keys:ident: $type:ident, $table:ident = $title:literal $(, and $and:ident)? $(, rules $rules:ident)? {
            $(
                $(#[doc = $meaning:literal])+
                $key:ident: $kind:ty = $made:expr $(, only with $selector:ident = $choices:expr)?;
            )+
        }
    ) => {
        $(#[$about])*
        pub(in crate::config) static $keys: $type = $type {
            $($key: keys!(@key $title, $key, $made, [$($meaning)+] $(, $selector, $choices)?),)+
        };

        $(#[$about])*
        pub(in crate::config) struct $type {
            $(
                $(#[doc = $meaning])+
                pub(in crate::config) $key: $crate::config::read::Key<$kind>,
            )+
        }

        $(#[$about])*
        pub(in crate::config) static $table: $crate::config::declare::Table =
            $crate::config::declare::Table {
                title: $title,
                own: &[
                    $(&keys!(@key $title, $key, $made, [$($meaning)+] $(, $selector, $choices)?),)+
                ],
                and: keys!(@and $($and)?),
                rules: keys!(@rules $($rules)?),
            };
    };
    (@and) => {
        None
    };
    (@and $and:ident) => {
        Some(&$and)
    };
    (@rules) => {
        &[]
    };
    (@rules $rules:ident) => {
        $rules
    };
    (@key $title:literal, $key:ident, $made:expr, [$($meaning:literal)+]) => {
        $crate::config::read::Key::new(
            $title,
            stringify!($key),
            $made,
            concat!($($meaning, "\n"),+),
            None,
        )
    };
    (@key $title:literal, $key:ident, $made:expr, [$($meaning:literal)+], $selector:ident, $choices:expr) => {
        $crate::config::read::Key::new(
            $title,
            stringify!($key),
            $made,
            concat!($($meaning, "\n"),+),
            Some($crate::config::declare::OnlyWith {
                selector: stringify!($selector),
                choices: $choices,
            }),
        )
    };
}

mod audit;
mod caller;
mod credential;
mod egress;
mod interception;
mod kubernetes;
mod limits;
mod listener;
mod listener_tls;
mod log;
mod pages;
mod proxy;
mod root;
mod route;
mod secret_source;
mod server;
mod tls;
mod tracing;
mod upstream;

pub(super) use audit::{AUDIT, AUDIT_TABLE};
pub(super) use caller::{CALLER, CALLER_TABLE, CALLER_TOKEN, CHECKED_CLAIMS};
pub(super) use credential::{
    AuthMethod, CREDENTIAL, CREDENTIAL_TABLE, GrantKind, TAKEN_HEADERS, TAKEN_PARAMETERS,
};
pub(super) use egress::{EGRESS, EGRESS_RULE, EGRESS_TABLE};
pub(super) use interception::{INTERCEPTION, INTERCEPTION_TABLE};
pub(super) use kubernetes::{KUBERNETES, KUBERNETES_TABLE, OF_POD};
pub(super) use limits::LIMITS;
pub(super) use listener::{LISTENER, LISTENER_TABLE, ListenerKind};
pub(super) use listener_tls::{CERTIFICATE, LISTENER_TLS};
pub(super) use log::{LOG, LOG_TABLE};
pub(super) use pages::{ADMIN, ADMIN_TABLE, DEFAULT_ADMIN, HEALTH, HEALTH_TABLE};
pub(super) use root::{OF_EVERY_CALLER, ROOT, ROOT_TABLE};
pub(super) use route::{ROUTE, ROUTE_TABLE};
pub(super) use secret_source::{SECRET_SOURCE, SECRET_SOURCE_TABLE};
pub(super) use server::{SERVER, SERVER_TABLE};
pub(super) use tls::{TLS, UPSTREAM_TLS};
pub(super) use tracing::{TAKEN_TRACE_HEADERS, TRACING, TRACING_TABLE};
pub(super) use upstream::{UPSTREAM, UPSTREAM_TABLE};
