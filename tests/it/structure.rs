//! The modules of the crate import one way, and one name stands for one type.

mod modules;
mod names;
mod source;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path as FilePath, PathBuf};

use modules::{Imports, Modules};
use source::Path;

/// Modules that import each other, straight or through others: each circle as a text that names its
/// modules and what ties them. One circle, the shortest, for each set of modules that are so tied.
fn circles(imports: &Imports) -> Vec<String> {
    let mut told = BTreeSet::new();
    let mut circles = Vec::new();
    for module in imports.keys() {
        if told.contains(module) {
            continue;
        }
        let Some(circle) = shortest_circle(imports, module) else {
            continue;
        };
        told.extend(circle.iter().cloned());
        let mut text = String::new();
        for (at, from) in circle.iter().enumerate() {
            let to = &circle[(at + 1) % circle.len()];
            let names: Vec<_> = imports[from][to].iter().map(String::as_str).collect();
            text += &format!(
                "{} takes {} from {}\n",
                from.join("::"),
                names.join(", "),
                to.join("::")
            );
        }
        circles.push(text);
    }
    circles
}

/// The shortest way from a module back to itself.
fn shortest_circle(imports: &Imports, start: &Path) -> Option<Vec<Path>> {
    let mut came_from: BTreeMap<&Path, &Path> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(module) = open.pop_front() {
        for next in imports.get(module).into_iter().flatten().map(|(to, _)| to) {
            if next == start {
                let mut way = vec![module.clone()];
                while way[way.len() - 1] != *start {
                    way.push(came_from[&way[way.len() - 1]].clone());
                }
                way.reverse();
                return Some(way);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, module);
                open.push_back(next);
            }
        }
    }
    None
}

fn root() -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")
}

#[test]
fn no_two_modules_import_each_other() {
    let modules = Modules::read(&root());
    assert!(modules.len() > 100, "only {} modules found", modules.len());
    let circles = circles(&modules.imports());
    assert!(
        circles.is_empty(),
        "modules import each other:\n{}",
        circles.join("\n")
    );
}

#[test]
fn a_module_imports_only_what_stands_below_it_in_the_tree() {
    let (order, _) = crate::documents::modules::tree();
    let place = |module: &Path| order.iter().position(|name| module.first() == Some(name));
    let imports = Modules::read(&root()).imports();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (module, imported) in imports.iter().filter(|(module, _)| !module.is_empty()) {
        for (from, names) in imported {
            let (Some(user), Some(used)) = (place(module), place(from)) else {
                panic!("{module:?} or {from:?} is not in the tree");
            };
            compared += 1;
            if user > used {
                wrong.push(format!("{module:?} takes {names:?} from {from:?}"));
            }
        }
    }
    assert!(compared > 500, "{compared} imports");
    assert!(
        wrong.is_empty(),
        "these import what stands above: {wrong:#?}"
    );
}

/// The circles of a crate with these files, the first of which is its root.
fn planted(files: &[(&str, &str)]) -> Vec<String> {
    let text = |module: &[String]| {
        let name = module.join("::");
        let file = files.iter().find(|(known, _)| *known == name);
        let (_, text) = file.unwrap_or_else(|| panic!("no file for {name:?}"));
        (*text).to_owned()
    };
    circles(&Modules::collect(&text).imports())
}

#[test]
fn a_straight_circle_is_found_however_it_is_imported() {
    for import in [
        "use crate::b::B;",
        "use super::b::B;",
        "use crate::{c, b::{B as Other}};",
        "use crate::b; fn f(x: b::B) {}",
        "use crate::b::{self as other}; fn f(x: other::B) {}",
        "use crate::b::*;",
        "fn f() { use crate::b::B; }",
        "fn f() -> crate::b::B { super::b::B }",
        "macro_rules! m { () => { $crate::b::B }; } fn f() { println!(\"{}\", crate::b::B) }",
        "mod inner { use super::super::b::B; }",
        "#[derive(Debug)] #[error(\"{}\", crate::b::B)] struct S;",
        "pub use crate::b::B; fn f(x: B) {}",
    ] {
        let circles = planted(&[
            ("", "mod a; mod b; mod c;"),
            ("a", &format!("pub struct A; {import}")),
            ("b", "pub struct B; use crate::a::A;"),
            ("c", "pub struct C;"),
        ]);
        assert_eq!(circles.len(), 1, "{import}");
        assert!(circles[0].contains("from b\n"), "{}", circles[0]);
        assert!(circles[0].contains("b takes A from a\n"), "{}", circles[0]);
    }
}

#[test]
fn a_circle_through_three_modules_is_found() {
    let circles = planted(&[
        ("", "mod a; mod b; mod c; mod d;"),
        ("a", "pub struct A; use super::b::B; use super::d::D;"),
        ("b", "pub struct B; use super::c::C;"),
        ("c", "pub struct C; use super::a::A;"),
        ("d", "pub struct D;"),
    ]);
    let expected = "a takes B from b\nb takes C from c\nc takes A from a\n";
    assert_eq!(circles, [expected]);
}

#[test]
fn an_import_through_a_parent_is_one_from_the_module_that_defines_the_item() {
    let between_children = planted(&[
        ("", "mod p;"),
        ("p", "mod a; mod b; pub use a::A; use b::B;"),
        ("p::a", "pub struct A; use super::B;"),
        ("p::b", "pub struct B; use crate::p::A;"),
    ]);
    assert_eq!(
        between_children,
        ["p::a takes B from p::b\np::b takes A from p::a\n"]
    );
    let with_the_parent = planted(&[
        ("", "mod p;"),
        ("p", "mod a; pub use a::A; pub struct P(A);"),
        ("p::a", "pub struct A; use super::P;"),
    ]);
    assert_eq!(
        with_the_parent,
        ["p takes A from p::a\np::a takes P from p\n"]
    );
}

#[test]
fn what_is_no_import_ties_nothing() {
    let circles = planted(&[
        ("", "mod p; mod q;"),
        // Only handed on.
        ("p", "mod a; pub use a::A; pub struct P;"),
        (
            "p::a",
            "//! [`crate::q::Q`]
             pub struct A; use super::P; // use crate::q::Q;
             /* crate::q::Q */ const TEXT: &str = \"crate::q::Q\"; const RAW: &str = r#\"use crate::q::Q;\"#;
             #[cfg(test)] use crate::q::Q;
             #[cfg(test)] mod tests { use crate::q::Q; }
             use q::Q as OfAnotherCrate;",
        ),
        ("q", "pub struct Q; use crate::p::A;"),
    ]);
    assert!(circles.is_empty(), "{circles:?}");
}
