//! Reads how TCP connections to a server are made and kept.

use super::super::keys::{CREDENTIAL, UPSTREAM, UPSTREAM_TABLE};
use super::super::read::Section;
use super::super::settings::{Dialing, KeepAlive};

impl Default for Dialing {
    fn default() -> Self {
        Section::unwritten(&UPSTREAM_TABLE, |section| Self::read(&section))
    }
}

impl Dialing {
    /// Its keys, which stand among those of an upstream.
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            address_delay: section.read(&UPSTREAM.address_delay),
            keepalive: KeepAlive {
                time: section.read(&UPSTREAM.keepalive_time),
                interval: section.read(&UPSTREAM.keepalive_interval),
                retries: section.read(&UPSTREAM.keepalive_retries),
            },
        }
    }

    /// The one key among those of a credential: its connections serve one request, which has its own
    /// limit of time.
    pub(super) fn read_delay(section: &Section<'_>) -> Self {
        Self {
            address_delay: section.read(&CREDENTIAL.address_delay),
            ..Self::default()
        }
    }
}
