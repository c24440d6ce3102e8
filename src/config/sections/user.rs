//! Reads the user of a caller.

use super::super::value::Value;
use crate::files;
use crate::user_namespace::UserNamespace;

/// The uid of nobody, which the system also gives to users that it cannot name here.
const NOBODY: u32 = 65_534;
/// No uid: the system takes it for "none".
const NONE: u32 = u32::MAX;

const PASSWD: &str = "/etc/passwd";
const EXPECTED: &str = "a uid or the name of a user";

/// The uid; `None` after a mistake.
pub(super) fn read(value: &Value<'_>) -> Option<u32> {
    value.reveal();
    let number = if value.string().is_some() {
        let text = value.text(EXPECTED)?;
        if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            text.parse().ok()
        } else {
            return named(value, text);
        }
    } else {
        value
            .integer(EXPECTED)?
            .and_then(|uid| u32::try_from(uid).ok())
    };
    let uid = number.filter(|uid| *uid != NONE);
    let uid = value.check(uid.ok_or(format!("expected {EXPECTED}").into()))?;
    somebody(value, uid)
}

fn named(value: &Value<'_>, name: &str) -> Option<u32> {
    let passwd = files::run_within_timeout(PASSWD.as_ref(), || std::fs::read_to_string(PASSWD));
    let passwd = match passwd {
        Ok(passwd) => passwd,
        Err(error) => {
            let message = format!("names a user, but {PASSWD} cannot be read: {error}");
            value.error(&message, "write the uid of the user");
            return None;
        }
    };
    let uid = uid_of(&passwd, name);
    let help = format!("{PASSWD} has no user of this name: expected {EXPECTED}");
    somebody(value, value.check(uid.ok_or(help.into()))?)
}

/// The uid that `/etc/passwd` gives a name (passwd(5)).
fn uid_of(passwd: &str, name: &str) -> Option<u32> {
    let mut entries = passwd.lines().map(|line| line.split(':'));
    entries.find_map(|mut fields| (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?)
}

fn somebody(value: &Value<'_>, uid: u32) -> Option<u32> {
    if uid == NOBODY {
        value.error(
            "is nobody",
            "the system shows every user as 65534 that has no uid here: give the caller one of its own",
        );
        return None;
    }
    if !UserNamespace::current().has(uid) {
        value.report.warning(
            &value.place,
            format!("is user {uid}, who has no number in the user namespace of this process: nobody is known by it"),
            "run sidebearer where this user has one, or the service without `PrivateUsers`".to_owned(),
        );
    }
    Some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_as_passwd_has_it() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n\nbilling:x:1001:1001::/:\nbroken\nbad:x:y:1::/:\n+::::::\n";
        assert_eq!(uid_of(passwd, "root"), Some(0));
        assert_eq!(uid_of(passwd, "billing"), Some(1001));
        for name in ["bil", "x", "bad", "broken", "", "+"] {
            assert_eq!(uid_of(passwd, name), None, "{name}");
        }
    }
}
