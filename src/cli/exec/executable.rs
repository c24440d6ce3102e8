//! The file of a program, and whether it is a script.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a shell runs that the system cannot: a script without `#!`.
pub(super) const SHELL: &str = "/bin/sh";

/// Where programs are if no variable says so, as the C library has it.
const USUAL_PATH: &str = "/bin:/usr/bin";

/// As much of it is looked at as bash does.
const FIRST_LINE: u64 = 80;

/// The files that a program's name may lead to, the first one first, as a shell looks for them.
pub(super) fn candidates(name: &OsStr) -> Vec<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(name)];
    }
    if name.is_empty() {
        return Vec::new();
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    let directories = std::env::split_paths(&path);
    directories
        .map(|directory| directory.join(Path::new(name)))
        .collect()
}

/// Whether a file that the system cannot execute is meant for a shell. As shells do, it is known by the first line, which
/// has no zero byte: programs for other machines have.
pub(super) fn is_script(file: &Path) -> bool {
    let mut beginning = Vec::new();
    let read = File::open(file).and_then(|file| file.take(FIRST_LINE).read_to_end(&mut beginning));
    let mut lines = beginning.split(|byte| *byte == b'\n');
    read.is_ok() && lines.next().is_some_and(|line| !line.contains(&0))
}
