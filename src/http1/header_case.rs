//! How the names of headers were written. Case does not matter in them (RFC 9110 section 5.1), but some old
//! servers do not know `Soapaction` for `SOAPAction`.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;

/// The names of all lines of one head as they were written, kept if one of them is not in title case
/// (`Content-Type`). It is an extension of the head.
#[derive(Debug, Clone)]
pub struct HeaderCase(Arc<[Bytes]>);

impl HeaderCase {
    /// The names as they were written.
    pub(super) fn of(names: Vec<Bytes>) -> Self {
        Self(names.into())
    }

    /// How the name was written in its line behind `earlier` others of the same name.
    fn get(&self, name: &HeaderName, earlier: usize) -> Option<&[u8]> {
        let is_it = |written: &&Bytes| written.eq_ignore_ascii_case(name.as_str().as_bytes());
        self.0
            .iter()
            .filter(is_it)
            .nth(earlier)
            .map(|written| &written[..])
    }
}

/// Whether a name is in title case: capitals at the beginning and behind each `-`, and nowhere else.
pub(super) fn is_title_case(name: &[u8]) -> bool {
    let mut before = b'-';
    for &byte in name {
        let is_other_case = match byte {
            b'a'..=b'z' => before == b'-',
            b'A'..=b'Z' => before != b'-',
            _ => false,
        };
        if is_other_case {
            return false;
        }
        before = byte;
    }
    true
}

/// Writes the names of the lines of a head, one after the other. Lines of the same name follow each other.
pub(super) struct NameWriter<'s> {
    header_case: Option<&'s HeaderCase>,
    last: Option<&'s HeaderName>,
    earlier: usize,
}

impl<'s> NameWriter<'s> {
    pub(super) fn new(header_case: Option<&'s HeaderCase>) -> Self {
        Self {
            header_case,
            last: None,
            earlier: 0,
        }
    }

    /// Writes the next name: as it came, or else in title case.
    pub(super) fn write(&mut self, name: &'s HeaderName, to: &mut Vec<u8>) {
        if let Some(header_case) = self.header_case {
            let again = self.last == Some(name);
            self.earlier = if again { self.earlier + 1 } else { 0 };
            self.last = Some(name);
            if let Some(written) = header_case.get(name, self.earlier) {
                return to.extend_from_slice(written);
            }
        }
        let start = to.len();
        to.extend_from_slice(name.as_str().as_bytes());
        let mut before = b'-';
        for byte in &mut to[start..] {
            if before == b'-' {
                byte.make_ascii_uppercase();
            }
            before = *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(names: &[&str], header_case: Option<&HeaderCase>) -> Vec<String> {
        let names: Vec<HeaderName> = names.iter().map(|name| name.parse().unwrap()).collect();
        let mut writer = NameWriter::new(header_case);
        let write = |name| {
            let mut to = Vec::new();
            writer.write(name, &mut to);
            String::from_utf8(to).unwrap()
        };
        names.iter().map(write).collect()
    }

    #[test]
    fn a_name_is_written_as_it_came_or_in_the_customary_way() {
        let names = ["Via", "SOAPAction", "via", "VIA"]
            .map(Bytes::from)
            .to_vec();
        let header_case = HeaderCase::of(names);
        let names = [
            "via",
            "via",
            "via",
            "via",
            "soapaction",
            "content-type",
            "x_a-b--c",
        ];
        let expected = [
            "Via",
            "via",
            "VIA",
            "Via",
            "SOAPAction",
            "Content-Type",
            "X_a-B--C",
        ];
        assert_eq!(written(&names, Some(&header_case)), expected);
    }

    #[test]
    fn what_is_usual_is_what_would_be_written() {
        for name in ["Content-Type", "Te", "X_a-B--C", "1-A", "A1b"] {
            assert!(is_title_case(name.as_bytes()), "{name}");
            assert_eq!(written(&[name], None), [name]);
        }
        for name in ["content-type", "Content-type", "SOAPAction", "TE"] {
            assert!(!is_title_case(name.as_bytes()), "{name}");
        }
    }
}
