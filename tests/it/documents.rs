//! The documents are held to what they say: examples load, commands run, links lead somewhere, and
//! lists are those of the product.

mod commands;
mod examples;
mod links;
mod lists;
pub(crate) mod modules;
mod monitoring;

use std::path::{Path, PathBuf};

/// A Markdown file of the project.
struct Document {
    /// From the root of the project.
    path: PathBuf,
    text: String,
}

/// What stands between two lines of backticks.
struct Block<'d> {
    /// The word behind the first backticks: `sh`, `toml`, or nothing.
    language: &'d str,
    /// Without the indentation of the block.
    text: String,
    /// The first line of the text, counted from 1.
    line: usize,
}

impl Document {
    /// The document at `path`, from the root of the project.
    fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let whole = root().join(&path);
        let text = std::fs::read_to_string(&whole).unwrap_or_else(|e| panic!("{whole:?}: {e}"));
        Self { path, text }
    }

    /// Every document that people are to read.
    fn all() -> Vec<Self> {
        let mut documents = Vec::new();
        for directory in ["", "docs", "deploy", "benches", "tests", "config", "fuzz"] {
            collect(Path::new(directory), !directory.is_empty(), &mut documents);
        }
        let found: Vec<_> = documents.iter().map(|found| found.path.clone()).collect();
        assert!(found.contains(&"README.md".into()), "{found:?}");
        assert!(
            found.contains(&"deploy/systemd/README.md".into()),
            "{found:?}"
        );
        documents
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<(Block<'_>, usize)> = None;
        for (index, line) in self.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let fence = line.trim_start().strip_prefix("```");
            match (&mut open, fence) {
                (None, Some(language)) => {
                    let (text, line) = (String::new(), index + 2);
                    let block = Block {
                        language,
                        text,
                        line,
                    };
                    open = Some((block, indent));
                }
                (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
                (Some((block, outer)), None) => {
                    block.text += line.get(*outer..).unwrap_or_default();
                    block.text += "\n";
                }
                (None, None) => {}
            }
        }
        assert!(
            open.is_none(),
            "{}: a block has no end",
            self.path.display()
        );
        blocks
    }

    /// The blocks of this language, each with where it stands.
    fn blocks_of(&self, language: &str) -> Vec<(String, String)> {
        let blocks = self.blocks().into_iter();
        let these = blocks.filter(|block| block.language == language);
        let named = these.map(|block| {
            (
                format!("{}:{}", self.path.display(), block.line),
                block.text,
            )
        });
        named.collect()
    }

    /// The text without its blocks.
    fn prose(&self) -> String {
        let mut inside = false;
        let lines = self.text.lines().filter(|line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !(fence || inside)
        });
        lines.map(|line| format!("{line}\n")).collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn collect(directory: &Path, below: bool, into: &mut Vec<Document>) {
    for entry in std::fs::read_dir(root().join(directory)).unwrap() {
        let entry = entry.unwrap();
        let path = directory.join(entry.file_name());
        // What builds and package managers leave.
        let foreign = path.ends_with("target") || path.ends_with("node_modules");
        if entry.file_type().unwrap().is_dir() {
            if below && !foreign {
                collect(&path, below, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            into.push(Document::read(path));
        }
    }
}
