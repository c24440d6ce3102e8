//! Configurations: whatever a file holds, what is said about it points into it, can be shown on a
//! terminal, and gives no secret away.
//!
//! Form feeds, which TOML does not know, divide the text into the files of a directory.

#![no_main]

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use sidebearer::config::{Diagnostic, load};
use sidebearer_fuzz::{SECRET, measure};
use tempfile::TempDir;
use toml::{Table, Value};

thread_local! {
    static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    // Files that never end, or that wait for someone, are not the concern of a parser.
    if data.windows(3).any(|name| name == b"dev" || name == b"roc") {
        return;
    }
    DIRECTORY.with(|directory| {
        let directory = directory.get_or_init(|| tempfile::tempdir().unwrap());
        let one = directory.path().join("one.toml");
        let texts: Vec<&[u8]> = data.split(|byte| *byte == b'\x0c').collect();
        if let [text] = *texts {
            std::fs::write(&one, text).unwrap();
            check(&one, &[(one.clone(), text)]);
            return;
        }
        let parts = directory.path().join("parts");
        std::fs::create_dir(&parts).unwrap();
        let named = |(number, text)| (parts.join(format!("{number:04}.toml")), text);
        let files: Vec<_> = texts.into_iter().enumerate().map(named).collect();
        for (path, text) in &files {
            std::fs::write(path, text).unwrap();
        }
        check(&parts, &files);
        std::fs::remove_dir_all(&parts).unwrap();
    });
});

fn check(path: &Path, files: &[(PathBuf, &[u8])]) {
    let length: usize = files.iter().map(|(_, text)| text.len()).sum();
    let (result, cost) = measure(|| load(path));
    assert!(cost.millis < 2000, "{cost:?}");
    let found = match &result {
        Ok(loaded) => {
            assert!(!loaded.warnings.has_errors());
            &loaded.warnings
        }
        Err(found) => {
            assert!(found.has_errors(), "refused for nothing");
            found
        }
    };
    assert!(found.0.len() <= length + 16, "more findings than bytes");
    for diagnostic in found {
        points_into_its_file(diagnostic, path, files);
        is_fit_for_a_terminal(diagnostic, files);
    }
    let hidden = files.iter().all(|(_, text)| only_in_secret_places(text));
    if hidden {
        let seen = [
            found.to_string(),
            serde_json::to_string(found).unwrap(),
            format!("{found:?}"),
        ];
        for text in seen {
            assert!(!text.contains(SECRET), "{text}");
        }
    }
}

fn points_into_its_file(diagnostic: &Diagnostic, path: &Path, files: &[(PathBuf, &[u8])]) {
    let (line, column) = match (diagnostic.line, diagnostic.column) {
        (Some(line), Some(column)) => (line, column),
        (None, None) => {
            let names = files.iter().map(|(file, _)| file.as_path()).chain([path]);
            assert!(
                names
                    .into_iter()
                    .any(|name| name == Path::new(&diagnostic.file))
            );
            return;
        }
        halves => panic!("half a position: {halves:?}"),
    };
    let mut files = files.iter();
    let file = files.find(|(file, _)| file == Path::new(&diagnostic.file));
    let (_, text) = file.expect("a file that was read");
    let text = std::str::from_utf8(text).expect("no position in what is not text");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = line
        .checked_sub(1)
        .and_then(|line| text.split('\n').nth(line));
    let line = line.unwrap_or_else(|| panic!("beyond the last line: {diagnostic}"));
    assert!(
        (1..=line.chars().count() + 1).contains(&column),
        "beyond its line: {diagnostic}"
    );
}

fn is_fit_for_a_terminal(diagnostic: &Diagnostic, files: &[(PathBuf, &[u8])]) {
    let shown = diagnostic.to_string();
    let bad = |c: char| c.is_control() && c != '\n';
    assert!(!shown.contains(bad), "{shown:?}");
    // The heading, the place, and the quoted line between two more; the help is on the last.
    assert!(shown.lines().count() <= 5, "{shown}");
    let longest = files
        .iter()
        .map(|(_, text)| text.len())
        .max()
        .unwrap_or_default();
    assert!(shown.len() <= 16 * longest + 4096, "{}", shown.len());
}

/// Keys of a credential whose value may be a secret, when it is written out.
const SECRET_KEYS: [&str; 8] = [
    "actor_token",
    "assertion",
    "client_assertion",
    "client_id",
    "client_secret",
    "dpop_key",
    "private_key",
    "subject_token",
];

/// Whether each secret in the text stands where none may be shown: as the value of a secret under
/// `[credentials]` or, if it is not TOML, behind `=`.
fn only_in_secret_places(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return true;
    };
    let all = text.matches(SECRET).count();
    match text.parse::<Table>() {
        Ok(table) => {
            let credentials = table.get("credentials").and_then(Value::as_table);
            let credentials = credentials.into_iter().flat_map(Table::values);
            all == credentials
                .filter_map(Value::as_table)
                .map(secrets)
                .sum::<usize>()
        }
        Err(_) => text.lines().all(|line| {
            let before = line.find(SECRET).map(|at| &line[..at]);
            before.is_none_or(|before| before.contains('=') && !before.starts_with('['))
        }),
    }
}

/// In values that are secrets, not in keys.
fn secrets(credential: &Table) -> usize {
    let own = credential
        .iter()
        .filter(|(key, _)| SECRET_KEYS.contains(&key.as_str()));
    let more = ["extra_parameters", "token_headers"].into_iter();
    let more = more.filter_map(|key| credential.get(key)?.as_table());
    let values = own
        .map(|(_, value)| value)
        .chain(more.flat_map(Table::values));
    let texts = values.filter_map(Value::as_str);
    texts.map(|text| text.matches(SECRET).count()).sum()
}
