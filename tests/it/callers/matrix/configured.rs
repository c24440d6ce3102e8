//! The configuration with all combinations.

use std::fmt::Write as _;

use super::super::{credential, with_keys};
use super::model::{
    DNS_NAME, LISTENERS, LISTS, NO_ROUTE, UPSTREAMS, USER, WITH_KEYS, WITH_TOKENS, paths,
};
use crate::support::any_port;
use crate::support::api::Api;

pub(super) fn config(apis: &[Api], dir: &std::path::Path) -> String {
    let mut text = with_keys(dir, &WITH_KEYS);
    let _ = writeln!(text, "spiffe_id = \"spiffe://corp.example/ns/*/sa/gamma\"");
    let _ = writeln!(text, "[callers.delta]\ncertificate_name = \"{DNS_NAME}\"");
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(dir).unwrap());
    let _ = writeln!(text, "[callers.{USER}]\nuser = {own}");
    let _ = writeln!(
        text,
        "[callers.{WITH_TOKENS}]\ntoken = {{ issuer = \"https://i\", audience = \"a\", jwks_file = \"jwks\" }}"
    );
    for listener in &LISTENERS {
        let name = listener.name;
        let address = match listener.unix {
            true => format!("unix:{name}"),
            false => any_port().to_string(),
        };
        let _ = writeln!(
            text,
            "[[listeners]]\nname = \"{name}\"\naddress = \"{address}\""
        );
        if let Some(callers) = listener.callers {
            let _ = writeln!(text, "callers = {callers:?}");
        }
        if listener.forward {
            let _ = writeln!(text, "kind = \"forward\"");
        } else {
            if !listener.unix {
                let _ = writeln!(text, "hosts = [\"*\"]");
            }
            if listener.callers.is_some() {
                let _ = writeln!(text, "caller_header = \"{}\"", listener.header);
            }
        }
        if listener.report {
            let _ = writeln!(text, "enforcement = \"report\"");
        }
        if listener.tls {
            let files = "certificate_file = \"own.pem\", key_file = \"own.key\", client_ca_file = \"clients.pem\"";
            let _ = writeln!(text, "tls = {{ {files} }}");
        }
        for (list, upstream) in paths(listener).filter(|(list, _)| *list != NO_ROUTE) {
            let _ = writeln!(
                text,
                "[[routes]]\nlistener = \"{name}\"\nupstream = \"{upstream}\""
            );
            let _ = if listener.forward {
                writeln!(text, "host = \"{upstream}.test\"\npath = \"/{list}\"")
            } else {
                writeln!(text, "path = \"/{upstream}/{list}\"")
            };
            let (_, callers) = LISTS.iter().find(|(name, _)| *name == list).unwrap();
            if let Some(callers) = callers {
                let _ = writeln!(text, "callers = {callers:?}");
            }
        }
    }
    for ((name, credentials), api) in UPSTREAMS.into_iter().zip(apis) {
        let url = api.url();
        let _ = writeln!(
            text,
            "[upstreams.{name}]\nurl = \"{url}\"\nhosts = [\"{name}.test:80\"]"
        );
        let _ = writeln!(text, "forward_caller = \"x-caller\"");
        match credentials {
            [] => {}
            [("", only)] => drop(writeln!(text, "credential = \"{only}\"")),
            _ => {
                let _ = writeln!(text, "[upstreams.{name}.credentials]");
                for (caller, credential) in credentials {
                    let _ = writeln!(text, "\"{caller}\" = \"{credential}\"");
                }
            }
        }
    }
    for name in ["one", "ca", "cg", "cr"] {
        text += &credential(name, dir);
    }
    text
}
