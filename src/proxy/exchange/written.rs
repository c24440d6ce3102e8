//! What is written of the texts of a request, in the audit and in the log.

use super::Exchange;
use crate::audit::AuditDecision;

/// How many bytes are kept of each text of a request that was refused if nobody knows who sent it: so much as tells what
/// it wanted. Whoever has no credentials cannot fill a disk with little effort.
const METHOD_OF_STRANGERS: usize = 32;
/// A name of DNS has no more.
const HOST_OF_STRANGERS: usize = 255;
const PATH_OF_STRANGERS: usize = 256;

/// Method, host with its port, and path without its query.
pub(super) struct WrittenRequest<'e> {
    pub(super) method: &'e str,
    pub(super) host: &'e str,
    pub(super) path: &'e str,
}

impl Exchange {
    /// What is written of its texts, as far as is known of it by now.
    pub(super) fn written(&self) -> WrittenRequest<'_> {
        let decision = self.notes.decision(self.reported.is_some());
        let is_of_stranger = self.caller.is_none() && decision == AuditDecision::Denied;
        let (method, host, path) = (self.method.as_str(), self.host(), self.uri.path());
        if !is_of_stranger {
            return WrittenRequest { method, host, path };
        }
        WrittenRequest {
            method: beginning(method, METHOD_OF_STRANGERS),
            host: beginning(host, HOST_OF_STRANGERS),
            path: beginning(path, PATH_OF_STRANGERS),
        }
    }
}

/// At most this many bytes of a text, in whole characters.
fn beginning(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most).rfind(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}
