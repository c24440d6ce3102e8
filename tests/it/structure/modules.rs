//! The modules of a crate, and which imports which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use super::source::{ParsedFile, Path, Use};

/// The modules by their paths; the root is the empty one.
#[derive(Debug, Default)]
pub(super) struct Modules(BTreeMap<Path, ParsedFile>);

/// Which module imports which, and by what names.
pub(super) type Imports = BTreeMap<Path, BTreeMap<Path, BTreeSet<String>>>;

/// Re-exports of re-exports that are followed: more are a circle among `use`s, which do not compile.
const MOST_HOPS: usize = 16;

impl Modules {
    /// Reads the crate whose root is this file.
    pub(super) fn read(root: &FilePath) -> Self {
        let directory = root.parent().expect("a file");
        Self::collect(&|module: &[String]| {
            let mut place = directory.to_owned();
            place.extend(module);
            let candidates = match module {
                [] => vec![root.to_owned()],
                _ => vec![place.with_extension("rs"), place.join("mod.rs")],
            };
            let found = candidates.iter().find(|file| file.exists());
            let found = found.unwrap_or_else(|| panic!("no file for {}", module.join("::")));
            std::fs::read_to_string(found).unwrap()
        })
    }

    /// All modules that are declared from the root on, by their text.
    pub(super) fn collect(text: &dyn Fn(&[String]) -> String) -> Self {
        let mut modules = BTreeMap::new();
        let mut open: Vec<Path> = vec![Vec::new()];
        while let Some(module) = open.pop() {
            let source = ParsedFile::read(&text(&module));
            let child = |name: &String| [&module[..], std::slice::from_ref(name)].concat();
            open.extend(source.children.iter().map(child));
            modules.insert(module, source);
        }
        Self(modules)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Who imports from whom. An import ends at the module that defines what is imported.
    pub(super) fn imports(&self) -> Imports {
        let mut imports = Imports::new();
        for (module, source) in &self.0 {
            let mut import = |path: &[String]| {
                if let Some((from, name)) = self.definition(module, path, 0)
                    && from != *module
                {
                    let by = imports.entry(module.clone()).or_default();
                    by.entry(from).or_default().insert(name);
                }
            };
            source.paths.iter().for_each(|path| import(path));
            // What is only handed on counts as imported where it is used.
            let is_used = |it: &&Use| !it.is_public || source.identifiers.contains(&it.name);
            for it in source.uses.iter().filter(is_used) {
                if it.name == "*" {
                    import(&[&it.path[..], &["*".to_owned()]].concat());
                } else {
                    import(&it.path);
                }
            }
        }
        imports
    }

    /// The module that defines what this path names when it stands in `module`, and the name that it has
    /// there. `None` where that is a module as a whole, or not of this crate.
    fn definition(
        &self,
        module: &[String],
        path: &[String],
        hops: usize,
    ) -> Option<(Path, String)> {
        assert!(hops < MOST_HOPS, "{} cannot be resolved", path.join("::"));
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.within(Vec::new(), rest, hops),
            "self" => self.within(module.to_owned(), rest, hops),
            "super" => {
                let (_, parent) = module.split_last()?;
                match rest.first().map(String::as_str) {
                    Some("super") => self.definition(parent, rest, hops),
                    _ => self.within(parent.to_owned(), rest, hops),
                }
            }
            _ => self.within(module.to_owned(), path, hops),
        }
    }

    /// The same of what follows a module.
    fn within(&self, module: Path, rest: &[String], hops: usize) -> Option<(Path, String)> {
        let (name, behind) = rest.split_first()?;
        let source = &self.0[&module];
        if name == "*" {
            return Some((module, "*".to_owned()));
        }
        if source.children.contains(name) {
            return self.within([&module[..], &rest[..1]].concat(), behind, hops);
        }
        if source.items.contains(name) {
            return Some((module, name.clone()));
        }
        let mut globs = Vec::new();
        for it in &source.uses {
            if it.name == *name {
                // A `use` of a module's own name, such as `use url::Url`, leads out of the crate.
                if it.path.first() == Some(name) {
                    return None;
                }
                return self.definition(&module, &[&it.path[..], behind].concat(), hops + 1);
            }
            if it.name == "*" {
                globs.push(&it.path);
            }
        }
        let named = |path: &&Path| {
            let path = [&path[..], rest].concat();
            self.definition(&module, &path, hops + 1)
        };
        globs.iter().find_map(named)
    }
}
