//! The tree of modules in ARCHITECTURE.md is complete. `structure` holds the imports to its order.

use std::path::{Path, PathBuf};

use super::{Document, root};

/// The files of the tree, by their indentation of two columns a level: those of the crate itself in their
/// order, and those below one of them.
pub(crate) fn tree() -> (Vec<String>, Vec<PathBuf>) {
    let document = Document::read("ARCHITECTURE.md");
    let blocks = document.blocks();
    let tree = blocks.iter().find(|block| block.text.starts_with("src/\n"));
    let (mut modules, mut files) = (Vec::new(), Vec::new());
    let mut parent = "";
    for line in tree.expect("a tree").text.lines().skip(1) {
        let depth = (line.len() - line.trim_start().len()) / 2;
        let name = line.split_whitespace().next().unwrap();
        match depth {
            1 => {
                parent = if name.ends_with('/') { name } else { "" };
                modules.push(
                    name.trim_end_matches('/')
                        .trim_end_matches(".rs")
                        .to_owned(),
                );
                files.push(format!("src/{name}").into());
            }
            2 => files.push(format!("src/{parent}{name}").into()),
            _ => panic!("{line}"),
        }
    }
    (modules, files)
}

#[test]
fn every_module_is_in_the_tree_and_every_file_in_the_tree_exists() {
    let (modules, files) = tree();
    for file in files {
        assert!(root().join(&file).exists(), "{}", file.display());
    }
    for entry in std::fs::read_dir(root().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".rs").to_owned();
        assert!(modules.contains(&name), "{name} is not in the tree");
    }
}

/// Names in the map are paths of modules: the last part is what the crate defines.
#[test]
fn every_name_on_the_map_is_defined() {
    let document = Document::read("ARCHITECTURE.md");
    let is_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let words = document.text.split(|c| !is_path(c));
    let code: Vec<_> = sources(&root().join("src"))
        .iter()
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let (mut checked, mut unknown) = (0, Vec::new());
    for path in words {
        let Some((module, last)) = path.rsplit_once("::") else {
            continue;
        };
        checked += 1;
        let file = format!("src/{module}/{last}").replace("::", "/");
        let is_module = root().join(&file).is_dir() || root().join(file + ".rs").exists();
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let defines = |text: &str| {
            ["struct", "enum", "trait", "type", "fn"]
                .iter()
                .any(|kind| {
                    let definition = format!("{kind} {last}");
                    let mut found = text.split(&definition).skip(1);
                    found.any(|rest| !rest.starts_with(part))
                })
        };
        if !(is_module || code.iter().any(|text| defines(text))) {
            unknown.push(path);
        }
    }
    assert!(unknown.is_empty(), "the crate has none of {unknown:?}");
    assert!(checked > 30, "{checked} names");
}

/// What belongs to the product: no tests.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path));
        } else {
            files.push(path);
        }
    }
    files
}
