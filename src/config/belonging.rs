//! Keys that have a meaning only together with a choice made elsewhere.

use super::read::{Section, one_of};

/// Keys, and the choices that each of them goes with.
pub(super) type Belongings<'k> = &'k [(&'static str, &'k [&'static str])];

/// Makes every key known, and an error where what was chosen for `selector` has no use for it: it
/// would look as if it counted. Nothing is said while the choice itself is a mistake.
pub(super) fn check(
    section: &Section<'_>,
    selector: &str,
    chosen: Option<&str>,
    belongings: Belongings<'_>,
) {
    for (key, choices) in belongings {
        let (Some(value), Some(chosen)) = (section.get(key), chosen) else {
            continue;
        };
        if choices.contains(&chosen) || value.is_empty() {
            continue;
        }
        let message = format!("does not belong to `{selector} = \"{chosen}\"`");
        let help = format!("it belongs to {}", one_of(choices, '"'));
        value.error(&message, help);
    }
}
