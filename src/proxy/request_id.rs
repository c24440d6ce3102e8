//! The id by which a request is found again, in the access log and in the log of its upstream.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries the id.
pub static HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A longer value is not taken as an id: it would fill the log.
const MOST_BYTES: usize = 128;

/// The client's, if it sent one that can stand in a log: 1 to 128 visible ASCII characters.
pub fn of_client(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(&HEADER).iter();
    let (Some(id), None) = (values.next(), values.next()) else {
        return None;
    };
    let visible = id.as_bytes().iter().all(u8::is_ascii_graphic);
    ((1..=MOST_BYTES).contains(&id.len()) && visible).then(|| id.clone())
}

/// One of ours: 32 random hexadecimal digits.
pub fn random() -> HeaderValue {
    let id = format!("{:032x}", fastrand::u128(..));
    HeaderValue::try_from(id).unwrap_or(const { HeaderValue::from_static("-") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<HeaderValue> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&HEADER, value.parse().unwrap());
        }
        of_client(&headers)
    }

    #[test]
    fn an_id_of_the_client_is_one_short_visible_word() {
        let longest = "x".repeat(128);
        for id in ["a", "4bf92f35-77b3-4da6", "\"q\"=1;", &longest] {
            assert_eq!(of(&[id]).unwrap(), id);
        }
        let long = "x".repeat(129);
        for other in ["", "two words", "tab\there", "caf\u{e9}", &long] {
            assert_eq!(of(&[other]), None, "{other:?}");
        }
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["a", "b"]), None);
    }

    #[test]
    fn an_id_of_ours_is_one_of_a_kind() {
        let (one, other) = (random(), random());
        assert_ne!(one, other);
        assert_eq!(one.len(), 32);
        assert_eq!(of(&[one.to_str().unwrap()]), Some(one));
    }
}
