//! One name stands for one type.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Written with its module in front, as Rust programs do: `http1::Error`.
const EVERY_MODULE_HAS_ONE: &str = "Error";

/// Names that say nothing, or that stood for several things once. A longer one says what is meant.
const GIVEN_UP: [&str; 18] = [
    "Answers",
    "Asked",
    "Carried",
    "Current",
    "Held",
    "Known",
    "Means",
    "Multiplexed",
    "OwnHosts",
    "Place",
    "Shared",
    "Single",
    "Source",
    "Stream",
    "Told",
    "View",
    "Whole",
    "Wire",
];

/// The type that a line of source declares. A `type` that stands in an `impl` only names another type.
fn declared(line: &str) -> Option<&str> {
    let item = line.trim_start();
    let is_nested = item.len() < line.len();
    let item = match item.strip_prefix("pub(") {
        Some(restricted) => restricted.split_once(") ")?.1,
        None => item.strip_prefix("pub ").unwrap_or(item),
    };
    let (keyword, rest) = item.split_once(' ')?;
    let is_type =
        matches!(keyword, "struct" | "enum" | "trait" | "union") || keyword == "type" && !is_nested;
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
    let name = &rest[..end.unwrap_or(rest.len())];
    (is_type && name.starts_with(char::is_uppercase)).then_some(name)
}

fn source_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                source_files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// HTTP/1.1 and HTTP/2 have the same parts, which are written `http1::RoundTrip` and `http2::RoundTrip`.
fn is_part_of_both_versions(files: &[PathBuf]) -> bool {
    let of = |version: &str| {
        files
            .iter()
            .filter(|file| file.starts_with(version))
            .count()
    };
    files.len() == 2 && of("http1") == 1 && of("http2") == 1
}

#[test]
fn no_two_types_have_one_name() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut types: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for file in source_files(&source) {
        let text = fs::read_to_string(&file).unwrap();
        let file = file.strip_prefix(&source).unwrap();
        for name in text.lines().filter_map(declared) {
            types
                .entry(name.to_owned())
                .or_default()
                .push(file.to_owned());
        }
    }
    assert!(types.len() > 300, "only {} types found", types.len());
    types.remove(EVERY_MODULE_HAS_ONE);
    types.retain(|_, files| files.len() > 1 && !is_part_of_both_versions(files));
    assert!(types.is_empty(), "names of several types: {types:#?}");
}

#[test]
fn no_type_has_a_name_that_was_given_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for file in ["src", "tests/it"]
        .map(|name| source_files(&root.join(name)))
        .concat()
    {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let nested = text.lines().filter_map(|line| declared(line.trim_start()));
        let given_up = nested.filter(|name| GIVEN_UP.contains(name));
        found.extend(given_up.map(|name| format!("{name} in {}", file.display())));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_form_of_a_declaration_is_seen() {
    for (line, name) in [
        ("struct A;", Some("A")),
        ("pub struct A<'a> {", Some("A")),
        ("    pub(super) enum A_b {", Some("A_b")),
        ("pub(in crate::config) trait A: Send {", Some("A")),
        ("pub type A = B;", Some("A")),
        ("    type Error = A;", None),
        ("struct fields of a text", None),
        ("/// struct A", None),
        ("let a = A {", None),
    ] {
        assert_eq!(declared(line), name, "{line}");
    }
}
