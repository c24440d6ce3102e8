//! `sidebearer check`: every problem of a configuration, or "ok".

use super::online;
use super::output::{CommandError, block_on, print, print_note};
use super::probe::ProbeTarget;
use crate::config::{self, ConfigOrigin, ConfigSource, Loaded};

/// Checks without touching the network. Warnings are printed; they are not errors.
///
/// # Errors
/// Every problem at once, as [`CommandError::Configuration`].
pub(super) fn offline(source: impl Into<ConfigSource>) -> Result<Loaded, CommandError> {
    let loaded = source.into().load()?;
    if !loaded.warnings.0.is_empty() {
        print_note(&loaded.warnings);
    }
    if let Some(line) = config::unused_proxy(&loaded.config) {
        print_note(format_args!("note: {line}"));
    }
    Ok(loaded)
}

/// The whole command.
pub(super) fn run(
    origin: ConfigOrigin,
    is_online: bool,
    tries: &[ProbeTarget],
) -> Result<(), CommandError> {
    let loaded = offline(origin)?;
    for ProbeTarget { upstream, .. } in tries {
        if !loaded.config.upstreams.contains_key(upstream) {
            let names: Vec<_> = loaded.config.upstreams.keys().map(String::as_str).collect();
            let names = names.join(", ");
            let message = format!("--try: there is no upstream {upstream:?}; there are: {names}");
            return Err(CommandError::Usage(message));
        }
    }
    if is_online {
        block_on(online::try_out(&loaded.config, tries))??;
    }
    print("ok")
}
