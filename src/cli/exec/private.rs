//! A directory of one process, for the key of its CA and for what the program needs to trust it.

use std::env;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::{Builder, TempDir};

/// Made in the first of these places where that is possible: one that was chosen, then those in memory, where the key
/// reaches no disk. Nobody else may use it, and it is removed when it is dropped. `None` if it cannot be made.
pub(super) fn directory() -> Option<TempDir> {
    let chosen = ["TMPDIR", "XDG_RUNTIME_DIR"]
        .into_iter()
        .filter_map(env::var_os);
    let places = chosen.map(PathBuf::from).filter(|path| path.is_absolute());
    let mut places = places.chain([PathBuf::from("/dev/shm"), PathBuf::from("/tmp")]);
    places.find_map(|place| {
        Builder::new()
            .prefix("sidebearer-exec-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(place)
            .ok()
    })
}
