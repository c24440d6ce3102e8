//! Files that would be written over what is read, or over each other.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::draft::Draft;
use super::super::file_rules::{FileUse, canonical, is_configuration_name};
use super::super::report::{Report, SourceSpan};
use super::super::settings::file::shown;

/// Reports it, for a configuration that is read from `origin`: a file, or a directory of files.
pub(in super::super) fn check(draft: &Draft, report: &Report<'_>, origin: &Path) {
    let written = |file: &&FileUse| file.written.is_some();
    if !draft.file_uses.iter().any(|file| written(&file)) {
        return;
    }
    let sources = report.sources();
    let of_configuration = sources.map(|(place, path)| FileUse {
        path: path.to_owned(),
        place,
        written: None,
    });
    let of_configuration: Vec<_> = of_configuration.collect();
    let is_directory = of_configuration.iter().all(|file| file.path != origin);
    let all: Vec<_> = draft.file_uses.iter().chain(&of_configuration).collect();
    let paths = all.iter().map(|file| file.path.clone());
    let mut paths = canonical(paths.chain([origin.to_owned()]).collect());
    let origin = paths.pop().filter(|_| is_directory);
    // What is read comes first, so that it is what is written that is blamed.
    let mut known: HashMap<&PathBuf, &FileUse> = HashMap::new();
    let placed = || all.iter().zip(&paths);
    for (file, path) in placed().filter(|(file, _)| !written(file)) {
        known.entry(path).or_insert(file);
    }
    for (file, path) in placed().filter(|(file, _)| written(file)) {
        let what = file.written.unwrap_or_default();
        let shown = shown(&file.path);
        if let Some(first) = known.get(path) {
            // Two listeners at the same socket are told of as such.
            if first.path == file.path && first.written == file.written {
                continue;
            }
            let taken = match (first.written, &first.place) {
                (Some(other), _) => format!("the place of {other}"),
                (None, SourceSpan { span: None, .. }) => {
                    "the place of the configuration".to_owned()
                }
                (None, _) => "the place of a file that is read".to_owned(),
            };
            let help = format!(
                "{shown} is named at {} too: expected another file",
                report.locate(&first.place)
            );
            report.error(&file.place, format!("{what} would take {taken}"), help);
        } else if path.parent() == origin.as_deref() && is_configuration_name(path) {
            let message = format!("{what} would be read as configuration");
            let help = format!(
                "{shown} is in the directory of the configuration, and ends in .toml: expected another name"
            );
            report.error(&file.place, message, help);
        }
        known.entry(path).or_insert(file);
    }
}
