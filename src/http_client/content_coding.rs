//! What stands around the content of a response: a content coding, a byte order mark.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use zeroize::Zeroizing;

use super::UnreadableBody;

/// Bytes that are decoded at once.
const CHUNK: usize = 4096;
/// UTF-8's. RFC 8259 section 8.1 lets a parser skip it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A body as it was before it was encoded, of at most `max` bytes. We never ask for a coding, but some
/// servers and gateways send gzip all the same.
///
/// # Errors
/// It has another coding, its gzip content is damaged, or it is too large.
pub(super) fn decoded(
    headers: &HeaderMap,
    body: Zeroizing<Vec<u8>>,
    max: usize,
) -> Result<Zeroizing<Vec<u8>>, UnreadableBody> {
    let lines = headers.get_all(CONTENT_ENCODING).iter();
    let lines = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let codings = lines.map(|coding| coding.trim_ascii().to_ascii_lowercase());
    let codings: Vec<_> = codings
        .filter(|coding| !coding.is_empty() && coding != b"identity")
        .collect();
    let mut body = match codings.as_slice() {
        [] => body,
        [coding] if coding == b"gzip" || coding == b"x-gzip" => unpacked(&body, max)?,
        _ => return Err(UnreadableBody::UnknownCoding),
    };
    if body.starts_with(BYTE_ORDER_MARK) {
        body.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(body)
}

fn unpacked(packed: &[u8], max: usize) -> Result<Zeroizing<Vec<u8>>, UnreadableBody> {
    let mut decoder = MultiGzDecoder::new(packed);
    // As large as it can get: growing would leave copies of the token behind.
    let mut whole = Zeroizing::new(Vec::with_capacity(max));
    let mut chunk = Zeroizing::new([0; CHUNK]);
    loop {
        let read = decoder.read(&mut *chunk);
        match read.map_err(|_| UnreadableBody::DamagedCoding)? {
            0 => return Ok(whole),
            read if whole.len() + read > max => return Err(UnreadableBody::TooLarge),
            read => whole.extend_from_slice(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http::HeaderValue;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(codings: &[&'static str], body: &[u8]) -> Result<String, UnreadableBody> {
        let mut headers = HeaderMap::new();
        for coding in codings {
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        let body = decoded(&headers, Zeroizing::new(body.to_vec()), 1000)?;
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn identity_is_no_coding_however_it_is_written() {
        for codings in [
            &[][..],
            &[""],
            &["identity"],
            &["Identity"],
            &["IDENTITY, "],
            &["", "identity"],
        ] {
            assert_eq!(decode(codings, b"{}").unwrap(), "{}", "{codings:?}");
        }
        for codings in [&["br"][..], &["gzip, br"], &["gzip", "gzip"], &["deflate"]] {
            let refused = decode(codings, b"{}").unwrap_err();
            assert_eq!(refused, UnreadableBody::UnknownCoding);
        }
    }

    #[test]
    fn gzip_is_unpacked_within_the_bound() {
        let packed = gzip(b"{\"a\":1}");
        for coding in ["gzip", "GZip", "x-gzip", "identity, gzip"] {
            assert_eq!(decode(&[coding], &packed).unwrap(), "{\"a\":1}");
        }
        assert!(decode(&["gzip"], &gzip(&[b'x'; 1000])).is_ok());
        let refused = decode(&["gzip"], &gzip(&[b'x'; 1001])).unwrap_err();
        assert_eq!(refused, UnreadableBody::TooLarge);
        let refused = decode(&["gzip"], &gzip(&vec![0; 100_000_000])).unwrap_err();
        assert_eq!(refused, UnreadableBody::TooLarge);
        for broken in [b"{}".as_slice(), &packed[..packed.len() - 1], b""] {
            let refused = decode(&["gzip"], broken).unwrap_err();
            assert_eq!(refused, UnreadableBody::DamagedCoding);
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        assert_eq!(decode(&[], b"\xef\xbb\xbf{}").unwrap(), "{}");
        assert_eq!(decode(&["gzip"], &gzip(b"\xef\xbb\xbf{}")).unwrap(), "{}");
        assert_eq!(
            decode(&[], b"\xef\xbb\xbf\xef\xbb\xbf").unwrap(),
            "\u{feff}"
        );
    }
}
