//! Numbers in hexadecimal digits of lower case, as traces have them.

/// A number of exactly these digits; none if one of them is no digit of lower case.
pub(super) fn parse(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// Writes a number in as many digits as `to` has room for.
pub(super) fn write(mut number: u128, to: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for place in to.iter_mut().rev() {
        *place = DIGITS[(number & 0xf) as usize];
        number >>= 4;
    }
}
