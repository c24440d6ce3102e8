//! The entry of this process in `Via`.

use http::{HeaderValue, Version};

/// What is added to `Via` (RFC 9110 section 7.6.3): the version of HTTP that a message came by, and who passed it on.
#[derive(Debug)]
pub struct Via {
    http10: HeaderValue,
    http11: HeaderValue,
    http2: HeaderValue,
}

impl Via {
    /// The entries of the process that is called `instance`; `None` if that cannot stand in a header.
    pub fn new(instance: &str) -> Option<Self> {
        let entry = |version: &str| HeaderValue::from_str(&format!("{version} {instance}")).ok();
        Some(Self {
            http10: entry("1.0")?,
            http11: entry("1.1")?,
            // A major version without minor ones has the minor version 0 (RFC 9110 section 2.5).
            http2: entry("2.0")?,
        })
    }

    /// The one for a message that came by this version.
    pub fn entry(&self, received: Version) -> &HeaderValue {
        match received {
            Version::HTTP_2 => &self.http2,
            Version::HTTP_10 => &self.http10,
            _ => &self.http11,
        }
    }
}
