//! The variable by which Java virtual machines are given options.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The variable that every Java virtual machine reads its options from.
pub(super) const JAVA_OPTIONS: &str = "JAVA_TOOL_OPTIONS";

/// Without it Java does not show a name and a password to a proxy over CONNECT.
pub const JAVA_TUNNEL_SCHEMES: &str = "-Djdk.http.auth.tunneling.disabledSchemes=";

/// `inherited`, which is a value of that variable, with these options behind it. One that it has already is not given
/// twice, unless another value of the same property stands behind it: the last one counts.
pub fn with_java_options(inherited: OsString, options: &[OsString]) -> OsString {
    let mut whole = inherited;
    for option in options {
        if has(&whole, option) {
            continue;
        }
        if !whole.is_empty() {
            whole.push(" ");
        }
        whole.push(option);
    }
    whole
}

/// Whether an option counts already.
fn has(whole: &OsStr, option: &OsStr) -> bool {
    let property = |text: &[u8]| text.split(|byte| *byte == b'=').next().map(<[u8]>::to_vec);
    let words = whole.as_bytes().split(u8::is_ascii_whitespace);
    let mut same = words.filter(|word| property(word) == property(option.as_bytes()));
    same.next_back() == Some(option.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_given_once_and_counts() {
        let options = ["-Da=1".into(), JAVA_TUNNEL_SCHEMES.into()];
        let whole = |inherited: &str| {
            let whole = with_java_options(inherited.into(), &options);
            whole.into_string().unwrap()
        };
        let schemes = JAVA_TUNNEL_SCHEMES;
        for (inherited, expected) in [
            (String::new(), format!("-Da=1 {schemes}")),
            (
                format!("-Xmx1g {schemes}"),
                format!("-Xmx1g {schemes} -Da=1"),
            ),
            (format!("-Da=1\t{schemes}"), format!("-Da=1\t{schemes}")),
            // Another value behind it would count.
            (
                format!("-Da=1 {schemes} -Da=2 {schemes}Basic"),
                format!("-Da=1 {schemes} -Da=2 {schemes}Basic -Da=1 {schemes}"),
            ),
            (
                format!("-Da=11 -X{schemes}"),
                format!("-Da=11 -X{schemes} -Da=1 {schemes}"),
            ),
        ] {
            assert_eq!(whole(&inherited), expected, "{inherited}");
        }
    }
}
