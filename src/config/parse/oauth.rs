//! Scopes, resources and types of tokens.

use url::Url;

use super::super::report::Expected;
use super::super::settings::SecurityToken;
use super::syntax::Syntax;

/// A scope.
pub(in crate::config) const SCOPE: Syntax<String> = Syntax::new(r"[!#-\[\]-~]+", scope);

/// RFC 6749 section 3.3
pub(in crate::config) fn scope(text: &str) -> Result<String, Expected> {
    let in_token = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    if text.contains(' ') {
        return Err("write one scope a string: [\"a\", \"b\"]".into());
    }
    if text.is_empty() || !text.bytes().all(in_token) {
        return Err("expected visible ASCII characters except `\"` and `\\`".into());
    }
    Ok(text.to_owned())
}

/// A resource.
pub(in crate::config) const RESOURCE: Syntax<String> =
    Syntax::new(concat!(pattern!(scheme), r":[!\x22$-~]*"), resource).address();

/// RFC 8707 section 2
pub(in crate::config) fn resource(text: &str) -> Result<String, Expected> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || text.contains('#') || Url::parse(text).is_err() {
        return Err("expected an absolute URI without fragment".into());
    }
    Ok(text.to_owned())
}

/// A type of tokens.
pub(in crate::config) const TOKEN_TYPE: Syntax<String> =
    Syntax::new(concat!(pattern!(scheme), ":[!-~]*"), token_type).address();

/// RFC 8693 section 3
pub(in crate::config) fn token_type(text: &str) -> Result<String, Expected> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && Url::parse(text).is_ok() {
        Ok(text.to_owned())
    } else {
        Err(format!("expected a URI such as {:?}", SecurityToken::JWT).into())
    }
}
